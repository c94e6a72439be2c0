//! The package archive this machine already uses, read from apt's own configuration.
//!
//! Only the archive that serves the machine's own release is taken: it is the one its owner trusts and can
//! reach. No archive is named in this source.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Whose archive it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// Debian.
    Debian,
    /// Ubuntu.
    Ubuntu,
}

/// A package archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// Whose.
    pub distribution: Distribution,
    /// Code name of the machine's own release.
    pub codename: String,
    /// Where, as apt writes it.
    pub uri: String,
    /// Keyring that checks it; `None` for apt's default keys.
    pub signed_by: Option<PathBuf>,
}

/// One line or stanza of apt's sources.
#[derive(Debug, Default)]
struct Source {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    signed_by: Option<PathBuf>,
}

impl Archive {
    /// The archive of this machine, or `None` where it does not use apt.
    #[must_use]
    pub fn of_this_machine() -> Option<Archive> {
        let os_release = std::fs::read_to_string("/etc/os-release").ok()?;
        let files = source_files().into_iter().filter_map(|file| {
            let is_list = file.extension().is_some_and(|ext| ext == "list");
            Some((is_list, std::fs::read_to_string(file).ok()?))
        });
        Archive::find(&os_release, files)
    }

    /// The archive that serves the release `os_release` names, among `files`: (one-line format?, text).
    fn find(os_release: &str, files: impl Iterator<Item = (bool, String)>) -> Option<Archive> {
        let fields = assignments(os_release);
        let distribution = match *fields.get("ID")? {
            "debian" => Distribution::Debian,
            "ubuntu" => Distribution::Ubuntu,
            _ => return None,
        };
        let codename = (*fields.get("VERSION_CODENAME")?).to_owned();
        let sources =
            files.flat_map(|(is_list, text)| if is_list { one_line(&text) } else { stanzas(&text) });
        let own = |s: &Source| s.suites.contains(&codename) && s.components.iter().any(|c| c == "main");
        let source = sources.into_iter().find(own)?;
        let uri = source.uris.into_iter().next()?;
        Some(Archive { distribution, codename, uri, signed_by: source.signed_by })
    }
}

fn source_files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir("/etc/apt/sources.list.d")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ext| ext == "list" || ext == "sources"))
        .collect();
    files.sort();
    files.insert(0, Path::new("/etc/apt/sources.list").into());
    files
}

fn assignments(text: &str) -> HashMap<&str, &str> {
    text.lines().filter_map(|line| line.split_once('=')).map(|(k, v)| (k, v.trim_matches('"'))).collect()
}

/// Reads `deb [option=value …] uri suite component …` lines.
fn one_line(text: &str) -> Vec<Source> {
    text.lines().filter_map(|line| one_line_source(line.split('#').next()?)).collect()
}

fn one_line_source(line: &str) -> Option<Source> {
    let rest = line.trim().strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let keyring = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(Source {
        uris: vec![words.next()?],
        suites: vec![words.next()?],
        components: words.collect(),
        signed_by: keyring.and_then(keyring_file),
    })
}

/// Reads the `Field: value` form; stanzas are separated by empty lines.
fn stanzas(text: &str) -> Vec<Source> {
    let text: String =
        text.lines().filter(|l| !l.starts_with('#')).flat_map(|l| [l.trim_end(), "\n"]).collect();
    text.split("\n\n").filter_map(stanza).collect()
}

fn stanza(text: &str) -> Option<Source> {
    // A continued line starts with a blank; embedded keys are of that form and are not looked at.
    let fields: HashMap<String, &str> = text
        .lines()
        .filter(|line| !line.starts_with([' ', '\t']))
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim()))
        .collect();
    let words = |name: &str| -> Vec<String> {
        fields.get(name).map(|v| v.split_whitespace().map(str::to_owned).collect()).unwrap_or_default()
    };
    let is_off = matches!(fields.get("enabled").copied(), Some("no" | "false" | "0"));
    (!is_off && words("types").iter().any(|kind| kind == "deb")).then(|| Source {
        uris: words("uris"),
        suites: words("suites"),
        components: words("components"),
        signed_by: fields.get("signed-by").copied().and_then(keyring_file),
    })
}

/// `Signed-By` may be a file, a fingerprint or a key; only a file is carried over.
fn keyring_file(value: &str) -> Option<PathBuf> {
    value.starts_with('/').then(|| value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOKWORM: &str = "ID=debian\nVERSION_CODENAME=bookworm\n";

    fn find(os: &str, is_list: bool, text: &str) -> Option<Archive> {
        Archive::find(os, [(is_list, text.to_owned())].into_iter())
    }

    #[test]
    fn stanza_of_the_own_release_is_taken_and_security_is_not() {
        let text = "Types: deb\nURIs: http://mirror.example/sec\nSuites: bookworm-security\nComponents: main\n\n\
            # a comment inside\nTypes: deb deb-src\nURIs: http://mirror.example/debian http://second.example\n\
            Suites: bookworm bookworm-updates\nComponents: main\nSigned-By: /usr/share/keyrings/k.gpg\n";
        let archive = find(BOOKWORM, false, text).unwrap();
        assert_eq!(archive.uri, "http://mirror.example/debian");
        assert_eq!(archive.signed_by, Some("/usr/share/keyrings/k.gpg".into()));
        assert_eq!(archive.distribution, Distribution::Debian);
    }

    #[test]
    fn one_line_form_with_options() {
        let text = "# deb http://no.example x main\ndeb-src http://no.example bookworm main\n\
            deb [arch=amd64 signed-by=/k.gpg] mirror+file:/etc/apt/mirrors/debian.list bookworm main contrib\n";
        let archive = find(BOOKWORM, true, text).unwrap();
        assert_eq!(archive.uri, "mirror+file:/etc/apt/mirrors/debian.list");
        assert_eq!(archive.signed_by, Some("/k.gpg".into()));
    }

    #[test]
    fn quotes_and_ubuntu() {
        let text = "deb http://mirror.example/ubuntu noble main universe";
        let archive = find("ID=ubuntu\nVERSION_CODENAME=\"noble\"\n", true, text).unwrap();
        assert_eq!((archive.distribution, archive.codename.as_str()), (Distribution::Ubuntu, "noble"));
    }

    #[test]
    fn disabled_and_foreign_sources_are_not_taken() {
        let off = "Enabled: no\nTypes: deb\nURIs: http://x.example\nSuites: bookworm\nComponents: main\n";
        assert_eq!(find(BOOKWORM, false, off), None);
        let other = "Types: deb\nURIs: http://x.example\nSuites: stable\nComponents: main\n";
        assert_eq!(find(BOOKWORM, false, other), None);
        assert_eq!(find("ID=fedora\n", true, "deb http://x.example bookworm main"), None);
    }

    #[test]
    fn embedded_key_is_not_mistaken_for_a_file() {
        let text = "Types: deb\nURIs: http://x.example\nSuites: bookworm\nComponents: main\nSigned-By:\n \
            -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n";
        assert_eq!(find(BOOKWORM, false, text).unwrap().signed_by, None);
    }
}
