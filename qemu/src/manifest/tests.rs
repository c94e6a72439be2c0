use super::check;
use weir_abi::choice::IommuChoice;
use weir_abi::device::DevicePolicy;
use weir_abi::manifest::{Channel, DeviceSelect, Manifest, Pool, Restart, WhenDone};

const GOOD: &str = r#"
when_done = "power-off"

[[app]]
name = "echo"
program = "echo"
args = ["10.0.2.15/24"]
memory = "32M"
cores = 1
restart = "on-failure"

[[app.device]]
name = "nic"
id = "1af4:1041"

[[app]]
name = "second"
program = "echo"
[[app.device]]
name = "nic"
id = "1af4:1041"
index = 1
optional = true
[[app.device]]
name = "rogue"
address = "0000:02:1f.7"
"#;

fn complaint(text: &str) -> String {
    check(text, 2).expect_err("must be refused").to_string()
}

#[test]
fn the_iommu_mode_is_checked() {
    let mode = |word: &str| check(&format!("iommu = \"{word}\""), 2).map(|checked| checked.iommu);
    assert_eq!(check(GOOD, 2).unwrap().iommu, None);
    assert_eq!(mode("scalable-first"), Ok(IommuChoice::from_word("scalable-first")));
    assert_eq!(mode("auto"), Ok(Some(IommuChoice::Auto)));
    let refused = complaint("\niommu = \"passthrough\"");
    assert_eq!(refused, "2: iommu is one of auto, legacy, scalable-second, scalable-first, amd");
}

#[test]
fn a_good_manifest_survives_the_trip() {
    let manifest = check(GOOD, 2).unwrap().manifest;
    assert_eq!(manifest.when_done, WhenDone::PowerOff);
    let echo = &manifest.apps[0];
    assert_eq!((echo.memory_bytes, echo.cores, echo.restart), (32 << 20, 1, Restart::OnFailure));
    let second = &manifest.apps[1];
    assert_eq!((second.memory_bytes, second.cores, second.restart), (64 << 20, 0, Restart::Never));
    assert_eq!(second.devices[0].select, DeviceSelect::Id { vendor: 0x1af4, device: 0x1041, index: 1 });
    assert_eq!(second.devices[1].select, DeviceSelect::Address(0x02ff));
    let encoded = postcard::to_stdvec(&manifest).unwrap();
    assert_eq!(postcard::from_bytes::<Manifest>(&encoded).unwrap(), manifest);
}

#[test]
fn programs_that_may_take_a_place_are_packed() {
    let checked = check(&GOOD.replacen("args", "replacements = [\"echo-2\", \"swap\"]\nargs", 1), 2).unwrap();
    assert_eq!(checked.manifest.apps[0].replacements, ["echo-2", "swap"]);
    assert!(checked.programs().into_iter().eq(["echo", "echo-2", "swap"]));
}

#[test]
fn complaints_name_the_line() {
    let cases = [
        ("when_done = \"later\"", "1: unknown variant `later`"),
        ("\nwhen_don = \"stay\"", "2: unknown field `when_don`"),
        ("[[app]]\nname = \"a\"", "1: missing field `program`"),
        (
            "[[app]]\nname = \"a\"\nprogram = \"p\"\n\n[[app]]\nname = \"a\"\nprogram = \"p\"",
            "6: a second application named a",
        ),
        ("[[app]]\nname = \"a b\"\nprogram = \"p\"", "2: a name has 1 to 32"),
        ("[[app]]\nname = \"a\"\nprogram = \"init\"", "3: init is no program"),
        ("[[app]]\nname = \"a\"\nprogram = \"p\"\nreplacements = [\"p\"]", "4: a second program named p"),
        ("[[app]]\nname = \"a\"\nprogram = \"p\"\nreplacements = [\"init\"]", "4: init is no program"),
        ("[[app]]\nname = \"a\"\nprogram = \"p\"\nmemory = \"12\"", "4: a size is a number"),
        ("[[app]]\nname = \"a\"\nprogram = \"p\"\nmemory = \"99999999999999G\"", "4: a size is a number"),
        ("[[app]]\nname = \"a\"\nprogram = \"p\"\nmemory = \"4K\"", "4: an application's memory is 1M"),
        ("[[app]]\nname = \"a\"\nprogram = \"p\"\ncores = 2", "4: a wants 2 whole core(s), 1 to spare on 2"),
        ("[[app]]\nname = \"a\"\nprogram = \"p\"\nrestart = 1", "4: "),
        ("[[app]]\nname = \"a\nprogram = \"p\"", "2: "),
    ];
    for (text, expected) in cases {
        let complaint = complaint(text);
        assert!(complaint.starts_with(expected), "{complaint:?} does not start with {expected:?}");
        assert!(!complaint.contains('\n'), "{complaint:?} has more than one line");
    }
}

