//! How long clients of `kv` wait when something is ended and comes again: the program that drives the device for it, or `kv`
//! itself. Both on a tap's link ([`crate::namespace`]).
//!
//! **Invariant: a time is taken from before the supervisor is told until a client has the answer**; nothing in between is left
//! out, neither the console nor the client's own connecting.
//!
//! Reading order: this file · `client`.

mod client;

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

pub use client::{Client, Load, Paced};

use crate::guest::{Guest, Setup};
use crate::namespace::{NEAR, TAP};

/// Where clients find `kv`.
const PORT: u16 = 6379;
/// How long a client tries to connect before it tries again, and waits for an answer.
const TRY: Duration = Duration::from_millis(20);
const ANSWER: Duration = Duration::from_millis(100);
const TRY_AGAIN: Duration = Duration::from_millis(1);
/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(30);
/// A life so long is started again at once (`apps/init/logic`, back-off).
const LIFE: Duration = Duration::from_millis(1200);
/// Answers after which the paced client counts as served again.
const SERVED: u64 = 20;

/// A machine with `kv`, on the link of this namespace.
pub struct Served {
    /// The machine.
    pub guest: Guest,
    /// How often the switch was replaced, or `kv` killed.
    times: u64,
}

impl Served {
    /// Boots, and waits until `kv` answers. `setup` has no network yet; the first device is the link's.
    ///
    /// # Errors
    /// It does not build, start or answer.
    pub fn boot(setup: Setup, others: &[String]) -> Result<Served> {
        let setup = others.iter().cloned().fold(setup.network(TAP.into()), Setup::network);
        let (mut guest, _) = setup.boot()?;
        guest.status_until("serving", |status| status.app("kv").is_some_and(|app| app.ready))?;
        let served = Served { guest, times: 0 };
        served.first_answer("PING", "+PONG")?;
        Ok(served)
    }

    /// Where clients find `kv`.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (NEAR, PORT).into()
    }

    /// Asks on new connections until the answer is `wanted`; how long that took.
    fn first_answer(&self, command: &str, wanted: &str) -> Result<Duration> {
        let start = Instant::now();
        loop {
            let mut client = Client::connect(self.address(), TRY, ANSWER);
            if client.as_mut().is_ok_and(|client| client.ask(command).is_ok_and(|said| said == wanted)) {
                return Ok(start.elapsed());
            }
            self.guest.check(start.elapsed() < LIMIT, &format!("{command} is not answered with {wanted}"))?;
            thread::sleep(TRY_AGAIN);
        }
    }

    /// Has the other version of the switch take the place of the one that runs; the longest wait of `paced` meanwhile.
    ///
    /// # Errors
    /// It does not come, or nothing is answered any more.
    pub fn replace_switch(&mut self, paced: &Paced) -> Result<Duration> {
        paced.longest(SERVED)?;
        self.times += 1;
        let version = 1 + self.times % 2;
        let program = if version == 1 { "switch" } else { "switch-2" };
        self.guest.type_line(&format!("replace switch {program}"))?;
        let life = self.times + 1;
        self.guest.console_line(&format!("switch: version {version}, in its life {life}"), LIMIT)?;
        paced.longest(SERVED).map_err(|error| self.guest.failure(&format!("{error:#}")))
    }

    /// Lets `kv` live for a while, then kills it, which the supervisor starts again; the time until the new one, which knows nothing any more, has answered
    /// its first request.
    ///
    /// # Errors
    /// It does not come back.
    pub fn kill_kv(&mut self) -> Result<Duration> {
        thread::sleep(LIFE);
        self.times += 1;
        self.first_answer(&format!("SET life {}", self.times), "+OK")?;
        let start = Instant::now();
        self.guest.type_line("kill kv")?;
        self.first_answer("GET life", "$-1")?;
        let took = start.elapsed();
        let status = self.guest.status()?;
        let app = status.app("kv").context("the report lacks kv")?;
        self.guest.check(app.restarts == self.times, &format!("not one life per kill: {app:?}"))?;
        Ok(took)
    }
}
