//! What files contain, by the ends of their names.

/// The media type of the file `name`; bytes where that is not known.
#[must_use]
pub fn type_of(name: &str) -> &'static str {
    let file = name.rsplit('/').next().unwrap_or(name);
    match file.rsplit_once('.').map_or("", |(_, end)| end) {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "txt" | "md" => "text/plain; charset=utf-8",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "ico" => "image/x-icon",
        "wasm" => "application/wasm",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ending_counts() {
        assert_eq!(type_of("a.html"), "text/html; charset=utf-8");
        assert_eq!(type_of("a.html/b.tar.svg"), "image/svg+xml");
        for name in ["", "html", "a.html/b", "a.exe", "a."] {
            assert_eq!(type_of(name), "application/octet-stream", "{name}");
        }
    }
}
