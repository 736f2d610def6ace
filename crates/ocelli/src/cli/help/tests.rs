use clap::{CommandFactory as _, Parser as _};

use crate::cli::Cli;
use crate::cli::help::*;

/// The help of every command, by its name.
fn helps(short: bool) -> Vec<(String, String)> {
    fn below(path: &str, command: &mut Command, short: bool, found: &mut Vec<(String, String)>) {
        let path = format!("{path}{} ", command.get_name());
        let help = if short {
            command.render_help()
        } else {
            command.render_long_help()
        };
        found.push((path.trim().to_owned(), help.to_string()));
        for command in command.get_subcommands_mut() {
            if command.get_name() != "help" {
                below(&path, command, short, found);
            }
        }
    }
    let mut command = shown(Cli::command(), short);
    command.build();
    let mut found = Vec::new();
    below("", &mut command, short, &mut found);
    found
}

fn help_of(name: &str, short: bool) -> String {
    let found = helps(short).into_iter().find(|(of, _)| of == name);
    found.unwrap_or_else(|| panic!("no {name}")).1
}

/// Every option and its command.
fn options(command: &Command, visit: &mut impl FnMut(&str, &Arg)) {
    for argument in command.get_arguments() {
        visit(command.get_name(), argument);
    }
    for command in command.get_subcommands() {
        options(command, visit);
    }
}

#[test]
fn short_help_fits_on_a_screen() {
    let helps = helps(true);
    for name in [
        "serve",
        "web",
        "worker",
        "predict",
        "bench",
        "queue dead retry",
        "model check",
    ] {
        let name = format!("ocelli {name}");
        assert!(helps.iter().any(|(of, _)| *of == name), "{name}: {helps:?}");
    }
    for (name, help) in helps {
        assert!(help.lines().count() <= 50, "{name}:\n{help}");
        let longest = help.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(100), "{name}: {longest:?}\n{help}");
    }
}

#[test]
fn short_help_is_grouped_and_shows_defaults() {
    let serve = help_of("ocelli serve", true);
    for heading in [
        "Options:",
        "Model:",
        "Engine:",
        "Limits:",
        "Logging:",
        "Examples:",
    ] {
        assert!(serve.lines().any(|line| line == heading), "{heading}\n{serve}");
    }
    for (option, default) in [
        ("--listen <ADDRESS>", "127.0.0.1:5000"),
        ("--model <SPEC>", "a built-in ImageNet model"),
        ("--instances <COUNT>", "one per core"),
        ("--max-batch <COUNT>", "measured at start"),
        ("--deadline <DURATION>", "10s"),
        ("--max-body <SIZE>", "32MiB"),
        ("--log-level <LEVEL>", "info"),
    ] {
        let at = serve.find(option).unwrap_or_else(|| panic!("{option}\n{serve}"));
        let rest: Vec<&str> = serve[at..].lines().take(2).collect();
        let shown = rest.concat().contains(&format!("[default: {default}"));
        assert!(shown, "{option}\n{serve}");
    }
}

#[test]
fn short_help_shows_the_access_log() {
    for name in ["ocelli serve", "ocelli web", "ocelli worker"] {
        let help = help_of(name, true);
        assert!(help.contains("--access-log"), "{help}");
    }
}

#[test]
fn long_help_shows_every_option_but_those_of_tests() {
    let helps = helps(false);
    options(&Cli::command(), &mut |command, argument| {
        let Some(option) = argument.get_long() else { return };
        let is_for_tests = option == "engine" || option.starts_with("fake-");
        assert_eq!(argument.is_hide_set(), is_for_tests, "--{option}");
        let (with_value, alone) = (format!("--{option} "), format!("--{option}\n"));
        let shown = helps
            .iter()
            .filter(|(name, _)| name.ends_with(command))
            .any(|(_, help)| help.contains(&with_value) || help.contains(&alone));
        assert_eq!(shown, !is_for_tests, "{command} --{option}");
    });
    for (name, help) in helps.iter().chain(&self::helps(true)) {
        assert!(!help.contains("fake"), "{name}:\n{help}");
    }
}

#[test]
fn names_of_values_say_the_unit() {
    const PLAIN: [&str; 22] = [
        "ADDRESS",
        "COUNT",
        "DIR",
        "ENTRY",
        "FILE",
        "FORMAT",
        "HOST",
        "LEVEL",
        "MODE",
        "NAME",
        "NAME=MODEL[/VERSION]",
        "NAME[/VERSION]",
        "NAME[/VERSION[/DIGEST]]",
        "ORIGIN",
        "PATH",
        "PER_SECOND",
        "PHOTO",
        "PREFIX",
        "PROBABILITY",
        "SPEC",
        "SWITCH",
        "URL",
    ];
    options(&shown(Cli::command(), false), &mut |command, argument| {
        if !argument.get_action().takes_values() || argument.is_hide_set() {
            return;
        }
        let names = argument.get_value_names().unwrap_or_default();
        let name = names.first().map_or("", |name| name.as_str());
        let kind = argument.get_value_parser().type_id();
        let unit = units().into_iter().find(|(known, _)| kind == *known);
        let option = argument.get_id();
        match unit {
            Some((_, unit)) => assert_eq!(name, unit, "{command} {option}"),
            None => assert!(PLAIN.contains(&name), "{command} {option}: {name}"),
        }
    });
}

#[test]
fn examples_are_commands_that_work() {
    for (name, text) in [
        ("ocelli serve", SERVE),
        ("ocelli web", WEB),
        ("ocelli worker", WORKER),
        ("ocelli predict", PREDICT),
        ("ocelli bench", BENCH),
        ("ocelli model check", CHECK),
    ] {
        for short in [true, false] {
            let help = help_of(name, short);
            assert!(help.contains(text), "{help}");
        }
        let examples: Vec<String> = text
            .lines()
            .filter_map(|line| line.split(" # ").next())
            .filter(|line| line.starts_with("  ocelli "))
            .map(|line| line.trim().replace('\'', ""))
            .collect();
        assert!(examples.len() >= 2, "{name}");
        for example in examples {
            assert!(example.starts_with(name), "{example}");
            let parsed = Cli::try_parse_from(example.split_whitespace());
            assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
        }
    }
}

#[test]
fn the_common_options_exist() {
    let mut known = Vec::new();
    options(&Cli::command(), &mut |_, argument| {
        known.extend(argument.get_long().map(str::to_owned));
    });
    let is_known = |name: &&&str| known.iter().any(|known| known == **name);
    let unknown: Vec<_> = COMMON.iter().filter(|name| !is_known(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
