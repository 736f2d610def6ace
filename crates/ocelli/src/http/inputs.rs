//! The three forms in which photos arrive: multipart, JSON with base64, and the file itself.

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;

use crate::error::Error;

/// The form of a body, known from the headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum InputForm {
    /// `multipart/form-data` with parts named `image`.
    Multipart {
        /// The boundary between parts.
        boundary: String,
    },
    /// `{"image":"<base64>"}` or `{"images":["<base64>", ..]}`.
    Json,
    /// The file itself.
    Raw,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonBody {
    image: Option<String>,
    images: Option<Vec<String>>,
}

impl InputForm {
    /// The form that the headers declare.
    ///
    /// A body without a type is taken for a file, and so is a form without a boundary's `application/x-www-form-
    /// urlencoded`, which is what `curl --data-binary @photo.jpg` claims to send.
    ///
    /// # Errors
    /// [`Error::UnsupportedMediaType`], and [`Error::InvalidRequest`] for a multipart type without a boundary.
    pub(super) fn from_headers(headers: &HeaderMap) -> Result<Self, Error> {
        let Some(value) = headers.get(CONTENT_TYPE) else {
            return Ok(Self::Raw);
        };
        let text = value.to_str().unwrap_or_default();
        let essence = text
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        match essence.as_str() {
            "multipart/form-data" => multer::parse_boundary(text)
                .map(|boundary| Self::Multipart { boundary })
                .map_err(|_| {
                    Error::InvalidRequest(
                        "the Content-Type multipart/form-data names no boundary; let your client library set it"
                            .to_owned(),
                    )
                }),
            "application/json" => Ok(Self::Json),
            "application/octet-stream" | "application/x-www-form-urlencoded" | "" => Ok(Self::Raw),
            image if image.starts_with("image/") => Ok(Self::Raw),
            _ => Err(Error::UnsupportedMediaType(text.chars().take(100).collect())),
        }
    }

    /// The images in a body, at least one and at most `most`, none of them looked into.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] and [`Error::TooLarge`].
    pub(super) async fn images(&self, body: Bytes, most: usize) -> Result<Vec<Bytes>, Error> {
        if body.is_empty() {
            return Err(Error::InvalidRequest(
                "the body is empty; send an image, for instance with curl -F image=@photo.jpg".to_owned(),
            ));
        }
        match self {
            Self::Raw => Ok(vec![body]),
            Self::Json => from_json(&body, most),
            Self::Multipart { boundary } => from_multipart(body, boundary, most).await,
        }
    }
}

fn too_many(most: usize) -> Error {
    Error::TooLarge(format!(
        "more than {most} images in one request; split it, or raise --max-images"
    ))
}

fn from_json(body: &[u8], most: usize) -> Result<Vec<Bytes>, Error> {
    let body: JsonBody = serde_json::from_slice(body).map_err(|error| {
        Error::InvalidRequest(format!(
            "the body is not the JSON {{\"image\":\"<base64>\"}} or {{\"images\":[..]}}: {error}"
        ))
    })?;
    let texts = match (body.image, body.images) {
        (Some(image), None) => vec![image],
        (None, Some(images)) if !images.is_empty() => images,
        _ => {
            return Err(Error::InvalidRequest(
                "the JSON must have either 'image', a base64 string, or 'images', a list of at least one"
                    .to_owned(),
            ));
        }
    };
    if texts.len() > most {
        return Err(too_many(most));
    }
    texts
        .iter()
        .enumerate()
        .map(|(index, text)| from_base64(text, index))
        .collect()
}

/// Standard base64 with padding; a `data:` URL's prefix is skipped.
fn from_base64(text: &str, index: usize) -> Result<Bytes, Error> {
    let encoded = match text.split_once(";base64,") {
        Some((scheme, encoded)) if scheme.starts_with("data:") => encoded,
        _ => text,
    };
    STANDARD
        .decode(encoded.trim_end())
        .map(Bytes::from)
        .map_err(|error| {
            Error::InvalidRequest(format!(
                "image {index} is not valid base64: {error}; use the standard alphabet with padding"
            ))
        })
}

