//! What to use instead of an option that Ocelli does not have.

use std::ffi::OsString;

use clap::CommandFactory as _;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::Cli;

/// Options that other servers have, and what takes their place here.
struct Elsewhere {
    names: &'static [&'static str],
    /// The commands for which the tip is right.
    commands: &'static [&'static str],
    tip: &'static str,
}

const ELSEWHERE: [Elsewhere; 12] = [
    Elsewhere {
        names: &["--host", "--port", "--bind", "--address", "--http-port", "-p"],
        commands: &["serve", "web", "worker"],
        tip: "the address is one option: --listen HOST:PORT, such as --listen 0.0.0.0:8080",
    },
    Elsewhere {
        names: &["--workers", "--num-workers", "--processes"],
        commands: &["serve", "worker"],
        tip: "--instances COUNT sets how many batches are computed at once; `ocelli worker` computes in other processes",
    },
    Elsewhere {
        names: &["--workers", "--num-workers", "--processes"],
        commands: &["web"],
        tip: "workers are processes of their own: `ocelli worker --redis URL`, once for each",
    },
    Elsewhere {
        names: &["--config", "--config-file"],
        commands: &["serve", "web", "worker"],
        tip: "there is no configuration file; every option can be set by an environment variable, such as OCELLI_LISTEN",
    },
    Elsewhere {
        names: &["--reload"],
        commands: &["serve", "worker"],
        tip: "--model-dir DIR serves a folder of models, which SIGHUP reloads without a restart",
    },
    Elsewhere {
        names: &["--reload", "--model", "--model-dir"],
        commands: &["web"],
        tip: "the workers have the models: `ocelli worker --redis URL --model-dir DIR`, which SIGHUP reloads without a restart",
    },
    Elsewhere {
        names: &["--model-repository", "--model-store"],
        commands: &["serve", "worker"],
        tip: "--model-dir DIR serves a folder of models",
    },
    Elsewhere {
        names: &["--batch-size", "--max-batch-size"],
        commands: &["serve", "worker", "predict"],
        tip: "--max-batch COUNT limits the size of a batch; by default it is measured at start",
    },
    Elsewhere {
        names: &["--timeout", "--request-timeout"],
        commands: &["serve", "web"],
        tip: "--deadline DURATION limits the time for an answer, such as 30s",
    },
    Elsewhere {
        names: &["--verbose", "--debug", "--quiet", "-v", "-q"],
        commands: &["serve", "web", "worker", "queue", "model", "predict", "bench"],
        tip: "--log-level LEVEL sets how much is logged, such as debug",
    },
    Elsewhere {
        names: &[
            "--ssl-keyfile",
            "--ssl-certfile",
            "--tls-cert",
            "--tls-key",
            "--keyfile",
            "--certfile",
        ],
        commands: &["serve", "web", "worker"],
        tip: "Ocelli speaks HTTP; a proxy in front of it adds TLS, as in deploy/nginx and deploy/apache",
    },
    Elsewhere {
        names: &["--redis"],
        commands: &["serve"],
        tip: "`ocelli serve` computes in its own process; `ocelli web --redis URL` answers with the workers behind a Redis",
    },
];

/// A suggestion of the parser is kept only if at most this many letters differ; it also suggests options that merely
/// share letters.
const MAX_EDITS: usize = 2;

