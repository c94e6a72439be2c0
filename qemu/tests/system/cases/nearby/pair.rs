//! Two machines on one cable: Weir with `echo tcp`, and a Linux guest that does what the test types.

use std::time::Duration;

use anyhow::{Context, Result};
use weir_runner::guest::{Guest, Setup};
use weir_runner::linux::{Linux, network, programs};
use weir_runner::peer::Cable;

/// How long Linux may take to start, or to do what it is told.
const LIMIT: Duration = Duration::from_secs(170);

/// The device has an address of its own: QEMU gives both machines' the same. Then lines of the shell; each ends with a line that
/// says how it went.
const PROGRAM: &str = r#"
stty -echo
ip link set lo up
ip link set eth0 address 02:fe:00:00:00:02 up
echo '{"type":"ready","iommu":"none","cpus":1,"boot_ns":1}' > /dev/ttyS1
while read -r line && [ "$line" != poweroff ]; do
    [ "$line" ] || continue
    eval "$line" < /dev/null
    echo "[line $((lines += 1)) ended with $?]"
done
"#;

/// The two machines.
pub(super) struct Pair {
    pub(super) weir: Guest,
    linux: Guest,
    /// Lines that Linux was given.
    lines: usize,
    _cable: Cable,
}

impl Pair {
    /// Boots both, Linux with these modules of its kernel, too.
    pub(super) fn boot(manifest: &'static str, modules: &[&'static str]) -> Result<Pair> {
        let cable = Cable::new()?;
        let [left, right] = cable.netdevs();
        let linux = network::add_to(Linux::new(PROGRAM))?
            .machine("q35-noiommu")
            .modules(&["virtio_pci", "virtio_net"]);
        let linux = linux.modules(modules).file("bin/tcp-client", programs::program("tcp-client")?);
        // It takes longer, so it starts first.
        let mut linux = linux.network(right).start()?;
        let (weir, _) = Setup::new(manifest).network(left).boot()?;
        linux.wait_ready_within(LIMIT)?;
        Ok(Pair { weir, linux, lines: 0, _cable: cable })
    }

    /// Has Linux do a line of shell; what it said.
    pub(super) fn run(&mut self, line: &str) -> Result<String> {
        let (status, said) = self.attempt(line)?;
        if status == "0" {
            Ok(said)
        } else {
            Err(self.failure(&format!("`{line}` ended with {status}: {said}")))
        }
    }

    /// The same for a line that must fail.
    pub(super) fn run_in_vain(&mut self, line: &str) -> Result<String> {
        let (status, said) = self.attempt(line)?;
        if status == "0" { Err(self.failure(&format!("`{line}` ended well: {said}"))) } else { Ok(said) }
    }

    fn attempt(&mut self, line: &str) -> Result<(String, String)> {
        let from = self.linux.console().len();
        self.lines += 1;
        let end = format!("[line {} ended with ", self.lines);
        self.linux.type_line(line)?;
        let last = self.linux.console_line(&end, LIMIT)?;
        let said = self.linux.console()[from..].iter().take_while(|line| !line.contains(&end));
        let said: Vec<&str> = said.map(String::as_str).collect();
        let status =
            last.split_once(&end).and_then(|(_, rest)| rest.split(']').next()).context("a status")?;
        println!("{line}\n  {}", said.join("\n  "));
        Ok((status.to_owned(), said.join("\n")))
    }

    /// An error that shows Weir's console.
    fn failure(&self, what: &str) -> anyhow::Error {
        self.weir.failure(what)
    }

    pub(super) fn check(&self, condition: bool, what: &str) -> Result<()> {
        self.weir.check(condition, what)
    }

    /// Ends both; Weir had no faults, was never started again, and did not enter the kernel for a packet.
    pub(super) fn end(mut self) -> Result<()> {
        let app = self.weir.counted("echo", |app| app.tx_packets > 0)?;
        let status = self.weir.status()?;
        self.check(
            app.iommu_faults == 0 && status.faults == 0 && app.device_errors == 0,
            &format!("faults: {app:?}"),
        )?;
        self.check(app.restarts == 0 && app.data_path_kernel_entries == 0, &format!("{app:?}"))?;
        self.weir.power_off()?;
        self.linux.power_off()
    }
}
