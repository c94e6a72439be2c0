use weir_abi::Handle;
use weir_abi::info::TraceKind;

use super::*;
use crate::counters::Counters;

fn name(process: u32) -> String {
    format!("app{process}")
}

fn app(name: &str) -> AppStatus<'_> {
    let counters = Counters { rx_packets: 5, iommu_faults: 3, ..Counters::default() };
    AppStatus { name, state: "running", code: 0, restarts: 1, is_ready: true, counters }
}

#[test]
fn applications_read_well() {
    let info = ProcessInfo { id: 2, frames: 257, cpu_ns: 1_500_000, threads: 1, ..ProcessInfo::default() };
    let text = applications([(app("echo"), "echo-2", Some(info)), (app("x"), "y", None)].into_iter());
    let expected = "\
APP   STATE    CODE  RESTARTS  PROCESS  THREADS  MiB  DEVICES  CPU ms  SYSCALLS  FAULTS  PROGRAM
echo  running     0         1        2        1    2        0       1         0       3  echo-2
x     running     0         1        0        0    0        0       0         0       3  y
";
    assert_eq!(text, expected);
}

#[test]
fn devices_read_well() {
    let nic = DeviceInfo {
        address: 0x10,
        vendor: 0x1af4,
        device: 0x1041,
        class: 0x02_0000,
        interrupts: 3,
        flags: DeviceInfo::HAS_IOMMU | DeviceInfo::HAS_RESET,
        owner: 2,
        faults: 9,
        fault_storms: 1,
        ..DeviceInfo::default()
    };
    let bridge = DeviceInfo { address: 0xf8, class: 0x06_0100, ..DeviceInfo::default() };
    let expected = "\
ADDRESS       ID         CLASS          IRQS  GROUP  IOMMU  RESET  OWNER  STATE  FAULTS  STORMS  POLICY
0000:00:02.0  1af4:1041  02.00 network     3      0  yes    reset  app2   used        9     1+0  64/10000 revoke
0000:00:1f.0  0000:0000  06.01 bridge      0      0  -      -      -      used        0     0+0  64/10000 revoke
";
    assert_eq!(devices(&[nic, bridge], name), expected);
    let failed = DeviceInfo { flags: DeviceInfo::HAS_FAILED | DeviceInfo::IS_MUTED, ..nic };
    let system = SystemInfo { faults: 9, faults_lost: 2, frames_quarantined: 3, ..SystemInfo::default() };
    assert_eq!(
        fault_counts(&system, &[failed, bridge]),
        "9 recorded, 2 times no room for more, 1 storms muted; in quarantine: 1 devices, 3 frames\n"
    );
    assert_eq!(
        [DeviceInfo::IS_RESETTING, DeviceInfo::IS_MUTED, DeviceInfo::IS_CLEAN].map(state),
        ["resetting", "muted", "clean"]
    );
    assert_eq!(policy(DevicePolicy { flags: 0, ..DevicePolicy::DEFAULT }), "64/10000 mute");
    let both = DevicePolicy { flags: DevicePolicy::FLAGS, ..DevicePolicy::DEFAULT };
    assert_eq!(policy(both), "64/10000 revoke scratch");
    let quick = DevicePolicy { reset_us: 5000, ..DevicePolicy::DEFAULT };
    assert_eq!(policy(quick), "64/10000 revoke reset=5000us");
}

#[test]
fn grants_say_what_they_are() {
    let grant = |kind, rights, detail| GrantInfo { handle: Handle::new(3, 1), kind, rights, detail };
    let rows = [
        ("echo", grant(3, Rights::READ.union(Rights::WRITE), 8192)),
        ("echo", grant(4, Rights::ALL, 0x10)),
        ("echo", grant(99, Rights::NONE, 0)),
    ];
    let expected = "\
APP   HANDLE  KIND     RIGHTS  WHAT
echo       3  Memory   rw----  8 KiB
echo       3  Device   rwxumt  0000:00:02.0
echo       3  kind 99  ------
";
    assert_eq!(grants(rows.into_iter()), expected);
}

#[test]
fn faults_and_trace_read_well() {
    let fault =
        FaultInfo { requester: 0x10, owner: 2, iova: 0x1000, is_write: 1, reason: 5, time_ns: 1_500_000_999 };
    let text = faults(&[fault], name);
    assert!(text.ends_with("1.500000  0000:00:02.0  app2   write    0x1000    0x05\n"), "{text}");
    assert_eq!(faults(&[], name), "no faults\n");
    let event = |kind, values| TraceInfo { kind, values, number: 7, process: 2, time_ns: 0 };
    let text = trace(&[
        (1, event(TraceKind::CallFailed as u32, [0x100d, 8])),
        (1, event(TraceKind::DeviceRevoked as u32, [0x10, 900])),
        (1, event(77, [1, 2])),
    ]);
    assert!(text.contains("0.000000    1       7        2  call 0x100d failed: quota reached\n"), "{text}");
    assert!(text.contains("device 0000:00:02.0 revoked in 900 ns\n"), "{text}");
    assert!(text.contains("kind 77: 0x1 0x2\n"), "{text}");
}

#[test]
fn rates_are_per_second() {
    let before = CpuInfo { syscalls: 100, ..CpuInfo::default() };
    let now = CpuInfo { syscalls: 300, idle_ns: 500_000_000, granted: 1, runnable: 1, ..CpuInfo::default() };
    let text = cpus(&[before], &[now], 2_000_000_000);
    assert!(
        text.ends_with("  0  granted      75        1         100        0      0         0             0\n"),
        "{text}"
    );
    let busy = ProcessInfo { cpu_ns: 1_000_000_000, syscalls: 10, ..ProcessInfo::default() };
    let text = load([("echo", ProcessInfo::default(), busy)].into_iter(), 2_000_000_000);
    assert!(text.ends_with("echo     50           5             0\n"), "{text}");
    assert_eq!(percent(5, 0), 500, "no division by zero");
    let text = counters([app("echo")].into_iter());
    assert!(text.contains("echo  yes     5   0"), "{text}");
}

#[test]
fn last_lines_of_a_text() {
    assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
    assert_eq!(last_lines("a\nb\nc\n", 9), "a\nb\nc");
    assert_eq!(last_lines("a\nb\nc", 1), "c");
    assert_eq!(last_lines("a\n", 0), "");
    assert_eq!(last_lines("", 3), "");
}

#[test]
fn slots_are_shown_with_their_ports() {
    let slot = |number, state| SlotInfo { port: 0x10, bus: 1, number, state, changes: 4 };
    let text = slots(&[slot(1, SLOT_LEAVING), slot(12, SLOT_EMPTY)]);
    assert_eq!(
        text,
        "SLOT  PORT          BUS  STATE    CHANGES\n\
         \u{20}  1  0000:00:02.0  01   leaving        4\n\
         \u{20} 12  0000:00:02.0  01   empty          4\n"
    );
    assert_eq!(slots(&[]), "no hot-plug slots that the kernel drives\n");
    assert_eq!(slot_state(&slot(1, 99)), "unknown");
}
