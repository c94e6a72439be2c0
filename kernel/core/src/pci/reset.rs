//! Resetting one function: function-level reset (PCIe 6.0 §6.6.2 "Function Level Reset"), else a reset of the bus it
//! is alone on (§6.6.1 "Conventional Reset").
//!
//! **Invariant: after a reset, done or failed, the function does not master the bus and every interrupt of it is
//! masked; no other function was reset. Nothing here waits**: a reset takes 100 ms to 1.3 s, unless it is known of the
//! function that it needs less, so it is a value that says when it wants to be looked at next.
//!
//! Knows no reset through power states: a function with neither of the two has none.

use pci_types::{CommandRegister, PciAddress};

use super::bar::ENDPOINT_BARS;
use super::config::{Config, ConfigSpace};
use super::enumerate::Inventory;
use super::error::PciError;
use super::function::{Function, Header, enable_acs};
use super::registers::{AdvancedFeaturesControl, BridgeControl, DeviceControl, MsixControl, offset};
use crate::wait::TimedOut;

/// How long requests of the function may stay unanswered before it is reset all the same. Completion timeouts
/// end by default within 50 ms (PCIe 6.0 §2.8 "Completion Timeout Mechanism").
const PENDING_LIMIT_US: u64 = 100_000;
/// Time between two looks for unanswered requests.
const PENDING_LOOK_US: u64 = 1_000;
/// How long a bus is held in reset, at least.
const BUS_RESET_US: u64 = 2_000;
/// How long after that it may still ask for retries (§6.6.1).
const READY_LIMIT_US: u64 = 1_000_000;
/// Time between two tries.
const READY_LOOK_US: u64 = 10_000;

/// How a function is reset, and where the registers for it are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Express { offset: u16 },
    AdvancedFeatures { offset: u16 },
    Bus { bridge: PciAddress },
}

/// Where a reset is; times are on the caller's clock.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Requests of it may still be unanswered.
    Draining { limit_us: u64 },
    /// Its bus is held in reset.
    Held { until_us: u64 },
    /// It must be left alone.
    Settling { until_us: u64 },
    /// It may ask for retries.
    Answering { limit_us: u64 },
}

/// A reset under way: nothing may be asked of the function until [`PendingReset::step`] says that it is done.
#[must_use = "a reset must be finished"]
#[derive(Debug)]
pub struct PendingReset {
    function: Function,
    method: Method,
    saved: Saved,
    phase: Phase,
    /// How long after the reset the function must be left alone.
    settle_us: u64,
}

/// How far a reset is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// To be looked at again at this time, in microseconds on the caller's clock.
    WaitUntil(u64),
    /// The function may be used. Where its registers are, how large its packets may be and its access control are
    /// put back; it decodes memory as before but does not master the bus; MSI is off and forgotten, and MSI-X as
    /// it was but with the function mask set and an empty table.
    Done,
}

impl Inventory {
    /// Whether a function can be reset without any other. A bridge never can.
    #[must_use]
    pub fn has_reset(&self, index: usize) -> bool {
        self.reset_method(index).is_some()
    }

    /// Stops a function's transfers, for a reset that [`PendingReset::step`] then performs. The function is left alone for
    /// `settle_us` after it: 100 ms for one of which nothing else is known (PCIe 6.0 §6.6.2).
    ///
    /// # Errors
    ///
    /// [`PciError::NotPresent`] where there is no function `index` or no way to reset it, [`PciError::Vanished`].
    pub fn begin_reset(
        &self,
        index: usize,
        space: &dyn ConfigSpace,
        now_us: u64,
        settle_us: u64,
    ) -> Result<PendingReset, PciError> {
        let method = self.reset_method(index).ok_or(PciError::NotPresent)?;
        let function = self.functions[index];
        let config = function.present(space)?;
        let saved = Saved::read(&function, config);
        config.set_command(CommandRegister::INTERRUPT_DISABLE);
        let phase = Phase::Draining { limit_us: now_us.saturating_add(PENDING_LIMIT_US) };
        Ok(PendingReset { function, method, saved, phase, settle_us })
    }

    fn reset_method(&self, index: usize) -> Option<Method> {
        let function = self.functions.get(index)?;
        if function.header != Header::Endpoint || function.is_malformed {
            return None; // a bridge would forget its bus numbers and windows
        }
        let capabilities = &function.capabilities;
        if let Some(express) = capabilities.express.filter(|express| express.has_flr) {
            return Some(Method::Express { offset: express.offset });
        }
        if let Some(offset) = capabilities.advanced_features_flr {
            return Some(Method::AdvancedFeatures { offset });
        }
        let bridge = function.parent?;
        let is_alone = self.functions.iter().filter(|other| other.parent == Some(bridge)).count() == 1;
        is_alone.then(|| Method::Bus { bridge: self.functions[bridge].address })
    }
}

