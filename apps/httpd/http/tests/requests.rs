//! Requests out of bytes, however they are cut; what is refused, and with which status.

use proptest::prelude::*;
use weir_http::{BODY_MAX_BYTES, HEAD_MAX_BYTES, HEADERS_MAX, Inbox, Method, Request, Response, Status};

/// What came out of a connection: requests in words, and the status that ended it.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    requests: Vec<String>,
    refused: Option<&'static str>,
}

fn words(request: &Request<'_>) -> String {
    let Request { method, path, query, is_kept_alive, body, .. } = request;
    let tags = request.header("if-none-match").map(<[u8]>::to_vec);
    format!("{method:?} {path} {query:?} {is_kept_alive} {body:?} {tags:?}")
}

/// Feeds `stream` in pieces whose lengths `cuts` gives in turn.
fn feed(stream: &[u8], cuts: &[usize]) -> Seen {
    let (mut inbox, mut seen, mut rest) = (Inbox::default(), Seen::default(), stream);
    let mut cuts = cuts.iter().cycle();
    loop {
        loop {
            match inbox.request() {
                Ok(Some(request)) => seen.requests.push(words(&request)),
                Ok(None) => break,
                Err(refusal) => {
                    seen.refused = Some(refusal.status().line());
                    return seen;
                }
            }
        }
        if rest.is_empty() {
            return seen;
        }
        let space = inbox.space();
        assert!(!space.is_empty(), "an inbox without a request takes more");
        let bytes = cuts.next().copied().unwrap_or(usize::MAX).max(1).min(space.len()).min(rest.len());
        space[..bytes].copy_from_slice(&rest[..bytes]);
        inbox.fill(bytes);
        rest = &rest[bytes..];
    }
}

fn all_at_once(stream: &[u8]) -> Seen {
    feed(stream, &[usize::MAX])
}

#[test]
fn requests_follow_each_other() {
    let stream = b"\r\n\nGET /a?b=c?d HTTP/1.1\r\nHost: x\r\nIf-None-Match: \"1\"\r\n\r\n\
        POST /p HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nab\ncd\
        HEAD http://x:80/h HTTP/1.1\nHost: x\nConnection: foo , CLOSE\n\n\
        GET / HTTP/1.0\r\n\r\nGET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n\
        OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\nGET hTTp://x HTTP/1.1\r\nHost: x\r\n\r\nGE";
    let expected = [
        "Get /a Some(\"b=c?d\") true [] Some([34, 49, 34])",
        "Post /p None true [97, 98, 10, 99, 100] None",
        "Head /h None false [] None",
        "Get / None false [] None",
        "Get / None true [] None",
        "Other * None true [] None",
        "Get / None true [] None",
    ];
    let seen = all_at_once(stream);
    assert_eq!(seen.requests, expected);
    assert_eq!(seen.refused, None);
    assert_eq!(feed(stream, &[1]), seen);
}

#[test]
fn rules_and_limits_have_their_status() {
    let head = |lines: &str| format!("GET / HTTP/1.1\r\nHost: x\r\n{lines}\r\n").into_bytes();
    let many = |count| (0..count).map(|n| format!("h{n}: v\r\n")).collect::<String>();
    let long = |bytes: usize| format!("long: {}\r\n", "v".repeat(bytes));
    let frame = head(&long(0)).len();
    let cases: [(Vec<u8>, Option<&str>); 27] = [
        (head(&many(HEADERS_MAX - 1)), None),
        (head(&many(HEADERS_MAX)), Some("431")),
        (head(&long(HEAD_MAX_BYTES - frame)), None),
        (head(&long(HEAD_MAX_BYTES - frame + 1)), Some("431")),
        ([b"GET /".to_vec(), vec![b'a'; HEAD_MAX_BYTES]].concat(), Some("414")),
        (head("Content-Length: 0\r\n"), None),
        (head("Content-Length: 4097\r\n"), Some("413")),
        (head("Content-Length: 99999999999999999999999\r\n"), Some("413")),
        (head("Content-Length: -1\r\n"), Some("400")),
        (head("Content-Length: +1\r\n"), Some("400")),
        (head("Content-Length:\r\n"), Some("400")),
        (head("Content-Length: 1, 1\r\n"), Some("400")),
        (head("Content-Length: 0\r\nContent-Length: 0\r\n"), Some("400")),
        (head("Transfer-Encoding: chunked\r\n"), Some("501")),
        (head("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"), Some("400")),
        (head("Host: y\r\n"), Some("400")),
        (head("Expect: 100-continue\r\n"), Some("417")),
        (head("a b: c\r\n"), Some("400")),
        (head("a: b\r\n c: folded\r\n"), Some("400")),
        (head("nul: \0\r\n"), Some("400")),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), Some("400")),
        (b"GET / HTTP/2.0\r\n".to_vec(), Some("505")),
        (b"GET /\r\n".to_vec(), Some("400")),
        (b"\x16\x03\x01\x02\x00\n".to_vec(), Some("400")),
        (b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), Some("501")),
        (b"DELETE / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), None),
        (b"GET / HTTP/1.1\r\nHost: x\r\n".to_vec(), None),
    ];
    for (stream, status) in cases {
        let seen = all_at_once(&stream);
        let shown = String::from_utf8_lossy(&stream[..stream.len().min(80)]).into_owned();
        let number = seen.refused.map(|line| &line[..3]);
        assert_eq!(number, status, "{shown}");
        assert_eq!(feed(&stream, &[1]), seen, "{shown}");
    }
}

