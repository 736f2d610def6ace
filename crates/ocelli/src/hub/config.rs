//! Where the hub and its cache are: the environment variables of Hugging Face's own tools, so that what works for those
//! works here, and one cache serves both.
//!
//! <https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables>

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, fs};

use url::Url;

use super::error::HubError;

/// Where models are, unless `HF_ENDPOINT` says otherwise.
const ENDPOINT: &str = "https://huggingface.co";

/// How long to wait for a connection, and for the next bytes, unless `HF_HUB_DOWNLOAD_TIMEOUT` says otherwise.
const PATIENCE: Duration = Duration::from_secs(10);
const MAX_PATIENCE: Duration = Duration::from_secs(3600);

/// Longer files are no tokens.
const MAX_TOKEN: u64 = 4096;

#[derive(Clone, Debug)]
pub struct HubConfig {
    /// The folder of all repositories, such as `~/.cache/huggingface/hub`.
    pub cache: PathBuf,
    pub endpoint: Url,
    /// The token for private and gated repositories.
    pub token: Option<Token>,
    /// Whether the network must not be used.
    pub offline: bool,
    /// How long to wait for a connection, and for the next bytes.
    pub patience: Duration,
}

/// A password that is not shown.
#[derive(Clone)]
pub struct Token(String);

impl HubConfig {
    /// What the environment says; `variable` looks one up.
    pub fn from_env(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, HubError> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let home = set("HF_HOME").map(PathBuf::from).or_else(|| {
            let caches = set("XDG_CACHE_HOME").map(PathBuf::from);
            let caches = caches.or_else(|| Some(PathBuf::from(set("HOME")?).join(".cache")))?;
            Some(caches.join("huggingface"))
        });
        let cache = set("HF_HUB_CACHE")
            .or_else(|| set("HUGGINGFACE_HUB_CACHE"))
            .map(PathBuf::from)
            .or_else(|| Some(home.as_ref()?.join("hub")))
            .ok_or_else(|| HubError::Setting {
                name: "HF_HOME",
                problem: "there is no HOME to keep models below; set this to a folder for them".to_owned(),
            })?;
        let on = |name| set(name).is_some_and(|value| is_on(&value.to_string_lossy()));
        Ok(Self {
            cache,
            endpoint: endpoint(set("HF_ENDPOINT"))?,
            token: token(set, home.as_deref())?,
            offline: on("HF_HUB_OFFLINE") || on("TRANSFORMERS_OFFLINE"),
            patience: patience(set("HF_HUB_DOWNLOAD_TIMEOUT"))?,
        })
    }
}

fn endpoint(value: Option<OsString>) -> Result<Url, HubError> {
    let text = value.map_or_else(
        || ENDPOINT.to_owned(),
        |value| value.to_string_lossy().trim().to_owned(),
    );
    let is_hub = |url: &Url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    };
    let url = Url::parse(&text).ok().filter(is_hub);
    // It may hold a password, so it is not repeated.
    url.ok_or_else(|| HubError::Setting {
        name: "HF_ENDPOINT",
        problem: format!("it is no address such as {ENDPOINT}, without a login or a query"),
    })
}

fn patience(value: Option<OsString>) -> Result<Duration, HubError> {
    let Some(value) = value else { return Ok(PATIENCE) };
    let seconds = value.to_string_lossy().trim().parse().ok();
    let allowed = seconds.filter(|seconds| (1..=MAX_PATIENCE.as_secs()).contains(seconds));
    allowed.map(Duration::from_secs).ok_or_else(|| HubError::Setting {
        name: "HF_HUB_DOWNLOAD_TIMEOUT",
        problem: format!(
            "it must be a number of seconds from 1 to {}",
            MAX_PATIENCE.as_secs()
        ),
    })
}

