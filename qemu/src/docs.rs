//! `weir docs`: the reference of the system calls, made from the documentation comments of `weir_abi::call`.
//!
//! **Invariant: every call has a section, in the order of the numbers; one without documentation is an error.**
//! Understands that one file's manner of writing, not Rust.

use std::fmt::Write;
use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::workspace;

/// The source, from the workspace's root.
const SOURCE: &str = "kernel/abi/src/call.rs";
/// The reference, from the workspace's root.
const REFERENCE: &str = "docs/system-calls.md";

/// Writes the reference.
///
/// # Errors
/// The source is not written as expected, or the file cannot be written.
pub fn write() -> Result<ExitCode> {
    let file = workspace::root().join(REFERENCE);
    fs::write(&file, reference()?).with_context(|| format!("cannot write {REFERENCE}"))?;
    println!("{}", workspace::shown(&file));
    Ok(ExitCode::SUCCESS)
}

fn reference() -> Result<String> {
    let source = fs::read_to_string(workspace::root().join(SOURCE)).context(SOURCE)?;
    render(&source).context(SOURCE)
}

/// A documented constant.
#[derive(Debug, Default, PartialEq, Eq)]
struct Constant {
    name: String,
    value: String,
    docs: String,
}

impl Constant {
    /// From `pub const NAME: u64 = VALUE;`.
    fn read(line: &str, docs: String) -> Option<Constant> {
        let (name, rest) = line.strip_prefix("pub const ")?.split_once(": ")?;
        let value = rest.split_once(" = ")?.1.strip_suffix(';')?;
        Some(Constant { name: name.into(), value: value.into(), docs })
    }

    /// A call's documentation begins with its form; that of other constants does not.
    fn call(&self) -> Option<Call<'_>> {
        let (form, text) = self.docs.strip_prefix('`')?.split_once('`')?;
        let name = form.split('(').next().filter(|name| name.eq_ignore_ascii_case(&self.name))?;
        Some(Call { number: &self.value, name, form, text: text.trim_start_matches(" — ") })
    }
}

/// A system call.
struct Call<'a> {
    number: &'a str,
    name: &'a str,
    form: &'a str,
    text: &'a str,
}

impl Call<'_> {
    /// What it does, in a few words: the text up to its first pause.
    fn summary(&self) -> String {
        let pauses = [". ", ".\n", "; ", ": ", "\n\n"];
        let end = pauses.iter().filter_map(|pause| self.text.find(pause)).min();
        self.text[..end.unwrap_or(self.text.len())].trim_end_matches('.').replace('\n', " ")
    }

    fn section(&self) -> String {
        let Call { number, name, form, text } = self;
        format!("## {name}\n\n```text\n{number}  {form}\n```\n\n{}\n\n", with_labels(&capitalized(text)))
    }
}

/// The whole reference.
fn render(source: &str) -> Result<String> {
    let head: Vec<&str> =
        source.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim_start).collect();
    let constants = constants(source);
    let calls: Vec<Call<'_>> = constants.iter().filter_map(Constant::call).collect();
    check(&constants, &calls)?;
    let mut page = String::from("# System calls\n\n");
    writeln!(page, "<!-- Made from {SOURCE} by `./weir docs`; change it there. -->\n")?;
    // The first line of the head is the title's.
    writeln!(page, "{}\n", linked(head[1..].join("\n").trim()))?;
    page.push_str("| number | call | |\n|---|---|---|\n");
    for call in &calls {
        writeln!(page, "| {} | [{}](#{}) | {} |", call.number, call.name, call.name, call.summary())?;
    }
    page.push('\n');
    page.extend(calls.iter().map(Call::section));
    page.push_str("## Flags and operations\n\n| constant | value | |\n|---|---|---|\n");
    for constant in constants.iter().filter(|constant| constant.call().is_none() && constant.name != "END") {
        let docs = constant.docs.replace('\n', " ");
        writeln!(page, "| `{}` | {} | {docs} |", constant.name, constant.value)?;
    }
    Ok(page)
}

