//! The options of `ocelli model`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{EngineArgs, HintArgs, ImageArgs, help};

#[derive(Debug, Args)]
pub struct ModelCommandArgs {
    #[command(subcommand)]
    pub command: ModelCommand,
}

/// What can be done with models, without serving them.
#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Show how a model is interpreted and where each setting comes from
    Show(ShowArgs),
    /// Run a model on photos and print its numbers, to compare with the library that trained it
    Check(Box<CheckArgs>),
    /// Write a model as a package: model.toml to edit, labels.txt and model.onnx
    Init(InitArgs),
    /// Fetch a model of the Hugging Face hub, so that it can be served without a network
    Pull(PullArgs),
    /// List the models of the hub on this machine
    List(ListArgs),
    /// Remove a model of the hub from this machine
    Remove(RemoveArgs),
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Model, as for --model of `ocelli serve` [default: the built-in model]
    #[arg(value_name = "SPEC")]
    pub spec: Option<String>,
    /// What its files do not say.
    #[command(flatten)]
    pub hints: HintArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = help::CHECK)]
pub struct CheckArgs {
    /// Model, as for --model of `ocelli serve`
    #[arg(value_name = "SPEC")]
    pub spec: String,
    /// Files, folders, patterns such as 'photos/*.jpg', or - for standard input
    #[arg(required = true, value_name = "PHOTO")]
    pub photos: Vec<String>,
    /// Write the input tensors of all photos to this file
    ///
    /// The format is NumPy's: numpy.load(FILE) has the shape [photos, ..].
    #[arg(long, value_name = "FILE")]
    pub save_input: Option<PathBuf>,
    /// Print one JSON object per photo
    #[arg(long)]
    pub json: bool,
    /// What its files do not say.
    #[command(flatten)]
    pub hints: HintArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub image: ImageArgs,
}

#[derive(Debug, Args)]
pub struct InitArgs {
    /// Model, as for --model of `ocelli serve` [default: the built-in model]
    #[arg(value_name = "SPEC")]
    pub spec: Option<String>,
    /// Folder for the package, which gets the folder's name [default: the model's name]
    #[arg(long, short, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Replace existing files
    #[arg(long)]
    pub force: bool,
    /// What its files do not say.
    #[command(flatten)]
    pub hints: HintArgs,
}

#[derive(Debug, Args)]
#[command(after_help = HUB_ENVIRONMENT)]
pub struct PullArgs {
    /// Model: hf:owner/name, with @revision for a branch, tag or commit and #file for one of its ONNX files
    #[arg(value_name = "SPEC")]
    pub spec: String,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Print JSON, one object per line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// Model: hf:owner/name for all of its files, also those of other tools
    ///
    /// With @revision or #file only these files are removed, and those that nothing else uses.
    #[arg(value_name = "SPEC")]
    pub spec: String,
}

/// What decides where models of the hub come from and go to.
const HUB_ENVIRONMENT: &str = "\
Environment, as for Hugging Face's own tools, with which the cache is shared:
  HF_HOME, HF_HUB_CACHE      where models are kept [default: ~/.cache/huggingface/hub]
  HF_TOKEN, HF_TOKEN_PATH    token for private and gated models [default: $HF_HOME/token]
  HF_ENDPOINT                another hub or a mirror
  HF_HUB_OFFLINE=1           use only what is in the cache
  HF_HUB_DOWNLOAD_TIMEOUT    seconds to wait for the hub [default: 10]
  HTTPS_PROXY, NO_PROXY      proxy";
