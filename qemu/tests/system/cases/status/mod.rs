//! The status page: what a browser, a script and Prometheus see, and the button.

mod browser;

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use weir_runner::guest::{Guest, Setup};
use weir_runner::workspace;

use super::{Case, web};
use browser::Browser;

pub(super) const CASES: &[(&str, Case)] = &[
    ("status::a_rogue_is_stopped_and_told", a_rogue_is_stopped_and_told),
    ("status::page_json_and_metrics_say_the_same", page_json_and_metrics_say_the_same),
    ("status::a_browser_sees_live_numbers_and_the_attack", a_browser_sees_live_numbers_and_the_attack),
    ("status::only_the_button_starts_the_rogue", only_the_button_starts_the_rogue),
];

/// How long a line may take to come.
const LIMIT: Duration = Duration::from_secs(20);
/// Accesses that the rogue tries.
const ACCESSES: u64 = 9;

/// What the button starts: each access blocked, told to its owner, and nothing changed.
fn a_rogue_is_stopped_and_told() -> Result<()> {
    let (mut guest, _) = Setup::new("rogue").edu().boot()?;
    guest.console_line("rogue: blocked: 0000:01:00.0 write to 0x200000, reason 0x5", LIMIT)?;
    guest.console_line("rogue: blocked: 0000:01:00.0 read of 0xdeadd000, reason 0x6", LIMIT)?;
    guest.console_line("rogue: 9 accesses tried, 9 told as blocked", LIMIT)?;
    guest.console_line("app rogue exited", LIMIT)?;
    let status = guest.status()?;
    let rogue = status.app("rogue").cloned().unwrap_or_default();
    let is_as_told = rogue.state == "exited" && rogue.code == 0 && rogue.iommu_faults == ACCESSES;
    guest.check(is_as_told, &format!("{status:?}"))?;
    guest.power_off()
}

fn boot() -> Result<(Guest, u16)> {
    web::boot(Setup::new("status").edu(), "status")
}

fn json(port: u16) -> Result<Value> {
    Ok(serde_json::from_slice(&web::curl(&["--fail", &format!("http://127.0.0.1:{port}/status.json")])?)?)
}

/// The samples of `/metrics`: name with labels, value.
fn metrics(port: u16) -> Result<BTreeMap<String, f64>> {
    let text = String::from_utf8(web::curl(&["--fail", &format!("http://127.0.0.1:{port}/metrics")])?)?;
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').with_context(|| format!("no value: {line}"))?;
            Ok((name.to_owned(), value.parse().with_context(|| format!("no number: {line}"))?))
        })
        .collect()
}

fn page_json_and_metrics_say_the_same() -> Result<()> {
    let (mut guest, port) = boot()?;
    let page = web::curl(&[&format!("http://127.0.0.1:{port}/")])?;
    let source = fs::read(workspace::root().join("apps/status/logic/src/page.html"))?;
    guest.check(page == source, "the page is the page")?;
    // A second snapshot, so that the first requests are in it.
    std::thread::sleep(Duration::from_millis(2500));
    let (first, samples, second) = (json(port)?, metrics(port)?, json(port)?);
    guest.check(first["iommu"] == "vtd-legacy" && first["confined"] == true, &first.to_string())?;
    guest.check(first["startable"] == "rogue", &first.to_string())?;
    let (owner, after) = (&first["owners"][0], &second["owners"][0]);
    guest.check(owner["name"] == "status" && owner["devices"][0] == "0000:01:00.0", &owner.to_string())?;
    guest.check(owner["data_path_kernel_entries"] == 0, &owner.to_string())?;
    let labels = "owner=\"status\",device=\"0000:01:00.0\"";
    let sample = |name: &str| samples.get(name).copied().with_context(|| format!("no {name}"));
    let packets = sample(&format!("weir_packets_total{{{labels},direction=\"rx\"}}"))?;
    let bounds = [owner, after].map(|owner| owner["rx_packets"].as_f64().unwrap_or(-1.0));
    guest.check(
        bounds[0] > 5.0 && (bounds[0]..=bounds[1]).contains(&packets),
        &format!("{packets} in {bounds:?}"),
    )?;
    guest.check(sample(&format!("weir_data_path_kernel_entries_total{{{labels}}}"))? == 0.0, "entries")?;
    guest.check(
        sample("weir_iommu_faults_total{owner=\"rogue\",device=\"0000:02:00.0\"}")? == 0.0,
        "faults",
    )?;
    guest.check(sample("weir_request_duration_seconds_count")? >= 2.0, "its own requests are counted")?;
    let capture = web::curl(&["--fail", &format!("http://127.0.0.1:{port}/capture.pcap")])?;
    let question = b"GET /capture.pcap HTTP";
    guest.check(capture.starts_with(&[0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0]), "a pcap file")?;
    guest.check(capture.windows(question.len()).any(|bytes| bytes == question), "with what was asked")?;
    // What the supervisor reports is what it publishes.
    let reported = guest.counted("status", |app| app.rx_packets > 0)?;
    guest.check((reported.rx_packets as f64) >= packets, &format!("{reported:?}"))?;
    guest.power_off()
}

