//! A store made again from the changes of another, or from a snapshot taken while it changed.

use crate::talk::talk;
use proptest::collection::vec;
use proptest::prelude::*;
use weir_kv_logic::change::{Change, NoChange};
use weir_kv_logic::{Options, Store};

fn logged() -> Store {
    Store::new(&Options { budget_bytes: 4 << 20, seed: [3; 16], is_logged: true })
}

/// Applies all of `bytes` to `store`.
fn replay(store: &mut Store, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        store.apply(&Change::decode(&mut bytes).unwrap()).unwrap();
    }
}

/// All entries, in the order of their keys.
fn contents(store: &Store) -> Vec<String> {
    let mut all = Vec::new();
    assert_eq!(store.snapshot(0, usize::MAX, &mut all), None);
    let (mut rest, mut entries) = (&all[..], Vec::new());
    while !rest.is_empty() {
        entries.push(format!("{:?}", Change::decode(&mut rest).unwrap()));
    }
    entries.sort();
    entries
}

fn scripts() -> impl Strategy<Value = Vec<(String, u64)>> {
    let words = ["SET k v", "SET k w PX 30", "APPEND k x", "INCR n", "DEL k", "PEXPIRE k 20", "PERSIST k"];
    let others = ["FLUSHALL", "GET k", "MSET k 1 k2 2", "SET k v KEEPTTL", "EXPIRE k 0"];
    let word = proptest::sample::select([&words[..], &words, &others].concat());
    let line = (word, 0..40_u8, 0..10_u64).prop_map(|(word, key, ms)| {
        let key = format!(" {}{key} ", if word.contains(" n") { "n" } else { "k" });
        let line = format!("{word} ").replacen(" k ", &key, 1).replacen(" n ", &key, 1);
        (format!("{}\r\n", line.trim()), ms)
    });
    vec(line, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn changes_make_the_store_again(script in scripts()) {
        let (mut store, mut log, mut now_ms) = (logged(), Vec::new(), 1);
        for (line, ms) in script {
            now_ms += ms;
            talk(&mut store, now_ms, line.as_bytes());
            store.take_changes(&mut log);
        }
        prop_assert!(store.changes().is_empty());
        let mut again = logged();
        replay(&mut again, &log);
        prop_assert!(again.changes().is_empty(), "what is applied is not written down again");
        prop_assert_eq!(contents(&again), contents(&store));
    }

    #[test]
    fn so_does_a_snapshot_taken_meanwhile(before in scripts(), during in scripts(), enough in 1..200_usize) {
        let (mut store, mut now_ms) = (logged(), 1);
        let mut step = |store: &mut Store, (line, ms): (String, u64)| {
            now_ms += ms;
            talk(store, now_ms, line.as_bytes());
        };
        before.into_iter().for_each(|act| step(&mut store, act));
        store.take_changes(&mut Vec::new());
        let (mut log, mut from) = (Vec::new(), Some(0));
        for act in during {
            if let Some(place) = from {
                let mut piece = Vec::new();
                from = store.snapshot(place, enough, &mut piece);
                log.append(&mut piece);
            }
            step(&mut store, act);
            store.take_changes(&mut log);
        }
        while let Some(place) = from {
            let mut piece = Vec::new();
            from = store.snapshot(place, enough, &mut piece);
            log.append(&mut piece);
        }
        let mut again = logged();
        replay(&mut again, &log);
        prop_assert_eq!(contents(&again), contents(&store));
    }

    #[test]
    fn any_bytes_are_changes_or_not(bytes in vec(any::<u8>(), 0..64)) {
        let mut rest = &bytes[..];
        while !rest.is_empty() && Change::decode(&mut rest).is_ok() {}
    }
}

#[test]
fn a_cut_change_is_none() {
    let change = Change::Set { key: b"key", value: b"value", flags: 7, expires_ms: 9 };
    let mut bytes = Vec::new();
    change.encode(&mut bytes);
    assert_eq!(bytes, b"\x01\x07\0\0\0\x09\0\0\0\0\0\0\0\x03\0\0\0key\x05\0\0\0value");
    for len in 0..bytes.len() {
        assert_eq!(Change::decode(&mut &bytes[..len]), Err(NoChange), "{len} bytes");
    }
    assert_eq!(Change::decode(&mut &bytes[..]), Ok(change));
}
