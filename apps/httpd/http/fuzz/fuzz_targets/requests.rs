//! A connection receives a fuzzer's bytes, cut in two ways: nothing panics, and the outcome is the same.
#![no_main]

use weir_http::{Inbox, Response, path};

/// Feeds `stream` in pieces of at most `cut` bytes; gives what would be answered.
fn answers(mut stream: &[u8], cut: usize) -> Vec<String> {
    let (mut inbox, mut answers) = (Inbox::default(), Vec::new());
    loop {
        loop {
            match inbox.request() {
                Ok(Some(request)) => {
                    let name = path::file_name(request.path);
                    answers.push(format!("{:?} {name:?} {:?}", request.method, request.body));
                }
                Ok(None) => break,
                Err(refusal) => {
                    answers.push(Response::refused(refusal).head(false));
                    return answers;
                }
            }
        }
        if stream.is_empty() {
            return answers;
        }
        let space = inbox.space();
        let bytes = cut.min(space.len()).min(stream.len());
        assert_ne!(bytes, 0, "an inbox without a request takes more");
        space[..bytes].copy_from_slice(&stream[..bytes]);
        inbox.fill(bytes);
        stream = &stream[bytes..];
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((cut, stream)) = bytes.split_first() else { return };
    assert_eq!(answers(stream, usize::from(*cut) + 1), answers(stream, usize::MAX));
});
