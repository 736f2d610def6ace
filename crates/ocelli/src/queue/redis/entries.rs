//! Parses stream entries in answers of Redis, without copying their values.

use ::redis::Value;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct StreamEntry {
    pub(super) id: String,
    pub(super) fields: Vec<(Vec<u8>, Vec<u8>)>,
}

impl StreamEntry {
    pub(super) fn take(&mut self, name: &str) -> Option<Vec<u8>> {
        let (_, value) = self
            .fields
            .iter_mut()
            .find(|(field, _)| field == name.as_bytes())?;
        Some(std::mem::take(value))
    }
}

/// The entries of each stream in the answer of `XREAD` and `XREADGROUP`; none after a timeout.
pub(super) fn streams(value: Value) -> Vec<(String, Vec<StreamEntry>)> {
    let pairs: Vec<(Value, Value)> = match value {
        Value::Array(streams) => streams.into_iter().filter_map(pair).collect(),
        // RESP3.
        Value::Map(streams) => streams,
        _ => return Vec::new(),
    };
    pairs
        .into_iter()
        .filter_map(|(key, list)| Some((text(key)?, entries(list))))
        .collect()
}

/// The next cursor and the entries in the answer of `XAUTOCLAIM`, without entries that were deleted while they were pending.
pub(super) fn claimed(value: Value) -> (String, Vec<StreamEntry>) {
    let end = "0-0".to_owned();
    match value {
        Value::Array(parts) => {
            let mut parts = parts.into_iter();
            let next = parts.next().and_then(text).unwrap_or(end);
            (next, parts.next().map(entries).unwrap_or_default())
        }
        _ => (end, Vec::new()),
    }
}

/// The entries in the answer of `XRANGE`.
pub(super) fn entries(value: Value) -> Vec<StreamEntry> {
    let Value::Array(list) = value else {
        return Vec::new();
    };
    list.into_iter().filter_map(entry).collect()
}

fn entry(value: Value) -> Option<StreamEntry> {
    let (id, fields) = pair(value)?;
    let fields = match fields {
        Value::Array(flat) => {
            let mut flat = flat.into_iter();
            let mut fields = Vec::with_capacity(flat.len() / 2);
            while let (Some(name), Some(value)) = (flat.next(), flat.next()) {
                fields.push((bytes(name)?, bytes(value)?));
            }
            fields
        }
        Value::Map(fields) => fields
            .into_iter()
            .map(|(name, value)| Some((bytes(name)?, bytes(value)?)))
            .collect::<Option<_>>()?,
        _ => return None,
    };
    Some(StreamEntry {
        id: text(id)?,
        fields,
    })
}

fn pair(value: Value) -> Option<(Value, Value)> {
    let Value::Array(parts) = value else { return None };
    <[Value; 2]>::try_from(parts)
        .ok()
        .map(|[first, second]| (first, second))
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        Value::Int(number) => Some(number.to_string().into_bytes()),
        _ => None,
    }
}

fn text(value: Value) -> Option<String> {
    String::from_utf8(bytes(value)?).ok()
}

/// The answer of a submission: a code, the depth, and the job's entry where it was accepted.
pub(super) fn submitted(answer: &Value) -> Option<(i64, usize, Option<String>)> {
    let Value::Array(parts) = answer else { return None };
    match parts.as_slice() {
        [Value::Int(code), Value::Int(depth)] => Some((*code, usize::try_from(*depth).ok()?, None)),
        [Value::Int(code), Value::Int(depth), Value::BulkString(entry)] => Some((
            *code,
            usize::try_from(*depth).ok()?,
            String::from_utf8(entry.clone()).ok(),
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn one(id: &str) -> Value {
        Value::Array(vec![
            bulk(id),
            Value::Array(vec![bulk("j"), bulk("x"), bulk("p"), bulk("y")]),
        ])
    }

    #[test]
    fn a_read_gives_the_entries_of_each_stream() {
        let answer = Value::Array(vec![Value::Array(vec![
            bulk("high"),
            Value::Array(vec![one("1-0")]),
        ])]);
        let mut read = streams(answer);
        let (key, mut entries) = read.pop().expect("one stream");
        assert_eq!((key.as_str(), entries[0].id.as_str()), ("high", "1-0"));
        assert_eq!(entries[0].take("p"), Some(b"y".to_vec()));
        assert_eq!(entries[0].take("nothing"), None);
        assert!(streams(Value::Nil).is_empty(), "the read timed out");
    }

    #[test]
    fn what_was_deleted_is_not_claimed() {
        let answer = Value::Array(vec![bulk("3-0"), Value::Array(vec![Value::Nil, one("2-0")])]);
        let (next, entries) = claimed(answer);
        let ids: Vec<String> = entries.into_iter().map(|entry| entry.id).collect();
        assert_eq!((next.as_str(), ids), ("3-0", vec!["2-0".to_owned()]));
        assert_eq!(claimed(Value::Nil), ("0-0".to_owned(), Vec::new()));
    }

    /// Answers of every form that the protocol has, some levels deep.
    fn answers() -> impl Strategy<Value = Value> {
        let text = prop::collection::vec(any::<u8>(), 0..6).prop_map(Value::BulkString);
        let leaf = prop_oneof![
            Just(Value::Nil),
            Just(Value::Okay),
            any::<i64>().prop_map(Value::Int),
            "[a-z0-9-]{0,6}".prop_map(Value::SimpleString),
            text,
        ];
        leaf.prop_recursive(6, 64, 4, |inner| {
            prop_oneof![
                4 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                1 => prop::collection::vec((inner.clone(), inner), 0..3).prop_map(Value::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(answer in answers()) {
            submitted(&answer);
            claimed(answer.clone());
            for entry in streams(answer.clone()).into_iter().flat_map(|(_, entries)| entries).chain(entries(answer)) {
                prop_assert!(entry.fields.len() < 64);
            }
        }
    }

    #[test]
    fn what_is_no_entry_is_skipped() {
        assert!(entries(Value::Okay).is_empty());
        assert!(entries(Value::Array(vec![Value::Int(3), Value::Array(vec![bulk("1-0")])])).is_empty());
    }
}
