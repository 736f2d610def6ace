//! Images in a form: `multipart/form-data` (RFC 7578) that is in memory already. The parts are slices of the body, so nothing is
//! copied. Names of headers and parameters, and the word `form-data`, are case-insensitive.

use bytes::Bytes;
use memchr::memmem;

use super::Most;
use crate::error::Error;

/// The most parts that are not images. Real forms have a few; a body full of tiny ones costs time.
const OTHER_PARTS: usize = 64;

const HEADER_BYTES: usize = 16 * 1024;

/// The longest boundary (RFC 2046, section 5.1.1).
const BOUNDARY_BYTES: usize = 70;

pub(super) fn boundary(content_type: &str) -> Option<String> {
    parameter(content_type, "boundary").filter(|boundary| (1..=BOUNDARY_BYTES).contains(&boundary.len()))
}

pub(super) fn images(body: &Bytes, boundary: &str, most: Most) -> Result<Vec<Bytes>, Error> {
    let mut images = Vec::new();
    let mut others = Vec::new();
    let mut rest = FormParts::new(body, boundary)?;
    while let Some((name, content)) = rest.next()? {
        if matches!(name.as_str(), "image" | "images") {
            if images.len() == most.count() {
                return Err(most.exceeded());
            }
            images.push(content);
            continue;
        }
        if others.len() == OTHER_PARTS {
            return Err(Error::TooLarge(format!(
                "the form has more than {OTHER_PARTS} parts that are not images; send only parts named 'image'"
            )));
        }
        others.push(name);
    }
    if images.is_empty() {
        let shown = others.iter().take(3).map(|name| {
            let name: String = name.chars().take(40).collect();
            format!("'{name}'")
        });
        let found: Vec<String> = shown.collect();
        let found = if found.is_empty() {
            "none at all".to_owned()
        } else {
            found.join(", ")
        };
        return Err(Error::InvalidRequest(format!(
            "the form has no part named 'image' (found {found}); send one, as curl -F image=@photo.jpg does"
        )));
    }
    Ok(images)
}

/// The unread parts of a form.
struct FormParts<'a> {
    body: &'a Bytes,
    /// `\r\n--` and the boundary, which ends every part.
    delimiter: memmem::Finder<'static>,
    /// The start of the next part's headers; `None` after the last part.
    at: Option<usize>,
}

impl<'a> FormParts<'a> {
    fn new(body: &'a Bytes, boundary: &str) -> Result<Self, Error> {
        let delimiter = memmem::Finder::new(&format!("\r\n--{boundary}")).into_owned();
        let mut parts = Self {
            body,
            delimiter,
            at: None,
        };
        // The first has no line break before it, unless there is a preamble.
        let first = parts.delimiter.needle().len() - 2;
        let (_, at) = if body.starts_with(&parts.delimiter.needle()[2..]) {
            parts
                .after(first)
                .map_or_else(|| parts.delimited(0), |at| Ok((0, at)))
        } else {
            parts.delimited(0)
        }
        .map_err(|_| malformed("its boundary is not that of the Content-Type"))?;
        parts.at = at;
        Ok(parts)
    }

    /// The name and the content of the next part.
    fn next(&mut self) -> Result<Option<(String, Bytes)>, Error> {
        let Some(at) = self.at else {
            return Ok(None);
        };
        let window = &self.body[at..self.body.len().min(at + HEADER_BYTES)];
        // A part without headers begins with the empty line.
        let (name, start) = if window.starts_with(b"\r\n") {
            (String::new(), at + 2)
        } else {
            let end = memmem::find(window, b"\r\n\r\n")
                .ok_or_else(|| malformed("the headers of a part have no end"))?;
            (name(&window[..end]), at + end + 4)
        };
        // The line break before the delimiter may be the one that ends the headers, if the part is empty.
        let (end, next) = self.delimited(start - 2)?;
        self.at = next;
        Ok(Some((name, self.body.slice(start..end.max(start)))))
    }

    /// The start of the first delimiter at or after `from`, and of the part after it.
    fn delimited(&self, mut from: usize) -> Result<(usize, Option<usize>), Error> {
        loop {
            let found = self.delimiter.find(&self.body[from..]);
            let begin = from + found.ok_or_else(|| malformed("it ends inside a part"))?;
            let end = begin + self.delimiter.needle().len();
            if let Some(next) = self.after(end) {
                return Ok((begin, next));
            }
            // The content only looked like it.
            from = begin + 2;
        }
    }

    /// The start of the part after a delimiter that ends at `end`: `Some(None)` after the last part, `None` where it is not a
    /// delimiter.
    fn after(&self, end: usize) -> Option<Option<usize>> {
        let rest = &self.body[end..];
        if rest.starts_with(b"--") {
            return Some(None);
        }
        let padding = rest
            .iter()
            .take_while(|byte| matches!(byte, b' ' | b'\t'))
            .count();
        rest[padding..]
            .starts_with(b"\r\n")
            .then_some(Some(end + padding + 2))
    }
}

fn malformed(what: &str) -> Error {
    Error::InvalidRequest(format!(
        "the multipart body is malformed: {what}; send it as curl -F does"
    ))
}

