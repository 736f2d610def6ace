//! The options of `ocelli model`.

use clap::{Args, Subcommand};

use super::LogArgs;

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
    /// Fetch a model from the Hugging Face hub, so that it can be served without a network
    Pull(PullArgs),
    /// Show the models of the hub that are on this machine
    List(ListArgs),
    /// Remove a model of the hub from this machine
    Remove(RemoveArgs),
}

/// `ocelli model pull`.
#[derive(Debug, Args)]
#[command(after_help = HUB_ENVIRONMENT)]
pub struct PullArgs {
    /// hf:owner/name, with @revision for a branch, tag or commit and #file for one of its ONNX files
    #[arg(value_name = "SPEC")]
    pub spec: String,
    /// What to log.
    #[command(flatten)]
    pub log: LogArgs,
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