#[test]
fn what_an_application_sees_and_asks_for_is_checked() {
    let app = |words: &str| format!("[[app]]\nname = \"a\"\nprogram = \"p\"\n{words}\n");
    let rogue = "[[app]]\nname = \"rogue\"\nprogram = \"p\"\n";
    let text = app("status = true\nmay_start = \"rogue\"\nfiles = \"apps/www\"") + rogue;
    let checked = check(&text, 2).unwrap();
    let first = &checked.manifest.apps[0];
    assert_eq!((first.sees_status, first.may_start.as_deref()), (true, Some("rogue")));
    assert_eq!(first.files.as_deref(), Some("files:a"));
    assert_eq!(checked.files, [("files:a".to_owned(), "apps/www".into())]);
    let plain = &checked.manifest.apps[1];
    assert!(!plain.sees_status && plain.may_start.is_none() && plain.files.is_none());
    for (words, expected) in [
        ("may_start = \"rogue\"", "4: there is no application rogue"),
        ("files = \"../x\"", "4: files are a folder of this tree"),
        ("files = \"/etc\"", "4: files are a folder of this tree"),
        ("files = \"\"", "4: files are a folder of this tree"),
        ("status = 1", "4: "),
    ] {
        let complaint = complaint(&app(words));
        assert!(complaint.starts_with(expected), "{complaint:?} does not start with {expected:?}");
    }
}

fn with_devices(devices: &str) -> String {
    format!("[[app]]\nname = \"a\"\nprogram = \"p\"\n{devices}")
}

#[test]
fn devices_are_checked() {
    let cases = [
        ("[[app.device]]\nname = \"n\"", "5: a device has either id"),
        (
            "[[app.device]]\nname = \"n\"\nid = \"1af4:1041\"\naddress = \"0000:00:00.0\"",
            "5: a device has either id",
        ),
        ("[[app.device]]\nname = \"n\"\naddress = \"0000:00:00.0\"\nindex = 0", "5: a device has either id"),
        ("[[app.device]]\nname = \"n\"\nid = \"1af4\"", "6: an id looks like"),
        ("[[app.device]]\nname = \"n\"\nid = \"+af4:1041\"", "6: an id looks like"),
        ("[[app.device]]\nname = \"n\"\naddress = \"00:20.0\"", "6: an address looks like"),
        ("[[app.device]]\nname = \"n\"\naddress = \"00:20.0\"\nvf = 0", "6: an address looks like"),
        ("[[app.device]]\nname = \"n\"\nid = \"1af4:1041\"\nvf = 0", "7: a virtual function is one of"),
        ("[[app.device]]\nname = \"n\"\naddress = \"0000:00:20.0\"", "6: an address looks like"),
        ("[[app.device]]\nname = \"stats\"\nid = \"1af4:1041\"", "5: the name stats is taken"),
        ("[[app.device]]\nname = \"n\"\nid = \"1af4:1041\"\nfault_budget = 0", "7: a budget is at least 1"),
        (
            "[[app.device]]\nname = \"n\"\nid = \"1af4:1041\"\non_storm = \"pray\"",
            "7: unknown variant `pray`",
        ),
        (
            "[[app.device]]\nname = \"n\"\nid = \"1af4:1041\"\nwhen_revoked = \"sink\"",
            "7: unknown variant `sink`, expected `block` or `scratch`",
        ),
        ("[[app.device]]\nname = \"core0\"\nid = \"1af4:1041\"", "5: the name core0 is taken"),
        (
            "[[app.device]]\nname = \"n\"\nid = \"1af4:1041\"\n[[app.device]]\nname = \"n\"\nid = \"1af4:1042\"",
            "8: a second device",
        ),
        (
            "[[app.device]]\nname = \"n\"\nid = \"1af4:1041\"\n[[app.device]]\nname = \"m\"\nid = \"1AF4:1041\"",
            "8: this device already belongs to a",
        ),
    ];
    for (devices, expected) in cases {
        let complaint = complaint(&with_devices(devices));
        assert!(complaint.starts_with(expected), "{complaint:?} does not start with {expected:?}");
    }
}

