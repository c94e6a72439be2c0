//! Numbers as Redis writes them: decimal, nothing around them, one way to write each.

/// The number that `text` is: no `+`, no leading zeros, no `-0`, no blanks.
pub(crate) fn integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let is_plain = matches!(digits, [b'1'..=b'9', ..]) || text == b"0";
    if !is_plain || digits.len() > 19 {
        return None;
    }
    core::str::from_utf8(text).ok()?.parse().ok()
}

/// The digits of a number, without a heap.
pub(crate) struct Digits {
    bytes: [u8; 20],
    start: usize,
}

impl Digits {
    pub(crate) fn new(number: i64) -> Digits {
        let mut digits = Digits::unsigned(number.unsigned_abs());
        if number < 0 {
            digits.push(b'-');
        }
        digits
    }

    pub(crate) fn unsigned(mut number: u64) -> Digits {
        let mut digits = Digits { bytes: [0; 20], start: 20 };
        loop {
            digits.push(b'0' + (number % 10) as u8);
            number /= 10;
            if number == 0 {
                return digits;
            }
        }
    }

    fn push(&mut self, byte: u8) {
        self.start -= 1;
        self.bytes[self.start] = byte;
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_way_to_write_each() {
        for number in [0, 1, -1, 10, i64::MAX, i64::MIN, 1_000_000_007] {
            assert_eq!(integer(Digits::new(number).bytes()), Some(number));
        }
        assert_eq!(Digits::unsigned(u64::MAX).bytes(), b"18446744073709551615");
        for text in
            ["", "-", "+1", "01", "-0", " 1", "1 ", "1x", "9223372036854775808", "-9223372036854775809"]
        {
            assert_eq!(integer(text.as_bytes()), None, "{text}");
        }
    }
}