fn token(set: impl Fn(&str) -> Option<OsString>, home: Option<&Path>) -> Result<Option<Token>, HubError> {
    if let Some(value) = set("HF_TOKEN").or_else(|| set("HUGGING_FACE_HUB_TOKEN")) {
        return Token::new("HF_TOKEN", &value.to_string_lossy());
    }
    let Some(path) = set("HF_TOKEN_PATH")
        .map(PathBuf::from)
        .or_else(|| Some(home?.join("token")))
    else {
        return Ok(None);
    };
    // Most people have none.
    let Ok(about) = fs::metadata(&path) else {
        return Ok(None);
    };
    let read = if about.len() > MAX_TOKEN {
        Err(format!("{} has more than {MAX_TOKEN} bytes", path.display()))
    } else {
        fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let text = read.map_err(|problem| HubError::Setting {
        name: "HF_TOKEN_PATH",
        problem: format!("{problem}; put a token there, or delete the file"),
    })?;
    Token::new("HF_TOKEN_PATH", &text)
}

/// The values that Hugging Face's tools take for yes.
fn is_on(value: &str) -> bool {
    ["1", "on", "yes", "true"]
        .iter()
        .any(|yes| value.eq_ignore_ascii_case(yes))
}

impl Token {
    /// `None` where there is nothing but white space.
    fn new(name: &'static str, text: &str) -> Result<Option<Self>, HubError> {
        let text = text.trim();
        // It becomes part of a header. The text itself is not repeated, since errors are logged.
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(HubError::Setting {
                name,
                problem: "it is no token: a token is letters, digits and underscores, such as hf_..."
                    .to_owned(),
            });
        }
        Ok((!text.is_empty()).then(|| Self(text.to_owned())))
    }

    /// The token itself, for the header of a request to the hub.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> Result<HubConfig, HubError> {
        HubConfig::from_env(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_cache_is_where_hugging_face_has_it() {
        let cases: [(&[(&str, &str)], &str); 6] = [
            (&[("HOME", "/h")], "/h/.cache/huggingface/hub"),
            (&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub"),
            (&[("HOME", "/h"), ("HF_HOME", "/f")], "/f/hub"),
            (&[("HF_HOME", "/f"), ("HUGGINGFACE_HUB_CACHE", "/g")], "/g"),
            (&[("HUGGINGFACE_HUB_CACHE", "/g"), ("HF_HUB_CACHE", "/c")], "/c"),
            (&[("HOME", "/h"), ("HF_HOME", "")], "/h/.cache/huggingface/hub"),
        ];
        for (variables, cache) in cases {
            assert_eq!(
                config(variables).unwrap().cache,
                Path::new(cache),
                "{variables:?}"
            );
        }
        assert!(config(&[]).unwrap_err().to_string().contains("HF_HOME"));
    }

    #[test]
    fn the_endpoint_is_an_address() {
        let endpoint = |value| config(&[("HOME", "/h"), ("HF_ENDPOINT", value)]);
        assert_eq!(endpoint("").unwrap().endpoint.as_str(), format!("{ENDPOINT}/"));
        let mirror = endpoint("http://mirror:8080/hf").unwrap().endpoint;
        assert_eq!(mirror.as_str(), "http://mirror:8080/hf");
        for bad in [
            "mirror",
            "ftp://mirror",
            "https://",
            "https://me:secret@mirror",
            "http://a?b",
        ] {
            assert!(
                endpoint(bad).unwrap_err().to_string().contains("HF_ENDPOINT"),
                "{bad}"
            );
        }
    }

    #[test]
    fn patience_is_a_number_of_seconds() {
        let patience = |value| {
            config(&[("HOME", "/h"), ("HF_HUB_DOWNLOAD_TIMEOUT", value)]).map(|config| config.patience)
        };
        assert_eq!(patience("").unwrap(), PATIENCE);
        assert_eq!(patience("3").unwrap(), Duration::from_secs(3));
        for bad in ["0", "3601", "-1", "soon"] {
            assert!(patience(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn offline_is_what_hugging_face_takes_for_yes() {
        for (value, offline) in [
            ("1", true),
            ("ON", true),
            ("true", true),
            ("Yes", true),
            ("0", false),
            ("no", false),
        ] {
            assert_eq!(
                config(&[("HOME", "/h"), ("HF_HUB_OFFLINE", value)])
                    .unwrap()
                    .offline,
                offline
            );
        }
    }

    #[test]
    fn a_token_comes_from_the_environment_or_its_file_and_is_never_shown() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().to_str().unwrap();
        let token = |variables: &[(&str, &str)]| config(variables).unwrap().token;
        assert!(token(&[("HF_HOME", home)]).is_none());
        fs::write(Path::new(home).join("token"), "hf_file\n").unwrap();
        let of_file = token(&[("HF_HOME", home)]).unwrap();
        assert_eq!(
            (of_file.reveal(), format!("{of_file:?}")),
            ("hf_file", "Token(..)".into())
        );
        let both = token(&[("HF_HOME", home), ("HF_TOKEN", " hf_env ")]).unwrap();
        assert_eq!(both.reveal(), "hf_env");
        let bad = config(&[("HF_HOME", home), ("HF_TOKEN", "hf_secret\nx: y")]).unwrap_err();
        assert!(bad.to_string().contains("HF_TOKEN") && !bad.to_string().contains("secret"));
    }
}
