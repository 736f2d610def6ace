//! The names of models, files and revisions on the hub, and their validation.
//!
//! Names come from users and from the hub, and become paths of the cache. Whatever passes here stays within the folder
//! that it is joined to; nothing else of the hub makes paths out of text.

use std::fmt;
use std::str::FromStr;

/// What begins the name of a model on the hub.
const SCHEME: &str = "hf:";

/// The revision of a specification that names none.
const MAIN: &str = "main";

/// The longest owner and the longest name that the hub allows, in characters.
const MAX_NAME: usize = 96;

/// The longest path within a repository, in bytes.
const MAX_PATH: usize = 1024;

/// A model on the hub, as users write it: `hf:owner/name[@revision][#file]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubSpec {
    pub repository: Repository,
    /// A branch, a tag or a commit, if one is named.
    pub revision: Option<RepoPath>,
    /// The file to serve, if it is not left to be chosen.
    pub file: Option<RepoPath>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository {
    owner: String,
    name: String,
}

/// A relative path of plain names, such as `onnx/model.onnx`; also the form of a revision, which may be `refs/pr/1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepoPath(String);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit(String);

impl HubSpec {
    /// Whether `text` wants to be a model on the hub, right or wrong.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(SCHEME)
    }

    pub fn without_scheme(text: &str) -> Option<Self> {
        format!("{SCHEME}{text}").parse().ok()
    }

    /// The branch, tag or commit, which is `main` where none is named.
    pub fn revision(&self) -> RepoPath {
        self.revision.clone().unwrap_or_else(|| RepoPath(MAIN.to_owned()))
    }
}

/// A text that does not name a model on the hub.
#[derive(Debug, thiserror::Error)]
#[error("'{spec}': {problem}; write hf:owner/name, hf:owner/name@revision or hf:owner/name#file.onnx")]
pub struct SpecError {
    spec: String,
    problem: String,
}

impl FromStr for HubSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let wrong = |problem: &str| SpecError {
            spec: text.to_owned(),
            problem: problem.to_owned(),
        };
        let rest = text
            .strip_prefix(SCHEME)
            .ok_or_else(|| match Self::without_scheme(text) {
                Some(meant) => wrong(&format!("it does not begin with hf:; did you mean {meant}?")),
                None => wrong("it does not begin with hf:"),
            })?;
        let (rest, file) = split(rest, '#');
        let (repository, revision) = split(rest, '@');
        let path = |text: Option<&str>, problem: &str| {
            text.map(|text| RepoPath::new(text).ok_or_else(|| wrong(problem)))
                .transpose()
        };
        let revision = path(revision, "what follows @ is no branch, tag or commit")?;
        Ok(Self {
            repository: Repository::new(repository)
                .ok_or_else(|| wrong("what follows hf: is no owner/name of a repository"))?,
            revision,
            file: path(file, "what follows # is no path within a repository")?,
        })
    }
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    match text.split_once(at) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

impl fmt::Display for HubSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.repository)?;
        if let Some(revision) = &self.revision {
            write!(f, "@{revision}")?;
        }
        match &self.file {
            Some(file) => write!(f, "#{file}"),
            None => Ok(()),
        }
    }
}

impl Repository {
    /// `None` if it is not a valid name of a repository.
    pub fn new(text: &str) -> Option<Self> {
        let (owner, name) = text.split_once('/')?;
        (is_name(owner) && is_name(name)).then(|| Self {
            owner: owner.to_owned(),
            name: name.to_owned(),
        })
    }

    pub(super) fn parts(&self) -> (&str, &str) {
        (&self.owner, &self.name)
    }

    /// What its folder in the cache is called, also by Hugging Face's own tools.
    pub fn folder(&self) -> String {
        format!("models--{}--{}", self.owner, self.name)
    }

    /// The repository whose folder in the cache is called so.
    pub fn of_folder(folder: &str) -> Option<Self> {
        // Neither part holds two hyphens in a row.
        let (owner, name) = folder.strip_prefix("models--")?.split_once("--")?;
        Self::new(&format!("{owner}/{name}"))
    }
}

/// The hub's own rule for owners and names.
fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=MAX_NAME).contains(&text.len())
        && text.chars().all(allowed)
        && !text.starts_with(['-', '.'])
        && !text.ends_with(['-', '.'])
        && !text.contains("--")
        && !text.contains("..")
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

impl RepoPath {
    /// `None` for what is empty, absolute, or could lead anywhere but down.
    pub fn new(text: &str) -> Option<Self> {
        let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        let allowed = |c: char| !c.is_control() && c != '\\';
        (text.len() <= MAX_PATH && text.chars().all(allowed) && text.split('/').all(plain))
            .then(|| Self(text.to_owned()))
    }

