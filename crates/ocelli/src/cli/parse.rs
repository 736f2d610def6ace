//! Parses the command line and the environment.

use std::env;
use std::ffi::{OsStr, OsString};

use clap::builder::Resettable;
use clap::{Command, CommandFactory as _, FromArgMatches as _};

use super::{Cli, help, improve};

/// Parses the command line, with options from the environment.
///
/// # Errors
/// When an argument is invalid, or when help or the version was requested.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let is_empty = |name: &OsStr| env::var_os(name).is_some_and(|value| value.is_empty());
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let short = arguments.iter().any(|argument| argument == "-h");
    let mut command = help::shown(without(Cli::command(), &is_empty), short);
    let matches = command.try_get_matches_from_mut(&arguments);
    let mut matches = matches.map_err(|error| improve(error, &arguments))?;
    Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

/// Whether the command line, which may be invalid, or the environment selects JSON logs.
pub fn wants_json(arguments: impl IntoIterator<Item = OsString>) -> bool {
    let mut given = env::var_os("OCELLI_LOG_FORMAT");
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        if argument == "--log-format" {
            given = arguments.next();
        } else if let Some(value) = argument
            .to_str()
            .and_then(|text| text.strip_prefix("--log-format="))
        {
            given = Some(value.into());
        }
    }
    given.is_some_and(|format| format == "json")
}

/// The command without environment variables that are empty. Compose files and unit files pass an unset variable on as
/// an empty one, and no option takes an empty value.
fn without(command: Command, is_empty: &impl Fn(&OsStr) -> bool) -> Command {
    command
        .mut_args(|argument| {
            if argument.get_env().is_some_and(is_empty) {
                argument.env(Resettable::<clap::builder::OsStr>::Reset)
            } else {
                argument
            }
        })
        .mut_subcommands(|command| without(command, is_empty))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of all variables of a command and its subcommands.
    fn variables(command: &Command) -> Vec<OsString> {
        let own = command.get_arguments().filter_map(|argument| argument.get_env());
        let below = command.get_subcommands().flat_map(variables);
        own.map(OsStr::to_owned).chain(below).collect()
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let all = variables(&Cli::command());
        assert!(all.len() > 30, "{all:?}");
        let none = without(Cli::command(), &|name| {
            name.to_string_lossy().starts_with("OCELLI_")
        });
        assert_eq!(variables(&none), [] as [OsString; 0]);
        let one = without(Cli::command(), &|name| name == "OCELLI_LISTEN");
        let left = variables(&one);
        assert!(left.len() < all.len() && left.iter().all(|name| name != "OCELLI_LISTEN"));
    }
}
