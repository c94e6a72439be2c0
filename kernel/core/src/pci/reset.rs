//! Resetting one function: function-level reset (PCIe 6.0 §6.6.2 "Function Level Reset"), else a reset of the bus it
//! is alone on (§6.6.1 "Conventional Reset").
//!
//! **Invariant: after a reset, done or failed, the function does not master the bus and every interrupt of it is
//! masked; no other function was reset.**
//!
//! Knows no reset through power states: a function with neither of the two has none.

use pci_types::{CommandRegister, PciAddress};

use super::bar::ENDPOINT_BARS;
use super::config::{Config, ConfigSpace};
use super::enumerate::Inventory;
use super::error::PciError;
use super::function::{Function, Header, enable_acs};
use super::registers::{AdvancedFeaturesControl, BridgeControl, DeviceControl, MsixControl, offset};
use crate::wait::{Clock, pause, wait_until};

/// How long requests of the function may stay unanswered before it is reset all the same. Completion timeouts
/// end by default within 50 ms (PCIe 6.0 §2.8 "Completion Timeout Mechanism").
const PENDING_LIMIT_US: u64 = 100_000;
/// How long a bus is held in reset, at least.
const BUS_RESET_US: u64 = 2_000;
/// How long after the reset the function must be left alone.
const RESET_US: u64 = 100_000;
/// How long after that it may still ask for retries (§6.6.1).
const READY_LIMIT_US: u64 = 1_000_000;

/// How a function is reset, and where the registers for it are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Express { offset: u16 },
    AdvancedFeatures { offset: u16 },
    Bus { bridge: PciAddress },
}

/// A reset under way: nothing may be asked of the function until it is finished.
#[must_use = "a reset must be finished"]
#[derive(Debug)]
pub struct PendingReset {
    function: Function,
    saved: Saved,
    started_us: u64,
}

impl Inventory {
    /// Whether a function can be reset without any other. A bridge never can.
    #[must_use]
    pub fn has_reset(&self, index: usize) -> bool {
        self.reset_method(index).is_some()
    }

    /// Resets a function and puts back where its registers are, how large its packets may be and its access control.
    ///
    /// Afterwards it does not master the bus and decodes memory as before; MSI is off and forgotten, and MSI-X as it
    /// was but with the function mask set and an empty table. Takes 100 ms, at most 1.2 s:
    /// [`Inventory::begin_reset`] lets the caller do something else meanwhile.
    ///
    /// # Errors
    ///
    /// As for [`Inventory::begin_reset`] and [`PendingReset::finish`].
    pub fn reset(&self, index: usize, space: &dyn ConfigSpace, clock: &dyn Clock) -> Result<(), PciError> {
        self.begin_reset(index, space, clock)?.finish(space, clock)
    }

    /// Stops a function's transfers, waits for those under way (at most 100 ms) and starts a reset.
    ///
    /// # Errors
    ///
    /// [`PciError::NotPresent`] where there is no function `index` or no way to reset it, [`PciError::Vanished`].
    pub fn begin_reset(
        &self,
        index: usize,
        space: &dyn ConfigSpace,
        clock: &dyn Clock,
    ) -> Result<PendingReset, PciError> {
        let method = self.reset_method(index).ok_or(PciError::NotPresent)?;
        let function = self.functions[index];
        let config = function.present(space)?;
        let saved = Saved::read(&function, config);
        config.set_command(CommandRegister::INTERRUPT_DISABLE);
        // Late answers could reach the function after its reset; past the limit none will come (§6.6.2).
        let _ =
            wait_until("transactions pending", PENDING_LIMIT_US, clock, || !function.read_pending(config));
        method.initiate(config, space, clock);
        Ok(PendingReset { function, saved, started_us: clock.now_us() })
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
    /// Waits for the end of the reset and puts back what it took.
    ///
    /// # Errors
    ///
    /// [`PciError::TimedOut`] where the function does not answer within 1.1 s of the reset, [`PciError::Vanished`]
    /// where another one does. The function must then not be used.
    pub fn finish(self, space: &dyn ConfigSpace, clock: &dyn Clock) -> Result<(), PciError> {
        let elapsed_us = clock.now_us().saturating_sub(self.started_us);
        pause(RESET_US.saturating_sub(elapsed_us), clock);
        let config = Config::new(space, self.function.address);
        wait_until("function reset", READY_LIMIT_US, clock, || config.is_present())?;
        let config = self.function.present(space)?;
        self.saved.restore(&self.function, config);
        Ok(())
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
    fn initiate(self, config: Config, space: &dyn ConfigSpace, clock: &dyn Clock) {
        match self {
            Method::Express { offset } => {
                let control = DeviceControl::from_bits(config.read(offset + 8));
                config.write(offset + 8, control.with_errors(0).with_initiate_flr(true).into_bits());
            }
            Method::AdvancedFeatures { offset } => {
                config.write(offset + 4, AdvancedFeaturesControl::new().with_initiate_flr(true).into_bits());
            }
            Method::Bus { bridge } => {
                let bridge = Config::new(space, bridge);
                let control = BridgeControl::from_bits(bridge.read_half(offset::BRIDGE_CONTROL));
                let control = control.with_discard_status(false);
                bridge.write_half(offset::BRIDGE_CONTROL, control.with_resets_bus(true).into_bits());
                pause(BUS_RESET_US, clock);
                bridge.write_half(offset::BRIDGE_CONTROL, control.with_resets_bus(false).into_bits());
            }
        }
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
