//! The commands that a role sends to Redis, those of its scripts included, and whether its user may send them.
//!
//! Each is tried on a key of this process that holds a string: a command for another type fails harmlessly where it is
//! allowed, and with its name where it is not.

use futures_util::future::join_all;

use super::connection::{Link, LinkError};
use super::keys;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Web,
    Worker,
    /// `ocelli queue`. It is not checked at the start: the command that is refused reports what is missing.
    Queue,
}

/// The rights that a process needs.
#[derive(Clone, Debug)]
pub struct Needs {
    pub role: Role,
    /// What every key begins with.
    pub prefix: String,
}

use Role::{Queue, Web, Worker};

const ALL: &[Role] = &[Web, Worker, Queue];
const BOTH: &[Role] = &[Web, Worker];
const WEB: &[Role] = &[Web];
const WORKER: &[Role] = &[Worker];

/// The commands with the fewest arguments that Redis accepts. The first makes the key.
const COMMANDS: &[(&str, &[Role])] = &[
    ("SET KEY - PX 10000", ALL),
    ("INFO", BOTH),
    ("EVAL return(0) 1 KEY", ALL),
    // No script has this name.
    ("EVALSHA 0000000000000000000000000000000000000000 1 KEY", ALL),
    ("TIME", ALL),
    ("EXISTS KEY", BOTH),
    ("GET KEY", ALL),
    ("DEL KEY:other", &[Web, Queue]),
    ("UNLINK KEY:other", WEB),
    ("PTTL KEY", ALL),
    ("SCAN 0", &[Queue]),
    ("HDEL KEY f", ALL),
    ("HEXISTS KEY f", BOTH),
    ("HGET KEY f", BOTH),
    ("HGETALL KEY", ALL),
    ("HINCRBY KEY f 1", BOTH),
    ("HMGET KEY f", WORKER),
    ("HSET KEY f v", ALL),
    ("HSETNX KEY f v", WORKER),
    ("XACK KEY g 0-1", BOTH),
    ("XADD KEY * f v", ALL),
    ("XAUTOCLAIM KEY g c 1 0-0", WORKER),
    ("XCLAIM KEY g c 1 0-1", WORKER),
    ("XDEL KEY 0-1", ALL),
    ("XGROUP CREATE KEY g $", BOTH),
    ("XGROUP DELCONSUMER KEY g c", WORKER),
    ("XINFO CONSUMERS KEY", WORKER),
    ("XLEN KEY", ALL),
    ("XPENDING KEY g", ALL),
    ("XRANGE KEY - +", ALL),
    ("XREAD STREAMS KEY 0-0", WEB),
    ("XREADGROUP GROUP g c STREAMS KEY >", WORKER),
    ("ZADD KEY 1 m", BOTH),
    ("ZRANGE KEY 0 0", WEB),
    ("ZRANGEBYSCORE KEY 0 0", WEB),
    ("ZREM KEY m", BOTH),
    ("ZSCORE KEY m", BOTH),
    // The last, for it ends the key.
    ("PEXPIRE KEY 1", ALL),
];

impl Needs {
    /// Tries every command.
    ///
    /// # Errors
    /// [`LinkError::Denied`] with the name of the first command that is refused, and other errors of the link.
    pub(super) async fn check(&self, link: &Link) -> Result<(), LinkError> {
        let key = keys::probe(&self.prefix, link.name());
        let mut tries = COMMANDS
            .iter()
            .filter(|(_, roles)| roles.contains(&self.role))
            .map(|(words, _)| allowed(link, words, &key));
        // Without the key, the others would make one.
        if let Some(first) = tries.next() {
            first.await?;
        }
        // Sent together, and carried out in this order.
        join_all(tries).await.into_iter().collect()
    }

    /// Checks again while something is refused, so that a right that was granted meanwhile is noticed.
    pub(super) async fn look_again(&self, link: &Link) {
        if link.is_refused() && self.check(link).await.is_ok() {
            link.forgive();
        }
    }
}

