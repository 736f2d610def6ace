//! The text form of Protocol Buffers, as far as Triton's `config.pbtxt` uses it: fields, messages, lists, comments.
//!
//! Owns syntax only; the code that reads the tree knows the fields. The caller limits the length of the text, this module
//! limits its depth.

/// Messages within messages; Triton's deepest has four levels.
const DEEPEST: usize = 16;

/// A message: its fields in order. A field may occur more than once, and a list is its items one by one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Message {
    fields: Vec<(String, Value)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A number, a name of an enumeration, or what was quoted.
    Scalar(String),
    Message(Message),
}

impl Message {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader { rest: text, line: 1 };
        let message = reader.message(None, 0);
        message.map_err(|problem| format!("line {}: {problem}", reader.line))
    }

    /// The names of its fields, each once.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.fields.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Value> {
        self.fields
            .iter()
            .filter(move |(found, _)| found == name)
            .map(|(_, value)| value)
    }

    /// The last of a field's scalars, as Protocol Buffers have it.
    pub(super) fn scalar<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.scalars(name).last()
    }

    pub(super) fn scalars<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.values(name).filter_map(|value| match value {
            Value::Scalar(text) => Some(text.as_str()),
            Value::Message(_) => None,
        })
    }

    pub(super) fn messages<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.values(name).filter_map(|value| match value {
            Value::Message(message) => Some(message),
            Value::Scalar(_) => None,
        })
    }
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Reader<'a> {
    /// The fields up to `end`, or up to the end of the text.
    fn message(&mut self, end: Option<char>, depth: usize) -> Result<Message, String> {
        if depth > DEEPEST {
            return Err(format!("more than {DEEPEST} messages within each other"));
        }
        let mut message = Message::default();
        loop {
            match (self.peek(), end) {
                (None, None) => return Ok(message),
                (None, Some(end)) => return Err(format!("the text ends where `{end}` was expected")),
                (found, Some(_)) if found == end => {
                    self.skip();
                    return Ok(message);
                }
                _ => self.field(&mut message, depth)?,
            }
            while matches!(self.peek(), Some(',' | ';')) {
                self.skip();
            }
        }
    }

    fn field(&mut self, message: &mut Message, depth: usize) -> Result<(), String> {
        let name = self.word().ok_or("a field's name was expected")?.to_owned();
        let has_colon = self.peek() == Some(':');
        if has_colon {
            self.skip();
        }
        if self.peek() != Some('[') {
            let value = self.value(has_colon, depth)?;
            message.fields.push((name, value));
            return Ok(());
        }
        self.skip();
        while self.peek() != Some(']') {
            let value = self.value(true, depth)?;
            message.fields.push((name.clone(), value));
            if self.peek() == Some(',') {
                self.skip();
            }
        }
        self.skip();
        Ok(())
    }

    fn value(&mut self, may_be_scalar: bool, depth: usize) -> Result<Value, String> {
        match self.peek() {
            Some('{') => {
                self.skip();
                self.message(Some('}'), depth + 1).map(Value::Message)
            }
            Some('<') => {
                self.skip();
                self.message(Some('>'), depth + 1).map(Value::Message)
            }
            Some('"' | '\'') if may_be_scalar => {
                let mut text = String::new();
                // Texts side by side are one.
                while let Some(quote @ ('"' | '\'')) = self.peek() {
                    self.quoted(quote, &mut text)?;
                }
                Ok(Value::Scalar(text))
            }
            _ if may_be_scalar => {
                let word = self.word().ok_or("a value was expected")?;
                Ok(Value::Scalar(word.to_owned()))
            }
            _ => Err("`:` or `{` was expected".into()),
        }
    }

    fn quoted(&mut self, quote: char, text: &mut String) -> Result<(), String> {
        self.skip();
        let mut chars = self.rest.char_indices();
        while let Some((at, found)) = chars.next() {
            match found {
                '\\' => match chars.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    Some((_, escaped @ ('"' | '\'' | '\\' | '?'))) => text.push(escaped),
                    _ => return Err("an escape that Ocelli does not know".into()),
                },
                '\n' => break,
                found if found == quote => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(());
                }
                found => text.push(found),
            }
        }
        Err("a text without its closing quote".into())
    }

    /// A run of what names and numbers consist of.
    fn word(&mut self) -> Option<&'a str> {
        self.peek()?;
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+' | '.' | '/');
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    /// The next character that is neither space nor comment.
    fn peek(&mut self) -> Option<char> {
        loop {
            let next = self.rest.chars().next()?;
            match next {
                '#' => {
                    let end = self.rest.find('\n').unwrap_or(self.rest.len());
                    self.rest = &self.rest[end..];
                }
                next if next.is_whitespace() => {
                    self.line += usize::from(next == '\n');
                    self.rest = &self.rest[next.len_utf8()..];
                }
                next => return Some(next),
            }
        }
    }

    fn skip(&mut self) {
        let mut chars = self.rest.chars();
        chars.next();
        self.rest = chars.as_str();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_configuration_of_triton() {
        let message = Message::parse(
            r#"
            name: "res" 'net' # a comment
            max_batch_size: 8;
            input [ { name: "x", data_type: TYPE_FP32 dims: [ 3, 224, -1 ] } ]
            output { name: "y\"\n" }
            output: < name: 'z' >
            dynamic_batching { }
            "#,
        )
        .unwrap();
        assert_eq!(message.scalar("name"), Some("resnet"));
        assert_eq!(message.scalar("max_batch_size"), Some("8"));
        let input = message.messages("input").next().unwrap();
        assert_eq!(input.scalar("data_type"), Some("TYPE_FP32"));
        assert_eq!(input.scalars("dims").collect::<Vec<_>>(), ["3", "224", "-1"]);
        let outputs: Vec<_> = message
            .messages("output")
            .map(|output| output.scalar("name"))
            .collect();
        assert_eq!(outputs, [Some("y\"\n"), Some("z")]);
        assert_eq!(
            message.names(),
            ["dynamic_batching", "input", "max_batch_size", "name", "output"]
        );
    }

    #[test]
    fn mistakes_have_their_line() {
        for (text, words) in [
            ("name: \"x", "line 1: a text without its closing quote"),
            ("a: 1\ninput {\n", "line 3: the text ends where `}`"),
            ("a: 1\nb 2", "line 2: `:` or `{` was expected"),
            ("a: [1", "line 1: a value was expected"),
            ("}", "line 1: a field's name was expected"),
            (&"a{".repeat(20), "more than 16 messages"),
        ] {
            let error = Message::parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "[a-z{}<>\\[\\]:;,#\"'\\\\\n 0-9]{0,60}") {
            let _ = Message::parse(&text);
        }
    }
}
