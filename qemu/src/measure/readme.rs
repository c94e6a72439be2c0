//! `weir measure readme`: writes the README's table of figures anew, from a template and the result files.
//!
//! **Invariant: a figure of the table is one of a result file's, or stands in the template with the command that shows it**; a
//! test compares the README with what is made here.
//!
//! In the template (`bench/figures.md`), `{packets/machine=q35-vtd,burst=32/instructions_per_frame}` is looked up in
//! `bench/results/packets.json`, which `./weir measure packets --json bench/results/packets.json` has written: a key of an
//! object, or the element of a list that has these values. `{a / b}` is a ratio.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::workspace;

/// What is around the table.
const BEGIN: &str = "<!-- made by `./weir measure readme` from bench/figures.md and bench/results -->\n";
const END: &str = "<!-- end of figures -->\n";

/// Writes the README anew.
///
/// # Errors
/// The template names a figure that no result file has; a file cannot be read or written.
pub(super) fn run() -> Result<ExitCode> {
    let path = workspace::root().join("README.md");
    fs::write(&path, made()?).with_context(|| format!("cannot write {}", path.display()))?;
    println!("README.md has the figures of bench/results");
    Ok(ExitCode::SUCCESS)
}

/// The README as it must be.
///
/// # Errors
/// As for `weir measure readme`.
pub fn made() -> Result<String> {
    let root = workspace::root();
    let read =
        |name: &str| fs::read_to_string(root.join(name)).with_context(|| format!("cannot read {name}"));
    let readme = read("README.md")?;
    let (head, rest) = readme.split_once(BEGIN).context("README.md has no place for the figures")?;
    let (_, tail) = rest.split_once(END).context("README.md has no end of the figures")?;
    let table = filled(&read("bench/figures.md")?, &root.join("bench/results"))?;
    Ok([head, BEGIN, &table, END, tail].concat())
}

/// The template with its figures.
fn filled(template: &str, results: &Path) -> Result<String> {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (expression, after) = after.split_once('}').context("bench/figures.md: a `{` without its `}`")?;
        text += before;
        text +=
            &figure(expression, results).with_context(|| format!("bench/figures.md: {{{expression}}}"))?;
        rest = after;
    }
    Ok(text + rest)
}

fn figure(expression: &str, results: &Path) -> Result<String> {
    match expression.split_once(" / ") {
        None => Ok(shown(value(expression, results)?)),
        Some((above, below)) => Ok(format!("{:.2}", value(above, results)? / value(below, results)?)),
    }
}

/// The number that a path leads to.
fn value(path: &str, results: &Path) -> Result<f64> {
    let (file, steps) = path.split_once('/').context("a path is FILE/STEP/…")?;
    let file = results.join(file).with_extension("json");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let all: Value = serde_json::from_str(&text)?;
    let found = steps.split('/').try_fold(&all, |value, step| self::step(value, step))?;
    found.as_f64().context("that is no number")
}

fn step<'a>(value: &'a Value, step: &str) -> Result<&'a Value> {
    if !step.contains('=') {
        return value.get(step).with_context(|| format!("there is no `{step}`"));
    }
    let has = |element: &Value, condition: &str| {
        let (key, wanted) = condition.split_once('=')?;
        let found = element.get(key)?;
        Some(found.as_str().map_or_else(|| found.to_string(), str::to_owned) == wanted)
    };
    let list = value.as_array().context("there is no list")?;
    let mut found =
        list.iter().filter(|element| step.split(',').all(|condition| has(element, condition) == Some(true)));
    let Some(first) = found.next() else { bail!("nothing has {step}") };
    ensure!(found.next().is_none(), "several have {step}");
    Ok(first)
}

/// A figure for people: two decimals below ten, else whole, thousands apart.
fn shown(value: f64) -> String {
    if value.abs() < 10.0 && value.fract() != 0.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_looked_up() {
        let folder = tempfile::tempdir().unwrap();
        let rows = r#"[{"machine":"a","burst":1,"n":1234567.4},{"machine":"a","burst":32,"n":5.25,"peer":{"n":10}}]"#;
        fs::write(folder.path().join("rows.json"), rows).unwrap();
        let filled = |template| filled(template, folder.path()).map_err(|error| format!("{error:#}"));
        assert_eq!(filled("x {rows/burst=1/n} y"), Ok("x 1,234,567 y".into()));
        assert_eq!(filled("{rows/machine=a,burst=32/n}"), Ok("5.25".into()));
        assert_eq!(filled("{rows/burst=32/n / rows/burst=32/peer/n}"), Ok("0.53".into()));
        for wrong in
            ["{rows/burst=2/n}", "{rows/machine=a/n}", "{rows/burst=1/m}", "{other/n}", "{rows/burst=1"]
        {
            assert!(filled(wrong).unwrap_err().contains("figures.md"), "{wrong}");
        }
    }
}