/// Whether Redis allows a command. Other errors of the command do not count.
async fn allowed(link: &Link, words: &str, key: &str) -> Result<(), LinkError> {
    let mut words = words.split(' ');
    let mut command = ::redis::cmd(words.next().unwrap_or_default());
    for word in words {
        command.arg(word.replace("KEY", key));
    }
    match link.query::<::redis::Value>(&command).await {
        Err(error @ (LinkError::Down(_) | LinkError::Login(_) | LinkError::Denied(_))) => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::queue::redis::scripts;

    /// The scripts of each role.
    const SCRIPTS: [(Role, &[&str]); 3] = [
        (
            Web,
            &[
                "SUBMIT",
                "FINISH",
                "LOOK",
                "WATCH",
                "RECORD_CREATE",
                "RECORD_QUEUED",
                "RECORD_RENEW",
                "RECORD_READ",
                "RECORD_RENEW",
                "WEBHOOK_ENTER",
                "WEBHOOK_AT",
                "WEBHOOK_TAKE",
                "WEBHOOK_LEAVE",
                "QUOTA_ENTER",
                "QUOTA_LEAVE",
                "IDEMPOTENCY_CLAIM",
                "IDEMPOTENCY_RENEW",
                "IDEMPOTENCY_SETTLE",
                "IDEMPOTENCY_RENEW",
                "RECORD_RENEW",
            ],
        ),
        (
            Worker,
            &[
                "ANNOUNCE",
                "RENEW",
                "GROUPS",
                "REDELIVERED",
                "DEAD_LETTER",
                "FINISH",
                "LOOK",
                "WATCH",
                "TIDY",
                "REPLY",
                "RECORD_REPLY",
                "WEBHOOK_AT",
            ],
        ),
        (Queue, &["WATCH", "RETRY"]),
    ];

    /// The right to a command, as an access control list grants it.
    fn right(name: &str, next: Option<&str>) -> String {
        match next {
            Some(next) if ["XGROUP", "XINFO"].contains(&name) => format!("{name}|{next}").to_lowercase(),
            _ => name.to_lowercase(),
        }
    }

    fn tried(role: Role) -> BTreeSet<String> {
        let commands = COMMANDS.iter().filter(|(_, roles)| roles.contains(&role));
        let rights = commands.map(|(words, _)| {
            let words: Vec<&str> = words.split(' ').collect();
            right(words[0], words.get(1).copied())
        });
        rights.collect()
    }

    /// The rights to what a script calls.
    fn called(code: &str) -> impl Iterator<Item = String> {
        let calls = code.split("redis.").filter_map(|rest| {
            rest.strip_prefix("call('")
                .or_else(|| rest.strip_prefix("pcall('"))
        });
        calls.map(|rest| {
            let (name, rest) = rest.split_once('\'').expect("it is quoted");
            let next = rest.strip_prefix(", '").and_then(|rest| rest.split_once('\''));
            right(name, next.map(|(next, _)| next))
        })
    }

    #[test]
    fn every_command_of_a_script_is_tried_before_it_is_needed() {
        let codes = scripts::codes();
        let mut used = BTreeSet::new();
        for (role, names) in SCRIPTS {
            let tried = tried(role);
            for name in names {
                let (_, code) = codes.iter().find(|(title, _)| title == name).expect(name);
                for command in called(code) {
                    assert!(tried.contains(&command), "{role:?} needs {command} for {name}");
                }
                used.insert(*name);
            }
        }
        let all: BTreeSet<&str> = codes.iter().map(|(title, _)| *title).collect();
        assert_eq!(used, all, "each script is some role's");
    }

    #[test]
    fn the_documented_lists_grant_what_is_needed_and_nothing_else() {
        let manual = include_str!("../../../../../docs/scale-out.md");
        for (role, user) in [
            (Web, "ocelli-web"),
            (Worker, "ocelli-worker"),
            (Queue, "ocelli-queue"),
        ] {
            let start = format!("ACL SETUSER {user} ");
            let line = manual
                .lines()
                .find_map(|line| line.strip_prefix(&start))
                .expect(user);
            let granted: BTreeSet<String> = line
                .split(' ')
                .filter_map(|word| word.strip_prefix('+'))
                .map(str::to_owned)
                .collect();
            let mut wanted = tried(role);
            wanted.insert("client|setname".to_owned());
            assert_eq!(granted, wanted, "{user}");
        }
    }
}
