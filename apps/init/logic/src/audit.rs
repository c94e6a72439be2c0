//! The audit's report: who reaches what, as the kernel says, in one line for the host to check.
//!
//! **Invariant: nothing is left out or judged here**: the host proves, or fails to prove, that owners are apart.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use weir_abi::device::DeviceInfo;
use weir_abi::info::{InterruptInfo, ReachInfo};

use crate::report::quoted;

/// A process and what it has.
#[derive(Clone, Debug, Default)]
pub struct Owner {
    /// Its name.
    pub name: String,
    /// Its number.
    pub process: u32,
    /// CPUs granted to it whole, and to whom it passes them on.
    pub cores: Vec<u64>,
    /// What its threads reach.
    pub reach: Vec<ReachInfo>,
    /// What its devices reach.
    pub device_reach: Vec<ReachInfo>,
    /// Memory it has handles to.
    pub held: Vec<ReachInfo>,
}

/// The line. A run is `[address, physical address, bytes, memory, flags, device]`.
#[must_use]
pub fn line(owners: &[Owner], devices: &[DeviceInfo], interrupts: &[InterruptInfo]) -> String {
    let mut line = String::from("{\"type\":\"audit\",\"owners\":[");
    list(&mut line, owners, |line, owner| {
        let (name, process, cores) = (quoted(&owner.name), owner.process, &owner.cores);
        // Writing to a `String` cannot fail, here and below.
        let _ = write!(line, "{{\"name\":{name},\"process\":{process},\"cores\":{cores:?}");
        for (key, of) in
            [("reach", &owner.reach), ("device_reach", &owner.device_reach), ("held", &owner.held)]
        {
            let _ = write!(line, ",\"{key}\":[");
            list(line, of, run);
            line.push(']');
        }
        line.push('}');
    });
    line.push_str("],\"devices\":[");
    list(&mut line, devices, |line, device| {
        let DeviceInfo { address, vendor, device, class, group, owner, .. } = device;
        let _ = write!(
            line,
            "{{\"address\":{address},\"vendor\":{vendor},\"device\":{device},\"class\":{class},\"group\":{group},\
             \"owner\":{owner}}}"
        );
    });
    line.push_str("],\"interrupts\":[");
    list(&mut line, interrupts, |line, interrupt| {
        let InterruptInfo { device, number, owner, cpu, vector, data, message } = interrupt;
        let _ = write!(
            line,
            "{{\"device\":{device},\"number\":{number},\"owner\":{owner},\"cpu\":{cpu},\"vector\":{vector},\
             \"message\":{message},\"data\":{data}}}"
        );
    });
    line.push_str("]}\n");
    line
}

fn run(line: &mut String, run: &ReachInfo) {
    let ReachInfo { address, phys, bytes, memory, flags, device } = run;
    let _ = write!(line, "[{address},{phys},{bytes},{memory},{flags},{device}]");
}

fn list<T>(line: &mut String, items: &[T], append: impl Fn(&mut String, &T)) {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            line.push(',');
        }
        append(line, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_exact() {
        let reach = ReachInfo { address: 1, phys: 2, bytes: 3, memory: 4, flags: 5, device: 6 };
        let owner = Owner {
            name: "a".into(),
            process: 7,
            cores: alloc::vec![1, 2],
            reach: alloc::vec![reach, reach],
            held: alloc::vec![reach],
            ..Owner::default()
        };
        let interrupt =
            InterruptInfo { device: 1, number: 2, owner: 3, cpu: 4, vector: 5, data: 6, message: 7 };
        let device = DeviceInfo {
            address: 1,
            vendor: 2,
            device: 3,
            class: 4,
            group: 5,
            owner: 6,
            ..DeviceInfo::default()
        };
        let expected = "{\"type\":\"audit\",\"owners\":[{\"name\":\"a\",\"process\":7,\"cores\":[1, 2],\
            \"reach\":[[1,2,3,4,5,6],[1,2,3,4,5,6]],\"device_reach\":[],\"held\":[[1,2,3,4,5,6]]}],\
            \"devices\":[{\"address\":1,\"vendor\":2,\"device\":3,\"class\":4,\"group\":5,\"owner\":6}],\
            \"interrupts\":[{\"device\":1,\"number\":2,\"owner\":3,\"cpu\":4,\"vector\":5,\"message\":7,\"data\":6}]}\n";
        assert_eq!(line(&[owner], &[device], &[interrupt]), expected);
        assert_eq!(
            line(&[], &[], &[]),
            "{\"type\":\"audit\",\"owners\":[],\"devices\":[],\"interrupts\":[]}\n"
        );
    }
}
