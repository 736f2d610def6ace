//! The options of `ocelli model`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{EngineArgs, HintArgs, ImageArgs};

/// `ocelli model`.
#[derive(Debug, Args)]
pub struct ModelCommandArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ModelCommand,
}

/// What can be done with models, without serving them.
#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Show what a model is made out to be: what goes in, what comes out, and why
    Show(ShowArgs),
    /// Run a model on photos and show its numbers, to compare with those of the library that it was trained with
    Check(Box<CheckArgs>),
    /// Write a model's package: model.toml to edit, labels.txt and model.onnx
    Init(InitArgs),
    /// Fetch a model from the Hugging Face hub, so that it can be served without a network
    Pull(PullArgs),
    /// Show the models of the hub that are on this machine
    List(ListArgs),
    /// Remove a model of the hub from this machine
    Remove(RemoveArgs),
}

/// `ocelli model show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The model, as after --model of `ocelli serve`; the built-in one if left out
    #[arg(value_name = "SPEC")]
    pub spec: Option<String>,
    /// What its files do not say.
    #[command(flatten)]
    pub hints: HintArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `ocelli model check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The model, as after --model of `ocelli serve`
    #[arg(value_name = "SPEC")]
    pub spec: String,
    /// Files, folders, patterns such as 'photos/*.jpg', or - for standard input
    #[arg(required = true, value_name = "PHOTO")]
    pub photos: Vec<String>,
    /// Keep the input tensors of all photos in this file, in NumPy's format: numpy.load(FILE) has the shape
    /// [photos, ..]
    #[arg(long, value_name = "FILE")]
    pub save_input: Option<PathBuf>,
    /// Print one JSON object for each photo
    #[arg(long)]
    pub json: bool,
    /// What its files do not say.
    #[command(flatten)]
    pub hints: HintArgs,
    /// The engine.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Limits of an image.
    #[command(flatten)]
    pub image: ImageArgs,
}

/// `ocelli model init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The model, as after --model of `ocelli serve`; the built-in one if left out
    #[arg(value_name = "SPEC")]
    pub spec: Option<String>,
    /// The folder to write the package into; one of the model's name in the working directory if left out
    #[arg(long, short, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Replace files that are there
    #[arg(long)]
    pub force: bool,
    /// What its files do not say.
    #[command(flatten)]
    pub hints: HintArgs,
}

/// `ocelli model pull`.
#[derive(Debug, Args)]
#[command(after_help = HUB_ENVIRONMENT)]
pub struct PullArgs {
    /// hf:owner/name, with @revision for a branch, tag or commit and #file for one of its ONNX files
    #[arg(value_name = "SPEC")]
    pub spec: String,
}

/// `ocelli model list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Print JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

/// `ocelli model remove`.
#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// hf:owner/name for all that is there of it, also by other tools; with @revision or #file only that, and what
    /// nothing else uses
    #[arg(value_name = "SPEC")]
    pub spec: String,
}

/// What decides where models of the hub come from and go to.
const HUB_ENVIRONMENT: &str = "\
Environment, as for Hugging Face's own tools, with which the cache is shared:
  HF_HOME, HF_HUB_CACHE      where models are kept; ~/.cache/huggingface/hub if left out
  HF_TOKEN, HF_TOKEN_PATH    the token for private and gated models; $HF_HOME/token if left out
  HF_ENDPOINT                another hub or a mirror
  HF_HUB_OFFLINE=1           use only what is in the cache
  HF_HUB_DOWNLOAD_TIMEOUT    seconds to wait for the hub; 10 if left out
  HTTPS_PROXY, NO_PROXY      how to get there";