#[test]
fn a_device_has_a_policy() {
    let policy = |words: &str| {
        let text = with_devices(&format!("[[app.device]]\nname = \"n\"\nid = \"1af4:1041\"\n{words}"));
        check(&text, 2).unwrap().manifest.apps[0].devices[0].policy
    };
    assert_eq!(policy(""), DevicePolicy::DEFAULT);
    let words = "fault_budget = 7\ninterrupt_budget = 8\non_storm = \"mute\"";
    let expected = DevicePolicy { fault_budget: 7, interrupt_budget: 8, flags: 0, reset_us: 0 };
    assert_eq!(policy(words), expected);
    assert_eq!(policy("reset_ms = 5"), DevicePolicy { reset_us: 5000, ..DevicePolicy::DEFAULT });
    let text = with_devices("[[app.device]]\nname = \"n\"\nid = \"1af4:1041\"\nreset_ms = ");
    for wrong in ["0", "101", "4294967295"] {
        let complaint = complaint(&format!("{text}{wrong}"));
        assert!(complaint.ends_with(": a device is left alone for 1 to 100 ms after a reset"), "{complaint}");
    }
    let both = DevicePolicy { flags: DevicePolicy::FLAGS, ..DevicePolicy::DEFAULT };
    assert_eq!(policy("when_revoked = \"scratch\""), both);
    assert_eq!(policy("when_revoked = \"block\""), DevicePolicy::DEFAULT);
}

#[test]
fn two_applications_cannot_have_the_same_device() {
    let nic = "[[app.device]]\nname = \"n\"\nid = \"1af4:1041\"\n";
    let second = with_devices(nic).replace("\"a\"", "\"b\"");
    let complaint = complaint(&format!("{}{second}", with_devices(nic)));
    assert_eq!(complaint, "11: this device already belongs to a");
}

#[test]
fn optional_cores_are_given_up_with_a_notice() {
    let text = "[[app]]\nname = \"a\"\nprogram = \"p\"\ncores = 1\ncores_optional = true";
    let checked = check(text, 1).unwrap();
    assert_eq!(checked.manifest.apps[0].cores, 0);
    assert_eq!(checked.notices.len(), 1);
    let checked = check(text, 2).unwrap();
    assert_eq!((checked.manifest.apps[0].cores, checked.notices.len()), (1, 0));
}

#[test]
fn the_manifests_in_the_tree_are_good() {
    let mut read = 0;
    for folder in ["apps/manifests", "qemu/tests/manifests"] {
        for entry in std::fs::read_dir(crate::workspace::root().join(folder)).unwrap() {
            // As many CPUs as the one that wants most.
            super::read(&entry.unwrap().path(), 4).unwrap();
            read += 1;
        }
    }
    assert!(read > 0);
}

#[test]
fn selectors_that_may_mean_one_device_are_noticed() {
    let cases = [
        ("id = \"1af4:1041\"", "id = \"1af4:1042\"", None),
        ("id = \"1af4:1041\"\nindex = 0", "id = \"1af4:1041\"\nindex = 1", None),
        ("address = \"0000:01:00.0\"", "address = \"0000:02:00.0\"", None),
        ("address = \"0000:01:00.0\"", "address = \"0000:01:00.0\"\nvf = 0", None),
        (
            "address = \"0000:01:10.0\"",
            "address = \"0000:01:00.0\"\nvf = 0",
            Some(
                "11: m of b may be the same device as n of a: one is a virtual function, the other a place on its bus",
            ),
        ),
        (
            "id = \"1af4:1041\"",
            "id = \"1af4:1041\"\nindex = 1",
            Some(
                "11: m of b may be the same device as n of a: they have the same id, and only one says which (`index`)",
            ),
        ),
        (
            "address = \"0000:01:00.0\"",
            "id = \"1af4:1041\"",
            Some("11: m of b may be the same device as n of a: one is named by address, the other by id"),
        ),
    ];
    for (one, other, expected) in cases {
        let first = with_devices(&format!("[[app.device]]\nname = \"n\"\n{one}\n"));
        let second =
            with_devices(&format!("[[app.device]]\nname = \"m\"\n{other}\n")).replace("\"a\"", "\"b\"");
        let text = format!("{first}{second}");
        let found = check(&text, 2).unwrap().ambiguity.map(|problem| problem.to_string());
        assert_eq!(found.as_deref(), expected, "{text}");
    }
}

