//! The options of a folder of models, and of what clients may call them.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::ListenAddress;

#[derive(Debug, Args)]
#[command(next_help_heading = "Model repository")]
pub struct RepositoryArgs {
    /// Folder of models, all of which are served
    ///
    /// It holds a folder for each model: a package (DIR/NAME/model.toml), or one for each of its versions in numbered
    /// folders (DIR/NAME/1/model.toml). They are served beside --model, if that is given. SIGHUP reads the folder
    /// again: new and changed models are loaded, missing ones are unloaded, and no request is dropped.
    #[arg(long, env = "OCELLI_MODEL_DIR", value_name = "DIR")]
    pub model_dir: Option<PathBuf>,
    /// What decides which models of the folder are loaded
    #[arg(long, env = "OCELLI_MODEL_CONTROL", value_name = "MODE", value_enum, default_value_t = ModelControl::Auto)]
    pub model_control: ModelControl,
    /// With --model-control explicit: models to load at start
    ///
    /// All versions are loaded; * stands for all models. May be given several times, or separated by commas.
    #[arg(long, env = "OCELLI_LOAD_MODEL", value_name = "NAME", value_delimiter = ',')]
    pub load_model: Vec<String>,
    /// With --model-control explicit: address of the API that loads and unloads models
    ///
    /// Every client that reaches it may do so; choose an address that only operators reach.
    #[arg(long, env = "OCELLI_ADMIN_LISTEN", value_name = "ADDRESS")]
    pub admin_listen: Option<ListenAddress>,
    /// Host names by which clients reach --admin-listen, separated by commas
    ///
    /// localhost, IP addresses and the name in --admin-listen are always allowed. Requests for other hosts and from
    /// web pages of other sites are refused.
    #[arg(
        long,
        env = "OCELLI_ADMIN_HOSTS",
        value_name = "NAME",
        value_delimiter = ',',
        requires = "admin_listen"
    )]
    pub admin_hosts: Vec<String>,
}

/// What decides which models of a folder are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModelControl {
    /// The folder: all of its models are loaded, at start and after SIGHUP
    Auto,
    /// Requests to --admin-listen; SIGHUP reloads loaded models that have changed
    Explicit,
}

/// What clients may call models.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model repository")]
pub struct NameArgs {
    /// Model of requests without one [default: first by name]
    #[arg(long, env = "OCELLI_DEFAULT_MODEL", value_name = "NAME[/VERSION]")]
    pub default_model: Option<String>,
    /// Other name of a model or version, such as prod=resnet/2
    ///
    /// May be given several times, or separated by commas.
    #[arg(long, env = "OCELLI_ALIAS", value_name = "NAME=MODEL[/VERSION]", value_delimiter = ',', value_parser = alias)]
    pub alias: Vec<(String, String)>,
}

fn alias(text: &str) -> Result<(String, String), String> {
    let parts = text
        .split_once('=')
        .filter(|(name, model)| !name.is_empty() && !model.is_empty());
    parts
        .map(|(name, model)| (name.to_owned(), model.to_owned()))
        .ok_or("write NAME=MODEL or NAME=MODEL/VERSION, such as prod=resnet/2".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_has_two_sides() {
        assert_eq!(
            alias("prod=resnet/2"),
            Ok(("prod".to_owned(), "resnet/2".to_owned()))
        );
        assert!(alias("prod").is_err() && alias("=a").is_err() && alias("a=").is_err());
    }
}
