//! A job's text: `{"id": "..", "image": "<base64 of a float32 tensor>"}`.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ocelli_vision::ImageError;
use serde::{Deserialize, Serialize};

use super::{QUEUE, input};

/// The longest id in bytes. The tutorial's have 36; an id is a key in Redis.
const MAX_ID_BYTES: usize = 256;

/// The longest text in bytes. A job has 802,900 without escapes.
pub const MAX_JOB_BYTES: usize = 2 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TutorialJob {
    /// The key that the reply is to be set at.
    pub id: String,
    /// Packed 8-bit RGB of [`input`]'s height and width.
    pub rgb: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BadJob {
    /// Not the JSON of a job, so that there is no key for a reply.
    #[error(
        "it is not {{\"id\", \"image\"}} as JSON ({0}): only web processes that speak the tutorial's wire may push \
         to the list"
    )]
    Unreadable(String),
    /// It has an id for the reply, but no usable picture.
    #[error("job {id}: {problem}: the web process must send what Keras' preprocess_input makes of a photo")]
    Picture {
        /// The key that the reply is to be set at.
        id: String,
        problem: BadPicture,
    },
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BadPicture {
    #[error("its image is not base64 ({0})")]
    Base64(String),
    #[error("its image has {got} bytes instead of the {wanted} of float32 (1, 224, 224, 3)")]
    Length { got: usize, wanted: usize },
    #[error("element {index} of its image is {value}")]
    NotFinite { index: usize, value: f32 },
    /// It cannot be prepared for the model.
    #[error("{0}")]
    Unprepared(ImageError),
}

#[derive(Deserialize, Serialize)]
#[serde(expecting = "an object with \"id\" and \"image\"")]
struct Text<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    image: Cow<'a, str>,
}

