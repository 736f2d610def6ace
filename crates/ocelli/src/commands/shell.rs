//! Quotes words in commands that are printed for users to copy.

use std::borrow::Cow;

/// Quotes a word for a shell.
pub(super) fn word(text: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:@%+=,".contains(&byte);
    let text = if text.starts_with('-') {
        // A path, not an option.
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
    fn a_shell_reads_the_original_word() {
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
            let output = Command::new("sh")
                .args(["-c", &format!("printf %s {word}")])
                .output()
                .unwrap();
            let read = String::from_utf8(output.stdout).unwrap();
            assert_eq!(read.trim_start_matches("./"), text);
        }
    }
}
