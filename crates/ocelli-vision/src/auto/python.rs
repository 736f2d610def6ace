//! Names of classes as Python prints a dict or a list of them, which is how Ultralytics keeps them in ONNX files.
//!
//! A reader of its own, because `{0: 'cat'}` is no JSON. It reads one flat level and does not call itself, so that no text can
//! exhaust the stack.

use std::{collections::BTreeMap, iter::Peekable, str::Chars};

use super::labels::MOST;

/// Reads `{0: 'cat', 1: "dog"}`, `['cat', 'dog']` or `('cat', 'dog')`.
pub(super) fn names(text: &str) -> Result<Vec<String>, String> {
    let mut reader = Reader {
        rest: text.chars().peekable(),
    };
    let names = match reader.next_mark() {
        Some('{') => reader.dict()?,
        Some('[') => reader.list(']')?,
        Some('(') => reader.list(')')?,
        _ => return Err("it is neither a dict nor a list of names".to_owned()),
    };
    match reader.next_mark() {
        None => Ok(names),
        Some(mark) => Err(format!("{mark:?} follows its end")),
    }
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
}

impl Reader<'_> {
    fn skip_space(&mut self) {
        while self.rest.next_if(char::is_ascii_whitespace).is_some() {}
    }

    /// The next character that is no space.
    fn next_mark(&mut self) -> Option<char> {
        self.skip_space();
        self.rest.next()
    }

    fn peek_mark(&mut self) -> Option<char> {
        self.skip_space();
        self.rest.peek().copied()
    }

    /// Numbers from 0 on, each with a name.
    fn dict(&mut self) -> Result<Vec<String>, String> {
        let mut names = BTreeMap::new();
        while self.peek_mark() != Some('}') {
            let key = self.item()?;
            let index: usize = key
                .parse()
                .map_err(|_| format!("its key {key:?} is no number of a class"))?;
            self.expect(':')?;
            let name = self.item()?;
            if names.insert(index, name).is_some() {
                return Err(format!("it has two names for class {index}"));
            }
            at_most(names.len())?;
            self.separator('}')?;
        }
        self.expect('}')?;
        let numbers = names.keys().copied();
        match numbers.zip(0..).find(|(index, place)| index != place) {
            Some((_, missing)) => Err(format!("it has no name for class {missing}")),
            None => Ok(names.into_values().collect()),
        }
    }

    fn list(&mut self, end: char) -> Result<Vec<String>, String> {
        let mut names = Vec::new();
        while self.peek_mark() != Some(end) {
            names.push(self.item()?);
            at_most(names.len())?;
            self.separator(end)?;
        }
        self.expect(end)?;
        Ok(names)
    }

    /// A comma, or the end, which is left.
    fn separator(&mut self, end: char) -> Result<(), String> {
        if self.peek_mark() == Some(end) {
            return Ok(());
        }
        self.expect(',')
    }

    fn expect(&mut self, expected: char) -> Result<(), String> {
        match self.next_mark() {
            Some(mark) if mark == expected => Ok(()),
            Some(mark) => Err(format!("{mark:?} is where {expected:?} should be")),
            None => Err(format!("it ends where {expected:?} should be")),
        }
    }

    /// A text in quotes, or a whole number.
    fn item(&mut self) -> Result<String, String> {
        match self.next_mark() {
            Some(quote @ ('\'' | '"')) => self.quoted(quote),
            Some(digit @ ('0'..='9' | '-')) => {
                let mut number = String::from(digit);
                while let Some(digit) = self.rest.next_if(char::is_ascii_digit) {
                    number.push(digit);
                }
                Ok(number)
            }
            Some(mark) => Err(format!("{mark:?} begins neither a text in quotes nor a number")),
            None => Err("it ends where a name should be".to_owned()),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, String> {
        let mut text = String::new();
        loop {
            match self.rest.next() {
                Some(end) if end == quote => return Ok(text),
                Some('\\') => text.push(self.escaped()?),
                Some(other) => text.push(other),
                None => return Err(format!("a text that begins with {quote} has no end")),
            }
        }
    }

    /// What `repr` escapes.
    fn escaped(&mut self) -> Result<char, String> {
        let digits = match self.rest.next() {
            Some(same @ ('\\' | '\'' | '"')) => return Ok(same),
            Some('n') => return Ok('\n'),
            Some('r') => return Ok('\r'),
            Some('t') => return Ok('\t'),
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            Some(other) => return Err(format!("\\{other} is no escape that Python writes")),
            None => return Err("it ends after a \\".to_owned()),
        };
        let mut code = 0;
        for _ in 0..digits {
            let digit = self.rest.next().and_then(|digit| digit.to_digit(16));
            let digit = digit.ok_or("an escape has too few digits")?;
            // Eight digits fill 32 bits exactly.
            code = code << 4 | digit;
        }
        char::from_u32(code).ok_or_else(|| format!("{code:#x} is no character"))
    }
}

fn at_most(count: usize) -> Result<(), String> {
    if count > MOST {
        return Err(format!("it has more than {MOST} names"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_python_prints() {
        for text in [
            "{0: 'cat', 1: \"dog's\"}",
            " { 1 : \"dog's\" , 0 : 'cat' , } ",
            "['cat', \"dog's\"]",
            "('cat', 'dog\\'s',)",
            "{'0': 'cat', '1': 'dog\\x27s'}",
            "['\\u0063at', 'dog\\U00000027s']",
        ] {
            assert_eq!(names(text).unwrap(), ["cat", "dog's"], "{text}");
        }
        assert_eq!(names("{0: 7, 1: 'a, b: {c}'}").unwrap(), ["7", "a, b: {c}"]);
        assert_eq!(names("['a\\\\b', 'c\\nd']").unwrap(), ["a\\b", "c\nd"]);
        assert_eq!(names("{}").unwrap(), Vec::<String>::new());
        // Numbers, not texts: 10 comes after 2.
        let many: Vec<String> = (0..12)
            .rev()
            .map(|index| format!("{index}: 'c{index}'"))
            .collect();
        assert_eq!(names(&format!("{{{}}}", many.join(", "))).unwrap()[10], "c10");
    }

    #[test]
    fn what_python_does_not_print_is_said() {
        for (text, words) in [
            ("", "neither a dict nor a list"),
            ("cat, dog", "neither a dict nor a list"),
            ("{0: 'cat'", "it ends"),
            ("{0: 'cat}", "has no end"),
            ("{0: \"cat'}", "has no end"),
            ("{0: 'cat' 1: 'dog'}", "'1' is where ','"),
            ("{0 'cat'}", "where ':' should"),
            ("{0: 'cat', 2: 'dog'}", "no name for class 1"),
            ("{0: 'cat', 0: 'dog'}", "two names for class 0"),
            ("{-1: 'cat'}", "is no number of a class"),
            ("{'a': 'cat'}", "is no number of a class"),
            ("{0: ['cat']}", "'[' begins neither"),
            ("{0: cat}", "'c' begins neither"),
            ("['cat'] + ['dog']", "'+' follows its end"),
            ("['cat'}", "where ',' should"),
            ("['\\q']", "no escape"),
            ("['\\x4']", "too few digits"),
            ("['\\ud800']", "no character"),
            ("['\\Uffffffff']", "no character"),
            ("['\\", "ends after a \\"),
        ] {
            let said = names(text).unwrap_err();
            assert!(said.contains(words), "{text}: {said}");
        }
    }

    /// Deeper than any stack of calls.
    #[test]
    fn depth_is_refused_at_the_first_level() {
        for open in ["[", "{0:", "("] {
            assert!(names(&open.repeat(2_000_000)).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "[\\[\\](){}:,'\"\\\\ 0-9a-fxuU\n-]{0,60}") {
            let _ = names(&text);
        }

        /// What is printed as Python prints it is read as it was.
        #[test]
        fn names_are_read_as_they_were(given in prop::collection::vec("[a-z '\"\\\\\n{}:,é]{0,12}", 0..8)) {
            let escaped = |name: &String| {
                let name = name.replace('\\', "\\\\").replace('\'', "\\'").replace('\n', "\\n");
                format!("'{name}'")
            };
            let list: Vec<String> = given.iter().map(escaped).collect();
            prop_assert_eq!(names(&format!("[{}]", list.join(", "))).unwrap(), given.clone());
            let dict: Vec<String> = list.iter().enumerate().map(|(index, name)| format!("{index}: {name}")).collect();
            prop_assert_eq!(names(&format!("{{{}}}", dict.join(", "))).unwrap(), given);
        }
    }
}
