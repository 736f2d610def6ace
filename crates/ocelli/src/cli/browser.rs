//! The options for web pages that use the server.

use clap::Args;

use crate::http::CorsOrigin;

/// Web pages of other origins.
#[derive(Debug, Args)]
#[command(next_help_heading = "Web pages")]
pub struct BrowserArgs {
    /// Origins whose web pages may read responses (CORS), such as https://app.example or http://localhost:3000; '*' allows
    /// those of every origin. May be given several times, or separated by commas [default: none]
    #[arg(
        long = "cors-origin",
        env = "OCELLI_CORS_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    pub cors_origins: Vec<CorsOrigin>,
}
