//! Prints the results.

use std::io::{self, Write};

use crate::setup::Finished;

const HEAD: [&str; 9] = [
    "scenario",
    "requests",
    "correct answers",
    "errors",
    "answered twice",
    "never answered",
    "keys left",
    "longest answer, ms",
    "verdict",
];

/// Writes the table as Markdown.
pub(crate) fn write(mut to: impl Write, all: &[Finished]) -> io::Result<()> {
    let rows: Vec<[String; 9]> = all.iter().map(row).collect();
    let widths: Vec<usize> = (0..HEAD.len())
        .map(|column| {
            rows.iter()
                .map(|row| row[column].len())
                .chain([HEAD[column].len()])
                .max()
                .unwrap_or(0)
        })
        .collect();
    let line = |cells: &[String]| {
        let cells: Vec<_> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:width$}"))
            .collect();
        format!("| {} |", cells.join(" | "))
    };
    writeln!(to, "\n{}", line(&HEAD.map(str::to_owned)))?;
    let rules: Vec<String> = widths.iter().map(|&width| "-".repeat(width)).collect();
    writeln!(to, "{}", line(&rules))?;
    for row in &rows {
        writeln!(to, "{}", line(row))?;
    }
    Ok(())
}

/// Writes the other measurements, and marks those that failed.
pub(crate) fn details(mut to: impl Write, played: &Finished) -> io::Result<()> {
    writeln!(to, "- {}", played.title)?;
    writeln!(to, "  - {} second replies were dropped", played.orphaned)?;
    for fact in &played.facts {
        let mark = if fact.holds { "" } else { "FAILED: " };
        writeln!(to, "  - {mark}{}", fact.text)?;
    }
    Ok(())
}

fn row(played: &Finished) -> [String; 9] {
    let counts = &played.counts;
    let errors: Vec<String> = counts
        .errors()
        .into_iter()
        .map(|(code, count)| format!("{count} {code}"))
        .collect();
    [
        played.title.to_owned(),
        counts.records.len().to_string(),
        counts.right().to_string(),
        if errors.is_empty() {
            "0".to_owned()
        } else {
            errors.join(", ")
        },
        counts.unasked.to_string(),
        played.unanswered.to_string(),
        played.left.to_string(),
        counts.longest().as_millis().to_string(),
        if played.is_well() { "ok" } else { "FAILED" }.to_owned(),
    ]
}
