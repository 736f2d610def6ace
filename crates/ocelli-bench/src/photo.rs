//! A photo as it is sent. It is never decoded here: a broken photo is worth measuring, too.

use std::fmt;

use bytes::Bytes;

#[derive(Clone, PartialEq, Eq)]
pub struct Photo {
    /// The file's path, sent as the file name of the multipart part.
    pub name: String,
    pub bytes: Bytes,
}

impl fmt::Debug for Photo {
    /// Writes the size instead of the content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Photo")
            .field("name", &self.name)
            .field("bytes", &self.bytes.len())
            .finish()
    }
}
