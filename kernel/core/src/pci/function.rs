//! One PCI function: what was found out about it, and switching it on and off.

use pci_types::{CommandRegister, PciAddress};

use super::bar::{self, Bars};
use super::capability::{self, Capabilities, PortType};
use super::config::{Config, ConfigSpace};
use super::error::PciError;
use super::registers::{
    AcsFlags, AcsWord, AtsWord, BridgeControl, BusNumbers, ClassWord, HeaderWord, MsiControl, MsixControl,
    RootControl, offset,
};
use super::sriov;

/// Root Control Register in the PCI Express capability (§7.5.3 "PCI Express Capability Structure").
const ROOT_CONTROL: u16 = 0x1c;

/// A function as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// Where it is.
    pub address: PciAddress,
    /// The bridge it is behind, as an index into the inventory; `None` on a root bus.
    pub parent: Option<usize>,
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
    /// Subsystem vendor id, 0 for a bridge.
    pub subsystem_vendor: u16,
    /// Subsystem id, 0 for a bridge.
    pub subsystem: u16,
    /// `class << 16 | subclass << 8 | programming interface`.
    pub class: u32,
    /// Revision id.
    pub revision: u8,
    /// Endpoint or bridge.
    pub header: Header,
    /// It is one of several in its device.
    pub is_multi_function: bool,
    /// Memory and ports it decodes, as far as they make sense. Empty for a host bridge, whose decoding cannot be turned
    /// off while somebody looks.
    pub bars: Bars,
    /// What it can do. Empty where [`Function::is_malformed`].
    pub capabilities: Capabilities,
    /// What it checks of the transfers that pass it, as it was set.
    pub acs: Option<AcsWord>,
    /// It described itself wrongly, or not at all yet: it is listed, so that nobody is given a page that it decodes, and
    /// kept quiet.
    pub is_malformed: bool,
    /// What it is a virtual function of.
    pub virtual_of: Option<VirtualOf>,
}

/// Whose virtual function one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtualOf {
    /// The physical function.
    pub physical: PciAddress,
    /// Which of its virtual functions, from 0.
    pub number: u16,
}

/// Layout of a function's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// Type 0.
    Endpoint,
    /// Type 1: a bridge to PCI or PCI Express.
    Bridge {
        /// The bus behind it.
        secondary: u8,
        /// The last bus behind it.
        subordinate: u8,
    },
    /// A layout that Weir does not use (2 is CardBus).
    Other(u8),
}

impl Header {
    /// Its number in the header type register.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Header::Endpoint => 0,
            Header::Bridge { .. } => 1,
            Header::Other(number) => number,
        }
    }
}

/// Class of the bridge between CPU and PCI.
const HOST_BRIDGE: u32 = 0x06_00;

impl Function {
    /// Looks at the function at `address`, if there is one, and makes it quiet: an endpoint no longer masters the
    /// bus, no function raises interrupts, shows its expansion ROM, translates addresses itself or has virtual
    /// functions; access control is on.
    pub(super) fn discover(
        space: &dyn ConfigSpace,
        address: PciAddress,
        parent: Option<usize>,
    ) -> Option<Function> {
        let config = Config::new(space, address);
        if !config.is_present() {
            return None;
        }
        let mut function = Function::identify(config, address, parent);
        let command = function.quiet_header(config);
        if function.learn(config, command).is_err() {
            function.is_malformed = true;
        }
        function.quiet_capabilities(config);
        Some(function)
    }

    fn identify(config: Config, address: PciAddress, parent: Option<usize>) -> Function {
        let header_word = HeaderWord::from_bits(config.read(offset::HEADER));
        let header = match header_word.layout() {
            0 => Header::Endpoint,
            1 => {
                let buses = BusNumbers::from_bits(config.read(offset::BUS_NUMBERS));
                Header::Bridge { secondary: buses.secondary(), subordinate: buses.subordinate() }
            }
            other => Header::Other(other),
        };
        let class = ClassWord::from_bits(config.read(offset::CLASS));
        let subsystem = |at| if header == Header::Endpoint { config.read_half(at) } else { 0 };
        Function {
            address,
            parent,
            vendor: config.read_half(offset::VENDOR),
            device: config.read_half(offset::VENDOR + 2),
            subsystem_vendor: subsystem(offset::SUBSYSTEM),
            subsystem: subsystem(offset::SUBSYSTEM + 2),
            class: class.class(),
            revision: class.revision(),
            header,
            is_multi_function: header_word.is_multi_function(),
            bars: Bars::default(),
            capabilities: Capabilities::default(),
            acs: None,
            is_malformed: false,
            virtual_of: None,
        }
    }

