//! The network stack beside a Linux machine on the same cable, which does what neighbours do: asks for addresses and forgets them,
//! gets another address itself, gives addresses away, speaks in a virtual LAN, and loses, repeats, reorders and damages frames.
//!
//! Reading order: `pair` (the two machines) · this file (the cases).

mod pair;

use std::time::Duration;

use anyhow::{Context, Result};
use pair::Pair;

use super::Case;

pub(super) const CASES: &[(&str, Case)] = &[
    ("nearby::addresses_come_and_go", addresses_come_and_go),
    ("nearby::addresses_come_and_go_ipv6", addresses_come_and_go_ipv6),
    ("nearby::a_lease_is_renewed_and_lost", a_lease_is_renewed_and_lost),
    ("nearby::a_virtual_lan_is_alone", a_virtual_lan_is_alone),
    ("nearby::a_bad_wire_damages_nothing", a_bad_wire_damages_nothing),
];

/// How long Weir's console may take.
const LIMIT: Duration = Duration::from_secs(30);
/// How long a connection may stand still while an address is found anew: Linux asks again after a second.
const STILL_MS: u64 = 2500;

/// What follows `before` in `text`, as a number.
fn number_after(text: &str, before: &str) -> Result<u64> {
    let rest = text.split_once(before).with_context(|| format!("no `{before}` in {text}"))?.1;
    let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().with_context(|| format!("no number after `{before}` in {text}"))
}

/// Every size of ping: empty, the largest that one packet carries, and in fragments.
fn pings(pair: &mut Pair, to: &str, unfragmented: usize) -> Result<()> {
    for bytes in [0, 56, unfragmented] {
        pair.run(&format!("deb-ping -q -c 3 -i 0.01 -W 5 -s {bytes} {to}"))?;
    }
    let said = pair.run(&format!("deb-ping -q -c 200 -i 0.002 -W 5 {to}"))?;
    pair.check(said.contains(" 0% packet loss"), &said)
}

/// A connection on which a line goes to and fro all the time while `trouble` is made.
fn meanwhile(pair: &mut Pair, to: &str, trouble: &[&str]) -> Result<()> {
    let rounds = 150 * (1 + trouble.len());
    pair.run(&format!("tcp-client {to} rounds={rounds} every_ms=10 > /tmp/steady & sleep 0.5"))?;
    for line in trouble {
        pair.run(&format!("{line} && sleep 0.5"))?;
    }
    let said = pair.run("kill -0 $! && wait $! && cat /tmp/steady")?;
    let longest = number_after(&said, "the longest of")?;
    pair.check(longest <= STILL_MS, &said)
}

fn addresses_come_and_go() -> Result<()> {
    let mut pair = Pair::boot("tcp-near", &[])?;
    pair.run("ip address add 10.0.2.2/24 dev eth0")?;
    pings(&mut pair, "10.0.2.15", 1472)?;
    for bytes in [4000, 12_000] {
        pair.run(&format!("deb-ping -q -c 3 -i 0.1 -W 5 -s {bytes} 10.0.2.15"))?;
    }
    pair.run("ip neigh flush dev eth0 && tcp-client 10.0.2.15:7 bytes=1000000")?;
    // Forgets Weir's address; gets another one itself, with and without telling.
    let trouble = [
        "ip neigh flush dev eth0",
        "ip link set eth0 address 02:fe:00:00:00:03",
        "echo 1 > /proc/sys/net/ipv4/conf/eth0/arp_notify && ip link set eth0 address 02:fe:00:00:00:04",
        "arping -q -c 1 -U -I eth0 10.0.2.2; ip neigh flush dev eth0",
    ];
    meanwhile(&mut pair, "10.0.2.15:7", &trouble)?;
    let said = pair.run("ip neigh show")?;
    pair.check(said.contains("10.0.2.15 dev eth0 lladdr 52:54:00:12:34:56"), &said)?;
    pair.end()
}

fn addresses_come_and_go_ipv6() -> Result<()> {
    let mut pair = Pair::boot("tcp-near", &[])?;
    pair.run("until ip address show dev eth0 | grep -q 'inet6 fe80.*link *$'; do sleep 0.1; done; ip address show eth0")?;
    let host = "fe80::5054:ff:fe12:3456";
    pings(&mut pair, &format!("{host}%eth0"), 1452)?;
    pair.run("ip -6 neigh flush dev eth0; index=$(cat /sys/class/net/eth0/ifindex)")?;
    let service = format!("[{host}%$index]:7");
    pair.run(&format!("tcp-client {service} bytes=1000000"))?;
    // Probes go to the one address, not to everybody who may have it.
    let probed = format!("deb-ip neigh change {host} dev eth0 nud probe");
    let trouble = ["ip -6 neigh flush dev eth0", "ip link set eth0 address 02:fe:00:00:00:03", &probed];
    meanwhile(&mut pair, &service, &trouble)?;
    let said = pair.run("ip -6 neigh show")?;
    pair.check(said.contains(&format!("{host} dev eth0 lladdr 52:54:00:12:34:56")), &said)?;
    pair.end()
}

