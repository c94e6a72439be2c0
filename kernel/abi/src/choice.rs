//! Which IOMMU mode the kernel is asked for on its command line: `iommu=WORD`. The host writes it, the kernel reads it.
//!
//! **Invariant: a choice other than [`IommuChoice::Auto`] is met or refused**, never exchanged for a weaker one.

use crate::page::IommuMode;

/// What is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IommuChoice {
    /// The best that all units offer: first stage, second stage, legacy; AMD's units have one mode.
    #[default]
    Auto,
    /// This mode or no device.
    Only(IommuMode),
}

impl IommuChoice {
    /// Every choice with its word.
    pub const WORDS: [(&str, IommuChoice); 5] = [
        ("auto", IommuChoice::Auto),
        ("legacy", IommuChoice::Only(IommuMode::VtdLegacy)),
        ("scalable-second", IommuChoice::Only(IommuMode::VtdScalableSecond)),
        ("scalable-first", IommuChoice::Only(IommuMode::VtdScalableFirst)),
        ("amd", IommuChoice::Only(IommuMode::AmdVi)),
    ];
    /// The words, for people.
    pub const LIST: &str = "auto, legacy, scalable-second, scalable-first, amd";

    /// The choice that `word` means.
    #[must_use]
    pub fn from_word(word: &str) -> Option<IommuChoice> {
        IommuChoice::WORDS.iter().find(|(known, _)| *known == word).map(|(_, choice)| *choice)
    }

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        IommuChoice::WORDS.iter().find(|(_, choice)| *choice == self).map_or("off", |(word, _)| word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_choices_are_the_same_set() {
        let mut list = IommuChoice::LIST.split(", ");
        for (word, choice) in IommuChoice::WORDS {
            assert_eq!(IommuChoice::from_word(word), Some(choice));
            assert_eq!(choice.word(), word);
            assert_eq!(list.next(), Some(word));
        }
        assert_eq!((list.next(), IommuChoice::from_word("passthrough")), (None, None));
    }
}
