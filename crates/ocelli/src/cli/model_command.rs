//! The options of `ocelli model`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{EngineArgs, HintArgs, ImageArgs, help};

#[derive(Debug, Args)]
pub struct ModelCommandArgs {
    #[command(subcommand)]
    pub command: ModelCommand,
}

#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Show how a model is interpreted and where each setting comes from
    Show(ShowArgs),
    /// Run a model on photos and print its input and scores, to compare with the training library
    Check(Box<CheckArgs>),
    /// Write a model as a package: an editable model.toml, labels.txt and model.onnx
    Init(InitArgs),
    /// Download a model from the Hugging Face hub, to serve it without a network
    Pull(PullArgs),
    /// List the hub models on this machine
    List(ListArgs),
    /// Delete a hub model from this machine
    Remove(RemoveArgs),
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Model, as for `ocelli serve --model` [default: the built-in model]
    #[arg(value_name = "SPEC")]
    pub spec: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub hints: HintArgs,
}

#[derive(Debug, Args)]
#[command(after_help = help::CHECK)]
pub struct CheckArgs {
    /// Model, as for `ocelli serve --model`
    #[arg(value_name = "SPEC")]
    pub spec: String,
    /// Files, folders, patterns such as 'photos/*.jpg', or - for standard input
    #[arg(required = true, value_name = "PHOTO")]
    pub photos: Vec<String>,
    /// Write the input tensors of all photos to a NumPy file
    ///
    /// numpy.load(FILE) returns an array of shape [photos, ..].
    #[arg(long, value_name = "FILE")]
    pub save_input: Option<PathBuf>,
    /// Print one JSON object per photo
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub hints: HintArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub image: ImageArgs,
}

#[derive(Debug, Args)]
pub struct InitArgs {
    /// Model, as for `ocelli serve --model` [default: the built-in model]
    #[arg(value_name = "SPEC")]
    pub spec: Option<String>,
    /// Output folder, whose name becomes the package's name [default: the model's name]
    #[arg(long, short, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Replace existing files
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub hints: HintArgs,
}

#[derive(Debug, Args)]
#[command(after_help = HUB_ENVIRONMENT)]
pub struct PullArgs {
    /// Model as hf:owner/name[@revision][#file]
    ///
    /// @revision is a branch, tag or commit; #file selects one of its ONNX files.
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
    /// Model as hf:owner/name[@revision][#file]
    ///
    /// hf:owner/name deletes all of its files, including those that other tools downloaded. With @revision or #file,
    /// only these files are deleted, and those that nothing else uses.
    #[arg(value_name = "SPEC")]
    pub spec: String,
}

const HUB_ENVIRONMENT: &str = "\
Environment variables, the same as for Hugging Face's own tools, which share the cache:
  HF_HOME, HF_HUB_CACHE      cache folder [default: ~/.cache/huggingface/hub]
  HF_TOKEN, HF_TOKEN_PATH    token for private and gated models [default: $HF_HOME/token]
  HF_ENDPOINT                URL of another hub or a mirror
  HF_HUB_OFFLINE=1           use only the cache
  HF_HUB_DOWNLOAD_TIMEOUT    seconds to wait for the hub [default: 10]
  HTTPS_PROXY, NO_PROXY      proxy";