    /// A virtual function that must not be asked yet: it holds its place and its registers.
    pub(super) fn announced(
        physical: &Function,
        address: PciAddress,
        number: u16,
        device: u16,
        bars: Bars,
    ) -> Function {
        Function {
            address,
            device,
            bars,
            is_multi_function: false,
            capabilities: Capabilities::default(),
            acs: None,
            is_malformed: true,
            virtual_of: Some(VirtualOf { physical: physical.address, number }),
            ..*physical
        }
    }

    /// Looks at an announced function and makes it quiet. Its ids and where its registers are it does not say itself
    /// (PCIe 6.0 §9.3.4.1 "Configuration Space for VFs").
    ///
    /// # Errors
    /// [`PciError::Vanished`] where nothing answers, [`PciError::Malformed`].
    pub(super) fn discover_virtual(&mut self, space: &dyn ConfigSpace) -> Result<(), PciError> {
        let config = Config::new(space, self.address);
        let class = ClassWord::from_bits(config.read(offset::CLASS));
        if class.into_bits() == u32::MAX {
            return Err(PciError::Vanished);
        }
        (self.class, self.revision) = (class.class(), class.revision());
        self.subsystem = config.read_half(offset::SUBSYSTEM + 2);
        config.set_command(CommandRegister::INTERRUPT_DISABLE);
        self.capabilities = capability::read(config, &self.bars)?;
        self.quiet_capabilities(config);
        self.is_malformed = false;
        Ok(())
    }

    /// A bridge goes on mastering the bus: transfers from behind it need that. Nobody reports system errors, which a
    /// device could otherwise raise by a malformed message, and firmware turn into the end of the machine (§6.2.6 "Error
    /// Message Controls").
    fn quiet_header(&self, config: Config) -> CommandRegister {
        let mut command = config.command() | CommandRegister::INTERRUPT_DISABLE;
        command.remove(CommandRegister::SERR_ENABLE);
        command.set(CommandRegister::BUS_MASTER_ENABLE, self.is_bridge() && command.contains(BUS_MASTER));
        config.set_command(command);
        if self.is_bridge() {
            let control = BridgeControl::from_bits(config.read_half(offset::BRIDGE_CONTROL));
            config.write_half(
                offset::BRIDGE_CONTROL,
                control.with_forwards_system_errors(false).with_discard_status(false).into_bits(),
            );
        }
        if let Some(rom) = self.rom_offset() {
            config.write(rom, config.read(rom) & !1);
        }
        command
    }

    fn learn(&mut self, config: Config, command: CommandRegister) -> Result<(), PciError> {
        let bars = match self.header {
            Header::Endpoint if self.class >> 8 == HOST_BRIDGE => 0,
            Header::Endpoint => bar::ENDPOINT_BARS,
            Header::Bridge { .. } => bar::BRIDGE_BARS,
            Header::Other(_) => return Ok(()),
        };
        bar::size(config, command, bars, &mut self.bars)?;
        self.capabilities = capability::read(config, &self.bars)?;
        Ok(())
    }

    fn quiet_capabilities(&mut self, config: Config) {
        let capabilities = self.capabilities;
        if let Some(msi) = capabilities.msi {
            let control = MsiControl::from_bits(config.read_half(msi.offset + 2));
            config.write_half(msi.offset + 2, control.with_is_enabled(false).into_bits());
        }
        if let Some(msix) = capabilities.msix {
            let control = MsixControl::from_bits(config.read_half(msix.offset + 2));
            config
                .write_half(msix.offset + 2, control.with_is_enabled(false).with_is_masked(true).into_bits());
        }
        if let Some(ats) = capabilities.ats {
            let word = AtsWord::from_bits(config.read(ats + 4));
            config.write(ats + 4, word.with_is_enabled(false).into_bits());
        }
        if let Some(sriov) = capabilities.sriov {
            sriov::switch_off(config, sriov.offset);
        }
        if let Some(express) = capabilities.express.filter(|it| it.port_type == PortType::RootPort) {
            let at = express.offset + ROOT_CONTROL;
            let control = RootControl::from_bits(config.read_half(at));
            config.write_half(at, control.with_system_errors(0).into_bits());
        }
        self.acs = capabilities.acs.map(|acs| enable_acs(config, acs));
    }

    /// Whether it is a bridge with a bus behind it.
    #[must_use]
    pub fn is_bridge(&self) -> bool {
        matches!(self.header, Header::Bridge { .. })
    }

    /// Interrupt messages it can send: MSI-X table entries, else MSI vectors, else 0.
    #[must_use]
    pub fn interrupts(&self) -> u16 {
        let Capabilities { msi, msix, .. } = &self.capabilities;
        msix.map(|msix| msix.entries).or(msi.map(|msi| msi.vectors)).unwrap_or(0)
    }

