//! Chromium without a screen, by its debugging protocol over pipes (Chrome DevTools Protocol): JSON messages, each ended by
//! a zero byte.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;
use weir_runner::{child, tools};

/// How long an answer may take; the machine may be busy.
const LIMIT: Duration = Duration::from_secs(60);
/// Time between two looks at a page.
const LOOK: Duration = Duration::from_millis(100);

/// A browser with one page.
pub(super) struct Browser {
    process: Child,
    words: ChildStdin,
    messages: Receiver<Value>,
    sent: u64,
    session: Option<String>,
    _profile: TempDir,
}

impl Browser {
    /// Starts it and opens `url`, on a screen of a phone's size.
    pub(super) fn open(url: &str) -> Result<Browser> {
        let script = tools::chromium()?;
        let profile = tempfile::tempdir()?;
        // It reads commands from descriptor 3 and answers on 4.
        let mut process = child::bound("sh")
            .args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1", "sh"])
            .arg(&script)
            .args(["--no-sandbox", "--no-zygote", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--remote-debugging-pipe", "--window-size=390,844"])
            .arg(format!("--browser-subprocess-path={}", script.display()))
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the browser")?;
        let words = process.stdin.take().context("piped above")?;
        let mut answers = BufReader::new(process.stdout.take().context("piped above")?);
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while answers.read_until(0, &mut message).is_ok_and(|bytes| bytes > 0) {
                let text = message.strip_suffix(&[0]).unwrap_or(&message);
                // A receiver that is gone hears nothing more.
                if serde_json::from_slice(text).is_ok_and(|value| sender.send(value).is_err()) {
                    return;
                }
                message.clear();
            }
        });
        let mut browser = Browser { process, words, messages, sent: 0, session: None, _profile: profile };
        let target = browser.call("Target.createTarget", &json!({ "url": url }))?;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", &attach)?;
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        Ok(browser)
    }

    /// Has a method carried out; gives its result.
    fn call(&mut self, method: &str, params: &Value) -> Result<Value> {
        self.sent += 1;
        let mut message = json!({ "id": self.sent, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        write!(self.words, "{message}\0").context("the browser has ended")?;
        self.words.flush()?;
        let until = Instant::now() + LIMIT;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let answer =
                self.messages.recv_timeout(left).with_context(|| format!("no answer to {method}"))?;
            if answer["id"] != self.sent {
                continue;
            }
            match answer.get("error") {
                Some(error) => bail!("{method}: {error}"),
                None => return Ok(answer["result"].clone()),
            }
        }
    }

    /// The value of an expression in the page.
    pub(super) fn value(&mut self, expression: &str) -> Result<Value> {
        let params = json!({ "expression": expression, "returnByValue": true });
        let answer = self.call("Runtime.evaluate", &params)?;
        match answer.get("exceptionDetails") {
            Some(details) => bail!("{expression}: {details}"),
            None => Ok(answer["result"]["value"].clone()),
        }
    }

    /// Waits until an expression in the page is true. Before the page is there, most cannot be evaluated.
    pub(super) fn wait_for(&mut self, expression: &str) -> Result<()> {
        let until = Instant::now() + LIMIT;
        loop {
            let value = self.value(expression);
            if value.as_ref().is_ok_and(|value| value == true) {
                break;
            }
            if Instant::now() > until {
                let text = self.value("document.body.innerText")?;
                bail!("the page does not come to `{expression}` ({value:?}); it says: {text}");
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended by itself; what it started ends with its pipes.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
