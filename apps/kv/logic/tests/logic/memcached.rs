//! Exchanges over UDP, byte for byte.

use crate::talk::{store, talk};
use proptest::collection::vec;
use proptest::prelude::*;
use weir_kv_logic::memcached::answer;
use weir_kv_logic::{Options, Store};

/// What a datagram with the text is answered with.
fn ask_at(store: &mut Store, now_ms: u64, text: &str) -> String {
    let datagram = [b"\x12\x34\0\0\0\x01\0\0", text.as_bytes()].concat();
    let mut reply = [0; 1400];
    let Some(len) = answer(store, now_ms, &datagram, &mut reply) else { return "nothing".into() };
    assert_eq!(&reply[..8], b"\x12\x34\0\0\0\x01\0\0");
    String::from_utf8(reply[8..len].to_vec()).unwrap()
}

fn ask(store: &mut Store, text: &str) -> String {
    ask_at(store, 0, text)
}

#[test]
fn values() {
    let mut store = store(1 << 20);
    assert_eq!(ask(&mut store, "get a\r\n"), "END\r\n");
    assert_eq!(ask(&mut store, "set a 5 0 3\r\nabc\r\n"), "STORED\r\n");
    assert_eq!(ask(&mut store, "set b 0 0 0\r\n\r\n"), "STORED\r\n");
    assert_eq!(ask(&mut store, "get a x b\r\n"), "VALUE a 5 3\r\nabc\r\nVALUE b 0 0\r\n\r\nEND\r\n");
    assert_eq!(ask(&mut store, "add a 0 0 1\r\nx\r\n"), "NOT_STORED\r\n");
    assert_eq!(ask(&mut store, "replace c 0 0 1\r\nx\r\n"), "NOT_STORED\r\n");
    assert_eq!(ask(&mut store, "add c 0 0 1\r\nx\r\n"), "STORED\r\n");
    assert_eq!(ask(&mut store, "replace c 0 0 1\r\ny\r\n"), "STORED\r\n");
    assert_eq!(ask(&mut store, "delete c\r\n"), "DELETED\r\n");
    assert_eq!(ask(&mut store, "delete c\r\n"), "NOT_FOUND\r\n");
    assert_eq!(ask(&mut store, "set a 0 0 1 noreply\r\nz\r\n"), "nothing");
    assert_eq!(talk(&mut store, 0, b"GET a\r\n").0, b"$1\r\nz\r\n", "both protocols see the same contents");
}

#[test]
fn only_who_saw_the_value_replaces_it() {
    let mut store = store(1 << 20);
    assert_eq!(ask(&mut store, "cas a 0 0 1 1\r\nx\r\n"), "NOT_FOUND\r\n");
    ask(&mut store, "set a 0 0 1\r\nx\r\n");
    let version = |answer: String| answer.split_whitespace().nth(4).unwrap().to_owned();
    let seen = version(ask(&mut store, "gets a\r\n"));
    assert_eq!(ask(&mut store, &format!("cas a 0 0 1 {seen}\r\ny\r\n")), "STORED\r\n");
    assert_eq!(ask(&mut store, &format!("cas a 0 0 1 {seen}\r\nz\r\n")), "EXISTS\r\n");
    assert_eq!(ask(&mut store, "get a\r\n"), "VALUE a 0 1\r\ny\r\nEND\r\n");
}

#[test]
fn numbers_wrap_up_and_stop_below() {
    let mut store = store(1 << 20);
    assert_eq!(ask(&mut store, "incr n 1\r\n"), "NOT_FOUND\r\n");
    ask(&mut store, "set n 3 0 20\r\n18446744073709551615\r\n");
    assert_eq!(ask(&mut store, "incr n 11\r\n"), "10\r\n");
    assert_eq!(ask(&mut store, "decr n 3\r\n"), "7\r\n");
    assert_eq!(ask(&mut store, "decr n 8\r\n"), "0\r\n");
    assert_eq!(ask(&mut store, "get n\r\n"), "VALUE n 3 1\r\n0\r\nEND\r\n");
    assert_eq!(ask(&mut store, "incr n -1\r\n"), "CLIENT_ERROR invalid numeric delta argument\r\n");
    ask(&mut store, "set n 0 0 1\r\nx\r\n");
    let refused = "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n";
    assert_eq!(ask(&mut store, "incr n 1\r\n"), refused);
}

