use super::*;
use crate::audit::reach::{Device, Interrupt};
use crate::audit::{drawing, show};

const VTD: &str = "vtd-legacy";
const NIC: u32 = 0x100;
const OTHER_NIC: u32 = 0x200;

fn run(phys: u64, pages: u64, memory: u64, flags: u32) -> Run {
    Run { address: 0x1_0000_0000 + phys, phys, bytes: pages << 12, memory, flags, device: 0 }
}

fn registers(phys: u64, device: u32) -> Run {
    Run { device, ..run(phys, 1, 0, ReachInfo::REGISTERS | ReachInfo::WRITE) }
}

fn device(address: u32, group: u32, owner: u32) -> Device {
    Device { address, vendor: 0x1af4, device: 0x1041, class: 0x02_0000, group, owner }
}

fn interrupt(device: u32, owner: u32, cpu: u64, vector: u32, message: u64) -> Interrupt {
    Interrupt { device, number: 0, owner, cpu, vector, message, data: 0 }
}

/// The supervisor and two applications with a device and a core each, as they should be.
fn good() -> Reach {
    const W: u32 = ReachInfo::WRITE;
    let init = Owner {
        name: "init".into(),
        process: 1,
        cores: vec![1, 2],
        reach: vec![run(0x10_0000, 16, 1, ReachInfo::EXECUTE), run(0x40_0000, 1, 3, 0)],
        ..Owner::default()
    };
    let a = Owner {
        name: "a".into(),
        process: 2,
        cores: vec![1],
        reach: vec![run(0x20_0000, 4, 2, W), run(0x40_0000, 1, 3, W), registers(0xfe00_0000, NIC)],
        device_reach: vec![run(0x20_1000, 2, 2, W)],
        held: vec![run(0x40_0000, 1, 3, W)],
    };
    let b = Owner {
        name: "b".into(),
        process: 3,
        cores: vec![2],
        reach: vec![run(0x30_0000, 4, 4, W), registers(0xfe00_1000, OTHER_NIC)],
        device_reach: vec![run(0x30_0000, 4, 4, 0)],
        held: vec![],
    };
    Reach {
        owners: vec![init, a, b],
        devices: vec![device(NIC, 1, 2), device(OTHER_NIC, 2, 3), device(0, 0, 0)],
        interrupts: vec![
            interrupt(NIC, 2, 1, 0x30, 0xfee0_0010),
            interrupt(OTHER_NIC, 3, 2, 0x30, 0xfee0_0018),
        ],
    }
}

#[test]
fn owners_that_are_apart_are_found_so() {
    let verdict = prove(&good(), VTD);
    let between = [("init".to_owned(), false), ("a".to_owned(), true)];
    assert_eq!(verdict.shared, [Shared { memory: 3, between, bytes: 4096 }]);
    assert_eq!(verdict.violations, [""; 0]);
}

#[test]
fn every_way_to_overlap_is_found() {
    type Change = fn(&mut Reach);
    let cases: [(Change, &[&str]); 15] = [
        (|r| r.owners[2].reach.push(run(0x20_3000, 1, 9, 0)), &["b and a both reach 0x203000"]),
        (|r| r.owners[2].held.push(run(0x1f_f000, 2, 9, 0)), &["a and b both reach 0x200000"]),
        (|r| r.owners[2].reach.push(run(0x10_8000, 1, 0, 0)), &["b and init both reach 0x108000"]),
        (
            |r| r.owners[2].reach[0].phys = 0x20_3000,
            &["b and a both reach 0x203000", "devices of b reach 0x300000, which it has not itself"],
        ),
        (
            |r| r.owners[2].reach[1].device = NIC,
            &["b reaches registers of 0000:01:00.0, which it does not own"],
        ),
        (|r| r.owners[2].reach[1].phys = 0xfe00_0000, &["b and a both reach 0xfe000000"]),
        (
            |r| r.owners[1].reach[0].flags = ReachInfo::WRITE | ReachInfo::EXECUTE,
            &["a may write and execute 0x100200000"],
        ),
        (
            |r| r.owners[1].device_reach[0].bytes = 5 << 12,
            &["devices of a reach 0x204000, which it has not itself"],
        ),
        (|r| r.owners[1].reach[0].flags = 0, &["devices of a reach 0x201000, which it has not itself"]),
        (|r| r.devices[1].group = 1, &["a and b own parts of group 1"]),
        (
            |r| r.interrupts[1].cpu = 1,
            &["vector 0x30 of CPU 1 leads to a and to b", "an interrupt of b arrives at a's core 1"],
        ),
        (|r| r.interrupts[1].message = 0xfee0_0010, &["message 0xfee00010/0x0 is a's and b's"]),
        (|r| r.interrupts[1].device = 0, &["an interrupt of 0000:00:00.0 leads to b, which does not own it"]),
        (
            |r| r.owners[2].cores = vec![2, 1],
            &["a and b have core 1", "an interrupt of a arrives at b's core 1"],
        ),
        (|r| *r = Reach::default(), &["the report names no owner"]),
    ];
    for (change, expected) in cases {
        let mut reach = good();
        change(&mut reach);
        let mut violations = prove(&reach, VTD).violations;
        violations.sort();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(violations, expected);
    }
}

#[test]
fn without_a_unit_nothing_is_proved() {
    let violations = prove(&good(), IommuMode::Off.name()).violations;
    assert_eq!(violations, ["nothing confines devices: they reach all of memory"]);
}

#[test]
fn the_table_is_golden() {
    let reach = good();
    let verdict = prove(&reach, VTD);
    let expected = "\
q35-vtd, IOMMU vtd-legacy
OWNER  WHAT       HOW MUCH  WHERE
init   memory       68 KiB  2 run(s)
a      memory       20 KiB  2 run(s)
a      DMA           8 KiB  1 run(s): 0x100201000+8 KiB
a      registers     4 KiB  0000:01:00.0 at 0xfe000000
a      interrupt         1  0000:01:00.0 number 0: CPU 1, vector 0x30, message 0xfee00010/0x0
a      core              1  CPU 1
b      memory       16 KiB  1 run(s)
b      DMA          16 KiB  1 run(s): 0x100300000+16 KiB read-only
b      registers     4 KiB  0000:02:00.0 at 0xfe001000
b      interrupt         1  0000:02:00.0 number 0: CPU 2, vector 0x30, message 0xfee00018/0x0
b      core              1  CPU 2
shared: memory 3, 4 KiB: init (reads) and a (writes)
disjoint: 3 owners, 26 frames, 2 register pages, 2 interrupts
";
    assert_eq!(show::machine(&reach, &verdict, "q35-vtd", VTD), expected);
    let verdict = Verdict { violations: vec!["a and b".into()], ..verdict };
    let text = show::machine(&reach, &verdict, "q35-vtd", VTD);
    assert!(text.ends_with("VIOLATION: a and b\nNOT disjoint: 1 violation(s)\n"), "{text}");
}

#[test]
fn the_drawing_has_every_owner_and_all_that_is_shared() {
    let reach = good();
    let file = tempfile::NamedTempFile::new().unwrap();
    drawing::write(file.reopen().unwrap(), &reach, &prove(&reach, VTD)).unwrap();
    let text = std::fs::read_to_string(file.path()).unwrap();
    assert!(text.starts_with("<svg") && text.ends_with("</svg>\n"));
    for words in [">init<", ">a<", ">b<", "init and a share 4 KiB", "device 0000:02:00.0 reaches 16 KiB"] {
        assert!(text.contains(words), "{words} is not in {text}");
    }
}
