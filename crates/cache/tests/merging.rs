//! Exporters that race: whatever each saw first, the same is left.

use archway_cache::{Entry, Form, Limits, Outcome, Record};
use archway_oci::Digest;
use archway_store::{CacheKey, SnapshotKey};
use proptest::prelude::*;

fn key(number: u8) -> CacheKey {
    CacheKey::from_bytes([number; 32])
}

fn snapshot(number: u8) -> SnapshotKey {
    SnapshotKey::from_bytes([number; 32])
}

fn form(number: u8) -> Form {
    Form {
        diff_id: Digest::sha256(&[number]),
        digest: Digest::sha256(&[number, 1]),
        size: u64::from(number),
        media_type: "application/vnd.oci.image.layer.v1.tar+gzip".into(),
    }
}

fn delta(created: i64, number: u8, used: i64) -> Record {
    Record { outcome: Outcome::Delta { created, snapshot: snapshot(number) }, used }
}

/// Few keys and deltas, so that entries agree and disagree a lot.
fn entries() -> impl Strategy<Value = Entry> {
    let outcome = prop_oneof![
        (0..3i64, 0..6u8)
            .prop_map(|(created, number)| Outcome::Delta { created, snapshot: snapshot(number) }),
        (0..3u8).prop_map(|number| Outcome::Fact(key(number))),
    ];
    let record = (outcome, 0..5i64).prop_map(|(outcome, used)| Record { outcome, used });
    let records = prop::collection::btree_map((0..6u8).prop_map(key), record, 0..6);
    let name = (0..6u8, prop_oneof!["gzip-4", "zstd-3"]).prop_map(|(of, how)| (snapshot(of), how));
    let forms = prop::collection::btree_map(name, (0..4u8).prop_map(form), 0..6);
    (records, forms).prop_map(|(records, forms)| Entry { records, forms })
}

fn merged(all: &[&Entry]) -> Entry {
    let mut entry = Entry::default();
    all.iter().for_each(|one| entry.merge((*one).clone()));
    entry
}

proptest! {
    #[test]
    fn the_order_of_exporters_does_not_matter(a in entries(), b in entries(), c in entries()) {
        let want = merged(&[&a, &b, &c]);
        for order in [[&a, &c, &b], [&b, &a, &c], [&b, &c, &a], [&c, &a, &b], [&c, &b, &a]] {
            prop_assert_eq!(&merged(&order), &want);
        }
        // One merged first with the other, as after a lost race.
        prop_assert_eq!(&merged(&[&a, &merged(&[&b, &c])]), &want);
        prop_assert_eq!(&merged(&[&want, &a, &want]), &want);
    }

    #[test]
    fn nothing_is_lost(a in entries(), b in entries()) {
        let both = merged(&[&a, &b]);
        for (key, record) in a.records.iter().chain(&b.records) {
            prop_assert!(both.records[key].outcome >= record.outcome);
            prop_assert!(both.records[key].used >= record.used);
        }
        for name in a.forms.keys().chain(b.forms.keys()) {
            prop_assert!(both.forms.contains_key(name));
        }
    }

    #[test]
    fn limits_hold_and_leave_nothing_that_leads_nowhere(
        entry in entries(), used_since in 0..5i64, records in 0..6usize, layers in 0..6usize,
    ) {
        let mut limited = entry.clone();
        limited.limit(&Limits { used_since, records, layers });
        prop_assert!(limited.records.len() <= records);
        prop_assert!(limited.forms.len() <= layers);
        prop_assert!(limited.records.values().all(|record| record.used >= used_since));
        for record in limited.records.values() {
            if let Outcome::Delta { snapshot, .. } = &record.outcome {
                prop_assert!(limited.forms_of(snapshot).next().is_some());
            }
        }
        let mut again = limited.clone();
        again.tidy();
        prop_assert_eq!(again, limited);
    }
}

#[test]
fn what_is_covered_need_not_be_written() {
    let entry = |used: i64, number: u8| Entry {
        records: [(key(number), delta(0, number, used))].into(),
        forms: [((snapshot(number), "gzip-4".to_owned()), form(number))].into(),
    };
    let both = merged(&[&entry(10, 1), &entry(20, 2)]);
    assert!(both.covers(&entry(99, 1), 10));
    assert!(!both.covers(&entry(99, 1), 11), "it is to be said that it was used");
    assert!(!both.covers(&entry(10, 3), 0));
    let mut other_form = entry(10, 1);
    other_form.forms.insert((snapshot(1), "zstd-3".to_owned()), form(1));
    assert!(!both.covers(&other_form, 0));
    let mut earlier = entry(10, 1);
    earlier.records.insert(key(2), delta(-1, 3, 0));
    assert!(both.covers(&earlier, 0), "a later result is there");
}

#[test]
fn of_two_results_the_later_counts() {
    let entry = |record: Record| Entry { records: [(key(1), record)].into(), ..Entry::default() };
    let both = merged(&[&entry(delta(10, 1, 50)), &entry(delta(11, 0, 40))]);
    assert_eq!(both.records[&key(1)], delta(11, 0, 50));
}

#[test]
fn what_was_used_last_stays() {
    let mut entry = Entry {
        records: (1..=4).map(|number| (key(number), delta(0, number, i64::from(10 - number)))).collect(),
        forms: (1..=4).map(|number| ((snapshot(number), "gzip-4".to_owned()), form(number))).collect(),
    };
    entry.limit(&Limits { used_since: 0, records: 100, layers: 2 });
    assert_eq!(entry.records.keys().copied().collect::<Vec<_>>(), [key(1), key(2)]);
    entry.keep_blobs(|digest| *digest == form(2).digest);
    assert_eq!(entry.records.keys().copied().collect::<Vec<_>>(), [key(2)]);
}