/// The name of a part with these headers; empty if it has none.
fn name(headers: &[u8]) -> String {
    let headers = String::from_utf8_lossy(headers);
    headers
        .split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .find(|(header, _)| header.trim().eq_ignore_ascii_case("content-disposition"))
        .filter(|(_, value)| {
            let kind = value.split(';').next().unwrap_or_default();
            kind.trim().eq_ignore_ascii_case("form-data")
        })
        .and_then(|(_, value)| parameter(value, "name"))
        .unwrap_or_default()
}

/// The value of a header's parameter: `name=value` or `name="va\"lue"` after a semicolon.
fn parameter(header: &str, wanted: &str) -> Option<String> {
    let mut rest = header.split_once(';')?.1;
    loop {
        let (name, after) = rest.split_once('=')?;
        let (value, after) = value(after.trim_start())?;
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = after.split_once(';')?.1;
    }
}

/// A token or a quoted string at the beginning of `text`, and what follows it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        return Some((text[..end].trim().to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[index + 1..])),
            // Only these are escaped; browsers of old sent Windows' paths as they were.
            '\\' if quoted[index + 1..].starts_with(['"', '\\']) => {
                value.extend(characters.next().map(|(_, character)| character));
            }
            _ => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part(name: &str, body: &str) -> String {
        format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"x\"\r\n\r\n{body}\r\n")
    }

    fn parse(body: String) -> Result<Vec<Bytes>, Error> {
        images(&Bytes::from(body), "b", Most::Option(2))
    }

    fn parts(parts: &[String]) -> Result<Vec<Bytes>, Error> {
        parse(parts.concat() + "--b--\r\n")
    }

    #[test]
    fn the_parts_named_image_are_taken() {
        let two = parts(&[part("image", "one"), part("other", "x"), part("images", "two")]);
        assert_eq!(two.expect("two"), ["one", "two"]);
        let none = parts(&[part("file", "x")]).unwrap_err().to_string();
        assert!(none.contains("found 'file'"), "{none}");
        assert!(parts(&[]).unwrap_err().to_string().contains("none at all"));
    }

    #[test]
    fn the_case_of_names_does_not_matter() {
        let upper =
            "--b\r\nCONTENT-disposition: Form-Data ; FileName=\"a;name=x.jpg\"; Name=image\r\n\r\nx\r\n";
        assert_eq!(parts(&[upper.to_owned()]).expect("one"), ["x"]);
    }

    #[test]
    fn delimiters_are_whole_lines() {
        let body = "preamble\r\n--b \t\r\nContent-Disposition: form-data; name=image\r\n\r\n\r\n--bx\r\n--b-\r\n\r\n--b--";
        assert_eq!(parse(body.to_owned()).expect("one"), ["\r\n--bx\r\n--b-\r\n"]);
        let empty = "--b\r\nContent-Disposition: form-data; name=image\r\n\r\n\r\n--b--";
        assert_eq!(parse(empty.to_owned()).expect("an empty one"), [""]);
        let bare = "--b\r\n\r\nx\r\n--b\r\nContent-Disposition: form-data; name=image\r\n\r\ny\r\n--b--";
        assert_eq!(parse(bare.to_owned()).expect("a part without headers"), ["y"]);
        for bad in [
            "",
            "x",
            "--b",
            "--c\r\n\r\n--c--",
            "--b\r\nno end",
            &part("image", "x"),
        ] {
            let error = parse(bad.to_owned()).expect_err(bad);
            assert_eq!(error.status().code, "invalid_request", "{bad}");
        }
    }

    /// What comes after the limit is not parsed.
    #[test]
    fn parts_are_counted_while_they_are_parsed() {
        let cut = |name: &str, count: usize| parse(part(name, "x").repeat(count)).unwrap_err().status().code;
        // The last part has no end, and is never reached.
        assert_eq!(cut("image", 4), "too_large");
        assert_eq!(cut("x", OTHER_PARTS + 2), "too_large");
        assert_eq!(cut("x", OTHER_PARTS + 1), "invalid_request");
    }

    #[test]
    fn parameters_may_be_quoted() {
        let value = |header| parameter(header, "name");
        assert_eq!(
            value(r#"form-data; name="a\"b\\c\d""#).as_deref(),
            Some(r#"a"b\c\d"#)
        );
        assert_eq!(value("form-data;name=a ; x=y").as_deref(), Some("a"));
        assert_eq!(value("form-data; x=\"; name=z\"; NAME = q").as_deref(), Some("q"));
        assert_eq!(value("form-data; name=\"open"), None);
        assert_eq!(value("form-data"), None);
        let text = "multipart/form-data; charset=utf-8; Boundary=\"a b\"";
        assert_eq!(boundary(text).as_deref(), Some("a b"));
        assert_eq!(boundary("multipart/form-data; boundary="), None);
    }

    proptest! {
        #[test]
        fn contents_come_back_as_they_were(contents in prop::collection::vec("[-b\r\n]{0,12}", 1..3)) {
            prop_assume!(contents.iter().all(|content| !format!("\r\n{content}\r\n").contains("\r\n--b")));
            let form: Vec<String> = contents.iter().map(|content| part("image", content)).collect();
            prop_assert_eq!(parts(&form).expect("well formed"), contents);
        }

        #[test]
        fn noise_is_refused_and_nothing_panics(noise in "(--b|\r\n|[-b;=\"x]|Content-Disposition: form-data; name=image){0,30}") {
            let _ = parse(noise);
        }
    }
}
