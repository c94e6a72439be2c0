//! The manifest's TOML, as it is written.

use serde::Deserialize;
use toml::Spanned;
use weir_abi::manifest::{Restart, WhenDone};

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) when_done: WhenDoneWord,
    #[serde(default)]
    pub(super) unsafe_no_iommu: bool,
    pub(super) iommu: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) app: Vec<App>,
    #[serde(default)]
    pub(super) port: Vec<Port>,
    #[serde(default)]
    pub(super) channel: Vec<Channel>,
}

/// `[[channel]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Channel {
    pub(super) name: Spanned<String>,
    /// Nearer to the home of the pool.
    pub(super) from: Spanned<String>,
    pub(super) to: Spanned<String>,
    pub(super) entries: Option<Spanned<u32>>,
    /// A pool of its own, at home at `from`.
    pub(super) buffers: Option<Spanned<u32>>,
    /// The pool of this earlier channel instead.
    pub(super) pool: Option<Spanned<String>>,
    /// The address of the application at `to`, where the channel is a port of a switch.
    pub(super) mac: Option<Spanned<String>>,
}

/// `[[port]]`: a port of the guest that `weir run` makes reachable from this host.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Port {
    /// The guest's port, such as `tcp:80`.
    pub(super) to: Spanned<String>,
    /// The port of this host to take, or one of the next.
    pub(super) from: Spanned<u16>,
    /// What to type; `{port}` stands for this host's port.
    #[serde(rename = "try")]
    pub(super) hint: String,
}

/// `[[app]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct App {
    pub(super) name: Spanned<String>,
    pub(super) program: Spanned<String>,
    /// Programs that may take its place while the system runs.
    #[serde(default)]
    pub(super) replacements: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) args: Vec<String>,
    pub(super) memory: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) cores: Option<Spanned<u32>>,
    #[serde(default)]
    pub(super) cores_optional: bool,
    #[serde(default)]
    pub(super) restart: RestartWord,
    #[serde(default)]
    pub(super) device: Vec<Device>,
    /// It sees how the machine is.
    #[serde(default)]
    pub(super) status: bool,
    /// The application that it may have started.
    pub(super) may_start: Option<Spanned<String>>,
    /// A folder whose files it finds; from the top of the tree.
    pub(super) files: Option<Spanned<String>>,
}

/// `[[app.device]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Device {
    pub(super) name: Spanned<String>,
    pub(super) id: Option<Spanned<String>>,
    pub(super) address: Option<Spanned<String>>,
    pub(super) index: Option<Spanned<u32>>,
    /// Of the function at `address`, this virtual function.
    pub(super) vf: Option<Spanned<u16>>,
    #[serde(default)]
    pub(super) optional: bool,
    pub(super) fault_budget: Option<Spanned<u32>>,
    pub(super) interrupt_budget: Option<Spanned<u32>>,
    /// How long it needs after a reset, where that is known.
    pub(super) reset_ms: Option<Spanned<u32>>,
    #[serde(default)]
    pub(super) on_storm: StormWord,
    #[serde(default)]
    pub(super) when_revoked: RevokedWord,
}

/// What becomes of a device that faults without end.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum StormWord {
    /// It is taken from its owner.
    #[default]
    Revoke,
    /// It stays; most faults are not recorded.
    Mute,
}

/// What a device reaches that was taken from its owner.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RevokedWord {
    /// Nothing.
    #[default]
    Block,
    /// A page that nobody else uses: for devices that hang when they are refused.
    Scratch,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum WhenDoneWord {
    #[default]
    Stay,
    PowerOff,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RestartWord {
    #[default]
    Never,
    OnFailure,
    Always,
}

impl From<WhenDoneWord> for WhenDone {
    fn from(word: WhenDoneWord) -> WhenDone {
        match word {
            WhenDoneWord::Stay => WhenDone::Stay,
            WhenDoneWord::PowerOff => WhenDone::PowerOff,
        }
    }
}

impl From<RestartWord> for Restart {
    fn from(word: RestartWord) -> Restart {
        match word {
            RestartWord::Never => Restart::Never,
            RestartWord::OnFailure => Restart::OnFailure,
            RestartWord::Always => Restart::Always,
        }
    }
}
