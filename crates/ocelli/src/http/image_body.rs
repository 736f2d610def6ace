//! The three formats of photos in a request: multipart, JSON with base64, and the file itself.

pub(crate) mod base64;
pub(crate) mod json;
pub(crate) mod multipart;

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;

use crate::error::Error;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum InputForm {
    /// `multipart/form-data` with parts named `image`.
    Multipart {
        boundary: String,
    },
    /// `{"image":"<base64>"}` or `{"images":["<base64>", ..]}`.
    Json,
    Raw,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Most {
    One,
    /// The limit in `--max-images`.
    Option(usize),
}

impl Most {
    fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::Option(count) => count,
        }
    }

    fn exceeded(self) -> Error {
        Error::TooLarge(match self {
            Self::One => {
                "POST /predict takes one image; send several to /v1/models/{model}/predict, or one at a time"
                    .to_owned()
            }
            Self::Option(count) => {
                format!("more than {count} images in one request; split it, or raise --max-images")
            }
        })
    }
}

impl InputForm {
    /// A body without a type is a file, and so is `application/x-www-form-urlencoded`, which `curl --data-binary @photo.jpg`
    /// sends.
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
            "multipart/form-data" => multipart::boundary(text)
                .map(|boundary| Self::Multipart { boundary })
                .ok_or_else(|| {
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

    /// The bytes to parse in a body of `length` bytes.
    pub(super) fn work(&self, length: usize) -> usize {
        match self {
            Self::Raw => 0,
            Self::Multipart { .. } | Self::Json => length,
        }
    }

    /// The memory that the images take beside a body of `length` bytes while it is parsed.
    pub(super) fn copies(&self, length: u64) -> u64 {
        match self {
            Self::Raw | Self::Multipart { .. } => 0,
            Self::Json => length / 4 * 3,
        }
    }

    /// The images in a body, at least one and at most `most`. They are not decoded.
    pub(super) fn images(&self, body: Bytes, most: Most) -> Result<Vec<Bytes>, Error> {
        if body.is_empty() {
            return Err(Error::InvalidRequest(
                "the body is empty; send an image, for instance with curl -F image=@photo.jpg".to_owned(),
            ));
        }
        match self {
            Self::Raw => Ok(vec![body]),
            Self::Json => json::images(&body, most),
            Self::Multipart { boundary } => multipart::images(&body, boundary, most),
        }
    }
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

    #[test]
    fn the_error_for_too_many_images_names_the_other_route() {
        let one = Most::One.exceeded().to_string();
        assert!(
            one.contains("/v1/models/{model}/predict") && !one.contains("--max-images"),
            "{one}"
        );
        assert!(Most::Option(1).exceeded().to_string().contains("--max-images"));
    }
}
