//! Why serving ended.

/// What failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// A word of the manifest's.
    #[error("{0}")]
    Words(#[from] crate::BadWord),
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
    /// The channel that is granted instead of a device.
    #[error("{0}")]
    Channel(#[from] weir_rt::channel::nic::Error),
    /// The device does not say who it is.
    #[error("{0}")]
    NoMac(#[from] weir_port::NoMac),
    /// The driver takes no frames in several buffers.
    #[error("nic: this device or its driver has no long frames; mtu=1900 is the most")]
    NoLongFrames,
    /// The device does nothing any more, and others have queues of it.
    #[error("nic: it stopped")]
    Stopped,
    /// The network.
    #[error("{0}")]
    Sockets(#[from] weir_sockets::Error),
    /// Something of the application's own.
    #[error("{0}")]
    Application(alloc::string::String),
}
