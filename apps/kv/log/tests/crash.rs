//! Power fails after every request that the log makes; what was cached then is kept, lost or torn as chance will have it.

mod disk;

use std::collections::BTreeMap;

use disk::{CrashDisk, Stop, parts};
use proptest::collection::vec;
use proptest::prelude::*;
use weir_kvlog::{Error, Log, Replayed};

/// What the program keeps: the last value of each key.
type Contents = BTreeMap<u8, Vec<u8>>;
type Opened = (Log<CrashDisk>, Contents, Replayed);

fn open(disk: &CrashDisk, salt: u64) -> Result<Opened, Error<Stop>> {
    let mut contents = Contents::new();
    let apply = |payload: &[u8]| {
        let (key, value) = payload.split_first().expect("a key");
        contents.insert(*key, value.to_vec());
        true
    };
    let (log, replayed) = Log::open(parts(disk), salt, apply, || disk.is_on())?;
    Ok((log, contents, replayed))
}

/// Polls until idle.
fn drain(log: &mut Log<CrashDisk>, disk: &CrashDisk) -> Result<(), Error<Stop>> {
    while !log.poll()? {
        if !disk.is_on() {
            return Err(Error::Late);
        }
    }
    Ok(())
}

fn put(log: &mut Log<CrashDisk>, disk: &CrashDisk, key: u8, value: &[u8]) -> Result<(), Error<Stop>> {
    log.append(&[&[key], value].concat())?;
    drain(log, disk)
}

/// Writes all of `contents` into the other half.
fn rewrite(
    log: &mut Log<CrashDisk>,
    disk: &CrashDisk,
    contents: &Contents,
    salt: u64,
) -> Result<(), Error<Stop>> {
    log.begin_rewrite(salt)?;
    for (key, value) in contents {
        put(log, disk, *key, value)?;
    }
    log.finish_rewrite()?;
    drain(log, disk)
}

/// What should be there: `kept` for sure, or that with the last change.
#[derive(Default)]
struct Model {
    kept: Contents,
    maybe: Contents,
}

