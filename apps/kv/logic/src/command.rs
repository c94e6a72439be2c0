//! Which commands there are, and how one is found and refused.

use alloc::string::String;
use alloc::vec::Vec;

use crate::commands::{keys, server, strings};
use crate::reply;
use crate::resp::Args;
use crate::session::{Close, Limits};
use crate::store::{Full, Store};

/// A command being done.
pub(crate) struct Call<'a> {
    pub(crate) store: &'a mut Store,
    pub(crate) now_ms: u64,
    pub(crate) args: Args<'a>,
    pub(crate) limits: &'a Limits,
    pub(crate) out: &'a mut Vec<u8>,
}

/// Why a command was not done; as Redis words it, where Redis has such an error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("ERR wrong number of arguments for '{0}' command")]
    Arity(&'static str),
    #[error("ERR unknown command '{name}', with args beginning with: {args}")]
    Unknown { name: String, args: String },
    #[error("ERR unknown subcommand '{name}'. This server takes: {known}")]
    Subcommand { name: String, known: &'static str },
    #[error("ERR value is not an integer or out of range")]
    NotInteger,
    #[error("ERR increment or decrement would overflow")]
    Overflow,
    #[error("ERR decrement would overflow")]
    Decrement,
    #[error("ERR syntax error")]
    Syntax,
    #[error("ERR invalid expire time in '{0}' command")]
    ExpireTime(&'static str),
    #[error("ERR DB index is out of range")]
    Database,
    #[error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")]
    LongValue,
    #[error("ERR answer longer than {0} bytes; ask for fewer keys at once")]
    LongAnswer(usize),
    #[error("NOPROTO unsupported protocol version")]
    Protocol,
    #[error("OOM command not allowed when used memory > 'maxmemory'.")]
    Memory,
}

impl From<Full> for Refusal {
    fn from(_: Full) -> Refusal {
        Refusal::Memory
    }
}

type Run = fn(&mut Call<'_>) -> Result<(), Refusal>;

/// A command: its name, how many arguments it takes (the name is one), what does it.
struct Command(&'static str, core::ops::RangeInclusive<usize>, Run);

const ANY: usize = usize::MAX;

/// All but `quit`; the most common ones first.
const COMMANDS: [Command; 31] = [
    Command("get", 2..=2, strings::get),
    Command("set", 3..=ANY, strings::set),
    Command("incr", 2..=2, strings::incr),
    Command("mget", 2..=ANY, strings::mget),
    Command("mset", 3..=ANY, strings::mset),
    Command("setnx", 3..=3, strings::setnx),
    Command("decr", 2..=2, strings::decr),
    Command("incrby", 3..=3, strings::incrby),
    Command("decrby", 3..=3, strings::decrby),
    Command("append", 3..=3, strings::append),
    Command("strlen", 2..=2, strings::strlen),
    Command("del", 2..=ANY, keys::del),
    Command("unlink", 2..=ANY, keys::del),
    Command("exists", 2..=ANY, keys::exists),
    Command("expire", 3..=3, keys::expire),
    Command("pexpire", 3..=3, keys::pexpire),
    Command("ttl", 2..=2, keys::ttl),
    Command("pttl", 2..=2, keys::pttl),
    Command("persist", 2..=2, keys::persist),
    Command("type", 2..=2, keys::kind),
    Command("dbsize", 1..=1, keys::dbsize),
    Command("flushall", 1..=2, keys::flush),
    Command("flushdb", 1..=2, keys::flush),
    Command("ping", 1..=2, server::ping),
    Command("echo", 2..=2, server::echo),
    Command("select", 2..=2, server::select),
    Command("info", 1..=ANY, server::info),
    Command("command", 1..=ANY, server::command),
    Command("config", 2..=ANY, server::config),
    Command("client", 2..=ANY, server::client),
    Command("hello", 1..=ANY, server::hello),
];

/// Does the command that `args` are, and appends its answer to `out`.
pub(crate) fn run(
    store: &mut Store,
    now_ms: u64,
    args: Args<'_>,
    limits: &Limits,
    out: &mut Vec<u8>,
) -> Result<(), Close> {
    let name = args.at(0);
    if name.eq_ignore_ascii_case(b"quit") {
        reply::simple(out, "OK");
        return Err(Close::Quit);
    }
    let found = COMMANDS.iter().find(|Command(known, ..)| name.eq_ignore_ascii_case(known.as_bytes()));
    let result = match found {
        Some(Command(_, arity, run)) if arity.contains(&args.len()) => {
            run(&mut Call { store, now_ms, args, limits, out })
        }
        Some(Command(name, ..)) => Err(Refusal::Arity(name)),
        None => Err(unknown(args)),
    };
    if let Err(refusal) = result {
        reply::error(out, &refusal);
    }
    Ok(())
}

/// Most bytes of what a client sent that are sent back in an error.
const QUOTED_MAX: usize = 128;

/// The front of `bytes`, as text.
pub(crate) fn quoted(bytes: &[u8], most: usize) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(most)]).into_owned()
}

fn unknown(args: Args<'_>) -> Refusal {
    let mut shown = String::new();
    for arg in args.from(1) {
        if shown.len() >= QUOTED_MAX {
            break;
        }
        shown.push('\'');
        shown.push_str(&quoted(arg, QUOTED_MAX - shown.len()));
        shown.push_str("' ");
    }
    Refusal::Unknown { name: quoted(args.at(0), QUOTED_MAX), args: shown }
}
