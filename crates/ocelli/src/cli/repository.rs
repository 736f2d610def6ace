//! The options for a folder of models and for the names of models.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::ListenAddress;

#[derive(Debug, Args)]
#[command(next_help_heading = "Model repository")]
pub struct RepositoryArgs {
    /// Folder of models to serve
    ///
    /// It holds one folder per model: a package (DIR/NAME/model.toml), or a package per version in numbered folders
    /// (DIR/NAME/1/model.toml). If --model is given too, that model is served as well. SIGHUP rereads the folder: new
    /// and changed models are loaded, missing ones are unloaded, and no request is dropped.
    #[arg(long, env = "OCELLI_MODEL_DIR", value_name = "DIR")]
    pub model_dir: Option<PathBuf>,
    /// How models of the folder are loaded
    #[arg(long, env = "OCELLI_MODEL_CONTROL", value_name = "MODE", value_enum, default_value_t = ModelControl::Auto)]
    pub model_control: ModelControl,
    /// Models to load at startup, with --model-control explicit
    ///
    /// Loads all versions of a model; * means all models. May be given several times, or separated by commas.
    #[arg(long, env = "OCELLI_LOAD_MODEL", value_name = "NAME", value_delimiter = ',')]
    pub load_model: Vec<String>,
    /// Address of the API that loads and unloads models, with --model-control explicit
    ///
    /// The API has no authentication: choose an address that only operators can reach.
    #[arg(long, env = "OCELLI_ADMIN_LISTEN", value_name = "ADDRESS")]
    pub admin_listen: Option<ListenAddress>,
    /// Host names by which clients reach --admin-listen, separated by commas
    ///
    /// localhost, IP addresses and the host in --admin-listen are always allowed. Requests for other hosts, and from
    /// web pages of other sites, are refused.
    #[arg(
        long,
        env = "OCELLI_ADMIN_HOSTS",
        value_name = "NAME",
        value_delimiter = ',',
        requires = "admin_listen"
    )]
    pub admin_hosts: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModelControl {
    /// Load all models, at startup and on SIGHUP
    Auto,
    /// Load models on requests to --admin-listen; SIGHUP reloads loaded models that have changed
    Explicit,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Model repository")]
pub struct NameArgs {
    /// Model for requests that name none [default: first by name]
    #[arg(long, env = "OCELLI_DEFAULT_MODEL", value_name = "NAME[/VERSION]")]
    pub default_model: Option<String>,
    /// Alias of a model or version, such as prod=resnet/2
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
