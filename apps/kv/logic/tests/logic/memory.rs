//! The budget holds, and what is given back can be used again.

use crate::talk::{command, store, talk};
use proptest::collection::vec;
use proptest::prelude::*;
use weir_kv_logic::{Full, Options, Store};

const OOM: &[u8] = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n";

#[test]
fn a_full_store_refuses_and_stays_as_it_was() {
    let mut store = store(1 << 20);
    let value = [b'v'; 1000];
    let mut stored = 0_u32;
    while store.set(&stored.to_le_bytes(), &value, 0, u64::MAX, 0) == Ok(()) {
        stored += 1;
    }
    assert!((900..1000).contains(&stored), "{stored} of 1,000 bytes each");
    let set = command(&[b"SET", b"another", &value]);
    assert_eq!(talk(&mut store, 0, &set).0, OOM);
    assert_eq!(talk(&mut store, 0, &command(&[b"APPEND", &0_u32.to_le_bytes(), &value])).0, OOM);
    assert_eq!(talk(&mut store, 0, &command(&[b"SET", &0_u32.to_le_bytes(), &[0; 9000], b"GET"])).0, OOM);
    assert_eq!(talk(&mut store, 0, &command(&[b"MSET", b"a", b"1", b"b", &value])).0, OOM);
    assert_eq!(talk(&mut store, 0, b"EXISTS a\r\n").0, b":0\r\n");
    for key in 0..stored {
        assert_eq!(store.get(&key.to_le_bytes(), 0).map(|item| item.value), Some(&value[..]));
    }
    assert!(store.remove(&0_u32.to_le_bytes(), 0));
    assert_eq!(talk(&mut store, 0, &set).0, b"+OK\r\n");
}

#[test]
fn an_ended_entry_is_not_seen_before_it_is_swept() {
    let mut store = store(1 << 20);
    store.set(b"a", b"b", 0, 1000, 0).unwrap();
    assert!(store.get(b"a", 999).is_some());
    assert!(store.get(b"a", 1000).is_none() && store.is_empty());
}

#[test]
fn ended_entries_give_their_memory_back_unasked() {
    let mut store = store(1 << 20);
    for key in 0..2000_u32 {
        store.set(&key.to_le_bytes(), &[0; 200], 0, 1000, 0).unwrap();
    }
    let (full, places) = (store.used_bytes(), 2000 / 16 + 1);
    (0..places).for_each(|_| store.sweep(999));
    assert_eq!((store.len(), store.used_bytes()), (2000, full));
    (0..places).for_each(|_| store.sweep(1000));
    assert_eq!((store.len(), store.counts().expired), (0, 2000));
    assert!(store.used_bytes() < full - 2000 * 200);
}

#[test]
fn a_table_costs_a_cache_line_per_entry() {
    let mut store = store(64 << 20);
    for key in 0..100_000_u32 {
        store.set(&key.to_le_bytes(), b"abc", 0, u64::MAX, 0).unwrap();
    }
    assert!(store.used_bytes() / 100_000 < 64 + 7 + 16 + 2);
}

#[test]
fn no_budget_no_entry() {
    let mut store = store(1000);
    assert_eq!(store.set(b"a", b"b", 0, u64::MAX, 0), Err(Full));
    assert_eq!(store.used_bytes(), 0);
}

proptest! {
    #[test]
    fn the_budget_holds(
        acts in vec((0..5_u8, 0..60_u16, 0..3000_usize, 0..20_u64), 1..400),
        budget in 66_000..150_000_usize,
    ) {
        let mut store = Store::new(&Options { budget_bytes: budget, seed: [1; 16], is_logged: false });
        let mut now_ms = 0;
        for (act, key, len, ms) in acts {
            now_ms += ms;
            let (key, value) = (key.to_le_bytes(), vec![1; len]);
            match act {
                0 | 1 => drop(store.set(&key, &value, 0, now_ms + 10 * ms, now_ms)),
                2 => drop(store.append(&key, &value, now_ms)),
                3 => drop(store.remove(&key, now_ms)),
                _ => store.sweep(now_ms),
            }
            prop_assert!(store.used_bytes() <= budget);
        }
        // What is counted is what is there.
        let mut all = Vec::new();
        prop_assert_eq!(store.snapshot(0, usize::MAX, &mut all), None);
        for key in 0..60_u16 {
            store.remove(&key.to_le_bytes(), now_ms);
        }
        (0..10).for_each(|_| store.sweep(u64::MAX - 1));
        prop_assert_eq!((store.len(), store.used_bytes() % (64 << 10)), (0, 0));
    }
}
