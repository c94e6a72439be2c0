//! The Linux guest: it boots, speaks to the runner as Weir does, and its verdicts are right.

use std::time::Duration;

use anyhow::Result;
use weir_runner::linux::Linux;
use weir_runner::vm::Outcome;

use super::Case;

pub(super) const CASES: &[(&str, Case)] = &[
    ("linux::boots_reports_and_powers_off", boots_reports_and_powers_off),
    ("linux::a_failed_program_and_a_panic_are_no_success", a_failed_program_and_a_panic_are_no_success),
];

/// How long the kernel may take, with the machine loaded.
const LIMIT: Duration = Duration::from_secs(170);

/// Reports, as Weir's supervisor does, that it is up; ends when told to.
const ANSWER: &str = r#"
echo "{\"type\":\"ready\",\"iommu\":\"none\",\"cpus\":$(nproc),\"boot_ns\":1}" > /dev/ttyS1
echo "modules: $(cut -d ' ' -f 1 /proc/modules | tr '\n' ' ')"
until [ "$line" = poweroff ]; do read -r line; done
"#;

fn boots_reports_and_powers_off() -> Result<()> {
    let mut guest = Linux::new(ANSWER).modules(&["vfio-pci", "vfio_iommu_type1"]).start()?;
    let ready = guest.wait_ready_within(LIMIT)?;
    guest.check(ready.cpus == 1, &format!("{ready:?}"))?;
    // What `vfio-pci` needs was loaded before it.
    let line = guest.console_line("modules: ", LIMIT)?;
    for module in ["vfio_pci", "vfio_pci_core", "vfio", "vfio_iommu_type1"] {
        guest
            .check(line.split(' ').any(|word| word == module), &format!("{module} is not loaded: {line}"))?;
    }
    guest.power_off()
}

fn a_failed_program_and_a_panic_are_no_success() -> Result<()> {
    let mut guest = Linux::new("echo the program runs; false").start()?;
    let (outcome, _) = guest.end(LIMIT)?;
    guest.check(guest.has_said("the program runs"), "the program did not run")?;
    guest.check(outcome == Outcome::ApplicationFailed, &format!("{outcome:?}"))?;
    // The first process ends: the kernel panics.
    let mut guest = Linux::new("exit 0").start()?;
    let (outcome, _) = guest.end(LIMIT)?;
    guest.check(matches!(outcome, Outcome::Other(_)), &format!("{outcome:?}"))
}
