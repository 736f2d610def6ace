//! Lua scripts, for steps that must be atomic. Each file documents its arguments and its result.
//!
//! The client library loads scripts on all nodes of a cluster, which fails while one of them is down; these are sent whole to
//! the node that lacks them.

use std::fmt;
use std::sync::LazyLock;

use ::redis::{Cmd, ToRedisArgs};

/// The beginning of scripts' names in messages.
pub(super) const SCRIPT: &str = "EVALSHA (script";

#[derive(Debug)]
pub(super) struct Script {
    title: &'static str,
    code: &'static str,
    hash: String,
}

/// A script with its keys and arguments.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    script: &'a Script,
    keys: Vec<Vec<u8>>,
    arguments: Vec<Vec<u8>>,
}

impl Script {
    fn new(title: &'static str, code: &'static str) -> Self {
        let hash = ::redis::Script::new(code).get_hash().to_owned();
        Self { title, code, hash }
    }

    pub(super) fn call(&self) -> Call<'_> {
        Call {
            script: self,
            keys: Vec::new(),
            arguments: Vec::new(),
        }
    }

    pub(super) fn key(&self, key: impl ToRedisArgs) -> Call<'_> {
        let mut call = self.call();
        call.key(key);
        call
    }
}

impl Call<'_> {
    pub(super) fn key(&mut self, key: impl ToRedisArgs) -> &mut Self {
        key.write_redis_args(&mut self.keys);
        self
    }

    pub(super) fn arg(&mut self, argument: impl ToRedisArgs) -> &mut Self {
        argument.write_redis_args(&mut self.arguments);
        self
    }

    /// For a Redis that knows the script.
    pub(super) fn by_hash(&self) -> Cmd {
        self.command("EVALSHA", &self.script.hash)
    }

    pub(super) fn whole(&self) -> Cmd {
        self.command("EVAL", self.script.code)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = ::redis::cmd(name);
        command.arg(script).arg(self.keys.len());
        for part in self.keys.iter().chain(&self.arguments) {
            command.arg(part.as_slice());
        }
        command
    }
}

impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCRIPT} {})", self.script.title)
    }
}

macro_rules! scripts {
    ($( $name:ident = $( $file:literal )+; )*) => {
        $( pub(super) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(stringify!($name), concat!($( include_str!($file) ),+))); )*

        /// The names and the code of all scripts.
        #[cfg(test)]
        pub(super) fn codes() -> Vec<(&'static str, &'static str)> {
            vec![$( (stringify!($name), concat!($( include_str!($file) ),+)) ),*]
        }
    };
}

scripts! {
    SUBMIT = "lua/room.lua" "lua/submit.lua";
    FINISH = "lua/finish.lua";
    GROUPS = "lua/groups.lua";
    REPLY = "lua/reply.lua";
    RENEW = "lua/renew.lua";
    RETRY = "lua/retry.lua";
    REDELIVERED = "lua/redelivered.lua";
    DEAD_LETTER = "lua/dead_letter.lua";
    LOOK = "lua/look.lua";
    TIDY = "lua/tidy.lua";
    ANNOUNCE = "lua/announce.lua";
    WATCH = "lua/watch.lua";
    RECORD_CREATE = "lua/room.lua" "lua/record_create.lua";
    RECORD_QUEUED = "lua/record_queued.lua";
    RECORD_RENEW = "lua/record_renew.lua";
    RECORD_REPLY = "lua/record_reply.lua";
    RECORD_READ = "lua/record_read.lua";
    WEBHOOK_ENTER = "lua/webhook_enter.lua";
    WEBHOOK_AT = "lua/webhook_at.lua";
    WEBHOOK_TAKE = "lua/webhook_take.lua";
    WEBHOOK_LEAVE = "lua/webhook_leave.lua";
    QUOTA_ENTER = "lua/quota_enter.lua";
    QUOTA_LEAVE = "lua/quota_leave.lua";
    IDEMPOTENCY_CLAIM = "lua/idempotency_claim.lua";
    IDEMPOTENCY_RENEW = "lua/idempotency_renew.lua";
    IDEMPOTENCY_SETTLE = "lua/idempotency_settle.lua";
}
