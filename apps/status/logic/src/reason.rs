//! Why a unit blocked an access, in words (VT-d 5.10 §7.1.3 "Fault Reporting", Table 30).

/// What the reason `number` of a VT-d unit means.
#[must_use]
pub fn words(number: u32) -> &'static str {
    match number {
        0x01 => "no root entry for the bus",
        0x02 => "the device belongs to nobody",
        0x03 => "context entry malformed",
        0x04 => "address beyond the window's width",
        0x05 => "no permission to write there",
        0x06 => "no permission to read there",
        0x20..=0x26 => "interrupt request blocked",
        0x50..=0x5f => "scalable-mode entry missing or malformed",
        0x71 => "nothing is mapped there",
        0x85 => "no permission to write there",
        _ => "blocked",
    }
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn reasons_seen_in_tests_have_words() {
        for reason in [0x02, 0x05, 0x06, 0x22, 0x71, 0x85] {
            assert_ne!(words(reason), "blocked", "{reason:#x}");
        }
        assert_eq!(words(u32::MAX), "blocked");
    }
}
