//! Images in JSON: `{"image":"<base64>"}` or `{"images":["<base64>", ..]}`.
//!
//! Each string is decoded in place, so no tree of the JSON is built, and images over the limit are refused before the rest is
//! parsed.

use std::cell::RefCell;
use std::fmt;

use bytes::Bytes;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{Most, base64};
use crate::error::Error;

const SHAPE: &str = "{\"image\":\"<base64>\"} or {\"images\":[..]}";

pub(super) fn images(body: &[u8], most: Most) -> Result<Vec<Bytes>, Error> {
    let refusal = RefCell::new(None);
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let parsed = deserializer
        .deserialize_map(Object {
            most,
            refusal: &refusal,
        })
        .and_then(|images| deserializer.end().map(|()| images));
    let images = parsed.map_err(|error| {
        refusal.take().unwrap_or_else(|| {
            let text = error.to_string();
            let hint = if text.contains("control character") {
                "; write base64 in one line (base64 -w0), or its line breaks as \\n"
            } else {
                ""
            };
            Error::InvalidRequest(format!("the body is not the JSON {SHAPE}: {text}{hint}"))
        })
    })?;
    images.filter(|images| !images.is_empty()).ok_or_else(|| {
        Error::InvalidRequest(
            "the JSON must have either 'image', a base64 string, or 'images', a list of at least one"
                .to_owned(),
        )
    })
}

/// Where the parser leaves an error that is not about JSON.
type Refusal<'a> = &'a RefCell<Option<Error>>;

fn refuse<T, E: de::Error>(refusal: Refusal<'_>, error: Error) -> Result<T, E> {
    let text = error.to_string();
    *refusal.borrow_mut() = Some(error);
    Err(E::custom(text))
}

struct Object<'a> {
    most: Most,
    refusal: Refusal<'a>,
}

impl<'de> Visitor<'de> for Object<'_> {
    /// `None` unless there is exactly one of the two fields.
    type Value = Option<Vec<Bytes>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object {SHAPE}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Self { most, refusal } = self;
        let (mut image, mut images) = (None, None);
        while let Some(field) = map.next_key()? {
            let (target, list) = match field {
                Field::Image => (&mut image, false),
                Field::Images => (&mut images, true),
            };
            if target.is_some() {
                return Err(de::Error::custom("a field appears twice"));
            }
            *target = Some(map.next_value_seed(Value { list, most, refusal })?);
        }
        // A field that is null counts as missing.
        Ok(match (image.flatten(), images.flatten()) {
            (Some(images), None) | (None, Some(images)) => Some(images),
            _ => None,
        })
    }
}

#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Field {
    Image,
    Images,
}

/// The value of a field: one string or a list of strings, or null.
struct Value<'a> {
    list: bool,
    most: Most,
    refusal: Refusal<'a>,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = Option<Vec<Bytes>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = Option<Vec<Bytes>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.list {
            "a list of base64 strings"
        } else {
            "a base64 string"
        })
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.list {
            return deserializer.deserialize_seq(self);
        }
        let text = Text {
            index: 0,
            refusal: self.refusal,
        };
        text.deserialize(deserializer).map(|image| Some(vec![image]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let Self { most, refusal, .. } = self;
        let mut images = Vec::new();
        while let Some(image) = list.next_element_seed(Text {
            index: images.len(),
            refusal,
        })? {
            if images.len() == most.count() {
                return refuse(refusal, most.exceeded());
            }
            images.push(image);
        }
        Ok(Some(images))
    }
}

struct Text<'a> {
    index: usize,
    refusal: Refusal<'a>,
}

impl<'de> DeserializeSeed<'de> for Text<'_> {
    type Value = Bytes;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Bytes, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Text<'_> {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a base64 string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
        let Self { index, refusal } = self;
        base64::decode(text).or_else(|wrong| {
            refuse(
                refusal,
                Error::InvalidRequest(format!("image {index} cannot be read: {wrong}")),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<Bytes>, Error> {
        images(text.as_bytes(), Most::Option(2))
    }

    #[test]
    fn one_or_many_are_taken_and_the_bad_one_is_named() {
        assert_eq!(parse(r#"{"image":"aGk="}"#).expect("one"), ["hi"]);
        assert_eq!(
            parse(r#"{"image":"data:image/png;base64,aGk="}"#).expect("data URL"),
            ["hi"]
        );
        assert_eq!(parse(r#"{"images":["aGk=","eW8="]}"#).expect("two"), ["hi", "yo"]);
        assert_eq!(
            parse(r#"{"image":null,"images":["aGk="]}"#).expect("null is none"),
            ["hi"]
        );
        // As Python's base64.encodebytes, PHP and Gson write it.
        assert_eq!(parse(r#"{"image":"aG\nk=\n"}"#).expect("lines"), ["hi"]);
        assert_eq!(
            parse(r#"{"image":"\/\/8\u003d"}"#).expect("escapes"),
            [&b"\xff\xff"[..]]
        );
        let error = parse(r#"{"images":["aGk=","a*k="]}"#).unwrap_err().to_string();
        assert!(
            error.starts_with("image 1 cannot be read: it is not valid base64"),
            "{error}"
        );
        let error = parse("{\"image\":\"aG\nk=\"}").unwrap_err().to_string();
        assert!(error.contains("base64 -w0"), "{error}");
    }

    #[test]
    fn everything_else_is_refused() {
        let invalid = |text: &str| {
            let error = parse(text).expect_err(text);
            assert_eq!(error.status().code, "invalid_request", "{text}");
            error.to_string()
        };
        for bad in [
            "{}",
            r#"{"images":[]}"#,
            r#"{"image":"","images":[""]}"#,
            r#"{"image":"","image":""}"#,
            r#"{"imgae":""}"#,
            r#"{"image":""} x"#,
            r#"{"images":{"a":"b"}}"#,
            "[",
            "{",
            "null",
        ] {
            invalid(bad);
        }
        assert!(invalid(r#"["aGk=",null]"#).contains("expected an object"));
        assert!(invalid(r#"[["aGk="]]"#).contains("expected an object"));
        assert!(invalid(r#"{"image":["aGk="]}"#).contains("expected a base64 string"));
        assert!(invalid(r#"{"images":[["#).contains("expected a base64 string"));
    }

    /// What comes after the limit is not parsed.
    #[test]
    fn images_are_counted_while_they_are_parsed() {
        let error = parse(r#"{"images":["","","" no JSON any more"#).unwrap_err();
        assert_eq!(error.status().code, "too_large");
    }
}