    /// The path, with `/` between its parts.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is called as an ONNX file is.
    pub fn is_onnx(&self) -> bool {
        self.0.ends_with(".onnx")
    }

    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The folder that it is in, unless that is the repository itself.
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(folder, _)| Self(folder.to_owned()))
    }

    pub fn beside(&self, name: &str) -> Option<Self> {
        match self.0.rsplit_once('/') {
            Some((folder, _)) => Self::new(&format!("{folder}/{name}")),
            None => Self::new(name),
        }
    }
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Commit {
    /// `None` for what is not the full hash of a commit, as 40 lower-case hexadecimal digits.
    pub fn new(text: &str) -> Option<Self> {
        is_hash(text, 40).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Enough of its digits to tell commits of a repository apart.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `text` is a hash of so many lower-case hexadecimal digits.
pub(super) fn is_hash(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_specification_has_three_parts() {
        let spec: HubSpec = "hf:timm/resnet50.a1_in1k@refs/pr/1#onnx/model.onnx"
            .parse()
            .unwrap();
        assert_eq!(spec.repository.to_string(), "timm/resnet50.a1_in1k");
        assert_eq!(spec.revision().as_str(), "refs/pr/1");
        assert_eq!(spec.file.as_ref().unwrap().as_str(), "onnx/model.onnx");
        let plain: HubSpec = "hf:a/b".parse().unwrap();
        assert_eq!((plain.revision().as_str(), &plain.file), ("main", &None));
        for text in ["hf:a/b", "hf:a/b@v1", "hf:a/b#c.onnx", "hf:a/b@v1#c/d.onnx"] {
            assert_eq!(text.parse::<HubSpec>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_model_says_which_part_is_wrong() {
        for (text, part) in [
            ("hf:", "owner/name"),
            ("hf:resnet50", "owner/name"),
            ("hf:a/b/c", "owner/name"),
            ("hf:../etc", "owner/name"),
            ("hf:a--b/c", "owner/name"),
            ("hf:a/b@", "follows @"),
            ("hf:a/b@../../x", "follows @"),
            ("hf:a/b#", "follows #"),
            ("hf:a/b#/etc/passwd", "follows #"),
            ("hf:a/b#x/../../y.onnx", "follows #"),
            ("a/b", "begin with hf:"),
        ] {
            let said = text.parse::<HubSpec>().unwrap_err().to_string();
            assert!(
                said.contains(part) && said.contains("hf:owner/name@revision"),
                "{said}"
            );
        }
    }

    #[test]
    fn only_paths_that_lead_down_are_paths() {
        for good in ["a", "onnx/model.onnx", "a b/ü.onnx", "..a/b..", ".gitattributes"] {
            assert!(RepoPath::new(good).is_some(), "{good}");
        }
        let long = "x".repeat(MAX_PATH + 1);
        for bad in [
            "", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a\\b", "..\\a", "a\0b",
            "a\nb", &long,
        ] {
            assert_eq!(RepoPath::new(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_passes_stays_below(text in r"[a./\\\PC]{0,12}") {
            let base = Path::new("/base");
            if let Some(path) = RepoPath::new(&text) {
                let joined = base.join(path.as_str());
                let rest = joined.strip_prefix(base).unwrap();
                prop_assert!(rest.components().all(|part| matches!(part, Component::Normal(_))));
                prop_assert!(rest.components().next().is_some());
            }
        }
    }

    #[test]
    fn a_path_has_neighbours() {
        let path = |text| RepoPath::new(text).unwrap();
        assert_eq!(path("a/b.onnx").beside("c"), RepoPath::new("a/c"));
        assert_eq!(path("b.onnx").beside("c"), RepoPath::new("c"));
        assert_eq!(path("a/b.onnx").beside("../c"), None);
        assert_eq!(path("a/b.onnx").name(), "b.onnx");
    }

    #[test]
    fn folders_of_the_cache_are_those_of_hugging_face() {
        let repository = Repository::new("timm/resnet50.a1_in1k").unwrap();
        assert_eq!(repository.folder(), "models--timm--resnet50.a1_in1k");
        assert_eq!(Repository::of_folder(&repository.folder()), Some(repository));
        for other in ["datasets--a--b", "models--a", "models--..--b", ".locks"] {
            assert_eq!(Repository::of_folder(other), None, "{other}");
        }
    }

    #[test]
    fn commits_are_full_hashes() {
        let digits = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(Commit::new(digits).unwrap().short(), "0123456789ab");
        assert!(Commit::new(&digits[1..]).is_none() && Commit::new(&digits.to_uppercase()).is_none());
    }
}
