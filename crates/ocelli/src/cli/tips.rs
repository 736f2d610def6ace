//! Tips for options that other servers have and Ocelli has not.

use std::ffi::OsString;

use clap::CommandFactory as _;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::Cli;

struct Foreign {
    names: &'static [&'static str],
    commands: &'static [&'static str],
    tip: &'static str,
}

const FOREIGN: [Foreign; 12] = [
    Foreign {
        names: &["--host", "--port", "--bind", "--address", "--http-port", "-p"],
        commands: &["serve", "web", "worker"],
        tip: "use --listen HOST:PORT, such as --listen 0.0.0.0:8080",
    },
    Foreign {
        names: &["--workers", "--num-workers", "--processes"],
        commands: &["serve", "worker"],
        tip: "--instances COUNT sets the number of batches computed at once; for more processes use `ocelli worker`",
    },
    Foreign {
        names: &["--workers", "--num-workers", "--processes"],
        commands: &["web"],
        tip: "workers are separate processes; start each with `ocelli worker --redis URL`",
    },
    Foreign {
        names: &["--config", "--config-file"],
        commands: &["serve", "web", "worker"],
        tip: "there is no configuration file; set options by environment variables, such as OCELLI_LISTEN",
    },
    Foreign {
        names: &["--reload"],
        commands: &["serve", "worker"],
        tip: "use --model-dir DIR for a folder of models; SIGHUP reloads it without a restart",
    },
    Foreign {
        names: &["--reload", "--model", "--model-dir"],
        commands: &["web"],
        tip: "workers load the models: `ocelli worker --redis URL --model-dir DIR`; SIGHUP reloads them without a restart",
    },
    Foreign {
        names: &["--model-repository", "--model-store"],
        commands: &["serve", "worker"],
        tip: "use --model-dir DIR",
    },
    Foreign {
        names: &["--batch-size", "--max-batch-size"],
        commands: &["serve", "worker", "predict"],
        tip: "use --max-batch COUNT; by default it is measured at startup",
    },
    Foreign {
        names: &["--timeout", "--request-timeout"],
        commands: &["serve", "web"],
        tip: "use --deadline DURATION, such as --deadline 30s",
    },
    Foreign {
        names: &["--verbose", "--debug", "--quiet", "-v", "-q"],
        commands: &["serve", "web", "worker", "queue", "model", "predict", "bench"],
        tip: "use --log-level LEVEL, such as --log-level debug",
    },
    Foreign {
        names: &[
            "--ssl-keyfile",
            "--ssl-certfile",
            "--tls-cert",
            "--tls-key",
            "--keyfile",
            "--certfile",
        ],
        commands: &["serve", "web", "worker"],
        tip: "Ocelli serves plain HTTP; for TLS put a proxy in front of it, as in deploy/nginx and deploy/apache",
    },
    Foreign {
        names: &["--redis"],
        commands: &["serve"],
        tip: "`ocelli serve` runs models in its own process; to use workers on a Redis run `ocelli web --redis URL`",
    },
];

/// Maximum edit distance of a suggestion. Clap also suggests options that merely share letters; those are dropped.
const MAX_EDITS: usize = 2;

/// Replaces clap's suggestion for an unknown option by a tip for the command in `arguments`.
#[must_use]
pub(super) fn improve(mut error: clap::Error, arguments: &[OsString]) -> clap::Error {
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let Some(ContextValue::String(unknown)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let unknown = unknown.split('=').next().unwrap_or_default().to_owned();
    if let Some(tip) = tip_for(&unknown, arguments) {
        remove_suggestion(&mut error);
        let tips = ContextValue::StyledStrs(vec![StyledStr::from(tip)]);
        error.insert(ContextKind::Suggested, tips);
    } else if let Some(ContextValue::String(suggested)) = error.get(ContextKind::SuggestedArg)
        && !is_close(&unknown, suggested)
    {
        remove_suggestion(&mut error);
    }
    error
}

/// Also removes the line "Usage:", which names the suggested option.
fn remove_suggestion(error: &mut clap::Error) {
    for kind in [
        ContextKind::SuggestedArg,
        ContextKind::Suggested,
        ContextKind::Usage,
    ] {
        error.remove(kind);
    }
}

fn tip_for(unknown: &str, arguments: &[OsString]) -> Option<&'static str> {
    let known = Cli::command();
    // Log options may come before the command; none of their values is the name of a command.
    let command = arguments
        .iter()
        .find_map(|argument| known.find_subcommand(argument))?;
    let fits =
        |entry: &&Foreign| entry.names.contains(&unknown) && entry.commands.contains(&command.get_name());
    FOREIGN.iter().find(fits).map(|entry| entry.tip)
}

/// Whether one is the other, mistyped or cut short.
fn is_close(unknown: &str, known: &str) -> bool {
    strsim::damerau_levenshtein(unknown, known) <= MAX_EDITS
        || known.starts_with(unknown)
        || unknown.starts_with(known)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn error_for(arguments: &[&str]) -> String {
        let arguments: Vec<OsString> = ["ocelli"].iter().chain(arguments).map(OsString::from).collect();
        let error = Cli::try_parse_from(&arguments).expect_err("an unknown option");
        improve(error, &arguments).to_string()
    }

    #[test]
    fn options_of_other_servers_get_a_tip() {
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
            (&["web", "--model", "x"], "workers load the models"),
            (
                &["serve", "--redis", "redis://localhost"],
                "ocelli web --redis URL",
            ),
        ] {
            let error = error_for(arguments);
            assert!(
                error.contains("tip:") && error.contains(tip),
                "{arguments:?}: {error}"
            );
            assert!(!error.contains("similar"), "{arguments:?}: {error}");
            assert!(!error.contains("--preset"), "{arguments:?}: {error}");
        }
    }

    fn options_in(tip: &str) -> impl Iterator<Item = &str> {
        tip.split_whitespace().filter(|word| word.starts_with("--"))
    }

    #[test]
    fn tips_name_only_options_of_their_commands() {
        let mut command = Cli::command();
        // Adds the global options to each subcommand.
        command.build();
        let has = |name: &str, option: &str| {
            let command = command.find_subcommand(name).expect(name);
            let long = |argument: &clap::Arg| argument.get_long() == option.strip_prefix("--");
            command.get_arguments().any(long)
        };
        for entry in &FOREIGN {
            for name in entry.commands {
                // A tip that shows another command uses that command's options.
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
                !error_for(arguments).contains("tip:"),
                "{arguments:?}: {}",
                error_for(arguments)
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
            // Clap suggests --deadline and --drain-delay for these.
            ("--device", None),
            ("--api-key", None),
        ] {
            let error = error_for(&["serve", option]);
            match suggested {
                Some(suggested) => assert!(error.contains(&format!("'{suggested}'")), "{option}: {error}"),
                None => {
                    assert!(!error.contains("similar"), "{option}: {error}");
                    assert!(!error.contains("ocelli serve --"), "{option}: {error}");
                }
            }
        }
    }
}
