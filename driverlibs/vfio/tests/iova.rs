//! The books of I/O addresses against a model, and the kernel's list of ranges from bytes packed by hand.

use std::ops::RangeInclusive;

use proptest::prelude::*;
use weir_vfio::iova::{Books, ranges};

/// What VT-d with 39 bits has: everything but the interrupts' window.
fn narrow() -> Vec<RangeInclusive<u64>> {
    vec![0..=0xfedf_ffff, 0xfef0_0000..=0x7f_ffff_ffff]
}

#[test]
fn the_wanted_address_where_it_is_translated_and_free() {
    let mut books = Books::new(vec![0..=0xfedf_ffff, 0xfef0_0000..=0x7fff_ffff_ffff]);
    assert_eq!(books.take(0x7f12_3456_7000, 4096), Some(0x7f12_3456_7000));
    let elsewhere = books.take(0x7f12_3456_7000, 4096).unwrap();
    assert_ne!(elsewhere, 0x7f12_3456_7000);
    books.give_back(0x7f12_3456_7000);
    assert_eq!(books.take(0x7f12_3456_7000, 4096), Some(0x7f12_3456_7000));
}

#[test]
fn another_where_it_is_not_translated() {
    let mut books = Books::new(narrow());
    let place = books.take(0x7f12_3456_7000, 4096).unwrap();
    assert!((1 << 20..1 << 39).contains(&place) && place.is_multiple_of(2 << 20), "{place:#x}");
    // Across the interrupts' window, and past the end.
    assert_ne!(books.take(0xfedf_f000, 8192), Some(0xfedf_f000));
    assert_ne!(books.take(0x7f_ffff_f000, 8192), Some(0x7f_ffff_f000));
}

#[test]
fn no_room_is_no_address() {
    let mut books = Books::new(vec![0..=(8 << 20) - 1]);
    assert_eq!(books.take(u64::MAX, 7 << 20), None, "the first megabytes are not given out");
    assert_eq!(books.take(u64::MAX, 6 << 20), Some(2 << 20));
    assert_eq!(books.take(u64::MAX, 1), None);
    assert_eq!(books.take(0, 0), None);
    assert_eq!(Books::new(vec![]).take(4096, 4096), None);
}

proptest! {
    #[test]
    fn runs_never_overlap_and_stay_inside(
        steps in proptest::collection::vec((any::<bool>(), 0u64..1 << 40, 1u64..64 << 20), 1..200)
    ) {
        let mut books = Books::new(narrow());
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for (is_take, address, bytes) in steps {
            if is_take || runs.is_empty() {
                let (wanted, bytes) = (address & !4095, bytes.next_multiple_of(4096));
                let place = books.take(wanted, bytes).expect("512 GiB do not run out");
                let is_apart = |(start, length): &(u64, u64)| place >= start + length || place + bytes <= *start;
                prop_assert!(runs.iter().all(is_apart), "{place:#x} is used");
                let is_inside = |range: &RangeInclusive<u64>| {
                    range.contains(&place) && range.contains(&(place + bytes - 1))
                };
                prop_assert!(narrow().iter().any(is_inside), "{place:#x} is not translated");
                runs.push((place, bytes));
            } else {
                let (place, _) = runs.swap_remove(usize::try_from(address).unwrap() % runs.len());
                books.give_back(place);
            }
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256), first in 0u32..300) {
        let _ = ranges(&bytes, first);
    }
}

/// A capability of another kind at 24, the ranges at 40.
fn chain() -> Vec<u8> {
    let mut info = vec![0; 24];
    let mut word = |bytes: &[u8]| info.extend_from_slice(bytes);
    word(&2u16.to_ne_bytes());
    word(&1u16.to_ne_bytes());
    word(&40u32.to_ne_bytes());
    word(&[0xff; 8]);
    word(&1u16.to_ne_bytes());
    word(&1u16.to_ne_bytes());
    word(&0u32.to_ne_bytes());
    word(&2u32.to_ne_bytes());
    word(&0u32.to_ne_bytes());
    for number in [0u64, 0xfedf_ffff, 0xfef0_0000, 0x7f_ffff_ffff] {
        word(&number.to_ne_bytes());
    }
    info
}

#[test]
fn the_kernel_s_ranges() {
    assert_eq!(ranges(&chain(), 24), Some(narrow()));
}

#[test]
fn a_chain_that_is_cut_or_goes_in_circles_has_none() {
    let whole = chain();
    for bytes in 0..whole.len() {
        assert_eq!(ranges(&whole[..bytes], 24), None, "cut at {bytes}");
    }
    let mut circle = chain();
    circle[28..32].copy_from_slice(&24u32.to_ne_bytes());
    assert_eq!(ranges(&circle, 24), None);
    assert_eq!(ranges(&whole, u32::MAX), None);
}
