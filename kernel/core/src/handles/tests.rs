use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::testing::{cases, with_full_heap};

fn table(limit: u32) -> HandleTable<char> {
    HandleTable::new(limit)
}

#[test]
fn first_handles_are_the_well_known_ones() {
    let mut table = table(3);
    assert_eq!(table.insert('a', Rights::ALL), Ok(Handle::SELF));
    assert_eq!(table.insert('b', Rights::ALL), Ok(Handle::SYSTEM));
    assert_eq!(table.insert('c', Rights::READ), Ok(Handle::BUNDLE));
    assert_eq!(table.get(Handle::BUNDLE), Ok((&'c', Rights::READ)));
    assert_eq!(table.insert('d', Rights::ALL), Err(Error::Quota));
    assert_eq!(table.len(), 3);
}

#[test]
fn nothing_is_open_in_an_empty_table() {
    let mut table = table(1);
    for handle in [Handle::NONE, Handle::SELF, Handle(u64::MAX), Handle::new(0, 0)] {
        assert_eq!(table.get(handle), Err(Error::BadHandle));
        assert_eq!(table.remove(handle), Err(Error::BadHandle));
    }
    assert!(table.is_empty() && table.iter().next().is_none() && table.drain().next().is_none());
}

#[test]
fn a_stale_handle_is_never_another_object() {
    let mut table = table(1);
    let old = table.insert('a', Rights::ALL).unwrap();
    assert_eq!(table.remove(old), Ok(('a', Rights::ALL)));
    assert_eq!(table.remove(old), Err(Error::BadHandle));
    let new = table.insert('b', Rights::NONE).unwrap();
    assert_eq!(new, Handle::new(0, 2));
    assert_eq!(table.get(old), Err(Error::BadHandle));
    assert_eq!(table.remove(old), Err(Error::BadHandle));
    assert_eq!(table.get(new), Ok((&'b', Rights::NONE)));
}

#[test]
fn an_index_without_generations_left_is_retired() {
    let mut table = table(2);
    let first = table.insert('a', Rights::ALL).unwrap();
    table.entries[0].generation = u32::MAX;
    assert_eq!(table.get(first), Err(Error::BadHandle));
    let last = Handle::new(0, u32::MAX);
    assert_eq!(table.remove(last), Ok(('a', Rights::ALL)));
    assert_eq!(table.get(last), Err(Error::BadHandle));
    assert_eq!(table.insert('b', Rights::ALL), Ok(Handle::new(1, 1)));
    assert_eq!(table.insert('c', Rights::ALL), Ok(Handle::new(2, 1)), "index 0 does not count as open");
}

#[test]
fn an_unfinished_drain_keeps_the_rest() {
    let mut table = table(4);
    for object in ['a', 'b', 'c'] {
        table.insert(object, Rights::ALL).unwrap();
    }
    assert_eq!(table.drain().next(), Some(('a', Rights::ALL)));
    assert_eq!(table.iter().map(|(_, object, _)| *object).collect::<String>(), "bc");
    assert_eq!(table.drain().map(|(object, _)| object).collect::<String>(), "bc");
    assert!(table.is_empty());
    assert_eq!(table.get(Handle::SELF), Err(Error::BadHandle));
}

#[test]
fn a_full_heap_is_an_error() {
    let mut table = table(1000);
    let mut opened = 0;
    let error = with_full_heap(|| {
        loop {
            match table.insert('a', Rights::ALL) {
                Ok(_) => opened += 1,
                Err(error) => break error,
            }
        }
    });
    assert_eq!((error, table.len()), (Error::NoMemory, opened));
    table.insert('b', Rights::ALL).unwrap();
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u32),
    Remove(prop::sample::Index),
    RemoveAnything(u32, u32),
    Drain,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0u32..64).prop_map(Step::Insert),
        6 => any::<prop::sample::Index>().prop_map(Step::Remove),
        3 => (0u32..10, 0u32..6).prop_map(|(index, generation)| Step::RemoveAnything(index, generation)),
        1 => Just(Step::Drain),
    ]
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn behaves_as_the_model(steps in prop::collection::vec(step(), 0..100)) {
        const LIMIT: u32 = 8;
        let mut table = HandleTable::new(LIMIT);
        let mut open: BTreeMap<u32, (Handle, usize, Rights)> = BTreeMap::new();
        let mut ever: Vec<Handle> = Vec::new();
        for (object, step) in steps.into_iter().enumerate() {
            let handle = match step {
                Step::Insert(_) if open.len() == LIMIT as usize => {
                    prop_assert_eq!(table.insert(object, Rights::ALL), Err(Error::Quota));
                    continue;
                }
                Step::Insert(rights) => {
                    let handle = table.insert(object, Rights(rights)).unwrap();
                    prop_assert!(!ever.contains(&handle));
                    prop_assert!(handle.index() < LIMIT, "closed indices are reused");
                    ever.push(handle);
                    open.insert(handle.index(), (handle, object, Rights(rights)));
                    continue;
                }
                Step::Drain => {
                    let expected: Vec<_> = open.values().map(|(_, object, rights)| (*object, *rights)).collect();
                    prop_assert_eq!(table.drain().collect::<Vec<_>>(), expected);
                    open.clear();
                    continue;
                }
                Step::Remove(_) if ever.is_empty() => continue,
                Step::Remove(index) => ever[index.index(ever.len())],
                Step::RemoveAnything(index, generation) => Handle::new(index, generation),
            };
            let expected = open.get(&handle.index()).filter(|(its, ..)| *its == handle).copied();
            let expected = expected.map(|(_, object, rights)| (object, rights)).ok_or(Error::BadHandle);
            prop_assert_eq!(table.get(handle).map(|(object, rights)| (*object, rights)), expected);
            prop_assert_eq!(table.remove(handle), expected);
            if expected.is_ok() {
                open.remove(&handle.index());
            }
            let listed: Vec<_> = table.iter().map(|(handle, object, rights)| (handle, *object, rights)).collect();
            prop_assert_eq!(listed, open.values().copied().collect::<Vec<_>>());
            prop_assert_eq!(table.len() as usize, open.len());
        }
    }
}
