//! Commands that are printed for people to copy.

use std::borrow::Cow;

/// A word as a shell has to be given it.
pub(super) fn word(text: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:@%+=,".contains(&byte);
    let text = if text.starts_with('-') {
        // It is a path, and no option.
        Cow::Owned(format!("./{text}"))
    } else {
        Cow::Borrowed(text)
    };
    if !text.is_empty() && text.bytes().all(is_plain) {
        return text;
    }
    Cow::Owned(format!("'{}'", text.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_what_was_meant() {
        for (text, expected) in [
            ("models/resnet-50.v1", "models/resnet-50.v1"),
            ("-x", "./-x"),
            ("", "''"),
            ("my model", "'my model'"),
            ("it's $HOME; *", r"'it'\''s $HOME; *'"),
            ("größe", "'größe'"),
        ] {
            let word = word(text);
            assert_eq!(word, expected);
            let said = Command::new("sh")
                .args(["-c", &format!("printf %s {word}")])
                .output()
                .unwrap();
            let read = String::from_utf8(said.stdout).unwrap();
            assert_eq!(read.trim_start_matches("./"), text);
        }
    }
}
