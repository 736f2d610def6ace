//! The options of `ocelli predict`.

use clap::{Args, ValueEnum};

use super::{ImageArgs, ModelArgs};

/// `ocelli predict`.
#[derive(Debug, Args)]
pub struct PredictArgs {
    /// Files, folders, patterns such as 'photos/*.jpg', or - for standard input
    #[arg(required = true, value_name = "PHOTO")]
    pub photos: Vec<String>,
    /// Predictions for each photo
    #[arg(long, short = 'k', value_name = "K")]
    pub top_k: Option<String>,
    /// Leave out classes that are less probable than this, 0 to 1
    #[arg(long, value_name = "PROBABILITY")]
    pub threshold: Option<String>,
    /// The model's output to print, where it has several
    #[arg(long, value_name = "NAME")]
    pub output: Option<String>,
    /// How to print them
    #[arg(long, short, value_enum, default_value_t = OutputFormat::Table)]
    pub format: OutputFormat,
    /// The model and how to run it.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Limits of an image.
    #[command(flatten)]
    pub image: ImageArgs,
}

/// How predictions are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Aligned columns
    Table,
    /// One JSON object for each photo
    Jsonl,
    /// One row for each prediction
    Csv,
}