async fn from_multipart(body: Bytes, boundary: &str, most: usize) -> Result<Vec<Bytes>, Error> {
    let broken = |error: multer::Error| {
        Error::InvalidRequest(format!(
            "the multipart body is malformed: {error}; send it as curl -F does"
        ))
    };
    // The body is whole and bounded, so the parts are slices of it and need no limits of their own.
    let whole = stream::iter([Ok::<_, std::convert::Infallible>(body)]);
    let mut parts = multer::Multipart::new(whole, boundary);
    let mut images = Vec::new();
    let mut others = Vec::new();
    while let Some(part) = parts.next_field().await.map_err(broken)? {
        if matches!(part.name(), Some("image" | "images")) {
            if images.len() == most {
                return Err(too_many(most));
            }
            images.push(part.bytes().await.map_err(broken)?);
        } else if others.len() < 3 {
            others.push(format!(
                "'{}'",
                part.name()
                    .unwrap_or_default()
                    .chars()
                    .take(40)
                    .collect::<String>()
            ));
        }
    }
    if images.is_empty() {
        let found = if others.is_empty() {
            "none at all".to_owned()
        } else {
            others.join(", ")
        };
        return Err(Error::InvalidRequest(format!(
            "the form has no part named 'image' (found {found}); send one, as curl -F image=@photo.jpg does"
        )));
    }
    Ok(images)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(content_type: &str) -> Result<InputForm, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, content_type.parse().expect("header"));
        InputForm::from_headers(&headers)
    }

    #[test]
    fn the_content_type_decides_the_form() {
        assert_eq!(InputForm::from_headers(&HeaderMap::new()), Ok(InputForm::Raw));
        assert_eq!(form("image/jpeg"), Ok(InputForm::Raw));
        assert_eq!(form("application/x-www-form-urlencoded"), Ok(InputForm::Raw));
        assert_eq!(form("Application/JSON; charset=utf-8"), Ok(InputForm::Json));
        assert_eq!(
            form("multipart/form-data; boundary=xyz"),
            Ok(InputForm::Multipart {
                boundary: "xyz".to_owned()
            })
        );
        assert_eq!(
            form("multipart/form-data").unwrap_err().status().code,
            "invalid_request"
        );
        assert_eq!(
            form("text/html").unwrap_err().status().code,
            "unsupported_media_type"
        );
    }

    #[tokio::test]
    async fn json_takes_one_or_many_and_names_the_bad_one() {
        let parse = async |text: &str| InputForm::Json.images(Bytes::from(text.to_owned()), 2).await;
        assert_eq!(parse(r#"{"image":"aGk="}"#).await.expect("one"), ["hi"]);
        assert_eq!(
            parse(r#"{"image":"data:image/png;base64,aGk="}"#)
                .await
                .expect("data URL"),
            ["hi"]
        );
        assert_eq!(
            parse(r#"{"images":["aGk=","eW8="]}"#).await.expect("two"),
            ["hi", "yo"]
        );
        let error = parse(r#"{"images":["aGk=","a*k="]}"#).await.unwrap_err();
        assert!(
            error.to_string().starts_with("image 1 is not valid base64"),
            "{error}"
        );
        assert_eq!(
            parse(r#"{"images":["","",""]}"#).await.unwrap_err().status().code,
            "too_large"
        );
        for bad in [
            "{}",
            r#"{"images":[]}"#,
            r#"{"image":"","images":[""]}"#,
            r#"{"imgae":""}"#,
            "[",
            "{",
        ] {
            assert_eq!(
                parse(bad).await.unwrap_err().status().code,
                "invalid_request",
                "{bad}"
            );
        }
    }

    #[tokio::test]
    async fn multipart_takes_the_parts_named_image() {
        let multipart = InputForm::Multipart {
            boundary: "b".to_owned(),
        };
        let part = |name: &str, body: &str| {
            format!(
                "--b\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"x\"\r\n\r\n{body}\r\n"
            )
        };
        let parse = async |body: String| multipart.images(Bytes::from(body), 2).await;
        let two = [
            part("image", "one"),
            part("other", "x"),
            part("image", "two"),
            "--b--\r\n".to_owned(),
        ];
        assert_eq!(parse(two.concat()).await.expect("two"), ["one", "two"]);
        let none = parse([part("file", "x"), "--b--\r\n".to_owned()].concat())
            .await
            .unwrap_err();
        assert!(none.to_string().contains("found 'file'"), "{none}");
        let three = [part("image", "x").repeat(3), "--b--\r\n".to_owned()].concat();
        assert_eq!(parse(three).await.unwrap_err().status().code, "too_large");
        let cut = parse(part("image", "x")).await.unwrap_err();
        assert_eq!(cut.status().code, "invalid_request");
    }
}
