//! The log options, which every command takes before or after its name.

use clap::Args;

use super::{Command, ModelCommand};
use crate::process::telemetry::{LogFormat, LogLevel};

#[derive(Debug, Args)]
#[command(next_help_heading = "Logging")]
pub struct LogArgs {
    /// Log level: error, warn, info or debug [default: info; warn in tools]
    ///
    /// Tools are predict, bench, queue, model check, model list and model remove.
    #[arg(
        long,
        env = "OCELLI_LOG_LEVEL",
        value_enum,
        value_name = "LEVEL",
        global = true
    )]
    pub log_level: Option<LogLevel>,
    /// Log format: text or json
    #[arg(
        long,
        env = "OCELLI_LOG_FORMAT",
        value_enum,
        value_name = "FORMAT",
        default_value_t = LogFormat::Text,
        global = true
    )]
    pub log_format: LogFormat,
}

impl Command {
    /// Log messages of level info would clutter the output of a command that prints results.
    #[must_use]
    pub fn default_log_level(&self) -> LogLevel {
        match self {
            Self::Serve(_) | Self::Web(_) | Self::Worker(_) => LogLevel::Info,
            Self::Model(args) => match args.command {
                ModelCommand::Show(_) | ModelCommand::Init(_) | ModelCommand::Pull(_) => LogLevel::Info,
                ModelCommand::Check(_) | ModelCommand::List(_) | ModelCommand::Remove(_) => LogLevel::Warn,
            },
            Self::Queue(_) | Self::Predict(_) | Self::Bench(_) => LogLevel::Warn,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    fn level(arguments: &[&str]) -> (Option<LogLevel>, LogFormat) {
        let cli = Cli::try_parse_from([&["ocelli"], arguments].concat()).expect("valid arguments");
        (cli.log.log_level, cli.log.log_format)
    }

    #[test]
    fn log_options_may_come_before_or_after_the_command() {
        let commands: [&[&str]; 8] = [
            &["serve"],
            &["web", "--redis", "redis://localhost"],
            &["worker", "--redis", "redis://localhost"],
            &["predict", "dog.jpg"],
            &["bench", "http://localhost", "--photos", "dog.jpg"],
            &["queue", "status", "--redis", "redis://localhost"],
            &["model", "check", "models/x", "dog.jpg"],
            &["model", "list"],
        ];
        let options: &[&str] = &["--log-level", "debug", "--log-format", "json"];
        for command in commands {
            let expected = (Some(LogLevel::Debug), LogFormat::Json);
            assert_eq!(level(&[options, command].concat()), expected, "{command:?}");
            assert_eq!(level(&[command, options].concat()), expected, "{command:?}");
            assert_eq!(level(command), (None, LogFormat::Text), "{command:?}");
        }
        let between = ["model", "--log-level", "debug", "list"];
        assert_eq!(level(&between).0, Some(LogLevel::Debug));
        let twice = ["--log-level", "debug", "serve", "--log-level", "error"];
        assert_eq!(
            level(&twice).0,
            Some(LogLevel::Error),
            "the option after the command wins"
        );
    }
}
