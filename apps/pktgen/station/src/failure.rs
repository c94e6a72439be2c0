//! Why a program ended.

/// What failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// A word of the manifest's.
    #[error("{0}")]
    Words(#[from] weir_traffic::words::BadWord),
    /// A grant.
    #[error("{0}")]
    Grant(#[from] weir_rt::GrantError),
    /// The kernel refused something.
    #[error("kernel: {0}")]
    Kernel(#[from] weir_rt::Error),
    /// The driver.
    #[error("nic: {0}")]
    Virtio(#[from] weir_port::VirtioError),
    /// The driver.
    #[error("nic: {0}")]
    Gigabit(#[from] weir_port::GigabitError),
    /// The driver's host.
    #[error("nic: {0}")]
    Host(#[from] weir_hal::Error),
    /// The device does not say who it is.
    #[error("{0}")]
    NoMac(#[from] weir_port::NoMac),
    /// Nothing can be sent.
    #[error("nic: the link does not come up; is the cable plugged in?")]
    LinkDown,
    /// What was sent does not come back.
    #[error("nic: it does not give back the frames that it was told to send")]
    Stuck,
    /// There is no such file.
    #[error("there is no file `{0}`; the manifest's files= names a folder that has it")]
    NoFile(alloc::string::String),
    /// A file is damaged, or of another kind.
    #[error("{name}: {error}")]
    File {
        /// Its name.
        name: alloc::string::String,
        /// What is wrong with it.
        error: weir_forward::pcap::Error,
    },
}
