//! The options for web pages that use the server.

use clap::Args;

use crate::http::CorsOrigin;

/// Web pages of other origins.
#[derive(Debug, Args)]
#[command(next_help_heading = "Web pages")]
pub struct BrowserArgs {
    /// Origins whose web pages may read responses (CORS), separated by commas [default: none]
    ///
    /// An origin is a scheme, a host and, where it is not the scheme's own, a port, as browsers send it in the Origin header;
    /// '*' allows every origin. The option may be given several times.
    #[arg(
        long = "cors-origin",
        env = "OCELLI_CORS_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    pub cors_origins: Vec<CorsOrigin>,
}
