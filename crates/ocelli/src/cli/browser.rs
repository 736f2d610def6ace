//! The options for web pages that use the server.

use clap::Args;

use crate::http::CorsOrigin;

#[derive(Debug, Args)]
#[command(next_help_heading = "Web pages")]
pub struct BrowserArgs {
    /// Origins whose web pages may read responses (CORS), separated by commas [default: none]
    ///
    /// Write an origin as browsers send it in the Origin header: scheme, host and, unless it is the scheme's default,
    /// port. '*' allows every origin. May be given several times.
    #[arg(
        long = "cors-origin",
        env = "OCELLI_CORS_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    pub cors_origins: Vec<CorsOrigin>,
}