impl TutorialJob {
    /// The job as the tutorial's web process writes it.
    ///
    /// # Panics
    /// When the pixels are not those of [`input`]'s size.
    pub fn encode(&self) -> String {
        let mut tensor = vec![0.0; input().elements()];
        input().fill(&self.rgb, &mut tensor);
        let mut bytes = Vec::with_capacity(size_of_val(tensor.as_slice()));
        for value in tensor {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        let text = Text {
            id: Cow::Borrowed(&self.id),
            image: STANDARD.encode(bytes).into(),
        };
        serde_json::to_string(&text).expect("two strings can be written as JSON")
    }

    /// Parses an entry of the list. Unknown keys are ignored, as the tutorial does.
    pub fn decode(text: &[u8]) -> Result<Self, BadJob> {
        if text.len() > MAX_JOB_BYTES {
            return Err(BadJob::Unreadable(format!(
                "{} bytes, at most {MAX_JOB_BYTES} are read",
                text.len()
            )));
        }
        let Text { id, image } =
            serde_json::from_slice(text).map_err(|error| BadJob::Unreadable(error.to_string()))?;
        if !(1..=MAX_ID_BYTES).contains(&id.len()) {
            return Err(BadJob::Unreadable(format!(
                "its id is {} bytes long and must be 1 to {MAX_ID_BYTES}",
                id.len()
            )));
        }
        if id == QUEUE {
            // Its reply would replace the list.
            return Err(BadJob::Unreadable("its id is the name of the list".to_owned()));
        }
        let id = id.into_owned();
        match tensor(&image) {
            Ok(tensor) => Ok(Self {
                id,
                rgb: input().recover_rgb(&tensor),
            }),
            Err(problem) => Err(BadJob::Picture { id, problem }),
        }
    }
}

fn tensor(image: &str) -> Result<Vec<f32>, BadPicture> {
    let bytes = STANDARD
        .decode(image)
        .map_err(|error| BadPicture::Base64(error.to_string()))?;
    let wanted = input().elements() * size_of::<f32>();
    if bytes.len() != wanted {
        return Err(BadPicture::Length {
            got: bytes.len(),
            wanted,
        });
    }
    let (elements, _) = bytes.as_chunks();
    let tensor: Vec<f32> = elements.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    match tensor.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(BadPicture::NotFinite {
            index,
            value: tensor[index],
        }),
        None => Ok(tensor),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn job() -> TutorialJob {
        let rgb = (0..input().elements()).map(|index| (index * 7 % 251) as u8);
        TutorialJob {
            id: "4f1c".to_owned(),
            rgb: rgb.collect(),
        }
    }

    fn picture(image: &[u8]) -> BadPicture {
        let text = json!({"id": "4f1c", "image": STANDARD.encode(image)}).to_string();
        problem(&text)
    }

    fn problem(text: &str) -> BadPicture {
        match TutorialJob::decode(text.as_bytes()) {
            Err(BadJob::Picture { id, problem }) if id == "4f1c" => problem,
            other => panic!("{other:?}"),
        }
    }

    fn unreadable(text: &[u8]) -> String {
        match TutorialJob::decode(text) {
            Err(BadJob::Unreadable(problem)) => problem,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_job_comes_back_as_it_was() {
        let text = job().encode();
        assert!(text.starts_with(r#"{"id":"4f1c","image":""#), "{}", &text[..40]);
        assert_eq!(text.len(), r#"{"id":"4f1c","image":""}"#.len() + 802_816);
        assert_eq!(TutorialJob::decode(text.as_bytes()), Ok(job()));
    }

    #[test]
    fn other_ways_of_writing_the_same_json_are_read() {
        let text = job().encode();
        let image = &text[text.find(r#""image":""#).unwrap() + 9..text.len() - 2];
        let escaped = image.replace('/', r"\/");
        assert_ne!(escaped, image);
        let spaced = format!(r#" {{ "image" : "{escaped}", "shape": [1], "id" : "\u0034f1c" }} "#);
        assert_eq!(TutorialJob::decode(spaced.as_bytes()), Ok(job()));
    }

    #[test]
    fn what_has_no_id_is_unreadable() {
        let long = json!({"id": "x".repeat(257), "image": ""}).to_string();
        for (text, part) in [
            (&b"not json"[..], "expected"),
            (b"", "EOF"),
            (b"\xff\xfe", "line 1"),
            (b"[]", "expected an object"),
            (b"{}", "missing field `id`"),
            (br#"{"id": "a"}"#, "missing field `image`"),
            (br#"{"id": 7, "image": ""}"#, "expected a string"),
            (br#"{"id": "", "image": ""}"#, "0 bytes long"),
            (br#"{"id": "image_queue", "image": ""}"#, "name of the list"),
            (br#"{"id": "a", "image": "AA"#, "EOF"),
            (long.as_bytes(), "257 bytes long"),
            (&vec![b' '; MAX_JOB_BYTES + 1], "at most"),
        ] {
            let problem = unreadable(text);
            assert!(problem.contains(part), "no {part:?} in {problem}");
        }
        let longest = json!({"id": "x".repeat(256), "image": ""}).to_string();
        assert!(matches!(
            TutorialJob::decode(longest.as_bytes()),
            Err(BadJob::Picture { .. })
        ));
    }

    #[test]
    fn no_part_of_a_job_is_one() {
        let text = job().encode();
        for end in [1, 10, 20, 22, 23, 400_000, text.len() - 2, text.len() - 1] {
            let part = &text.as_bytes()[..end];
            assert!(
                matches!(TutorialJob::decode(part), Err(BadJob::Unreadable(_))),
                "{end}"
            );
        }
    }

    #[test]
    fn what_has_an_id_and_no_picture_says_so() {
        for image in ["!", "AAA", "AAAA\nAAAA"] {
            let text = json!({"id": "4f1c", "image": image}).to_string();
            assert!(matches!(problem(&text), BadPicture::Base64(_)), "{image}");
        }
        let wanted = 602_112;
        for got in [0, wanted - 1, wanted + 4, wanted / 4] {
            assert_eq!(picture(&vec![0; got]), BadPicture::Length { got, wanted });
        }
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut image = vec![0; wanted];
            image[wanted - 8..wanted - 4].copy_from_slice(&value.to_le_bytes());
            let problem = picture(&image);
            assert!(
                matches!(problem, BadPicture::NotFinite { index: 150_526, value: found } if found.to_bits() == value.to_bits()),
                "{problem:?}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_the_id() {
        let text = json!({"id": "4f1c", "image": "AAAA"}).to_string();
        let said = TutorialJob::decode(text.as_bytes()).unwrap_err().to_string();
        assert!(
            said.contains("4f1c") && said.contains("3 bytes") && said.contains("602112"),
            "{said}"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(text in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(TutorialJob::decode(&text).is_err());
        }
    }
}
