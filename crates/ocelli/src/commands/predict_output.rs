//! How `ocelli predict` prints: a table for people, JSON lines and CSV for programs.

use std::fmt::Write as _;

use serde::Serialize;

use crate::cli::OutputFormat;
use crate::inference::json_output::LabelledPrediction;
use crate::process::printable::{lines, one_line};

#[derive(Clone, Copy)]
pub(super) enum PhotoResult<'a> {
    /// Classes, best first.
    Classes(&'a [LabelledPrediction<'a>]),
    Vector(&'a [f32]),
    Failure(&'a str),
}

#[derive(Serialize)]
#[serde(untagged)]
enum Line<'a> {
    Classes {
        file: &'a str,
        predictions: &'a [LabelledPrediction<'a>],
    },
    Vector {
        file: &'a str,
        embedding: &'a [f32],
    },
    Failure {
        file: &'a str,
        error: &'a str,
    },
}

/// The text before the first photo.
pub(super) fn heading(format: OutputFormat) -> &'static str {
    match format {
        OutputFormat::Csv => "file,rank,label,index,probability,error\n",
        OutputFormat::Table | OutputFormat::Jsonl => "",
    }
}

/// The text for one photo, ending in a newline.
pub(super) fn render(format: OutputFormat, file: &str, result: &PhotoResult<'_>) -> String {
    match format {
        OutputFormat::Table => table(file, result),
        OutputFormat::Csv => csv(file, result),
        OutputFormat::Jsonl => {
            let line = match *result {
                PhotoResult::Classes(predictions) => Line::Classes { file, predictions },
                PhotoResult::Vector(embedding) => Line::Vector { file, embedding },
                PhotoResult::Failure(error) => Line::Failure { file, error },
            };
            // Strings and finite numbers always serialise.
            let mut text = lines(&serde_json::to_string(&line).unwrap_or_default()).into_owned();
            text.push('\n');
            text
        }
    }
}

// Writing to a String cannot fail, so the results of `write!` below are ignored.
fn table(file: &str, result: &PhotoResult<'_>) -> String {
    /// Numbers of a vector that the table shows; programs read JSON lines.
    const SHOWN: usize = 8;
    let mut text = format!("{}\n", one_line(file));
    match *result {
        PhotoResult::Classes([]) => text.push_str("  no class reaches the threshold\n"),
        PhotoResult::Classes(predictions) => {
            for prediction in predictions {
                let _ = writeln!(
                    text,
                    "  {:6.2} %  {}",
                    prediction.probability * 100.0,
                    one_line(&prediction.label)
                );
            }
        }
        PhotoResult::Vector(vector) => {
            let _ = write!(text, "  {} numbers:", vector.len());
            for number in vector.iter().take(SHOWN) {
                let _ = write!(text, " {number:.4}");
            }
            text.push_str(if vector.len() > SHOWN { " ...\n" } else { "\n" });
        }
        PhotoResult::Failure(error) => {
            let _ = writeln!(text, "  failed: {}", one_line(error));
        }
    }
    text
}

/// A vector has one row per number, with its position in the column `index` and its value in `probability`.
fn csv(file: &str, result: &PhotoResult<'_>) -> String {
    let file = csv_field(file);
    let mut text = String::new();
    match *result {
        PhotoResult::Classes(predictions) => {
            for (rank, prediction) in predictions.iter().enumerate() {
                let LabelledPrediction {
                    label,
                    index,
                    probability,
                } = prediction;
                let _ = writeln!(
                    text,
                    "{file},{},{},{},{probability},",
                    rank + 1,
                    csv_field(label),
                    index.map_or_else(String::new, |index| index.to_string())
                );
            }
        }
        PhotoResult::Vector(vector) => {
            for (index, number) in vector.iter().enumerate() {
                let _ = writeln!(text, "{file},,,{index},{number},");
            }
        }
        PhotoResult::Failure(error) => {
            let _ = writeln!(text, "{file},,,,,{}", csv_field(error));
        }
    }
    text
}

/// Quotes a field according to RFC 4180. Control characters are escaped as well, because such files are often viewed in
/// a terminal.
fn csv_field(text: &str) -> String {
    let text = lines(text);
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.into_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    const BEST: [LabelledPrediction<'static>; 2] = [
        LabelledPrediction {
            label: Cow::Borrowed("beagle"),
            index: Some(162),
            probability: 0.9,
        },
        LabelledPrediction {
            label: Cow::Borrowed("plate, rack"),
            index: Some(729),
            probability: 0.05,
        },
    ];

    #[test]
    fn escape_codes_do_not_reach_the_terminal() {
        let hostile = "\x1b]0;title\x07\u{9b}2J";
        let label = LabelledPrediction {
            label: Cow::Borrowed(hostile),
            ..BEST[0].clone()
        };
        for format in [OutputFormat::Table, OutputFormat::Csv, OutputFormat::Jsonl] {
            for result in [
                PhotoResult::Classes(std::slice::from_ref(&label)),
                PhotoResult::Failure(hostile),
            ] {
                let text = render(format, &format!("{hostile}\nx.jpg"), &result);
                let raw = |character: char| character.is_control() && character != '\n';
                assert!(!text.contains(raw), "{text:?}");
                assert!(text.contains("\\u001b]0;title\\u0007\\u009b2J"), "{text:?}");
            }
        }
        let table = render(OutputFormat::Table, "a\nb.jpg", &PhotoResult::Failure("x"));
        assert_eq!(table.lines().count(), 2, "a file name takes one line: {table:?}");
    }

    #[test]
    fn each_format_contains_the_same_results() {
        let both = |format| {
            let failure = "it is \"text\"";
            let vector = [0.5, -0.25];
            render(format, "a,b.jpg", &PhotoResult::Classes(&BEST))
                + &render(format, "v.jpg", &PhotoResult::Vector(&vector))
                + &render(format, "bad.jpg", &PhotoResult::Failure(failure))
        };
        assert_eq!(
            both(OutputFormat::Table),
            "a,b.jpg\n   90.00 %  beagle\n    5.00 %  plate, rack\nv.jpg\n  2 numbers: 0.5000 -0.2500\nbad.jpg\n  failed: it is \"text\"\n"
        );
        assert_eq!(
            both(OutputFormat::Csv),
            "\"a,b.jpg\",1,beagle,162,0.9,\n\"a,b.jpg\",2,\"plate, rack\",729,0.05,\n\
             v.jpg,,,0,0.5,\nv.jpg,,,1,-0.25,\nbad.jpg,,,,,\"it is \"\"text\"\"\"\n"
        );
        assert_eq!(
            both(OutputFormat::Jsonl),
            "{\"file\":\"a,b.jpg\",\"predictions\":[{\"label\":\"beagle\",\"index\":162,\"probability\":0.9},\
             {\"label\":\"plate, rack\",\"index\":729,\"probability\":0.05}]}\n\
             {\"file\":\"v.jpg\",\"embedding\":[0.5,-0.25]}\n{\"file\":\"bad.jpg\",\"error\":\"it is \\\"text\\\"\"}\n"
        );
    }
}