/// A server whose leases are short; then there is none, and then there is one again.
fn a_lease_is_renewed_and_lost() -> Result<()> {
    const SERVER: &str = "start 10.0.2.15\\nend 10.0.2.15\\ninterface eth0\\nlease_file /tmp/leases\\nmin_lease 5\\n\
        option subnet 255.255.255.0\\noption router 10.0.2.2\\noption lease 6\\n";
    let mut pair = Pair::boot("tcp", &[])?;
    pair.run("ip address add 10.0.2.2/24 dev eth0")?;
    pair.run(&format!("printf '{SERVER}' > /tmp/conf && touch /tmp/leases"))?;
    pair.run("udhcpd -f /tmp/conf 2> /tmp/log & server=$!")?;
    pair.weir.console_line("serving at 10.0.2.15", LIMIT)?;
    // Twice as long as a lease.
    pair.run("tcp-client 10.0.2.15:7 rounds=1200 every_ms=10")?;
    let said = pair.run("cat /tmp/log; kill $server")?;
    pair.check(said.matches("sending ACK").count() >= 3, &said)?;
    pair.weir.console_line("the DHCP server does not renew 10.0.2.15", LIMIT)?;
    pair.run_in_vain("deb-ping -c 1 -W 1 10.0.2.15")?;
    pair.run("udhcpd -f /tmp/conf 2> /tmp/log & sleep 12; deb-ping -q -c 1 -W 5 10.0.2.15")?;
    pair.end()
}

fn a_virtual_lan_is_alone() -> Result<()> {
    let mut pair = Pair::boot("tcp-vlan", &["8021q"])?;
    pair.run("for id in 7 8; do ip link add link eth0 name eth0.$id type vlan id $id && ip link set eth0.$id up; done")?;
    pair.run("ip address add 10.0.2.2/24 dev eth0.7")?;
    pings(&mut pair, "10.0.2.15", 1472)?;
    pair.run("tcp-client 10.0.2.15:7 bytes=1000000")?;
    for other in ["eth0.8", "eth0"] {
        pair.run(&format!(
            "ip address flush dev eth0.7; ip address flush dev eth0.8; ip address add 10.0.2.2/24 dev {other}"
        ))?;
        pair.run_in_vain("deb-ping -c 2 -i 0.1 -W 1 10.0.2.15")?;
    }
    pair.run(
        "ip address flush dev eth0; ip address add 10.0.2.2/24 dev eth0.7; deb-ping -q -c 1 -W 5 10.0.2.15",
    )?;
    pair.end()
}

/// Three of a hundred frames are lost, others come twice, too late, or with a wrong bit, in both directions.
fn a_bad_wire_damages_nothing() -> Result<()> {
    const TROUBLE: &str = "netem loss 3% duplicate 2% reorder 25% delay 3ms 2ms";
    let mut pair =
        Pair::boot("tcp-near", &["sch_netem", "sch_ingress", "cls_matchall", "act_mirred", "ifb"])?;
    pair.run("ip address add 10.0.2.2/24 dev eth0; ip link set ifb0 up")?;
    pair.run("deb-tc qdisc add dev eth0 ingress")?;
    pair.run("deb-tc filter add dev eth0 parent ffff: matchall action mirred egress redirect dev ifb0")?;
    // What comes is damaged nowhere: Linux looks at sums before this, where it joins segments, and would believe what is damaged then.
    for (device, damage) in [("eth0", "corrupt 1%"), ("ifb0", "")] {
        pair.run(&format!("deb-tc qdisc add dev {device} root {TROUBLE} {damage}"))?;
    }
    // Some are lost. Without a deadline it waits for as long as twice the longest answer seems to have taken, by a time stamp that may
    // be damaged.
    pair.run("deb-ping -q -c 100 -i 0.02 -w 4 10.0.2.15; true")?;
    pair.run("tcp-client 10.0.2.15:7 bytes=250000")?;
    pair.run("deb-tc -s qdisc show dev ifb0")?;
    pair.end()
}
