//! None, one, or too many.

/// How many items an iterator had, as far as it matters.
pub(super) enum Count<T> {
    None,
    One(T),
    Several,
}

impl<T> Count<T> {
    pub(super) fn one(self) -> Option<T> {
        if let Count::One(item) = self { Some(item) } else { None }
    }
}

pub(super) fn at_most_one<T>(mut items: impl Iterator<Item = T>) -> Count<T> {
    match (items.next(), items.next()) {
        (None, _) => Count::None,
        (Some(item), None) => Count::One(item),
        (Some(_), Some(_)) => Count::Several,
    }
}
