//! The scripts that run inside Redis, where several steps must be one. Each file says what it takes and returns.

use std::sync::LazyLock;

use ::redis::Script;

macro_rules! scripts {
    ($( $name:ident = $file:literal; )*) => {
        $( pub(super) static $name: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!($file))); )*
    };
}

scripts! {
    SUBMIT = "lua/submit.lua";
    FINISH = "lua/finish.lua";
    GROUPS = "lua/groups.lua";
    RENEW = "lua/renew.lua";
    RETRY = "lua/retry.lua";
    SUSPECT = "lua/suspect.lua";
    BURY = "lua/bury.lua";
    LOOK = "lua/look.lua";
    TIDY = "lua/tidy.lua";
    ANNOUNCE = "lua/announce.lua";
    WATCH = "lua/watch.lua";
    RECORD_CREATE = "lua/record_create.lua";
    RECORD_QUEUED = "lua/record_queued.lua";
    RECORD_REPLY = "lua/record_reply.lua";
    RECORD_READ = "lua/record_read.lua";
    DUE_ENTER = "lua/due_enter.lua";
    DUE_AT = "lua/due_at.lua";
    DUE_TAKE = "lua/due_take.lua";
    DUE_LEAVE = "lua/due_leave.lua";
    KEPT_ENTER = "lua/kept_enter.lua";
    KEPT_LEAVE = "lua/kept_leave.lua";
    ONCE_CLAIM = "lua/once_claim.lua";
    ONCE_SETTLE = "lua/once_settle.lua";
}
