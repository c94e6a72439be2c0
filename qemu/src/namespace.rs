//! A network of its own for a program: a namespace with taps, made without root.

use std::env;
use std::fs::OpenOptions;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::LazyLock;

/// Set inside the namespace.
const INSIDE: &str = "WEIR_TEST_NAMESPACE";
/// Makes a tap that the guest is alone behind, with this host's end of the link, and becomes the program in its arguments.
pub const LINK: &str = "
    ip link set lo up
    ip tuntap add dev guest mode tap
    echo 0 > /proc/sys/net/ipv6/conf/guest/disable_ipv6
    ip address add 10.0.2.2/24 dev guest
    ip address add fe80::1/64 dev guest nodad
    ip link set guest mtu 9000 up
    exec \"$@\"
";
/// The guest's address on [`LINK`], by its manifest.
pub const NEAR: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
/// What `-netdev` needs for it.
pub const TAP: &str = "tap,ifname=guest,script=no,downscript=no,vhost=off";

/// Whether this program runs in one already.
#[must_use]
pub fn is_inside() -> bool {
    env::var_os(INSIDE).is_some()
}

/// Whether taps can be made here; otherwise [`NEEDED`] are missing.
#[must_use]
pub fn is_possible() -> bool {
    static IS_POSSIBLE: LazyLock<bool> = LazyLock::new(|| {
        let has_taps = OpenOptions::new().read(true).write(true).open("/dev/net/tun").is_ok();
        let works = |mut command: Command| command.output().is_ok_and(|output| output.status.success());
        has_taps && works(with_network("ip link"))
    });
    is_inside() || *IS_POSSIBLE
}

/// What it takes.
pub const NEEDED: &str = "/dev/net/tun, ip and unshare (iproute2, util-linux)";

/// A shell in a network namespace of its own, which ends with its process. It runs `script`, with the arguments that are added
/// to the command.
#[must_use]
pub fn with_network(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net", "--", "sh", "-ec", script, "sh"]).env(INSIDE, "1");
    command
}
