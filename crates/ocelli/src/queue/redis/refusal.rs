//! What an error of Redis means: whether waiting helps, and otherwise what an operator has to do.

use std::fmt::{self, Display};

use ::redis::{ErrorKind, RedisError, ServerErrorKind};

#[derive(Clone, Debug, thiserror::Error)]
pub enum LinkError {
    /// Redis cannot be reached, does not answer in time, or is not yet or no longer in charge.
    #[error("{0}")]
    Down(Outage),
    /// Redis has reached `maxmemory`.
    #[error("Redis is out of memory; raise maxmemory, lower --queue-bytes, or add workers")]
    OutOfMemory,
    /// The stream or its group is gone: Redis was emptied, or a failover lost it.
    #[error("the consumer group is gone")]
    NoGroup,
    /// Redis refuses the user or the password.
    #[error("{0}")]
    Login(String),
    /// Redis does not allow this user the command, does not have it, or is another kind of Redis than the URL says. Only a
    /// change of Redis or of the URL helps.
    #[error("{0}")]
    Denied(String),
    /// Anything else: a fault of this program, or a server that is not like Redis.
    #[error("{0}")]
    Refused(String),
}

#[derive(Clone, Debug)]
pub struct Outage {
    text: String,
    /// Whether there is no connection or no answer, so that Redis may not be running.
    pub is_unreachable: bool,
}

impl Outage {
    pub(crate) fn unreachable(text: String) -> Self {
        Self {
            text,
            is_unreachable: true,
        }
    }

    pub(crate) fn not_now(text: String) -> Self {
        Self {
            text,
            is_unreachable: false,
        }
    }
}

impl Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// There is no connection, or no answer in time.
    Unreachable,
    /// The server refuses the command for now.
    NotNow,
    Full,
    NoGroup,
    Login,
    /// An access control list forbids the command or its keys.
    Forbidden,
    /// The command was renamed or disabled.
    NoCommand,
    /// The URL names one server, and it is a node of a cluster.
    OfCluster,
    /// The URL names a cluster, and the server is none.
    NoCluster,
    NoDatabase,
    /// The server serves only its own machine as long as it has no password.
    Protected,
    Other,
}

/// The codes of errors that pass.
const NOT_NOW: [&str; 10] = [
    "READONLY",
    "LOADING",
    "MISCONF",
    "NOREPLICAS",
    "BUSY",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "MOVED",
    "ASK",
];

impl LinkError {
    pub(super) fn new(error: &RedisError, at: &impl Display, in_cluster: bool, command: &str) -> Self {
        let text = words(error);
        let has = |part: &str| text.contains(part);
        match meaning(error, &text, in_cluster) {
            Meaning::Unreachable => Self::Down(Outage::unreachable(format!(
                "Redis at {at} cannot be reached: {text}"
            ))),
            Meaning::NotNow => Self::Down(Outage::not_now(format!(
                "Redis at {at} does not do {command} now: {text}"
            ))),
            Meaning::Full => Self::OutOfMemory,
            Meaning::NoGroup => Self::NoGroup,
            Meaning::Login => Self::Login(format!(
                "Redis at {at} refuses the login: {text}; check the user and the password in the URL"
            )),
            Meaning::Forbidden => {
                let what = if has("keys") { " with this key" } else { "" };
                Self::Denied(format!(
                    "Redis at {at} does not allow this user the command {command}{what}: {text}; give the user the \
                     rights that docs/scale-out.md lists (ACL SETUSER)"
                ))
            }
            Meaning::NoCommand => Self::Denied(format!(
                "Redis at {at} does not have the command {command}: {text}; Ocelli needs it, so remove its \
                 rename-command from the server's configuration"
            )),
            Meaning::OfCluster => Self::Denied(format!(
                "Redis at {at} is a node of a cluster and refuses {command}: {text}; write redis+cluster:// in the URL"
            )),
            Meaning::NoCluster => Self::Denied(format!(
                "Redis at {at} is not a cluster: {text}; write redis:// in the URL"
            )),
            Meaning::NoDatabase => Self::Denied(format!(
                "Redis at {at} does not have the database of the URL: {text}; name another one"
            )),
            Meaning::Protected => Self::Denied(format!(
                "Redis at {at} refuses other machines: {text}; give it a password, and the URL too"
            )),
            Meaning::Other => Self::Refused(format!("Redis at {at} refuses {command}: {text}")),
        }
    }

