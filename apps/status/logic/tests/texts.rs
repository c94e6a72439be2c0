//! JSON and Prometheus text: syntax, the same numbers in both, nothing that a name could break.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use weir_board::{Cpu, Device, Fault, Owner, Snapshot};
use weir_status_logic::{Histogram, json, metrics};

fn owner(name: &str) -> Owner {
    Owner {
        name: name.into(),
        state: "running".into(),
        is_ready: true,
        devices: vec![0x100, 0x208],
        packets: [11, 12],
        bytes: [13, 14],
        data_path_kernel_entries: 17,
        sleep_kernel_entries: 16,
        iommu_faults: 18,
        kernel_entries: [1, 2, 3],
        ..Owner::default()
    }
}

fn snapshot(name: &str) -> Snapshot {
    let fault = Fault {
        number: 6,
        time_ns: 7,
        device: 0x208,
        owner: Some(name.into()),
        iova: 0x20_0000,
        is_write: true,
        reason: 5,
    };
    let device = Device { address: 0x208, id: [0x1234, 0x11e8], faults: 18, ..Device::default() };
    Snapshot {
        time_ns: 5_000_000_001,
        iommu: "vtd-legacy".into(),
        is_confined: true,
        faults: 18,
        startable: Some("rogue".into()),
        owners: vec![owner(name), owner("other")],
        devices: vec![device],
        cpus: vec![Cpu { kernel_entries: [1, 2, 3, 4, 5], ..Cpu::default() }; 2],
        last_faults: vec![fault],
        ..Snapshot::default()
    }
}

/// One sample: name, labels, value.
type Sample = (String, BTreeMap<String, String>, f64);

/// Parses the text, as Prometheus does, and checks its form.
fn parse(text: &str) -> Vec<Sample> {
    assert!(text.ends_with('\n'));
    let (mut told, mut open, mut samples): (BTreeSet<String>, Option<(String, String)>, Vec<Sample>) =
        Default::default();
    let mut help: Option<String> = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, words) = rest.split_once(' ').expect("help has words");
            assert!(!words.is_empty() && told.insert(name.into()), "{name} is told twice");
            help = Some(name.into());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a kind");
            assert_eq!(help.take().as_deref(), Some(name), "help stands before type");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{kind}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
            open = Some((name.into(), kind.into()));
        } else {
            let sample = sample(line);
            let (family, kind) = open.as_ref().expect("a family is open");
            let own = sample.0.strip_prefix(family.as_str());
            let ends: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(own.is_some_and(|end| ends.contains(&end)), "{line} is not of {family}");
            assert!(
                !samples.iter().any(|s: &Sample| (&s.0, &s.1) == (&sample.0, &sample.1)),
                "twice: {line}"
            );
            samples.push(sample);
        }
    }
    samples
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).expect("a value");
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"").expect("a quoted value");
            assert!(is_name(label), "{line}");
            let (value, after) = unquoted(after);
            assert!(labels.insert(label.into(), value).is_none(), "label twice: {line}");
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').expect("a blank before the value");
    (name.into(), labels, value.parse().expect(line))
}

/// The text up to the closing quote, and what follows it.
fn unquoted(text: &str) -> (String, &str) {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => match chars.next().expect("something is escaped").1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    panic!("no closing quote in {text}");
}

fn value(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> f64 {
    let labels = labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    let found = samples.iter().find(|sample| (sample.0.as_str(), &sample.1) == (name, &labels));
    found.unwrap_or_else(|| panic!("no {name} {labels:?}")).2
}

#[test]
fn the_metrics_that_are_promised_are_there() {
    let samples = parse(&metrics::text(&snapshot("echo"), &Histogram::default()));
    let device = ("device", "0000:01:00.0,0000:02:01.0");
    let of_echo = [("owner", "echo"), device];
    assert_eq!(value(&samples, "weir_packets_total", &[of_echo[0], device, ("direction", "rx")]), 11.0);
    assert_eq!(value(&samples, "weir_bytes_total", &[of_echo[0], device, ("direction", "tx")]), 14.0);
    assert_eq!(value(&samples, "weir_data_path_kernel_entries_total", &of_echo), 17.0);
    assert_eq!(value(&samples, "weir_sleep_kernel_entries_total", &of_echo), 16.0);
    assert_eq!(value(&samples, "weir_iommu_faults_total", &of_echo), 18.0);
    assert_eq!(value(&samples, "weir_device_iommu_faults_total", &[("device", "0000:02:01.0")]), 18.0);
    assert_eq!(value(&samples, "weir_cpu_kernel_entries_total", &[("cpu", "1"), ("cause", "device")]), 4.0);
    assert_eq!(value(&samples, "weir_iommu_info", &[("mode", "vtd-legacy")]), 1.0);
    assert!((value(&samples, "weir_uptime_seconds", &[]) - 5.000_000_001).abs() < 1e-12);
    parse(&metrics::text(&Snapshot::default(), &Histogram::default()));
}

#[test]
fn the_histogram_adds_up() {
    let mut requests = Histogram::default();
    [500, 1500, 1600, u64::MAX / 4].into_iter().for_each(|ns| requests.add(ns));
    let samples = parse(&metrics::text(&Snapshot::default(), &requests));
    let bucket = |le| value(&samples, "weir_request_duration_seconds_bucket", &[("le", le)]);
    assert_eq!((bucket("0.000001000"), bucket("0.000002000"), bucket("2.097152000")), (1.0, 3.0, 3.0));
    assert_eq!((bucket("+Inf"), value(&samples, "weir_request_duration_seconds_count", &[])), (4.0, 4.0));
}

#[test]
fn json_has_every_number_and_readable_addresses() {
    let text = json::text(&snapshot("echo"), &Histogram::default());
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["owners"][0]["rx_packets"], 11);
    assert_eq!(value["owners"][0]["data_path_kernel_entries"], 17);
    assert_eq!(value["owners"][0]["devices"][1], "0000:02:01.0");
    assert_eq!(value["devices"][0]["owner"], serde_json::Value::Null);
    assert_eq!(value["faults"][0]["iova"], "0x200000");
    assert_eq!(value["faults"][0]["why"], "no permission to write there");
    assert_eq!((&value["confined"], &value["startable"]), (&true.into(), &"rogue".into()));
    assert_eq!(value["requests"]["counts"].as_array().unwrap().len(), 23);
}

proptest! {
    #[test]
    fn no_name_breaks_a_text(name in "\\PC*|[\"\\\\\n{},= ]*") {
        prop_assume!(name != "other");
        let snapshot = snapshot(&name);
        let value: serde_json::Value = serde_json::from_str(&json::text(&snapshot, &Histogram::default())).unwrap();
        prop_assert_eq!(value["owners"][0]["name"].as_str(), Some(&*name));
        let samples = parse(&metrics::text(&snapshot, &Histogram::default()));
        prop_assert!(samples.iter().any(|(_, labels, _)| labels.get("owner") == Some(&name)));
    }
}