/// Puts all of `puts`, rewriting where the half is full, until power fails.
fn work(
    disk: &CrashDisk,
    salts: &mut u64,
    puts: &[(u8, usize)],
    model: &mut Model,
) -> Result<(), Error<Stop>> {
    let mut salt = || {
        *salts += 1;
        *salts
    };
    let (mut log, contents, replayed) = open(disk, salt())?;
    assert!(!replayed.is_damaged, "a crash is no damage");
    assert!(contents == model.kept || contents == model.maybe, "{contents:?}, not {:?}", model.kept);
    (model.kept, model.maybe) = (contents.clone(), contents);
    for (number, (key, len)) in puts.iter().enumerate() {
        let value = vec![u8::try_from(number % 251).expect("small"); *len];
        if !log.has_room(1 + len) {
            rewrite(&mut log, disk, &model.kept, salt())?;
        }
        model.maybe.insert(*key, value.clone());
        put(&mut log, disk, *key, &value)?;
        model.kept = model.maybe.clone();
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_crash_after_any_request_loses_nothing_acknowledged(
        puts in vec((0..5_u8, 0..2500_usize), 1..40),
        again in vec((0..5_u8, 0..2500_usize), 1..10),
        seed in any::<u64>(),
    ) {
        let blank = CrashDisk::new(80, seed);
        work(&blank, &mut 0, &puts, &mut Model::default()).expect("without a crash");
        for requests in 0..blank.requests() {
            let (disk, mut model, mut salts) = (CrashDisk::new(80, seed ^ requests), Model::default(), 0);
            disk.fail_after(requests);
            let end = work(&disk, &mut salts, &puts, &mut model);
            prop_assert!(end.is_err(), "power fails");
            disk.power_on();
            // It goes on, fails once more, and goes on.
            disk.fail_after(requests % 17);
            let _ = work(&disk, &mut salts, &again, &mut model);
            disk.power_on();
            work(&disk, &mut salts, &again, &mut model).expect("without a crash");
            work(&disk, &mut salts, &[], &mut model).expect("without a crash");
        }
    }

    #[test]
    fn a_flipped_bit_is_found(places in vec(any::<u32>(), 30), seed in any::<u64>()) {
        let disk = CrashDisk::new(80, seed);
        let (mut log, ..) = open(&disk, 1).expect("blank");
        let used: Vec<usize> = (0..8_u8).map(|key| {
            put(&mut log, &disk, key, &[key; 700]).expect("room");
            usize::try_from(log.used_bytes()).expect("small")
        }).collect();
        let image = disk.stable();
        for place in places {
            let bit = place as usize % (8 * 8 * 1024);
            let (byte, record) = (512 + bit / 8, bit / 8 / 1024);
            let mut broken = image.clone();
            broken[byte] ^= 1 << (bit % 8);
            disk.set_stable(broken);
            let (mut log, contents, replayed) = open(&disk, 2).expect("it opens");
            let is_padding = bit / 8 % 1024 >= 40 + 701;
            let whole = if is_padding { 8 } else { record };
            prop_assert_eq!(contents.len(), whole, "those before the damage");
            prop_assert_eq!(usize::try_from(log.used_bytes()).expect("small"), if whole == 0 { 0 } else { used[whole - 1] });
            prop_assert_eq!(replayed.is_damaged, whole < 7, "the last one might as well be torn");
            if replayed.is_damaged {
                prop_assert_eq!(put(&mut log, &disk, 1, b"x"), Err(Error::Damaged));
                rewrite(&mut log, &disk, &contents, 3).expect("room");
                put(&mut log, &disk, 99, b"x").expect("room");
                let (_, after, replayed) = open(&disk, 4).expect("it opens");
                prop_assert!(!replayed.is_damaged && after.len() == whole + 1);
            }
        }
    }
}

#[test]
fn a_torn_record_is_reported_and_overwritten() {
    let disk = CrashDisk::new(80, 1);
    let (mut log, ..) = open(&disk, 1).expect("blank");
    put(&mut log, &disk, 1, &[1; 2000]).expect("room");
    let whole = disk.stable();
    put(&mut log, &disk, 2, &[2; 2000]).expect("room");
    let mut torn = disk.stable();
    let end = 512 + 2048 + 1024;
    torn[end..].copy_from_slice(&whole[end..]);
    disk.set_stable(torn);
    let (mut log, contents, replayed) = open(&disk, 2).expect("it opens");
    assert_eq!(replayed, Replayed { records: 1, bytes: 2001, torn_bytes: 2001, is_damaged: false });
    assert_eq!(contents.len(), 1);
    put(&mut log, &disk, 3, b"x").expect("room");
    let (_, contents, replayed) = open(&disk, 3).expect("it opens");
    assert_eq!((contents.len(), replayed.records, replayed.torn_bytes), (2, 2, 0));
}

#[test]
fn several_appends_need_their_turn() {
    let disk = CrashDisk::new(80, 1);
    let (mut log, ..) = open(&disk, 1).expect("blank");
    log.append(b"a").expect("room");
    assert_eq!(log.append(b"b"), Err(Error::Busy));
    assert_eq!(log.begin_rewrite(1), Err(Error::Busy));
    drain(&mut log, &disk).expect("power is on");
    assert!(!log.has_room(usize::MAX) && !log.has_room(39 * 512));
    assert_eq!(log.append(&[0; 39 * 512]), Err(Error::Full));
    assert_eq!(log.append(&[0; 38 * 512 - 40]), Ok(()));
}

#[test]
fn only_blank_disks_become_logs() {
    let disk = CrashDisk::new(80, 1);
    disk.set_stable(vec![1; 80 * 512]);
    assert_eq!(open(&disk, 1).err(), Some(Error::Foreign(41 * 512)));
    assert_eq!(open(&CrashDisk::new(3, 1), 1).err(), Some(Error::Unsuitable));
    let disk = CrashDisk::new(80, 1);
    let (mut log, ..) = open(&disk, 1).expect("blank");
    put(&mut log, &disk, 1, b"x").expect("room");
    let mut image = disk.stable();
    image[20] ^= 1;
    disk.set_stable(image.clone());
    assert_eq!(
        open(&disk, 1).err(),
        Some(Error::Foreign(41 * 512)),
        "a damaged header with records behind it"
    );
    image[20] ^= 1;
    let larger = CrashDisk::new(100, 1);
    image.resize(100 * 512, 0);
    larger.set_stable(image);
    assert_eq!(open(&larger, 1).err(), Some(Error::Size { found: 40, expected: 50 }));
}
