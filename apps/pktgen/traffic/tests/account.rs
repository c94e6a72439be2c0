//! What became of probes, against a model that remembers all.

use std::collections::BTreeSet;

use proptest::prelude::*;
use weir_traffic::account::{Account, Counts, WINDOW};

#[test]
fn losses_copies_and_orders_are_told_apart() {
    let mut account = Account::default();
    (0..10).for_each(|number| assert_eq!(account.send(), number));
    assert!(account.answer(0) && account.answer(2) && account.answer(1) && account.answer(3));
    assert!(!account.answer(2), "a second answer");
    assert!(!account.answer(10), "an answer before its probe");
    account.damage();
    let counts = account.counts();
    let expected = Counts { sent: 10, answered: 4, duplicate: 1, reordered: 1, damaged: 1, stray: 1 };
    assert_eq!((counts, counts.lost()), (expected, 6));
    assert_eq!(
        counts.to_string(),
        "10 probes sent, 4 answered, 6 lost, 1 duplicate, 1 reordered, 1 damaged, 1 stray"
    );
}

#[test]
fn an_answer_that_is_too_late_is_no_answer_to_another() {
    let mut account = Account::default();
    assert_eq!(account.send(), 0);
    assert!(account.answer(0));
    (1..=WINDOW).for_each(|number| assert_eq!(account.send(), number));
    assert!(!account.answer(0), "its place is that of the latest");
    assert!(account.answer(1) && account.answer(WINDOW), "whose place it was does not matter");
    assert_eq!((account.counts().stray, account.counts().answered), (1, 3));
}

proptest! {
    #[test]
    fn the_account_is_right(steps in prop::collection::vec((any::<bool>(), 0_u64..64), 0..500)) {
        let (mut account, mut sent, mut answered, mut model) = (Account::default(), 0, BTreeSet::new(), Counts::default());
        for (is_probe, back) in steps {
            if is_probe {
                prop_assert_eq!(account.send(), sent);
                sent += 1;
                model.sent += 1;
                continue;
            }
            let sequence = (sent + 3).wrapping_sub(back);
            let is_first = account.answer(sequence);
            if sequence >= sent {
                model.stray += 1;
            } else if answered.contains(&sequence) {
                model.duplicate += 1;
            } else {
                prop_assert!(is_first);
                model.answered += 1;
                model.reordered += u64::from(answered.last().is_some_and(|latest| *latest > sequence));
                answered.insert(sequence);
            }
        }
        prop_assert_eq!(account.counts(), model);
    }
}
