//! Medians, and how they are shown.

use std::fmt::Write;

use serde::Serialize;

use super::front_end::System;
use crate::measure::spread::{Spread, Verdict};

/// One run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) mpps: f64,
    /// Busy cycles per packet.
    pub(super) cycles: f64,
}

/// The rounds of a mode; a round has a sample per system, in the order of [`System::ALL`].
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) mode: &'static str,
    pub(super) samples: Vec<Vec<Sample>>,
}

/// A figure of the result file.
#[derive(Debug, Serialize)]
pub(super) struct Figure {
    suite: &'static str,
    metric: String,
    unit: &'static str,
    system: &'static str,
    config: Config,
    #[serde(flatten)]
    spread: Spread,
}

/// What all were measured on.
#[derive(Clone, Copy, Debug, Serialize)]
struct Config {
    frame_bytes: usize,
    ring_entries: usize,
    burst: usize,
    iommu: &'static str,
    /// Programs that wanted to run before the measurement began.
    load: f64,
}

impl Row {
    fn spread(&self, value: impl Fn(&[Sample]) -> f64) -> Spread {
        Spread::of(self.samples.iter().map(|round| value(round)).collect())
    }

    fn mpps(&self, system: usize) -> Spread {
        self.spread(|round| round[system].mpps)
    }

    fn cycles(&self, system: usize) -> Spread {
        self.spread(|round| round[system].cycles)
    }

    /// Weir's rate over that of DPDK with the same rings, round by round; `None` for Weir's own.
    fn ratio(&self, system: usize) -> Option<Spread> {
        let weir = system.checked_sub(1).filter(|weir| weir % 2 == 0)?;
        Some(self.spread(|round| round[weir].mpps / round[system].mpps))
    }

    /// The same with the better rings of each, whichever they were in a round.
    fn best_ratio(&self) -> Spread {
        let best = |round: &[Sample], first: usize| round[first].mpps.max(round[first + 2].mpps);
        self.spread(|round| best(round, 0) / best(round, 1))
    }
}

/// The table.
pub(super) fn text(rows: &[Row], load: f64) -> String {
    let mut text =
        format!("{:8} {:12} {:>22} {:>29} {:>14}\n", "row", "system", "Mpps", "weir / it", "cycles/packet");
    for row in rows {
        for (index, system) in System::ALL.iter().enumerate() {
            let ratio = row.ratio(index).map_or_else(String::new, |ratio| compared(&ratio));
            let (mpps, cycles) = (row.mpps(index).shown(1), row.cycles(index).median);
            let _ =
                writeln!(text, "{:8} {:12} {mpps:>22} {ratio:>29} {cycles:>14.0}", row.mode, system.word());
        }
    }
    let rounds = rows.first().map_or(0, |row| row.samples.len());
    let _ =
        writeln!(text, "median [least, greatest] of {rounds} round(s), 64-byte frames; load before: {load}");
    text
}

/// A ratio, and what it says.
fn compared(ratio: &Spread) -> String {
    let verdict = match ratio.verdict() {
        Verdict::Faster => "faster",
        Verdict::Slower => "slower",
        Verdict::NoneShown => "",
    };
    format!("{} {verdict:6}", ratio.shown(2))
}

/// The result file.
pub(super) fn figures(rows: &[Row], load: f64) -> Vec<Figure> {
    let config = Config { frame_bytes: 64, ring_entries: 256, burst: 32, iommu: "none: no device", load };
    let mut figures = Vec::new();
    for row in rows {
        for (index, system) in System::ALL.iter().enumerate() {
            let mut add = |what: &str, unit, spread| {
                let metric = format!("{}_{what}", row.mode);
                figures.push(Figure { suite: "native", metric, unit, system: system.word(), config, spread });
            };
            add("rate", "Mpps", row.mpps(index));
            add("busy_cycles", "cycles/packet", row.cycles(index));
            if let Some(ratio) = row.ratio(index) {
                add("weir_ratio", "ratio", ratio);
            }
        }
        let metric = format!("{}_weir_ratio", row.mode);
        let system = "dpdk-best";
        figures.push(Figure {
            suite: "native",
            metric,
            unit: "ratio",
            system,
            config,
            spread: row.best_ratio(),
        });
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        let sample = |mpps| Sample { mpps, cycles: 100.0 / mpps };
        // A fast and a slow round: only ratios within a round say what is faster.
        let rounds = [[20.0, 10.0, 40.0, 80.0], [3.0, 1.0, 2.0, 4.0]];
        Row { mode: "tx", samples: rounds.map(|round| round.map(sample).to_vec()).to_vec() }
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        assert_eq!(row().ratio(0), None);
        assert_eq!(row().ratio(1), Some(Spread { median: 2.5, lo: 2.0, hi: 3.0, n: 2 }));
        assert_eq!(row().ratio(2), None);
        assert_eq!(row().ratio(3), Some(Spread { median: 0.5, lo: 0.5, hi: 0.5, n: 2 }));
        assert_eq!(row().best_ratio(), Spread { median: 0.625, lo: 0.5, hi: 0.75, n: 2 });
        assert_eq!(row().mpps(0), Spread { median: 11.5, lo: 3.0, hi: 20.0, n: 2 });
    }

    #[test]
    fn every_figure_has_its_spread_and_its_load() {
        let text = text(&[row()], 0.25);
        assert!(text.contains("2.50 [2.00, 3.00]") && text.contains("load before: 0.25"), "{text}");
        let figures = serde_json::to_value(figures(&[row()], 0.25)).expect("plain values");
        assert_eq!(figures.as_array().map(Vec::len), Some(11));
        assert_eq!(
            (&figures[4]["metric"], &figures[4]["system"]),
            (&"tx_weir_ratio".into(), &"dpdk-split".into())
        );
        assert_eq!((&figures[4]["median"], &figures[4]["n"]), (&2.5.into(), &2.into()));
        assert_eq!(figures[4]["config"]["load"], 0.25);
        assert_eq!(figures[10]["system"], "dpdk-best");
    }
}
