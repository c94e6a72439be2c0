//! A client without a network.

use weir_kv_logic::{Close, Limits, Options, Session, Store};

pub(crate) fn store(budget_bytes: usize) -> Store {
    Store::new(&Options { budget_bytes, seed: [7; 16], is_logged: false })
}

/// Feeds all of `input`, taking the output away whenever something was consumed, as a server does.
pub(crate) fn feed_all(
    session: &mut Session,
    store: &mut Store,
    now_ms: u64,
    mut input: &[u8],
    answers: &mut Vec<u8>,
) -> Result<(), Close> {
    let mut output = Vec::new();
    while !input.is_empty() {
        let fed = session.feed(store, now_ms, input, &mut output);
        answers.append(&mut output);
        let used = fed?;
        assert!(used > 0, "with an empty output something is consumed");
        input = &input[used..];
    }
    Ok(())
}

/// What a new connection answers to `input`, and how it ends.
pub(crate) fn talk(store: &mut Store, now_ms: u64, input: &[u8]) -> (Vec<u8>, Option<Close>) {
    let mut answers = Vec::new();
    let mut session = Session::new(Limits::default());
    let end = feed_all(&mut session, store, now_ms, input, &mut answers);
    (answers, end.err())
}

/// The words of a command as an array of strings.
pub(crate) fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).bytes());
        bytes.extend(*word);
        bytes.extend(b"\r\n");
    }
    bytes
}