    /// Reads `width` (1, 2 or 4) bytes of configuration space at `at`, a multiple of `width`.
    ///
    /// # Errors
    ///
    /// [`PciError::OutOfRange`] for another width or offset, or one beyond the 4096 bytes.
    pub fn read_config(&self, space: &dyn ConfigSpace, at: u16, width: u8) -> Result<u32, PciError> {
        if !matches!(width, 1 | 2 | 4) || !at.is_multiple_of(width.into()) || at >= 0x1000 {
            return Err(PciError::OutOfRange);
        }
        let word = Config::new(space, self.address).read(at).to_le_bytes();
        let first = usize::from(at & 3);
        let mut bytes = [0; 4];
        bytes[..usize::from(width)].copy_from_slice(&word[first..first + usize::from(width)]);
        Ok(u32::from_le_bytes(bytes))
    }

    /// Whether it may start transfers now.
    #[must_use]
    pub fn read_bus_master(&self, space: &dyn ConfigSpace) -> bool {
        Config::new(space, self.address).command().contains(BUS_MASTER)
    }

    /// Lets it start transfers, or forbids that. Transfers under way end on their own.
    ///
    /// # Errors
    ///
    /// [`PciError::Malformed`] when switching on, [`PciError::Vanished`].
    pub fn set_bus_master(&self, space: &dyn ConfigSpace, on: bool) -> Result<(), PciError> {
        self.set_command_bit(space, BUS_MASTER, on)
    }

    /// Lets it decode its memory BARs, or forbids that.
    ///
    /// # Errors
    ///
    /// [`PciError::Malformed`] when switching on, [`PciError::Vanished`].
    pub fn set_memory_decode(&self, space: &dyn ConfigSpace, on: bool) -> Result<(), PciError> {
        self.set_command_bit(space, CommandRegister::MEMORY_ENABLE, on)
    }

    fn set_command_bit(
        &self,
        space: &dyn ConfigSpace,
        bit: CommandRegister,
        on: bool,
    ) -> Result<(), PciError> {
        if on && self.is_malformed {
            return Err(PciError::Malformed);
        }
        let config = self.present(space)?;
        let mut command = config.command();
        command.set(bit, on);
        config.set_command(command);
        Ok(())
    }

    /// The function's configuration space, where it still is the same function.
    pub(super) fn present<'a>(&self, space: &'a dyn ConfigSpace) -> Result<Config<'a>, PciError> {
        let config = Config::new(space, self.address);
        // One that went while it was identified has the vendor of nobody.
        let is_same = match self.virtual_of {
            Some(_) => self.answers(config),
            None => {
                config.is_present()
                    && config.read_half(offset::VENDOR) == self.vendor
                    && config.read_half(offset::VENDOR + 2) == self.device
            }
        };
        if is_same { Ok(config) } else { Err(PciError::Vanished) }
    }

    /// Whether some function answers in its place. A virtual one has no ids of its own: its class tells.
    pub(super) fn answers(&self, config: Config) -> bool {
        let class = ClassWord::new().with_class(self.class).with_revision(self.revision);
        match self.virtual_of {
            Some(_) => config.read(offset::CLASS) == class.into_bits(),
            None => config.is_present(),
        }
    }

    fn rom_offset(&self) -> Option<u16> {
        match self.header {
            Header::Endpoint => Some(offset::ROM),
            Header::Bridge { .. } => Some(offset::BRIDGE_ROM),
            Header::Other(_) => None,
        }
    }
}

const BUS_MASTER: CommandRegister = CommandRegister::BUS_MASTER_ENABLE;

/// What must be checked so that functions below different ports reach each other only through the IOMMU: no
/// request with a foreign requester, and everything goes up.
pub(super) const ISOLATING: AcsFlags = AcsFlags::new()
    .with_source_validation(true)
    .with_request_redirect(true)
    .with_completion_redirect(true)
    .with_upstream_forwarding(true);

/// Turns on what is there of [`ISOLATING`], and translation blocking too: ATS stays off.
pub(super) fn enable_acs(config: Config, at: u16) -> AcsWord {
    let word = AcsWord::from_bits(config.read(at + 4));
    let wanted = ISOLATING.with_translation_blocking(true).into_bits() & word.capable().into_bits();
    let kept = word.enabled().with_egress_control(false).with_direct_translated(false).into_bits();
    config.write(at + 4, word.with_enabled(AcsFlags::from_bits(kept | wanted)).into_bits());
    AcsWord::from_bits(config.read(at + 4))
}