/// The numbers must follow each other up to `END`: a call whose documentation was not understood would be missing.
fn check(constants: &[Constant], calls: &[Call<'_>]) -> Result<()> {
    let end = constants.iter().find(|constant| constant.name == "END").context("there is no END")?;
    let mut expected = weir_abi::call::LOG_WRITE;
    for call in calls {
        if call.number != format!("{expected:#x}") {
            bail!("{} has number {}, expected was {expected:#x}", call.name, call.number);
        }
        expected += 1;
    }
    if end.value != format!("{expected:#x}") {
        bail!("the documented calls end before {}, END is {}", format_args!("{expected:#x}"), end.value);
    }
    Ok(())
}

/// All constants with the comments above them.
fn constants(source: &str) -> Vec<Constant> {
    let mut constants = Vec::new();
    let mut docs: Vec<&str> = Vec::new();
    for line in source.lines() {
        if let Some(text) = line.strip_prefix("///") {
            docs.push(text.strip_prefix(' ').unwrap_or(text));
        } else {
            constants.extend(Constant::read(line, linked(&docs.join("\n"))));
            docs.clear();
        }
    }
    constants
}

/// Links of rustdoc as plain code: [`crate::info::Quota`] becomes `info::Quota`.
fn linked(text: &str) -> String {
    let text = text.replace("[`crate::", "[`").replace("[`", "`").replace("`]", "`");
    // Code right behind code is one piece.
    text.replace("``", "")
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Errors and cost as paragraphs of their own.
fn with_labels(text: &str) -> String {
    let mut text = text.to_owned();
    for label in ["Errors", "Cost"] {
        for before in [" ", "\n"] {
            text = text.replace(&format!("{before}{label}: "), &format!("\n\n**{label}:** "));
        }
    }
    text.replace("\n\n\n", "\n\n")
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    const SOURCE: &str = "\
//! The calls.
//!
//! Beside [`crate::Error::BadHandle`].

/// `log_write(text, bytes)` — appends a line; cut at [`LINE`].
///
/// Twice [`crate::page::Page::events`]`[slot]`.
/// Errors: `BadAddress`. Cost: one copy.
pub const LOG_WRITE: u64 = 0x1000;

/// One past the highest.
pub const END: u64 = 0x1001;

/// Most bytes
/// at once.
pub const LINE: u64 = 512;
";

    #[test]
    fn a_call_becomes_a_section() {
        let page = render(SOURCE).unwrap();
        let expected = "## log_write\n\n```text\n0x1000  log_write(text, bytes)\n```\n\n\
            Appends a line; cut at `LINE`.\n\nTwice `page::Page::events[slot]`.\n\n\
            **Errors:** `BadAddress`.\n\n**Cost:** one copy.\n\n";
        assert!(page.contains(expected), "{page}");
        assert!(page.contains("| 0x1000 | [log_write](#log_write) | appends a line |\n"), "{page}");
        assert!(page.contains("| `LINE` | 512 | Most bytes at once. |\n"), "{page}");
        assert!(page.contains("\nBeside `Error::BadHandle`.\n"), "{page}");
        assert!(!page.contains("`END`"), "{page}");
    }

    #[test]
    fn a_call_without_documentation_is_an_error() {
        let hole = SOURCE.replace("0x1001;", "0x1002;\n\npub const SILENT: u64 = 0x1001;");
        assert!(render(&hole).unwrap_err().to_string().contains("0x1001"));
        let renamed = SOURCE.replace("`log_write(", "`log_read(");
        assert!(render(&renamed).is_err());
    }

    #[test]
    fn the_reference_is_up_to_date() {
        let written = fs::read_to_string(workspace::root().join(REFERENCE)).unwrap_or_default();
        assert!(written == reference().unwrap(), "{REFERENCE} is stale; type ./weir docs");
    }

    /// Files that `file` links to and that are not there.
    fn broken_links(file: &Path) -> Vec<String> {
        let text = fs::read_to_string(file).unwrap();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#', '\n']).next());
        let is_file = |target: &&str| !target.is_empty() && !target.contains("://");
        let exists = |target: &str| file.parent().is_some_and(|folder| folder.join(target).exists());
        targets.filter(is_file).filter(|target| !exists(target)).map(str::to_owned).collect()
    }

    /// Every page of the tree: folders that hold what was built or fetched are left out.
    fn pages(folder: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                found.extend(pages(&path));
            } else if name.ends_with(".md") {
                found.push(path);
            }
        }
        found
    }

    #[test]
    fn links_lead_somewhere() {
        let pages = pages(workspace::root());
        assert!(pages.len() > 40, "{} pages found", pages.len());
        for page in pages {
            assert_eq!(broken_links(&page), [""; 0], "{}", page.display());
        }
    }
}
