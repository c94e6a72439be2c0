//! Exchanges as a client of Redis sees them, byte for byte.

use crate::talk::{command, store, talk};
use weir_kv_logic::{Close, Limits, Session};

/// Each line of a script is an inline command, `>` the time in ms, or `<` an answer, in which `|` is a line's end.
fn play(script: &str) {
    let mut store = store(1 << 20);
    let mut now_ms = 1000;
    let mut answers = Vec::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(time) = line.strip_prefix("> ") {
            now_ms = time.parse().unwrap();
        } else if let Some(wanted) = line.strip_prefix("< ") {
            let wanted = format!("{}\r\n", wanted.replace('|', "\r\n"));
            assert_eq!(String::from_utf8_lossy(&answers), wanted, "{line}");
        } else {
            answers = talk(&mut store, now_ms, format!("{line}\r\n").as_bytes()).0;
        }
    }
}

#[test]
fn values() {
    play(
        "GET a
         < $-1
         SET a hello
         < +OK
         get a
         < $5|hello
         STRLEN a
         < :5
         APPEND a \" world\"
         < :11
         GET a
         < $11|hello world
         APPEND new x
         < :1
         SETNX a no
         < :0
         SETNX b yes
         < :1
         MSET b 1 c 2 c 3
         < +OK
         MGET a b nothing c
         < *4|$11|hello world|$1|1|$-1|$1|3
         MSET b
         < -ERR wrong number of arguments for 'mset' command
         MSET b 1 c
         < -ERR wrong number of arguments for 'mset' command
         SET e ''
         < +OK
         GET e
         < $0|
         DEL a b nothing
         < :2
         EXISTS a c c
         < :2
         TYPE c
         < +string
         DBSIZE
         < :3
         FLUSHALL
         < +OK
         DBSIZE
         < :0",
    );
}

#[test]
fn numbers() {
    play(
        "INCR n
         < :1
         INCRBY n 41
         < :42
         DECR n
         < :41
         DECRBY n 50
         < :-9
         GET n
         < $2|-9
         INCRBY n x
         < -ERR value is not an integer or out of range
         SET n 9223372036854775807
         < +OK
         INCR n
         < -ERR increment or decrement would overflow
         GET n
         < $19|9223372036854775807
         DECRBY n -9223372036854775808
         < -ERR decrement would overflow
         SET n 01
         < +OK
         INCR n
         < -ERR value is not an integer or out of range",
    );
}

#[test]
fn set_with_words() {
    play(
        "SET a 1 NX
         < +OK
         SET a 2 nx
         < $-1
         SET b 2 XX
         < $-1
         SET a 2 XX GET
         < $1|1
         SET a 3 GET NX
         < $1|2
         GET a
         < $1|2
         SET new 3 GET
         < $-1
         SET a 4 PX 500
         < +OK
         SET a 5 KEEPTTL
         < +OK
         PTTL a
         < :500
         SET a 6
         < +OK
         TTL a
         < :-1
         SET a 7 NX XX
         < -ERR syntax error
         SET a 7 EX 1 PX 1
         < -ERR syntax error
         SET a 7 EX 1 KEEPTTL
         < -ERR syntax error
         SET a 7 EX
         < -ERR syntax error
         SET a 7 EX x
         < -ERR value is not an integer or out of range
         SET a 7 EX 0
         < -ERR invalid expire time in 'set' command
         SET a 7 EX 9223372036854775807
         < -ERR invalid expire time in 'set' command
         GET a
         < $1|6",
    );
}

#[test]
fn entries_end() {
    play(
        "SET a 1 EX 10
         < +OK
         TTL a
         < :10
         > 10999
         GET a
         < $1|1
         INCR a
         < :2
         PTTL a
         < :1
         > 11000
         GET a
         < $-1
         PTTL a
         < :-2
         EXPIRE a 5
         < :0
         SET a 1
         < +OK
         EXPIRE a 5
         < :1
         PERSIST a
         < :1
         PERSIST a
         < :0
         PEXPIRE a 1500
         < :1
         TTL a
         < :2
         EXPIRE a 9223372036854775807
         < -ERR invalid expire time in 'expire' command
         EXPIRE a -1
         < :1
         EXISTS a
         < :0",
    );
}

#[test]
fn the_server() {
    play(
        "PING
         < +PONG
         PING \"a b\"
         < $3|a b
         ECHO x
         < $1|x
         SELECT 0
         < +OK
         SELECT 1
         < -ERR DB index is out of range
         COMMAND DOCS
         < *0
         CONFIG GET save
         < *2|$4|save|$0|
         CONFIG GET appendonly nothing
         < *2|$10|appendonly|$2|no
         CONFIG SET save x
         < -ERR unknown subcommand 'SET'. This server takes: GET
         CLIENT SETNAME x
         < +OK
         CLIENT LIST
         < -ERR unknown subcommand 'LIST'. This server takes: SETNAME, SETINFO
         HELLO 3
         < -NOPROTO unsupported protocol version
         GET
         < -ERR wrong number of arguments for 'get' command
         GET a b
         < -ERR wrong number of arguments for 'get' command
         FLUSHALL NOW
         < -ERR syntax error",
    );
    let (info, _) = talk(&mut store(1 << 20), 0, b"INFO\r\n");
    assert!(String::from_utf8(info).unwrap().contains("\r\nmaxmemory:1048576\r\n"));
}

