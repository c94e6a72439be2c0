//! Lies.

use crate::script::FIRST_LIE;
use crate::{Random, Script};

/// How often, and where, the device writes something else than the truth.
#[derive(Clone)]
pub struct Malice {
    /// Decides alone, where there is one.
    script: Option<Script>,
    random: Random,
    /// Once in so many values; 0 for never.
    ring_once_in: u64,
    register_once_in: u64,
    config_once_in: u64,
}

impl Malice {
    /// An honest device.
    #[must_use]
    pub fn none() -> Malice {
        let random = Random::new(0);
        Malice { script: None, random, ring_once_in: 0, register_once_in: 0, config_once_in: 0 }
    }

    /// Says of every value, wherever it is, what the script says.
    #[must_use]
    pub fn scripted(script: &Script) -> Malice {
        Malice { script: Some(script.clone()), ..Malice::none() }
    }

    /// Lies about used indices, ids, lengths and events once in `once_in` values.
    #[must_use]
    pub fn in_rings(seed: u64, once_in: u64) -> Malice {
        Malice { random: Random::new(seed), ring_once_in: once_in, ..Malice::none() }
    }

    /// Lies everywhere: rings, registers, configuration space.
    #[must_use]
    pub fn everywhere(seed: u64, once_in: u64) -> Malice {
        let random = Random::new(seed);
        Malice {
            script: None,
            random,
            ring_once_in: once_in,
            register_once_in: once_in,
            config_once_in: once_in,
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low half of a lie is a lie")]
    pub(crate) fn twist_u32(&mut self, value: u32) -> u32 {
        self.twist(value.into(), self.ring_once_in) as u32
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low part of a lie is a lie")]
    pub(crate) fn twist_u16(&mut self, value: u16) -> u16 {
        self.twist(value.into(), self.ring_once_in) as u16
    }

    pub(crate) fn twist_register(&mut self, value: u64) -> u64 {
        self.twist(value, self.register_once_in)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low half of a lie is a lie")]
    pub(crate) fn twist_config(&mut self, value: u32) -> u32 {
        self.twist(value.into(), self.config_once_in) as u32
    }

    /// A page of data about the device: each word, or, by a script, some words in half of which a device says something
    /// that matters, since most of such a page means nothing.
    pub(crate) fn twist_page(&mut self, page: &mut [u8]) {
        let Some(script) = self.script.clone() else {
            for word in page.chunks_exact_mut(4) {
                let value = u32::from_le_bytes(word.try_into().expect("four bytes"));
                word.copy_from_slice(&self.twist_config(value).to_le_bytes());
            }
            return;
        };
        let lies = usize::from(script.byte()).saturating_sub(FIRST_LIE.into());
        for _ in 0..lies {
            let [kind, place] = script.bytes();
            let place = if kind & 1 == 0 { usize::from(place) } else { 16 * usize::from(place) };
            if let Some(word) = page.get_mut(place..).and_then(<[u8]>::first_chunk_mut::<4>) {
                let lie = script.lie(kind >> 1, u32::from_le_bytes(*word).into()).to_le_bytes();
                word.copy_from_slice(&lie[..4]);
            }
        }
    }

    /// The truth, or something near it, or something far off: near misses find off-by-one errors.
    fn twist(&mut self, value: u64, once_in: u64) -> u64 {
        if let Some(script) = &self.script {
            return script.twist(value);
        }
        if once_in == 0 || !self.random.once_in(once_in) {
            return value;
        }
        let bits = self.random.bits();
        match bits >> 62 {
            0 => value.wrapping_add(1 + (bits & 1)),
            1 => value.wrapping_sub(1 + (bits & 1)),
            2 => value ^ 1 << (bits & 31),
            _ => bits >> (bits & 63),
        }
    }
}