/// Replaces the suggestions of an error about an unknown option by better ones, for the command that `arguments` name.
#[must_use]
pub(super) fn improve(mut error: clap::Error, arguments: &[OsString]) -> clap::Error {
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let Some(ContextValue::String(unknown)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let unknown = unknown.split('=').next().unwrap_or_default().to_owned();
    if let Some(tip) = elsewhere(&unknown, arguments) {
        forget_suggestion(&mut error);
        let tips = ContextValue::StyledStrs(vec![StyledStr::from(tip)]);
        error.insert(ContextKind::Suggested, tips);
    } else if let Some(ContextValue::String(suggested)) = error.get(ContextKind::SuggestedArg)
        && !is_close(&unknown, suggested)
    {
        forget_suggestion(&mut error);
    }
    error
}

/// The line "Usage:" goes too, since it names the suggested option.
fn forget_suggestion(error: &mut clap::Error) {
    for kind in [
        ContextKind::SuggestedArg,
        ContextKind::Suggested,
        ContextKind::Usage,
    ] {
        error.remove(kind);
    }
}

fn elsewhere(unknown: &str, arguments: &[OsString]) -> Option<&'static str> {
    let known = Cli::command();
    // Options of the log may come before it, and none of their values is the name of one.
    let command = arguments
        .iter()
        .find_map(|argument| known.find_subcommand(argument))?;
    let fits =
        |entry: &&Elsewhere| entry.names.contains(&unknown) && entry.commands.contains(&command.get_name());
    ELSEWHERE.iter().find(fits).map(|entry| entry.tip)
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

    fn says(arguments: &[&str]) -> String {
        let arguments: Vec<OsString> = ["ocelli"].iter().chain(arguments).map(OsString::from).collect();
        let error = Cli::try_parse_from(&arguments).expect_err("a mistake");
        improve(error, &arguments).to_string()
    }

    #[test]
    fn options_of_other_servers_name_ours() {
        for (arguments, tip) in [
            (&["serve", "--host", "0.0.0.0"][..], "--listen HOST:PORT"),
            (&["serve", "--port=80"], "--listen HOST:PORT"),
            (&["web", "--port", "80"], "--listen HOST:PORT"),
            (
                &["--log-level", "debug", "worker", "-p", "80"],
                "--listen HOST:PORT",
            ),
            (&["serve", "--workers", "4"], "--instances"),
            (&["web", "--workers=4"], "ocelli worker --redis URL"),
            (&["worker", "--config", "x.toml"], "environment variable"),
            (&["serve", "--config=x.toml"], "environment variable"),
            (&["serve", "--reload"], "SIGHUP"),
            (&["predict", "--batch-size", "4", "x.jpg"], "--max-batch"),
            (&["web", "--timeout", "30"], "--deadline"),
            (&["serve", "--verbose"], "--log-level"),
            (&["worker", "-v"], "--log-level"),
            (&["serve", "--ssl-keyfile", "key.pem"], "deploy/nginx"),
            (&["web", "--reload"], "ocelli worker --redis URL --model-dir DIR"),
            (&["web", "--model", "x"], "the workers have the models"),
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
            assert!(!said.contains("--preset"), "{arguments:?}: {said}");
        }
    }

    /// The words that look like options.
    fn options_in(tip: &str) -> impl Iterator<Item = &str> {
        tip.split_whitespace().filter(|word| word.starts_with("--"))
    }

    #[test]
    fn tips_name_only_what_their_commands_have() {
        let mut command = Cli::command();
        // Gives commands the options that all of them have.
        command.build();
        let has = |name: &str, option: &str| {
            let command = command.find_subcommand(name).expect(name);
            let long = |argument: &clap::Arg| argument.get_long() == option.strip_prefix("--");
            command.get_arguments().any(long)
        };
        for entry in &ELSEWHERE {
            for name in entry.commands {
                // Where a tip shows another command, the options are those of that one.
                let shown = entry
                    .tip
                    .split('`')
                    .filter_map(|part| part.strip_prefix("ocelli "));
                let named = shown.into_iter().find(|shown| shown.contains("--"));
                let owner = named.map_or(*name, |shown| shown.split(' ').next().unwrap_or_default());
                for option in options_in(named.unwrap_or(entry.tip)) {
                    assert!(has(owner, option), "{owner} has no {option}: {}", entry.tip);
                }
                for unknown in entry.names.iter().filter(|unknown| unknown.starts_with("--")) {
                    assert!(!has(name, unknown), "{name} has {unknown}");
                }
            }
        }
        for arguments in [
            &["predict", "--port", "80", "x.jpg"][..],
            &["bench", "--host", "h"],
            &["model", "list", "--redis", "redis://h"],
            &["queue", "status", "--workers", "2"],
        ] {
            assert!(
                !says(arguments).contains("tip:"),
                "{arguments:?}: {}",
                says(arguments)
            );
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
            // The parser suggests --deadline and --drain-delay.
            ("--device", None),
            ("--api-key", None),
        ] {
            let said = says(&["serve", option]);
            match suggested {
                Some(suggested) => assert!(said.contains(&format!("'{suggested}'")), "{option}: {said}"),
                None => {
                    assert!(!said.contains("similar"), "{option}: {said}");
                    assert!(!said.contains("ocelli serve --"), "{option}: {said}");
                }
            }
        }
    }
}
