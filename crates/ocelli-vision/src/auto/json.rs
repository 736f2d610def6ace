//! JSON files: their parts are read by serde, and errors name the file and the field.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

use super::AutoError;

/// Longest text of a wrong value in an error, in characters.
const SHOWN: usize = 60;

pub(super) struct Document<'a> {
    path: &'a Path,
    value: Value,
}

/// A part of a file that is not null.
#[derive(Clone)]
pub(super) struct Place<'a> {
    path: &'a Path,
    /// Where it is, such as `pretrained_cfg`; empty for the whole file.
    key: String,
    value: &'a Value,
}

impl<'a> Document<'a> {
    /// Parses `text`, which was read from `path`. The parser limits the depth; the caller limited the length.
    pub(super) fn parse(path: &'a Path, text: &str) -> Result<Self, AutoError> {
        let value = serde_json::from_str(text).map_err(|error| AutoError::Json {
            path: path.into(),
            message: error.to_string(),
        })?;
        Ok(Self { path, value })
    }

    pub(super) fn root(&self) -> Place<'_> {
        Place {
            path: self.path,
            key: String::new(),
            value: &self.value,
        }
    }
}

impl<'a> Place<'a> {
    pub(super) fn get(&self, key: &str) -> Option<Self> {
        let value = self.value.get(key).filter(|value| !value.is_null())?;
        Some(Self {
            path: self.path,
            key: self.join(key),
            value,
        })
    }

    pub(super) fn value(&self) -> &'a Value {
        self.value
    }

    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, AutoError> {
        serde_path_to_error::deserialize(self.value).map_err(|error| {
            let mut wrong = self.clone();
            for segment in error.path() {
                let found = match segment {
                    Segment::Map { key } => wrong.value.get(key).map(|value| (wrong.join(key), value)),
                    Segment::Seq { index } => {
                        let value = wrong.value.get(index);
                        value.map(|value| (format!("{}[{index}]", wrong.key), value))
                    }
                    Segment::Enum { .. } | Segment::Unknown => None,
                };
                let Some((key, value)) = found else { break };
                wrong = Self { key, value, ..wrong };
            }
            let mut found = wrong.value.to_string();
            if let Some((end, _)) = found.char_indices().nth(SHOWN) {
                found.truncate(end);
                found.push_str("...");
            }
            wrong.error(format!("is {found}: {}", error.inner()))
        })
    }

    fn join(&self, key: &str) -> String {
        // An empty key would be invisible in an error.
        let key = if key.is_empty() { "\"\"" } else { key };
        match self.key.as_str() {
            "" => key.to_owned(),
            before => format!("{before}.{key}"),
        }
    }

    pub(super) fn error(&self, problem: impl Into<String>) -> AutoError {
        if self.key.is_empty() {
            return AutoError::unsuitable(self.path, problem);
        }
        AutoError::Value {
            path: self.path.into(),
            key: self.key.clone(),
            problem: problem.into(),
        }
    }

    /// As [`error`](Self::error), about the field `key`.
    pub(super) fn error_at(&self, key: &str, problem: impl Into<String>) -> AutoError {
        AutoError::Value {
            path: self.path.into(),
            key: self.join(key),
            problem: problem.into(),
        }
    }
}