    /// Whether only a change of Redis or of the URL helps.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Login(_) | Self::Denied(_))
    }

    /// Whether the link of a serving process has logged it.
    pub fn is_logged(&self) -> bool {
        matches!(self, Self::Down(_)) || self.is_permanent()
    }
}

/// The text of an error, without the arguments of an unknown command, which Redis repeats: they may be a password.
fn words(error: &RedisError) -> String {
    let text = match (error.kind(), error.code(), error.detail()) {
        (ErrorKind::Server(_) | ErrorKind::Extension, Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    };
    let repeated = ["with args beginning", "command:"];
    let end = repeated.iter().filter_map(|part| text.find(part)).min();
    let text = end.map_or(text.as_str(), |end| &text[..end]);
    text.trim_end_matches([' ', ',']).to_owned()
}

fn meaning(error: &RedisError, text: &str, in_cluster: bool) -> Meaning {
    let has = |part: &str| text.contains(part);
    let code = error.code().unwrap_or_default();
    let kind = error.kind();
    let moved = ServerErrorKind::Moved;
    // Servers wrap the error of a command within a script in a text of their own.
    match code {
        _ if code == "OOM" || has("OOM command not allowed") => Meaning::Full,
        _ if code == "NOGROUP" || has("NOGROUP") => Meaning::NoGroup,
        "CROSSSLOT" | "MOVED" | "ASK" if !in_cluster => Meaning::OfCluster,
        _ if kind == ErrorKind::Server(moved) && !in_cluster => Meaning::OfCluster,
        _ if has("cluster support disabled") => Meaning::NoCluster,
        _ if has("DB index") || has("switch database") => Meaning::NoDatabase,
        "DENIED" => Meaning::Protected,
        "NOPERM" => Meaning::Forbidden,
        _ if has("NOPERM") || has("ACL failure") || has("The user executing the script can't") => {
            Meaning::Forbidden
        }
        "NOAUTH" | "WRONGPASS" => Meaning::Login,
        _ if kind == ErrorKind::AuthenticationFailed || has("WRONGPASS") => Meaning::Login,
        // For a cluster the client reports only that it reaches no node, and why.
        _ if has("AuthenticationFailed") => Meaning::Login,
        _ if has("AUTH <password> called") || has("no password is set") => Meaning::Login,
        _ if has("unknown command") || has("Unknown Redis command") => Meaning::NoCommand,
        code if NOT_NOW.contains(&code) => Meaning::NotNow,
        _ if has("READONLY") || has("MISCONF") || has("NOREPLICAS") => Meaning::NotNow,
        _ if has("max number of clients") => Meaning::NotNow,
        _ => match kind {
            ErrorKind::Server(_)
            | ErrorKind::UnexpectedReturnType
            | ErrorKind::Parse
            | ErrorKind::Extension => Meaning::Other,
            _ => Meaning::Unreachable,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a server sends, as the client understands it.
    fn sent(line: &str) -> RedisError {
        let answer = ::redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).expect("it is an answer");
        answer.extract_error().expect_err("it is an error")
    }

    fn meaning_of(line: &str, in_cluster: bool) -> Meaning {
        let error = sent(line);
        meaning(&error, &words(&error), in_cluster)
    }

    /// What servers say, and what it means.
    const LINES: [(&str, Meaning); 28] = [
        (
            "READONLY You can't write against a read only replica.",
            Meaning::NotNow,
        ),
        ("LOADING Redis is loading the dataset in memory", Meaning::NotNow),
        (
            "MISCONF Redis is configured to save RDB snapshots",
            Meaning::NotNow,
        ),
        ("NOREPLICAS Not enough good replicas to write.", Meaning::NotNow),
        ("BUSY Redis is busy running a script.", Meaning::NotNow),
        ("MASTERDOWN Link with MASTER is down", Meaning::NotNow),
        ("CLUSTERDOWN The cluster is down", Meaning::NotNow),
        ("ERR max number of clients reached", Meaning::NotNow),
        (
            "OOM command not allowed when used memory > 'maxmemory'.",
            Meaning::Full,
        ),
        ("NOGROUP No such key 'x' or consumer group 'y'", Meaning::NoGroup),
        ("NOAUTH Authentication required.", Meaning::Login),
        (
            "WRONGPASS invalid username-password pair or user is disabled.",
            Meaning::Login,
        ),
        (
            "ERR AUTH <password> called without any password configured",
            Meaning::Login,
        ),
        (
            "NOPERM this user has no permissions to run the 'info' command",
            Meaning::Forbidden,
        ),
        (
            "NOPERM User u has no permissions to run the 'info' command",
            Meaning::Forbidden,
        ),
        ("NOPERM No permissions to access a key", Meaning::Forbidden),
        (
            "ERR ACL failure in script: User u has no permissions",
            Meaning::Forbidden,
        ),
        (
            "ERR The user executing the script can't run this command",
            Meaning::Forbidden,
        ),
        (
            "ERR unknown command 'EVALSHA', with args beginning with: 'a'",
            Meaning::NoCommand,
        ),
        (
            "ERR unknown command `EVAL`, with args beginning with: `a`",
            Meaning::NoCommand,
        ),
        ("ERR Unknown Redis command called from script", Meaning::NoCommand),
        ("MOVED 3999 127.0.0.1:6381", Meaning::OfCluster),
        (
            "CROSSSLOT Keys in request don't hash to the same slot",
            Meaning::OfCluster,
        ),
        (
            "ERR This instance has cluster support disabled",
            Meaning::NoCluster,
        ),
        ("ERR DB index is out of range", Meaning::NoDatabase),
        ("DENIED Redis is running in protected mode", Meaning::Protected),
        ("WRONGTYPE Operation against a key", Meaning::Other),
        ("ERR syntax error", Meaning::Other),
    ];

    #[test]
    fn what_servers_say_means_what_an_operator_can_do() {
        let in_script = "ERR Error running script (call to f_1): @user_script:1: @user_script: 1: ";
        for (line, wanted) in LINES {
            assert_eq!(meaning_of(line, false), wanted, "{line}");
            if let Some(plain) = line.strip_prefix("ERR ").filter(|_| wanted != Meaning::Other) {
                assert_eq!(
                    meaning_of(&format!("{in_script}{plain}"), false),
                    wanted,
                    "{line}"
                );
            }
        }
        assert_eq!(meaning_of("MOVED 3999 127.0.0.1:6381", true), Meaning::NotNow);
        let nowhere = (
            ErrorKind::Io,
            "Failed to create initial connections",
            "Password authentication failed - AuthenticationFailed".to_owned(),
        );
        let nowhere = RedisError::from(nowhere);
        assert_eq!(meaning(&nowhere, &words(&nowhere), true), Meaning::Login);
        let refused = RedisError::from(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
        assert_eq!(meaning(&refused, &words(&refused), false), Meaning::Unreachable);
    }

    #[test]
    fn the_host_and_the_command_are_named_and_no_argument() {
        let line = "ERR unknown command 'AUTH', with args beginning with: 'secret'";
        let error = LinkError::new(&sent(line), &"cache:7000", false, "AUTH");
        let text = error.to_string();
        assert!(
            text.contains("cache:7000") && text.contains("command AUTH"),
            "{text}"
        );
        assert!(!text.contains("secret"), "{text}");
        assert!(error.is_permanent());
        let error = LinkError::new(
            &sent("NOPERM this user has no permissions to run the 'info' command"),
            &"cache:7000",
            false,
            "INFO",
        );
        assert!(
            matches!(&error, LinkError::Denied(text) if text.contains("command INFO: NOPERM")),
            "{error}"
        );
    }
}