#[test]
fn entries_end() {
    let mut store = store(1 << 20);
    ask_at(&mut store, 500, "set a 0 2 1\r\nx\r\n");
    assert_eq!(ask_at(&mut store, 2499, "get a\r\n"), "VALUE a 0 1\r\nx\r\nEND\r\n");
    assert_eq!(ask_at(&mut store, 2499, "touch a 1\r\n"), "TOUCHED\r\n");
    assert_eq!(ask_at(&mut store, 3498, "get a\r\n"), "VALUE a 0 1\r\nx\r\nEND\r\n");
    assert_eq!(ask_at(&mut store, 3499, "get a\r\n"), "END\r\n");
    assert_eq!(ask(&mut store, "touch a 1\r\n"), "NOT_FOUND\r\n");
    assert_eq!(ask(&mut store, "set a 0 -1 1\r\nx\r\n"), "STORED\r\n");
    assert_eq!(ask(&mut store, "get a\r\n"), "END\r\n");
    let refused = "CLIENT_ERROR invalid exptime argument; at most 2592000 seconds from now\r\n";
    assert_eq!(ask(&mut store, "set a 0 1700000000 1\r\nx\r\n"), refused);
}

#[test]
fn requests_that_are_refused() {
    let mut store = store(1 << 20);
    let format = "CLIENT_ERROR bad command line format\r\n";
    assert_eq!(ask(&mut store, "flush_all\r\n"), "ERROR\r\n");
    assert_eq!(ask(&mut store, "\r\n"), "ERROR\r\n");
    assert_eq!(ask(&mut store, "get a"), format);
    assert_eq!(ask(&mut store, "get\r\n"), format);
    assert_eq!(ask(&mut store, &format!("get {}\r\n", "k".repeat(251))), format);
    assert_eq!(ask(&mut store, "set a x 0 1\r\nx\r\n"), format);
    assert_eq!(ask(&mut store, "set a 0 0 2\r\nx\r\n"), "CLIENT_ERROR bad data chunk\r\n");
    assert_eq!(ask(&mut store, "set a 0 0 4\r\nx\r\n"), "CLIENT_ERROR bad data chunk\r\n");
    assert_eq!(ask(&mut store, "get a\r\nget b\r\n"), "CLIENT_ERROR one request per datagram\r\n");
    assert_eq!(ask(&mut store, "set a 0 0 1\r\nx\r\nget a\r\n"), "CLIENT_ERROR one request per datagram\r\n");
    assert!(store.is_empty());
    let mut reply = [0; 1400];
    let two = b"\0\x01\0\0\0\x02\0\0get a\r\n";
    let len = answer(&mut store, 0, two, &mut reply).unwrap();
    assert_eq!(&reply[8..len], b"SERVER_ERROR multi-packet request not supported\r\n");
    assert_eq!(answer(&mut store, 0, b"\0\x01\0\0\0\x01\0", &mut reply), None, "no header");
}

#[test]
fn an_answer_is_one_datagram() {
    let mut store = store(1 << 20);
    ask(&mut store, &format!("set a 0 0 700\r\n{}\r\n", "x".repeat(700)));
    assert_eq!(ask(&mut store, "get a\r\n").len(), 722);
    assert_eq!(ask(&mut store, "get a a\r\n"), "SERVER_ERROR answer does not fit in one datagram\r\n");
}

#[test]
fn a_store_on_a_disk_is_read_only_here() {
    let mut store = Store::new(&Options { budget_bytes: 1 << 20, seed: [0; 16], is_logged: true });
    let refused = "SERVER_ERROR writes are not taken over UDP while contents are kept on a disk; use TCP\r\n";
    for write in ["set a 0 0 1\r\nx\r\n", "delete a\r\n", "incr a 1\r\n", "touch a 1\r\n"] {
        assert_eq!(ask(&mut store, write), refused);
    }
    assert_eq!(ask(&mut store, "get a\r\n"), "END\r\n");
}

#[test]
fn about_the_server() {
    let mut store = store(1 << 20);
    ask(&mut store, "set a 0 0 1\r\nx\r\n");
    assert_eq!(ask(&mut store, "version\r\n"), "VERSION weir-kv 0.1.0\r\n");
    assert!(ask(&mut store, "stats\r\n").contains("STAT curr_items 1\r\n"));
    let small = Store::new(&Options { budget_bytes: 10, seed: [0; 16], is_logged: false });
    let refused = "SERVER_ERROR out of memory storing object\r\n";
    assert_eq!(ask(&mut { small }, "set a 0 0 1\r\nx\r\n"), refused);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_answered_within_the_room(
        bytes in vec(any::<u8>(), 0..40),
        word in proptest::sample::select(vec!["", "get ", "set a 0 0 1\r\n", "cas a 0 ", "incr a ", "touch "]),
        room in 0..80_usize,
    ) {
        let mut store = store(1 << 20);
        let datagram = [b"\0\x01\0\0\0\x01\0\0", word.as_bytes(), &bytes].concat();
        let mut reply = vec![0; room];
        let len = answer(&mut store, 0, &datagram, &mut reply);
        prop_assert!(len.is_none_or(|len| len <= room));
        let _ = answer(&mut store, 0, &bytes, &mut reply);
    }
}
