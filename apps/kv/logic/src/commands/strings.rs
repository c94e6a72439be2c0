//! Commands about values.

use crate::command::{Call, Refusal};
use crate::number::{Digits, integer};
use crate::reply;
use crate::store::NEVER;

type Done = Result<(), Refusal>;

pub(crate) fn get(call: &mut Call<'_>) -> Done {
    answer_value(call, 1);
    Ok(())
}

/// Answers with the value of the key that is the `index`-th argument.
fn answer_value(call: &mut Call<'_>, index: usize) {
    match call.store.get(call.args.at(index), call.now_ms) {
        Some(item) => reply::bulk(call.out, item.value),
        None => reply::nil(call.out),
    }
}

/// The words after `SET key value`.
#[derive(Default)]
struct SetWords {
    only_new: bool,
    only_old: bool,
    answers_old: bool,
    keeps_end: bool,
    expires_ms: Option<u64>,
}

impl SetWords {
    fn parse(call: &Call<'_>) -> Result<SetWords, Refusal> {
        let mut words = SetWords::default();
        let mut rest = call.args.from(3);
        while let Some(word) = rest.next() {
            let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            let has_end = words.expires_ms.is_some() || words.keeps_end;
            let unit_ms = if is("ex") { 1000 } else { 1 };
            if is("nx") && !words.only_old {
                words.only_new = true;
            } else if is("xx") && !words.only_new {
                words.only_old = true;
            } else if is("get") {
                words.answers_old = true;
            } else if is("keepttl") && words.expires_ms.is_none() {
                words.keeps_end = true;
            } else if (is("ex") || is("px")) && !has_end {
                let number = rest.next().ok_or(Refusal::Syntax)?;
                words.expires_ms = Some(end(call.now_ms, number, unit_ms)?);
            } else {
                return Err(Refusal::Syntax);
            }
        }
        Ok(words)
    }
}

/// When an entry set now, for so long, ends.
fn end(now_ms: u64, number: &[u8], unit_ms: i64) -> Result<u64, Refusal> {
    let number = integer(number).ok_or(Refusal::NotInteger)?;
    let ms = number.checked_mul(unit_ms).filter(|ms| *ms > 0).ok_or(Refusal::ExpireTime("set"))?;
    now_ms.checked_add(ms.unsigned_abs()).ok_or(Refusal::ExpireTime("set"))
}

pub(crate) fn set(call: &mut Call<'_>) -> Done {
    let words = SetWords::parse(call)?;
    let (key, value) = (call.args.at(1), call.args.at(2));
    let start = call.out.len();
    if words.answers_old {
        answer_value(call, 1);
    }
    let old_end = call.store.get(key, call.now_ms).map(|item| item.expires_ms);
    let is_refused = if old_end.is_some() { words.only_new } else { words.only_old };
    if !is_refused {
        let kept = if words.keeps_end { old_end } else { None };
        let expires_ms = words.expires_ms.or(kept).unwrap_or(NEVER);
        let done = call.store.set(key, value, 0, expires_ms, call.now_ms);
        done.inspect_err(|_| call.out.truncate(start))?;
    }
    match (words.answers_old, is_refused) {
        (true, _) => {}
        (false, true) => reply::nil(call.out),
        (false, false) => reply::simple(call.out, "OK"),
    }
    Ok(())
}

pub(crate) fn setnx(call: &mut Call<'_>) -> Done {
    let (key, value) = (call.args.at(1), call.args.at(2));
    let is_new = call.store.get(key, call.now_ms).is_none();
    if is_new {
        call.store.set(key, value, 0, NEVER, call.now_ms)?;
    }
    reply::integer(call.out, is_new.into());
    Ok(())
}

pub(crate) fn incr(call: &mut Call<'_>) -> Done {
    add(call, 1)
}

pub(crate) fn decr(call: &mut Call<'_>) -> Done {
    add(call, -1)
}

pub(crate) fn incrby(call: &mut Call<'_>) -> Done {
    let by = integer(call.args.at(2)).ok_or(Refusal::NotInteger)?;
    add(call, by)
}

pub(crate) fn decrby(call: &mut Call<'_>) -> Done {
    let by = integer(call.args.at(2)).ok_or(Refusal::NotInteger)?;
    add(call, by.checked_neg().ok_or(Refusal::Decrement)?)
}

fn add(call: &mut Call<'_>, by: i64) -> Done {
    let key = call.args.at(1);
    let (old, flags, expires_ms) = match call.store.get(key, call.now_ms) {
        Some(item) => (integer(item.value).ok_or(Refusal::NotInteger)?, item.flags, item.expires_ms),
        None => (0, 0, NEVER),
    };
    let new = old.checked_add(by).ok_or(Refusal::Overflow)?;
    call.store.set(key, Digits::new(new).bytes(), flags, expires_ms, call.now_ms)?;
    reply::integer(call.out, new);
    Ok(())
}

pub(crate) fn append(call: &mut Call<'_>) -> Done {
    let (key, tail) = (call.args.at(1), call.args.at(2));
    let old_len = call.store.get(key, call.now_ms).map_or(0, |item| item.value.len());
    if old_len.saturating_add(tail.len()) > call.limits.bulk_max_bytes {
        return Err(Refusal::LongValue);
    }
    let len = call.store.append(key, tail, call.now_ms)?;
    reply::count(call.out, len);
    Ok(())
}

pub(crate) fn strlen(call: &mut Call<'_>) -> Done {
    let len = call.store.get(call.args.at(1), call.now_ms).map_or(0, |item| item.value.len());
    reply::count(call.out, len);
    Ok(())
}

pub(crate) fn mget(call: &mut Call<'_>) -> Done {
    let (start, most) = (call.out.len(), call.limits.command_max_bytes);
    reply::array(call.out, call.args.len() - 1);
    for index in 1..call.args.len() {
        answer_value(call, index);
        if call.out.len() - start > most {
            call.out.truncate(start);
            return Err(Refusal::LongAnswer(most));
        }
    }
    Ok(())
}

/// All or nothing: where memory might not suffice for all, nothing is set.
pub(crate) fn mset(call: &mut Call<'_>) -> Done {
    let count = call.args.len() - 1;
    if !count.is_multiple_of(2) {
        return Err(Refusal::Arity("mset"));
    }
    let bytes = call.args.from(1).map(<[u8]>::len).sum();
    if !call.store.has_room(count / 2, bytes) {
        return Err(Refusal::Memory);
    }
    for index in (1..count).step_by(2) {
        let (key, value) = (call.args.at(index), call.args.at(index + 1));
        call.store.set(key, value, 0, NEVER, call.now_ms)?;
    }
    reply::simple(call.out, "OK");
    Ok(())
}
