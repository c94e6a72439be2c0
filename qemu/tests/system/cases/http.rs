//! Files over HTTP, as clients see them: curl, wrk, and clients of our own that are slow or wrong.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use weir_runner::guest::Setup;
use weir_runner::{child, tools, workspace};

use super::tap::{LINK, NEAR, boot_near, inside};
use super::{Case, web};

pub(super) const CASES: &[(&str, Case)] = &[
    ("http::files_are_what_they_are", files_are_what_they_are),
    ("http::a_connection_stays", a_connection_stays),
    ("http::slow_clients_hold_up_nobody", slow_clients_hold_up_nobody),
    ("tap::http::wrk_finds_no_error_and_no_kernel_entry", || {
        // Fetched here: inside there is no other network.
        tools::wrk()?;
        tools::curl()?;
        inside(
            "tap::http::wrk_finds_no_error_and_no_kernel_entry",
            LINK,
            wrk_finds_no_error_and_no_kernel_entry,
        )
    }),
];

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(30);

fn setup() -> Setup {
    Setup::new("http")
}

/// Every file of `docs`, byte by byte; versions, heads, and names that are none.
fn files_are_what_they_are() -> Result<()> {
    let (guest, port) = web::boot(setup(), "httpd")?;
    let url = |name: &str| format!("http://127.0.0.1:{port}/{name}");
    let mut seen = 0;
    for entry in fs::read_dir(workspace::root().join("docs"))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).context("a name")?;
        let body = web::curl(&[&url(name)])?;
        guest.check(body == fs::read(&path)?, &format!("{name} is not what it is: {} bytes", body.len()))?;
        seen += 1;
    }
    guest.check(seen > 3, "docs has files")?;
    let head = String::from_utf8(web::curl(&["--head", &url("architecture.svg")])?)?;
    guest.check(head.contains("Content-Type: image/svg+xml\r\n"), &head)?;
    let tag = head.lines().find_map(|line| line.strip_prefix("ETag: ")).context("a version")?;
    let known = format!("If-None-Match: {tag}");
    let code = ["--output", "/dev/null", "--write-out", "%{http_code} %{size_download}"];
    let mut answers = Vec::new();
    for words in [
        &["--header", &known, &url("architecture.svg")][..],
        &[&url("other")],
        &["--path-as-is", &url("../docs/architecture.svg")],
        &[&url("%2e%2e/architecture.svg")],
        &["--request", "DELETE", &url("architecture.svg")],
        &["--header", "Host:", &url("architecture.svg")],
        &["--request", "BREW", &url("")],
    ] {
        answers.push(String::from_utf8(web::curl(&[&code[..], words].concat())?)?);
    }
    let codes: Vec<&str> = answers.iter().map(|answer| &answer[..3]).collect();
    guest.check(codes == ["304", "404", "404", "404", "405", "400", "501"], &format!("{answers:?}"))?;
    guest.check(answers[0] == "304 0", &answers[0])?;
    guest.power_off()
}

/// curl needs one connection for all its requests.
fn a_connection_stays() -> Result<()> {
    const REQUESTS: usize = 50;
    let (guest, port) = web::boot(setup(), "httpd")?;
    let url = format!("http://127.0.0.1:{port}/architecture.svg");
    let mut words = vec!["--write-out", "%{num_connects}\n"];
    for _ in 0..REQUESTS {
        words.extend(["--output", "/dev/null", &url]);
    }
    let connects = String::from_utf8(web::curl(&words)?)?;
    let connects: Vec<&str> = connects.lines().collect();
    guest.check(connects.len() == REQUESTS && connects[0] == "1", &format!("{connects:?}"))?;
    guest
        .check(connects[1..].iter().all(|more| *more == "0"), &format!("it connected again: {connects:?}"))?;
    guest.power_off()
}

/// A hundred clients that send a byte now and then; meanwhile others are served, and in the end the slow ones are told.
fn slow_clients_hold_up_nobody() -> Result<()> {
    let (guest, port) = web::boot(setup(), "httpd")?;
    let mut slow: Vec<TcpStream> = (0..100)
        .map(|_| TcpStream::connect(("127.0.0.1", port)).context("a connection"))
        .collect::<Result<_>>()?;
    let url = format!("http://127.0.0.1:{port}/system-calls.md");
    let expected = fs::read(workspace::root().join("docs/system-calls.md"))?;
    let begin = Instant::now();
    for byte in b"GET / HTTP/1." {
        for client in &mut slow {
            // Those that are sent away may refuse it.
            let _ = client.write_all(&[*byte]);
        }
        let body = web::curl(&["--max-time", "20", &url])?;
        guest.check(body == expected, "others are served")?;
        std::thread::sleep(Duration::from_secs(1));
    }
    let mut told = 0;
    for client in &mut slow {
        client.set_read_timeout(Some(LIMIT))?;
        let mut text = Vec::new();
        // Whose last byte came too late sees the connection broken off instead.
        let _ = client.read_to_end(&mut text);
        told += usize::from(text.starts_with(b"HTTP/1.1 408 Request Timeout\r\n"));
    }
    guest.check(told > 50, &format!("{told} of 100 slow clients were told"))?;
    guest.check(begin.elapsed() < Duration::from_secs(120), "slow clients are ended in time")?;
    guest.power_off()
}

/// wrk's figures, and what the kernel had to do with it.
fn wrk_finds_no_error_and_no_kernel_entry() -> Result<()> {
    let mut guest = boot_near(setup())?;
    guest.status_when("a running data path", LIMIT, |status| {
        status.app("httpd").is_some_and(|app| app.ready)
    })?;
    let url = format!("http://{NEAR}/architecture.svg");
    web::curl(&["--output", "/dev/null", &url])?;
    let mut wrk = child::bound(tools::wrk()?);
    wrk.args(["--threads", "1", "--connections", "8", "--duration", "5s", "--latency", &url]);
    let text = String::from_utf8(web::output(&mut wrk)?)?;
    println!("{text}");
    let requests: u64 = text
        .lines()
        .find_map(|line| line.trim().split_once(" requests in "))
        .and_then(|(count, _)| count.parse().ok())
        .context("wrk counts requests")?;
    guest.check(requests > 100, &format!("{requests} requests"))?;
    guest.check(!text.contains("Non-2xx") && !text.contains("Socket errors"), &text)?;
    let app = guest.counted("httpd", |app| app.rx_packets > requests)?;
    let entries = app.data_path_kernel_entries;
    guest.check(entries == 0, &format!("{entries} kernel entries for {requests} requests: {app:?}"))?;
    guest.power_off()
}