#[test]
fn an_error_stays_on_its_line() {
    let (answer, _) = talk(&mut store(1 << 20), 0, b"LPUSH a b\r\n");
    assert_eq!(answer, b"-ERR unknown command 'LPUSH', with args beginning with: 'a' 'b' \r\n");
    let (answer, _) = talk(&mut store(1 << 20), 0, &command(&[b"no\r\n+OK", b"\xff"]));
    let wanted = "-ERR unknown command 'no  +OK', with args beginning with: '\u{fffd}' \r\n";
    assert_eq!(String::from_utf8(answer).unwrap(), wanted);
}

/// What `input` is answered with; the connection ends because of it.
fn last_words(input: &[u8]) -> String {
    let (answer, end) = talk(&mut store(1 << 20), 0, input);
    assert_eq!(end, Some(Close::Protocol), "{}", String::from_utf8_lossy(&answer));
    String::from_utf8(answer).unwrap()
}

#[test]
fn broken_protocol_ends_the_connection() {
    let error = |text: &str| format!("-ERR Protocol error: {text}\r\n");
    assert_eq!(last_words(b"*x\r\n"), error("invalid multibulk length"));
    assert_eq!(last_words(b"*20000000\r\n"), error("invalid multibulk length"));
    assert_eq!(last_words(b"*1\r\n$-1\r\n"), error("invalid bulk length"));
    assert_eq!(last_words(b"*1\r\n$2000000\r\n"), error("invalid bulk length"));
    assert_eq!(last_words(b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\nfooz\r\n"), error("expected '$', got 'f'"));
    assert_eq!(last_words(&[&b"*"[..], &[b'1'; 40]].concat()), error("too big mbulk count string"));
    assert_eq!(last_words(&[&b"*1\r\n$"[..], &[b'1'; 40]].concat()), error("too big bulk count string"));
    assert_eq!(last_words(&[b'a'; 70_000]), error("too big inline request"));
    assert_eq!(last_words(&[&[b'a'; 70_000], &b"\r\n"[..]].concat()), error("too big inline request"));
    assert_eq!(last_words(b"SET a \"b\r\n"), error("unbalanced quotes in request"));
    assert_eq!(last_words(b"*1\r\n$1\r\nabc"), error("expected CRLF after a string"));
    let long = command(&[b"MSET", &[b'a'; 1_000_000], &[b'b'; 1_000_000], &[b'c'; 1_000_000]]);
    assert_eq!(last_words(&long), error("command longer than 2097152 bytes"));
}

#[test]
fn commands_before_and_after_an_end() {
    let (answer, end) = talk(&mut store(1 << 20), 0, b"PING\r\n*1\r\n$4\r\nQUIT\r\nPING\r\n");
    assert_eq!((&answer[..], end), (&b"+PONG\r\n+OK\r\n"[..], Some(Close::Quit)));
    let (answer, end) = talk(&mut store(1 << 20), 0, b"\r\n*0\r\n*-10\r\n\nPING\n");
    assert_eq!((&answer[..], end), (&b"+PONG\r\n"[..], None));
}

#[test]
fn an_answer_has_a_limit() {
    let mut store = store(4 << 20);
    talk(&mut store, 0, &command(&[b"SET", b"a", &[b'x'; 1 << 20]]));
    let (answer, _) = talk(&mut store, 0, b"MGET a a a\r\n");
    assert_eq!(answer, b"-ERR answer longer than 2097152 bytes; ask for fewer keys at once\r\n");
    let (answer, _) = talk(&mut store, 0, b"APPEND a y\r\n");
    assert_eq!(answer, b"-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n");
}

#[test]
fn who_does_not_read_is_not_served() {
    let mut store = store(4 << 20);
    talk(&mut store, 0, &command(&[b"SET", b"a", &[b'x'; 1 << 16]]));
    let mut session = Session::new(Limits::default());
    let (input, mut output) = (b"GET a\r\n".repeat(1000), Vec::new());
    assert_eq!(session.feed(&mut store, 0, &input, &mut output), Ok(7), "one answer is enough");
    assert_eq!(session.feed(&mut store, 0, &input[7..], &mut output), Ok(0));
    output.clear();
    assert_eq!(session.feed(&mut store, 0, &input[7..], &mut output), Ok(7));
}