impl PendingReset {
    /// Does what can be done at `now_us`; cheap, to be called at the time it says or later.
    ///
    /// # Errors
    ///
    /// [`PciError::TimedOut`] where the function does not answer within 1.1 s of the reset, [`PciError::Vanished`]
    /// where another one does. The function must then not be used.
    pub fn step(&mut self, space: &dyn ConfigSpace, now_us: u64) -> Result<Progress, PciError> {
        let config = Config::new(space, self.function.address);
        let after = |us| now_us.saturating_add(us);
        match self.phase {
            // Late answers could reach the function after its reset; past the limit none will come (§6.6.2).
            Phase::Draining { limit_us } if now_us < limit_us && self.function.read_pending(config) => {
                return Ok(Progress::WaitUntil(after(PENDING_LOOK_US)));
            }
            Phase::Held { until_us } | Phase::Settling { until_us } if now_us < until_us => {
                return Ok(Progress::WaitUntil(until_us));
            }
            Phase::Draining { .. } => {
                self.phase = self.method.initiate(config, space, now_us, self.settle_us);
            }
            Phase::Held { .. } => {
                self.method.hold_bus(space, false);
                self.phase = Phase::Settling { until_us: after(self.settle_us) };
            }
            Phase::Settling { .. } => self.phase = Phase::Answering { limit_us: after(READY_LIMIT_US) },
            Phase::Answering { limit_us } if !self.function.answers(config) => {
                if now_us >= limit_us {
                    Err(TimedOut { what: "function reset", limit_us: READY_LIMIT_US })?;
                }
                return Ok(Progress::WaitUntil(after(READY_LOOK_US)));
            }
            Phase::Answering { .. } => {
                let config = self.function.present(space)?;
                self.saved.restore(&self.function, config);
                return Ok(Progress::Done);
            }
        }
        self.step(space, now_us)
    }
}

impl Function {
    /// Whether it can be reset by function-level reset.
    #[must_use]
    pub fn has_flr(&self) -> bool {
        let express = self.capabilities.express.is_some_and(|express| express.has_flr);
        self.header == Header::Endpoint && (express || self.capabilities.advanced_features_flr.is_some())
    }

    /// Whether requests of it are still unanswered; a function that cannot tell has none.
    fn read_pending(&self, config: Config) -> bool {
        if let Some(express) = self.capabilities.express {
            return DeviceControl::from_bits(config.read(express.offset + 8)).is_pending();
        }
        let control = |at| AdvancedFeaturesControl::from_bits(config.read(at + 4));
        self.capabilities.advanced_features_flr.is_some_and(|at| control(at).is_pending())
    }
}

impl Method {
    fn initiate(self, config: Config, space: &dyn ConfigSpace, now_us: u64, settle_us: u64) -> Phase {
        match self {
            Method::Express { offset } => {
                let control = DeviceControl::from_bits(config.read(offset + 8));
                config.write(offset + 8, control.with_errors(0).with_initiate_flr(true).into_bits());
            }
            Method::AdvancedFeatures { offset } => {
                config.write(offset + 4, AdvancedFeaturesControl::new().with_initiate_flr(true).into_bits());
            }
            Method::Bus { .. } => {
                self.hold_bus(space, true);
                return Phase::Held { until_us: now_us.saturating_add(BUS_RESET_US) };
            }
        }
        Phase::Settling { until_us: now_us.saturating_add(settle_us) }
    }

    /// Puts the function's bus into reset or lets it go, where that is the method.
    fn hold_bus(self, space: &dyn ConfigSpace, is_held: bool) {
        let Method::Bus { bridge } = self else { return };
        let bridge = Config::new(space, bridge);
        let control = BridgeControl::from_bits(bridge.read_half(offset::BRIDGE_CONTROL));
        let control = control.with_discard_status(false).with_resets_bus(is_held);
        bridge.write_half(offset::BRIDGE_CONTROL, control.into_bits());
    }
}

/// What a reset clears and the function needs to work again.
#[derive(Debug)]
struct Saved {
    command: CommandRegister,
    bars: [u32; ENDPOINT_BARS as usize],
    /// Of the device control register.
    device_settings: Option<u16>,
    msix: Option<MsixControl>,
}

impl Saved {
    fn read(function: &Function, config: Config) -> Saved {
        let capabilities = &function.capabilities;
        let mut bars = [0; ENDPOINT_BARS as usize];
        for (at, bar) in bar_offsets().zip(&mut bars) {
            *bar = config.read(at);
        }
        let device_control = |offset| DeviceControl::from_bits(config.read(offset + 8));
        Saved {
            command: config.command(),
            bars,
            device_settings: capabilities.express.map(|express| device_control(express.offset).settings()),
            msix: capabilities.msix.map(|msix| MsixControl::from_bits(config.read_half(msix.offset + 2))),
        }
    }

    fn restore(&self, function: &Function, config: Config) {
        let capabilities = &function.capabilities;
        for (at, bar) in bar_offsets().zip(self.bars) {
            config.write(at, bar);
        }
        if let (Some(express), Some(settings)) = (capabilities.express, self.device_settings) {
            config.write(express.offset + 8, DeviceControl::new().with_settings(settings).into_bits());
        }
        if let (Some(msix), Some(control)) = (capabilities.msix, self.msix) {
            config.write_half(msix.offset + 2, control.with_is_masked(true).into_bits());
        }
        if let Some(acs) = capabilities.acs {
            enable_acs(config, acs);
        }
        config.write(offset::ROM, config.read(offset::ROM) & !1);
        let command = self.command.difference(CommandRegister::BUS_MASTER_ENABLE);
        config.set_command(command | CommandRegister::INTERRUPT_DISABLE);
    }
}

fn bar_offsets() -> impl Iterator<Item = u16> {
    (0..ENDPOINT_BARS).map(|number| offset::BARS + 4 * u16::from(number))
}
