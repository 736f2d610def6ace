//! Request bodies, built once for each photo: sending one is then a matter of reference counts.

use std::hash::{BuildHasher, RandomState};

use bytes::{BufMut, Bytes, BytesMut};

use crate::config::BodyForm;
use crate::photo::Photo;

#[derive(Debug, Clone)]
pub(crate) struct Body {
    pub(crate) content_type: String,
    pub(crate) bytes: Bytes,
}

pub(crate) fn build(photo: &Photo, form: BodyForm, boundary: &str) -> Body {
    match form {
        BodyForm::Raw => Body {
            content_type: media_type(&photo.bytes).to_owned(),
            bytes: photo.bytes.clone(),
        },
        BodyForm::Multipart => Body {
            content_type: format!("multipart/form-data; boundary={boundary}"),
            bytes: multipart(photo, boundary),
        },
    }
}

/// A boundary that no photo contains: 128 random bits, so that even a recorded request may be sent.
pub(crate) fn random_boundary() -> String {
    let bits = || RandomState::new().hash_one("ocelli-bench");
    format!("ocelli-bench-{:016x}{:016x}", bits(), bits())
}

/// One part `image`, as RFC 7578 and every browser write it.
fn multipart(photo: &Photo, boundary: &str) -> Bytes {
    let head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"image\"; filename=\"{}\"\r\nContent-Type: {}\r\n\r\n",
        escape(&photo.name),
        media_type(&photo.bytes),
    );
    let tail = format!("\r\n--{boundary}--\r\n");
    let mut bytes = BytesMut::with_capacity(head.len() + photo.bytes.len() + tail.len());
    bytes.put(head.as_bytes());
    bytes.put(photo.bytes.as_ref());
    bytes.put(tail.as_bytes());
    bytes.freeze()
}

/// A file name within quotes, escaped as the HTML standard says for `multipart/form-data`.
fn escape(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

/// The media type by the first bytes, for extensions lie.
fn media_type(bytes: &[u8]) -> &'static str {
    match bytes {
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        [b'G', b'I', b'F', b'8', ..] => "image/gif",
        [b'B', b'M', ..] => "image/bmp",
        [b'I', b'I', b'*', 0, ..] | [b'M', b'M', 0, b'*', ..] => "image/tiff",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn photo(name: &str, bytes: &'static [u8]) -> Photo {
        Photo {
            name: name.to_owned(),
            bytes: Bytes::from_static(bytes),
        }
    }

    #[test]
    fn a_multipart_body_is_exactly_this() {
        let body = build(
            &photo("dog.jpg", b"\xff\xd8\xffdata"),
            BodyForm::Multipart,
            "edge",
        );
        assert_eq!(body.content_type, "multipart/form-data; boundary=edge");
        let expected = b"--edge\r\nContent-Disposition: form-data; name=\"image\"; filename=\"dog.jpg\"\r\n\
            Content-Type: image/jpeg\r\n\r\n\xff\xd8\xffdata\r\n--edge--\r\n";
        assert_eq!(body.bytes, &expected[..]);
    }

    #[test]
    fn a_file_name_cannot_break_out_of_its_header() {
        let body = build(&photo("a\"\r\nX: y", b"data"), BodyForm::Multipart, "edge");
        let text = String::from_utf8(body.bytes.to_vec()).unwrap();
        assert!(text.contains("filename=\"a%22%0D%0AX: y\"\r\n"), "{text}");
    }

    #[test]
    fn a_raw_body_is_the_photo_itself_without_a_copy() {
        let photo = photo("x", b"\x89PNG....");
        let body = build(&photo, BodyForm::Raw, "unused");
        assert_eq!(body.content_type, "image/png");
        assert_eq!(body.bytes.as_ptr(), photo.bytes.as_ptr());
    }

    #[test]
    fn media_types_follow_the_content() {
        assert_eq!(media_type(b"RIFF\0\0\0\0WEBPVP8 "), "image/webp");
        assert_eq!(media_type(b"RIFF\0\0\0\0WAVE"), "application/octet-stream");
        assert_eq!(media_type(b"GIF89a"), "image/gif");
        assert_eq!(media_type(b"BM"), "image/bmp");
        assert_eq!(media_type(b"MM\0*"), "image/tiff");
        assert_eq!(media_type(b""), "application/octet-stream");
    }

    #[test]
    fn boundaries_differ_and_are_legal() {
        let (one, other) = (random_boundary(), random_boundary());
        assert_ne!(one, other);
        // RFC 2046 allows 70 characters.
        assert!(
            one.len() <= 70
                && one
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        );
    }
}