#[test]
fn a_body_of_the_longest_length_fits_behind_the_longest_head() {
    let start = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {BODY_MAX_BYTES}\r\nlong: ");
    let padding = "v".repeat(HEAD_MAX_BYTES - start.len() - 4);
    let stream = [format!("{start}{padding}\r\n\r\n").into_bytes(), vec![b'\n'; BODY_MAX_BYTES]].concat();
    for cuts in [&[usize::MAX][..], &[1], &[HEAD_MAX_BYTES, 1]] {
        assert_eq!(feed(&stream, cuts).requests.len(), 1);
    }
    let mut inbox = Inbox::default();
    inbox.space()[..stream.len()].copy_from_slice(&stream);
    inbox.fill(stream.len());
    let request = inbox.request().unwrap().unwrap();
    assert_eq!((request.method, request.body.len()), (Method::Post, BODY_MAX_BYTES));
    assert!(inbox.is_empty());
}

/// Pieces of requests and of what is none.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&[u8]> = vec![
        b"GET / HTTP/1.1\r\n",
        b"POST /x?y HTTP/1.1\n",
        b"HEAD /%20 HTTP/1.0\r\n",
        b"Host: a\r\n",
        b"host: b\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: 4096\r\n",
        b"abc",
        b"Connection: close\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"If-None-Match: *\r\n",
        b"Expect: x\r\n",
        b" ",
        b"\0",
        b": ",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n\n\n\n",
    ];
    prop_oneof![
        8 => proptest::sample::select(words).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
        1 => (any::<u8>(), 0..9000usize).prop_map(|(byte, count)| vec![byte; count]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_cuts_do_not_matter(pieces in proptest::collection::vec(piece(), 0..24),
                              cuts in proptest::collection::vec(1usize..3000, 1..8)) {
        let stream = pieces.concat();
        let seen = all_at_once(&stream);
        prop_assert_eq!(&feed(&stream, &cuts), &seen);
        prop_assert_eq!(&feed(&stream, &[1, 2]), &seen);
    }

    #[test]
    fn any_bytes_are_answered_or_waited_for(stream in proptest::collection::vec(any::<u8>(), 0..20_000)) {
        all_at_once(&stream);
    }

    #[test]
    fn any_path_is_safe_or_none(path in "/?([a.%/\\\\]|%2[eEfF5]|%[0-9a-f]{2}|\\PC){0,12}") {
        if let Some(name) = weir_http::path::file_name(&path) {
            prop_assert!(!name.starts_with('/') && !name.ends_with('/') && !name.contains('\\'));
            prop_assert!(name.split('/').all(|part| !matches!(part, "" | "." | "..")));
        }
    }
}

#[test]
fn every_refusal_is_an_error_that_closes() {
    let refusal = Inbox::default().request().err();
    assert!(refusal.is_none(), "an empty inbox waits");
    let response = Response::refused(weir_http::Refusal::Late);
    assert_eq!(response.status, Status::RequestTimeout);
    assert!(response.head(false).ends_with("Connection: close\r\n\r\n"));
}