const THREE: &str = r#"[[app]]
name = "a"
program = "p"
[[app]]
name = "b"
program = "p"
[[app]]
name = "c"
program = "p"
"#;

#[test]
fn channels_are_checked() {
    let first = "[[channel]]\nname = \"x\"\nfrom = \"a\"\nto = \"b\"\n";
    let second = |rest: &str| format!("{first}[[channel]]\nname = \"y\"\n{rest}");
    let cases = [
        ("[[channel]]\nname = \"x\"\nfrom = \"d\"\nto = \"b\"\n".to_owned(), "12: there is no application d"),
        ("[[channel]]\nname = \"x\"\nfrom = \"a\"\nto = \"a\"\n".into(), "13: a channel has two different"),
        ("[[channel]]\nname = \"x y\"\nfrom = \"a\"\nto = \"b\"\n".into(), "11: a name has"),
        (format!("{first}buffers = 1\n"), "14: a pool has 2 to 32768 buffers"),
        (format!("{first}buffers = 32769\n"), "14: a pool has 2 to 32768 buffers"),
        (format!("{first}entries = 100\n"), "14: a ring has a power of two of entries"),
        (format!("{first}entries = 0\n"), "14: a ring has a power of two of entries"),
        (format!("{first}size = 3\n"), "14: unknown field `size`"),
        (format!("{first}{first}"), "15: a second channel named x"),
        (format!("{first}mac = \"02:00:00:00:01\"\n"), "14: an address of one station looks like"),
        (format!("{first}mac = \"03:00:00:00:00:01\"\n"), "14: an address of one station looks like"),
        (
            format!("{first}mac = \"02:00:00:00:00:01\"\n")
                + &second("").replace(first, "").replace(
                    "name = \"y\"\n",
                    "name = \"y\"\nfrom = \"a\"\nto = \"c\"\nmac = \"02:00:00:00:00:01\"\n",
                ),
            "19: a second channel with this address",
        ),
        (second("from = \"b\"\nto = \"c\"\npool = \"z\"\n"), "18: no channel z stands above"),
        (second("from = \"b\"\nto = \"c\"\npool = \"x\"\nbuffers = 8\n"), "19: a channel has either buffers"),
        (second("from = \"c\"\nto = \"b\"\npool = \"x\"\n"), "16: c does not use that pool"),
        (second("from = \"b\"\nto = \"a\"\npool = \"x\"\n"), "17: a uses that pool already"),
    ];
    for (channels, expected) in cases {
        let complaint = complaint(&format!("{THREE}{channels}"));
        assert!(complaint.starts_with(expected), "{complaint:?} does not start with {expected:?}");
    }
}

#[test]
fn channels_share_a_pool_where_they_say_so() {
    let text = format!(
        "{THREE}[[channel]]\nname = \"x\"\nfrom = \"b\"\nto = \"a\"\nbuffers = 100\n\
         [[channel]]\nname = \"y\"\nfrom = \"a\"\nto = \"c\"\npool = \"x\"\nentries = 8\n\
         [[channel]]\nname = \"z\"\nfrom = \"a\"\nto = \"c\"\n"
    );
    let manifest = check(&text, 2).unwrap().manifest;
    let pool = |buffers, users: &[u32]| Pool { buffers, users: users.to_vec() };
    assert_eq!(manifest.pools, [pool(100, &[1, 0, 2]), pool(1024, &[0, 2])]);
    let channel =
        |name: &str, ends, entries, pool| Channel { name: name.into(), ends, entries, pool, mac: None };
    let expected = [channel("x", [1, 0], 128, 0), channel("y", [0, 2], 8, 0), channel("z", [0, 2], 1024, 1)];
    assert_eq!(manifest.channels, expected);
}
