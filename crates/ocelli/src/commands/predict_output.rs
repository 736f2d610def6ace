//! How `ocelli predict` prints: a table for people, JSON lines and CSV for programs.

use std::fmt::Write as _;

use serde::Serialize;

use crate::cli::OutputFormat;
use crate::results::LabelledPrediction;

#[derive(Serialize)]
#[serde(untagged)]
enum Line<'a> {
    Answer {
        file: &'a str,
        predictions: &'a [LabelledPrediction<'a>],
    },
    Failure {
        file: &'a str,
        error: &'a str,
    },
}

/// What goes before the first photo.
pub(super) fn heading(format: OutputFormat) -> &'static str {
    match format {
        OutputFormat::Csv => "file,rank,label,index,probability,error\n",
        OutputFormat::Table | OutputFormat::Jsonl => "",
    }
}

/// The text for one photo, ending in a newline.
pub(super) fn render(
    format: OutputFormat,
    file: &str,
    result: Result<&[LabelledPrediction<'_>], &str>,
) -> String {
    match format {
        OutputFormat::Table => table(file, result),
        OutputFormat::Csv => csv(file, result),
        OutputFormat::Jsonl => {
            let line = match result {
                Ok(predictions) => Line::Answer { file, predictions },
                Err(error) => Line::Failure { file, error },
            };
            // Strings and finite numbers always serialise.
            let mut text = serde_json::to_string(&line).unwrap_or_default();
            text.push('\n');
            text
        }
    }
}

// Writing to a String cannot fail, so the results of `write!` below carry nothing.
fn table(file: &str, result: Result<&[LabelledPrediction<'_>], &str>) -> String {
    let mut text = format!("{file}\n");
    match result {
        Ok(predictions) => {
            for prediction in predictions {
                let _ = writeln!(
                    text,
                    "  {:6.2} %  {}",
                    prediction.probability * 100.0,
                    prediction.label
                );
            }
        }
        Err(error) => {
            let _ = writeln!(text, "  failed: {error}");
        }
    }
    text
}

fn csv(file: &str, result: Result<&[LabelledPrediction<'_>], &str>) -> String {
    let file = csv_field(file);
    let mut text = String::new();
    match result {
        Ok(predictions) => {
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
        Err(error) => {
            let _ = writeln!(text, "{file},,,,,{}", csv_field(error));
        }
    }
    text
}

/// A field as RFC 4180 quotes it.
fn csv_field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEST: [LabelledPrediction<'static>; 2] = [
        LabelledPrediction {
            label: "beagle",
            index: Some(162),
            probability: 0.9,
        },
        LabelledPrediction {
            label: "plate, rack",
            index: Some(729),
            probability: 0.05,
        },
    ];

    #[test]
    fn each_format_says_the_same() {
        let both = |format| {
            let failure = "it is \"text\"";
            render(format, "a,b.jpg", Ok(&BEST)) + &render(format, "bad.jpg", Err(failure))
        };
        assert_eq!(
            both(OutputFormat::Table),
            "a,b.jpg\n   90.00 %  beagle\n    5.00 %  plate, rack\nbad.jpg\n  failed: it is \"text\"\n"
        );
        assert_eq!(
            both(OutputFormat::Csv),
            "\"a,b.jpg\",1,beagle,162,0.9,\n\"a,b.jpg\",2,\"plate, rack\",729,0.05,\n\
             bad.jpg,,,,,\"it is \"\"text\"\"\"\n"
        );
        assert_eq!(
            both(OutputFormat::Jsonl),
            "{\"file\":\"a,b.jpg\",\"predictions\":[{\"label\":\"beagle\",\"index\":162,\"probability\":0.9},\
             {\"label\":\"plate, rack\",\"index\":729,\"probability\":0.05}]}\n\
             {\"file\":\"bad.jpg\",\"error\":\"it is \\\"text\\\"\"}\n"
        );
    }
}