/// Numbers that move, plots, a phone's width; then the button, and blocked accesses appear.
fn a_browser_sees_live_numbers_and_the_attack() -> Result<()> {
    let (guest, port) = boot()?;
    let mut browser = Browser::open(&format!("http://127.0.0.1:{port}/"))?;
    let see =
        |guest: &Guest, result: Result<()>| result.map_err(|error| guest.failure(&format!("{error:#}")));
    see(&guest, browser.wait_for("document.getElementById('iommu').textContent === 'vtd-legacy'"))?;
    let count = "Number(document.getElementById('packets').textContent.replaceAll(',', ''))";
    let before = browser.value(count)?.as_f64().unwrap_or(0.0);
    see(&guest, browser.wait_for(&format!("{count} > {before}")))?;
    see(&guest, browser.wait_for("document.querySelectorAll('#plot-packets polyline').length === 2"))?;
    see(&guest, browser.wait_for("document.getElementById('ratio').textContent === '0.000'"))?;
    see(
        &guest,
        browser.wait_for("/[1-9]\\d* requests/.test(document.getElementById('latency').textContent)"),
    )?;
    let is_narrow =
        browser.value("innerWidth <= 500 && document.documentElement.scrollWidth <= innerWidth")?;
    guest.check(is_narrow == true, "the page is wider than a phone")?;
    let faults = "document.getElementById('faults').textContent";
    guest.check(browser.value(faults)? == "0", "nothing was blocked yet")?;
    browser.value("document.getElementById('attack').click()")?;
    see(&guest, browser.wait_for(&format!("{faults} === '{ACCESSES}'")))?;
    let rows = "document.getElementById('list').innerText";
    see(&guest, browser.wait_for(&format!("{rows}.includes('write to 0x200000')")))?;
    see(&guest, browser.wait_for(&format!("{rows}.includes('no permission to read there')")))?;
    see(&guest, browser.wait_for(&format!("/rogue\\s+0000:02:00.0/.test({rows})")))?;
    guest.check(browser.value("document.getElementById('trouble').hidden")? == true, "an alert is shown")?;
    guest.power_off()?;
    // The page says that nobody answers.
    browser.wait_for("document.getElementById('trouble').textContent.startsWith('No answer for')")
}

fn only_the_button_starts_the_rogue() -> Result<()> {
    let (mut guest, port) = boot()?;
    let url = format!("http://127.0.0.1:{port}/attack");
    let code = ["--output", "/dev/null", "--write-out", "%{http_code}"];
    let ask = |words: &[&str]| {
        Ok::<_, anyhow::Error>(String::from_utf8(web::curl(&[&code[..], words, &[&url]].concat())?)?)
    };
    guest.check(ask(&[])? == "405" && ask(&["--request", "POST"])? == "403", "no button, no rogue")?;
    std::thread::sleep(Duration::from_millis(2500));
    let rogue = guest.status()?.app("rogue").cloned().unwrap_or_default();
    guest.check(rogue.state == "waiting" && rogue.iommu_faults == 0, &format!("{rogue:?}"))?;
    let button = ["--request", "POST", "--header", "X-Weir-Button: attack"];
    // Twenty times at once: it is started once.
    for _ in 0..20 {
        guest.check(ask(&button)? == "202", "the button is heard")?;
    }
    guest.console_line("app rogue exited", LIMIT)?;
    // Heard again after a pause: a second life.
    std::thread::sleep(Duration::from_millis(3500));
    let lives = guest.status()?.app("rogue").map_or(0, |app| app.restarts);
    guest.check(lives <= 1, &format!("started {lives} times more by one burst"))?;
    guest.check(ask(&button)? == "202", "the button is heard")?;
    let again = |app: &weir_runner::report::App| app.iommu_faults >= 2 * ACCESSES;
    let app = guest.counted("rogue", again)?;
    guest.check(app.code == 0, &format!("{app:?}"))?;
    guest.power_off()
}
