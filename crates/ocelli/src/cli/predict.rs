//! The options of `ocelli predict`.

use clap::{Args, ValueEnum};

use super::{ImageArgs, ModelArgs, help};

#[derive(Debug, Args)]
#[command(after_help = help::PREDICT)]
pub struct PredictArgs {
    /// Files, folders, patterns such as 'photos/*.jpg', or - for standard input
    #[arg(required = true, value_name = "PHOTO")]
    pub photos: Vec<String>,
    /// Number of predictions per photo [default: 5]
    #[arg(long, short = 'k', value_name = "COUNT")]
    pub top_k: Option<String>,
    /// Omit classes below this probability, from 0 to 1
    #[arg(long, value_name = "PROBABILITY")]
    pub threshold: Option<String>,
    /// Output to print, for a model with several
    #[arg(long, value_name = "NAME")]
    pub output: Option<String>,
    /// Output format: table, jsonl or csv
    #[arg(long, short, value_enum, default_value_t = OutputFormat::Table)]
    pub format: OutputFormat,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub image: ImageArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Aligned columns
    Table,
    /// One JSON object per photo
    Jsonl,
    /// One row per prediction
    Csv,
}
