//! Commands about keys and when they end.

use crate::command::{Call, Refusal};
use crate::number::integer;
use crate::reply;
use crate::store::NEVER;

type Done = Result<(), Refusal>;

pub(crate) fn del(call: &mut Call<'_>) -> Done {
    let removed = call.args.from(1).filter(|key| call.store.remove(key, call.now_ms)).count();
    reply::count(call.out, removed);
    Ok(())
}

pub(crate) fn exists(call: &mut Call<'_>) -> Done {
    let found = call.args.from(1).filter(|key| call.store.get(key, call.now_ms).is_some()).count();
    reply::count(call.out, found);
    Ok(())
}

pub(crate) fn expire(call: &mut Call<'_>) -> Done {
    expire_in(call, "expire", 1000)
}

pub(crate) fn pexpire(call: &mut Call<'_>) -> Done {
    expire_in(call, "pexpire", 1)
}

/// A time that is over removes the entry, as in Redis.
fn expire_in(call: &mut Call<'_>, name: &'static str, unit_ms: i64) -> Done {
    let number = integer(call.args.at(2)).ok_or(Refusal::NotInteger)?;
    let ms = number.checked_mul(unit_ms).ok_or(Refusal::ExpireTime(name))?;
    let end_ms = call.now_ms.checked_add(ms.max(0).unsigned_abs()).ok_or(Refusal::ExpireTime(name))?;
    let key = call.args.at(1);
    let is_there = if ms > 0 {
        call.store.expire(key, end_ms, call.now_ms)
    } else {
        call.store.remove(key, call.now_ms)
    };
    reply::integer(call.out, is_there.into());
    Ok(())
}

pub(crate) fn ttl(call: &mut Call<'_>) -> Done {
    left(call, |ms| (ms + 500) / 1000)
}

pub(crate) fn pttl(call: &mut Call<'_>) -> Done {
    left(call, |ms| ms)
}

/// What is left: −2 without the key, −1 without an end.
fn left(call: &mut Call<'_>, unit: fn(i64) -> i64) -> Done {
    let end_ms = call.store.get(call.args.at(1), call.now_ms).map(|item| item.expires_ms);
    let left = match end_ms {
        None => -2,
        Some(NEVER) => -1,
        Some(end_ms) => unit(i64::try_from(end_ms - call.now_ms).unwrap_or(i64::MAX - 500)),
    };
    reply::integer(call.out, left);
    Ok(())
}

pub(crate) fn persist(call: &mut Call<'_>) -> Done {
    let key = call.args.at(1);
    let has_end = call.store.get(key, call.now_ms).is_some_and(|item| item.expires_ms != NEVER);
    if has_end {
        call.store.expire(key, NEVER, call.now_ms);
    }
    reply::integer(call.out, has_end.into());
    Ok(())
}

pub(crate) fn kind(call: &mut Call<'_>) -> Done {
    let is_there = call.store.get(call.args.at(1), call.now_ms).is_some();
    reply::simple(call.out, if is_there { "string" } else { "none" });
    Ok(())
}

pub(crate) fn dbsize(call: &mut Call<'_>) -> Done {
    reply::count(call.out, call.store.len());
    Ok(())
}

pub(crate) fn flush(call: &mut Call<'_>) -> Done {
    let word = call.args.at(1);
    let is_known = [&b""[..], b"sync", b"async"].iter().any(|known| word.eq_ignore_ascii_case(known));
    if !is_known {
        return Err(Refusal::Syntax);
    }
    call.store.clear();
    reply::simple(call.out, "OK");
    Ok(())
}
