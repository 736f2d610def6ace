//! The three forms in which photos arrive: multipart, JSON with base64, and the file itself.

pub(crate) mod base64;
pub(crate) mod json;
pub(crate) mod multipart;

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;

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
    Raw,
}

/// How many images a request may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Most {
    /// The tutorial's route takes one.
    One,
    /// What `--max-images` says.
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

    /// Bytes of a body of `length` bytes that have to be looked at one by one.
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

    /// The images in a body, at least one and at most `most`, none of them looked into.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] and [`Error::TooLarge`].
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
    fn too_many_images_are_told_where_to_go() {
        let one = Most::One.exceeded().to_string();
        assert!(
            one.contains("/v1/models/{model}/predict") && !one.contains("--max-images"),
            "{one}"
        );
        assert!(Most::Option(1).exceeded().to_string().contains("--max-images"));
    }
}
