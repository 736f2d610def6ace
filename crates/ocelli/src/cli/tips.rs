//! What to use instead of an option that Ocelli does not have.

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Options that other servers have, and what takes their place here.
const ELSEWHERE: [(&[&str], &str); 6] = [
    (
        &["--host", "--port", "--bind", "--address", "--http-port", "-p"],
        "the address is one option: --listen HOST:PORT, such as --listen 0.0.0.0:8080",
    ),
    (
        &["--workers", "--num-workers", "--processes"],
        "--instances COUNT sets how many batches are computed at once; `ocelli worker` computes in other processes",
    ),
    (
        &["--config", "--config-file"],
        "there is no configuration file; every option can be set by an environment variable, such as OCELLI_LISTEN",
    ),
    (
        &["--reload"],
        "--model-dir DIR serves a folder of models, which SIGHUP reloads without a restart",
    ),
    (
        &["--model-repository", "--model-store"],
        "--model-dir DIR serves a folder of models",
    ),
    (
        &["--redis"],
        "`ocelli serve` computes in its own process; `ocelli web --redis URL` answers with the workers behind a Redis",
    ),
];

/// A suggestion of the parser is kept only if at most this many letters differ; it also suggests options that merely
/// share letters.
const MAX_EDITS: usize = 2;

/// Replaces the suggestions of an error about an unknown option by better ones.
#[must_use]
pub(super) fn improve(mut error: clap::Error) -> clap::Error {
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let Some(ContextValue::String(unknown)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let unknown = unknown.split('=').next().unwrap_or_default().to_owned();
    if let Some(tip) = elsewhere(&unknown) {
        error.remove(ContextKind::SuggestedArg);
        let tips = ContextValue::StyledStrs(vec![StyledStr::from(tip)]);
        error.insert(ContextKind::Suggested, tips);
    } else if let Some(ContextValue::String(suggested)) = error.get(ContextKind::SuggestedArg)
        && !is_close(&unknown, suggested)
    {
        error.remove(ContextKind::SuggestedArg);
        error.remove(ContextKind::Suggested);
    }
    error
}

fn elsewhere(unknown: &str) -> Option<&'static str> {
    ELSEWHERE
        .iter()
        .find(|(names, _)| names.contains(&unknown))
        .map(|(_, tip)| *tip)
}

/// Whether the two look like one option, one of them mistyped or cut short.
fn is_close(unknown: &str, known: &str) -> bool {
    strsim::damerau_levenshtein(unknown, known) <= MAX_EDITS
        || known.starts_with(unknown)
        || unknown.starts_with(known)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    fn says(arguments: &[&str]) -> String {
        let arguments = [&["ocelli"], arguments].concat();
        improve(Cli::try_parse_from(arguments).expect_err("a mistake")).to_string()
    }

    #[test]
    fn options_of_other_servers_name_ours() {
        for (arguments, tip) in [
            (&["serve", "--host", "0.0.0.0"][..], "--listen HOST:PORT"),
            (&["serve", "--port=80"], "--listen HOST:PORT"),
            (&["web", "--port", "80"], "--listen HOST:PORT"),
            (&["serve", "--workers", "4"], "--instances"),
            (&["worker", "--config", "x.toml"], "environment variable"),
            (&["serve", "--reload"], "SIGHUP"),
            (
                &["serve", "--redis", "redis://localhost"],
                "ocelli web --redis URL",
            ),
        ] {
            let said = says(arguments);
            assert!(
                said.contains("tip:") && said.contains(tip),
                "{arguments:?}: {said}"
            );
            assert!(!said.contains("similar"), "{arguments:?}: {said}");
        }
    }

    #[test]
    fn only_close_options_are_suggested() {
        for (option, suggested) in [
            ("--instance", Some("--instances")),
            ("--lsiten", Some("--listen")),
            ("--max-bathc", Some("--max-batch")),
            ("--max-delays", Some("--max-delay")),
            ("--print", None),
            ("--sort", None),
        ] {
            let said = says(&["serve", option]);
            match suggested {
                Some(suggested) => assert!(said.contains(&format!("'{suggested}'")), "{option}: {said}"),
                None => assert!(!said.contains("similar"), "{option}: {said}"),
            }
        }
    }
}
