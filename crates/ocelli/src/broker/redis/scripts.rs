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
    MISSING = "lua/missing.lua";
    ANNOUNCE = "lua/announce.lua";
    WATCH = "lua/watch.lua";
}
