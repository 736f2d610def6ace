//! The wire format of Protocol Buffers, read without copying.
//!
//! Not a code generator's, because those build a structure for each message: an empty node takes two bytes in a file
//! and a hundred in memory, so that a file from elsewhere could ask for fifty times its size. Here a message is a
//! slice of the file, looked at as often as needed.

use super::GraphError;

/// A field's content. Numbers of fixed width occur nowhere that matters here and are passed over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// The fields of a message, in the order of the file. Ends with the first error.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Malformed {
    /// It ends this many bytes before a field does.
    CutOff(u64),
    /// It has something that no message has.
    Nonsense,
}

impl From<Malformed> for GraphError {
    /// Of a message inside the file, which has its length: if it is cut off, the file is not.
    fn from(_: Malformed) -> Self {
        Self::Damaged
    }
}

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn field(&mut self) -> Result<(u32, Value<'a>), Malformed> {
        let key = self.number()?;
        let number = u32::try_from(key >> 3).map_err(|_| Malformed::Nonsense)?;
        if number == 0 {
            return Err(Malformed::Nonsense);
        }
        let value = match key & 7 {
            0 => Value::Number(self.number()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let len = self.number()?;
                Value::Bytes(self.take(len)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            // Groups, which ONNX never had, and what was never defined.
            _ => return Err(Malformed::Nonsense),
        };
        Ok((number, value))
    }

    fn number(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first().ok_or(Malformed::Nonsense)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed::Nonsense)
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], Malformed> {
        let missing = len.saturating_sub(self.rest.len() as u64);
        let taken = usize::try_from(len)
            .ok()
            .and_then(|len| self.rest.split_at_checked(len));
        let (taken, rest) = taken.ok_or(Malformed::CutOff(missing))?;
        self.rest = rest;
        Ok(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// A message's text field; text that is not UTF-8 cannot be a name in a package.
pub(super) fn text(bytes: &[u8]) -> Result<&str, GraphError> {
    std::str::from_utf8(bytes).map_err(|_| GraphError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Vec<Result<(u32, Value<'_>), Malformed>> {
        Fields::of(bytes).collect()
    }

    #[test]
    fn fields_of_every_kind() {
        let message = [
            0x08, 0xac, 0x02, // 1: 300
            0x12, 0x02, b'h', b'i', // 2: "hi"
            0x19, 1, 2, 3, 4, 5, 6, 7, 8, // 3: eight bytes
            0x25, 1, 2, 3, 4, // 4: four bytes
            0x28, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, // 5: -1
        ];
        assert_eq!(
            all(&message),
            [
                Ok((1, Value::Number(300))),
                Ok((2, Value::Bytes(b"hi"))),
                Ok((3, Value::Fixed)),
                Ok((4, Value::Fixed)),
                Ok((5, Value::Number(u64::MAX))),
            ]
        );
    }

    #[test]
    fn what_is_missing_is_counted() {
        assert_eq!(all(&[0x12, 5, 1, 2]), [Err(Malformed::CutOff(3))]);
        assert_eq!(all(&[0x08]), [Err(Malformed::CutOff(1))]);
        assert_eq!(all(&[0x0d, 1, 2]), [Err(Malformed::CutOff(2))]);
    }

    #[test]
    fn nonsense_ends_it() {
        let endless = [0x80; 11];
        for message in [&[0x00, 1][..], &[0x0b, 1], &[0x0f], &endless] {
            assert_eq!(all(message), [Err(Malformed::Nonsense)], "{message:?}");
        }
    }
}
