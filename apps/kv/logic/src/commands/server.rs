//! Commands about the server and the connection.

use alloc::string::String;
use core::fmt::Write;

use crate::command::{Call, Refusal, quoted};
use crate::number::{Digits, integer};
use crate::reply;

type Done = Result<(), Refusal>;

/// Whose behaviour this is: client libraries choose by it.
const REDIS_VERSION: &str = "7.0.0";

pub(crate) fn ping(call: &mut Call<'_>) -> Done {
    match call.args.len() {
        1 => reply::simple(call.out, "PONG"),
        _ => reply::bulk(call.out, call.args.at(1)),
    }
    Ok(())
}

pub(crate) fn echo(call: &mut Call<'_>) -> Done {
    reply::bulk(call.out, call.args.at(1));
    Ok(())
}

/// There is one database.
pub(crate) fn select(call: &mut Call<'_>) -> Done {
    match integer(call.args.at(1)) {
        Some(0) => reply::simple(call.out, "OK"),
        Some(_) => return Err(Refusal::Database),
        None => return Err(Refusal::NotInteger),
    }
    Ok(())
}

pub(crate) fn info(call: &mut Call<'_>) -> Done {
    let store = &call.store;
    let counts = store.counts();
    let mut text = String::new();
    let is_logged = u8::from(store.is_logged());
    // Writing into a string does not fail.
    let _ = write!(
        text,
        "# Server\r\nredis_version:{REDIS_VERSION}\r\nredis_mode:standalone\r\nserver_name:weir-kv\r\n\r\n\
         # Memory\r\nused_memory:{}\r\nmaxmemory:{}\r\nmaxmemory_policy:noeviction\r\n\r\n\
         # Persistence\r\naof_enabled:{is_logged}\r\n\r\n\
         # Stats\r\nkeyspace_hits:{}\r\nkeyspace_misses:{}\r\nexpired_keys:{}\r\n\r\n\
         # Keyspace\r\n",
        store.used_bytes(),
        store.budget_bytes(),
        counts.hits,
        counts.misses,
        counts.expired,
    );
    if !store.is_empty() {
        let _ = write!(text, "db0:keys={}\r\n", store.len());
    }
    reply::bulk(call.out, text.as_bytes());
    Ok(())
}

/// Clients that want a list of commands take an empty one for "not known".
pub(crate) fn command(call: &mut Call<'_>) -> Done {
    reply::array(call.out, 0);
    Ok(())
}

/// `CONFIG GET`: what benchmarks and libraries ask; all else is not set.
pub(crate) fn config(call: &mut Call<'_>) -> Done {
    if !call.args.at(1).eq_ignore_ascii_case(b"get") {
        return Err(subcommand(call, "GET"));
    }
    if call.args.len() < 3 {
        return Err(Refusal::Arity("config|get"));
    }
    let appends = if call.store.is_logged() { "yes" } else { "no" };
    let budget = Digits::unsigned(call.store.budget_bytes() as u64);
    let known: [(&str, &[u8]); 4] = [
        ("save", b""),
        ("appendonly", appends.as_bytes()),
        ("maxmemory", budget.bytes()),
        ("maxmemory-policy", b"noeviction"),
    ];
    let names = call.args.from(2);
    let found = known
        .iter()
        .filter(|(name, _)| names.clone().any(|asked| asked.eq_ignore_ascii_case(name.as_bytes())));
    reply::array(call.out, 2 * found.clone().count());
    for (name, value) in found {
        reply::bulk(call.out, name.as_bytes());
        reply::bulk(call.out, value);
    }
    Ok(())
}

/// Names of clients are taken and mean nothing.
pub(crate) fn client(call: &mut Call<'_>) -> Done {
    let word = call.args.at(1);
    if word.eq_ignore_ascii_case(b"setname") || word.eq_ignore_ascii_case(b"setinfo") {
        reply::simple(call.out, "OK");
        return Ok(());
    }
    Err(subcommand(call, "SETNAME, SETINFO"))
}

/// Only version 2 of the protocol is spoken, and that needs no `HELLO`.
pub(crate) fn hello(_: &mut Call<'_>) -> Done {
    Err(Refusal::Protocol)
}

fn subcommand(call: &Call<'_>, known: &'static str) -> Refusal {
    Refusal::Subcommand { name: quoted(call.args.at(1), 128), known }
}
