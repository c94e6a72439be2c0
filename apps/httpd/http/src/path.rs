//! Names of files out of the paths of requests.

use alloc::string::String;
use alloc::vec::Vec;

/// A path as the name of a file: without the first `/`, percent-decoded once (RFC 3986 §2.1 "Percent-Encoding"), with
/// `index.html` added to the path of a folder. `None` where it names nothing safe: it is no path, leads upwards, hides
/// a `/` in a code, has a character that no file name has, or is no UTF-8.
#[must_use]
pub fn file_name(path: &str) -> Option<String> {
    let mut name = String::from_utf8(decode(path.strip_prefix('/')?)?).ok()?;
    if name.is_empty() || name.ends_with('/') {
        name.push_str("index.html");
    }
    let is_safe = |part: &str| !matches!(part, "" | "." | "..");
    let is_plain = !name.chars().any(|c| c.is_control() || c == '\\');
    (is_plain && name.split('/').all(is_safe)).then_some(name)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'%' { code(bytes.next()?, bytes.next()?)? } else { byte };
        decoded.push(byte);
    }
    Some(decoded)
}

/// The byte that two digits stand for, unless that is a `/`.
fn code(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = u8::try_from(digit(high)? << 4 | digit(low)?).ok()?;
    (byte != b'/').then_some(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_files() {
        let cases = [
            ("/", "index.html"),
            ("/docs/", "docs/index.html"),
            ("/a/b.css", "a/b.css"),
            ("/a%20b%C3%A4.txt", "a bä.txt"),
            ("/%25", "%"),
            ("/%252e%252e/x", "%2e%2e/x"),
            ("/...", "..."),
        ];
        for (path, name) in cases {
            assert_eq!(file_name(path).as_deref(), Some(name), "{path}");
        }
    }

    #[test]
    fn what_is_not_safe_names_nothing() {
        let cases = [
            "",
            "x",
            "*",
            "/..",
            "/../x",
            "/a/../b",
            "/a/./b",
            "/%2e%2e/x",
            "/a%2fb",
            "/a%2Fb",
            "//",
            "/a//b",
            "/%",
            "/%4",
            "/%zz",
            "/%00",
            "/a%0ab",
            "/a\\b",
            "/%5c",
            "/%ff",
            "/%+1",
        ];
        for path in cases {
            assert_eq!(file_name(path), None, "{path}");
        }
    }
}
