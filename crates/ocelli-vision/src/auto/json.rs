//! Values of a JSON file, each with the place that it stands at, so that an error can name it.

use std::path::Path;

use serde_json::Value;

use super::AutoError;

/// A JSON file in memory.
pub(super) struct Document<'a> {
    path: &'a Path,
    value: Value,
}

/// A value that is there and not null, and where it stands.
#[derive(Clone)]
pub(super) struct Place<'a> {
    path: &'a Path,
    key: String,
    value: &'a Value,
}

impl<'a> Document<'a> {
    /// Parses `text`, which was read from `path`. The parser limits the depth; whoever read it limited the length.
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
    /// The value under a key of an object; libraries write null for what is not set.
    pub(super) fn get(&self, key: &str) -> Option<Self> {
        let value = self.value.get(key).filter(|value| !value.is_null())?;
        // An empty key would not be seen in a message.
        let key = if key.is_empty() { "\"\"" } else { key };
        let key = match self.key.as_str() {
            "" => key.to_owned(),
            before => format!("{before}.{key}"),
        };
        Some(Self {
            path: self.path,
            key,
            value,
        })
    }

    pub(super) fn value(&self) -> &'a Value {
        self.value
    }

    pub(super) fn is_object(&self) -> bool {
        self.value.is_object()
    }

    /// The items of a list.
    pub(super) fn items(&self) -> Result<Vec<Self>, AutoError> {
        let items = self.value.as_array().ok_or_else(|| self.wrong("a list"))?;
        Ok(items
            .iter()
            .enumerate()
            .map(|(index, value)| Self {
                path: self.path,
                key: format!("{}[{index}]", self.key),
                value,
            })
            .collect())
    }

    pub(super) fn text(&self) -> Result<&'a str, AutoError> {
        self.value.as_str().ok_or_else(|| self.wrong("a text"))
    }

    pub(super) fn flag(&self) -> Result<bool, AutoError> {
        self.value.as_bool().ok_or_else(|| self.wrong("true or false"))
    }

    pub(super) fn number(&self) -> Result<f64, AutoError> {
        self.value.as_f64().ok_or_else(|| self.wrong("a number"))
    }

    pub(super) fn pixels(&self) -> Result<u32, AutoError> {
        let number = self.value.as_u64().and_then(|number| u32::try_from(number).ok());
        number
            .filter(|number| *number > 0)
            .ok_or_else(|| self.wrong("a whole number of pixels"))
    }

    /// Three numbers, one for each channel; libraries also take one for all.
    pub(super) fn three(&self) -> Result<[f64; 3], AutoError> {
        if self.value.is_number() {
            return Ok([self.number()?; 3]);
        }
        let numbers: Vec<f64> = self.items()?.iter().map(Self::number).collect::<Result<_, _>>()?;
        match *numbers {
            [one] => Ok([one; 3]),
            [first, second, third] => Ok([first, second, third]),
            _ => Err(self.wrong("a list of 3 numbers")),
        }
    }

    fn wrong(&self, wanted: &str) -> AutoError {
        /// What is shown of a wrong value.
        const SHOWN: usize = 60;
        let mut found = self.value.to_string();
        if let Some((end, _)) = found.char_indices().nth(SHOWN) {
            found.truncate(end);
            found.push_str("...");
        }
        self.error(format!("is {found}: it must be {wanted}"))
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
}
