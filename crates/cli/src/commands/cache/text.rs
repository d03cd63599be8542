//! What there is in a store, as tables for people.

use std::time::Duration;

use archway_store::{Item, ItemKind, Tally, Usage, garbage::KindUsage};
use jiff::Timestamp;

use crate::{error::printable, table};

/// Digits of a key that are shown: enough to name it.
const KEY_DIGITS: usize = 12;
/// Characters of a description that fit into a line.
const DESCRIPTION: usize = 60;

/// One line for each item.
pub(super) fn items(items: &[Item], now: Timestamp) -> String {
    let mut rows = vec![row(["KEY", "TYPE", "PLATFORM", "SIZE", "LAST USED", "DESCRIPTION"])];
    for item in items {
        rows.push(row([
            key(&item.id),
            item.kind.name(),
            item.platform.as_deref().unwrap_or("-"),
            &size(item),
            &used(item, now),
            &description(item),
        ]));
    }
    table::render(&rows)
}

/// The space of all types of items.
pub(super) fn kinds(usage: &Usage) -> String {
    table::render(&kind_rows(usage))
}

/// The space of everything.
pub(super) fn totals(usage: &Usage) -> String {
    let mut rows = kind_rows(usage);
    for (name, tally, reclaimable) in [
        ("named images", usage.images, None),
        ("garbage", usage.garbage, Some(usage.garbage.bytes)),
        ("being made", usage.unfinished, None),
        ("index", usage.index, None),
    ] {
        if tally.count > 0 || name == "index" {
            rows.push(cells(name, tally, reclaimable, None));
        }
    }
    table::render(&rows)
}

fn kind_rows(usage: &Usage) -> Vec<Vec<String>> {
    let mut rows = vec![row(["TYPE", "COUNT", "SIZE", "RECLAIMABLE", "SHARED"])];
    for KindUsage { kind, all, reclaimable, shared } in &usage.kinds {
        if all.count > 0 {
            let shared = (shared.count > 0).then_some(shared.bytes);
            rows.push(cells(kind.name(), *all, Some(reclaimable.bytes), shared));
        }
    }
    rows
}

fn cells(name: &str, all: Tally, reclaimable: Option<u64>, shared: Option<u64>) -> Vec<String> {
    let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), table::bytes);
    let count = all.count.to_string();
    row([name, &count, &table::bytes(all.bytes), &bytes(reclaimable), &bytes(shared)])
}

/// `12h`, `3 days`: how long ago, in one unit.
pub(super) fn ago(age: Duration) -> String {
    let seconds = age.as_secs();
    let plural = |count: u64, unit: &str| match count {
        1 => format!("1 {unit}"),
        count => format!("{count} {unit}s"),
    };
    match seconds {
        0..60 => plural(seconds, "second"),
        60..3600 => plural(seconds / 60, "minute"),
        3600..172_800 => plural(seconds / 3600, "hour"),
        _ => plural(seconds / 86_400, "day"),
    }
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).into()
}

/// Digests and keys by their first digits.
fn key(id: &str) -> &str {
    let digits = id.split_once(':').map_or(id, |(_, digits)| digits);
    digits.get(..KEY_DIGITS).unwrap_or(digits)
}

/// With a star, if removing it frees nothing.
fn size(item: &Item) -> String {
    let star = if item.shared { "*" } else { "" };
    format!("{}{star}", table::bytes(item.size))
}

fn used(item: &Item, now: Timestamp) -> String {
    if item.in_use {
        return "now".to_owned();
    }
    let age = now.duration_since(item.last_used);
    if age.is_negative() { "now".to_owned() } else { format!("{} ago", ago(age.unsigned_abs())) }
}

fn description(item: &Item) -> String {
    let text = match item.kind {
        ItemKind::GitRepository if item.description.is_empty() => "kept to fetch less",
        ItemKind::FileHashes if item.description.is_empty() => "of a directory outside",
        ItemKind::Blob if item.description.is_empty() => "of an image without a name",
        _ => &item.description,
    };
    let text = printable(text);
    match text.char_indices().nth(DESCRIPTION) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_one_unit() {
        let table = [
            (0, "0 seconds"),
            (1, "1 second"),
            (90, "1 minute"),
            (7200, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
        ];
        for (seconds, text) in table {
            assert_eq!(ago(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_line_says_what_an_item_is() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let item = Item {
            kind: ItemKind::Step,
            id: "0123456789abcdef".into(),
            description: format!("[2/3] RUN {}", "x".repeat(100)),
            platform: None,
            size: 1_500_000,
            last_used: Timestamp::from_second(1_000_000 - 7200).unwrap(),
            in_use: false,
            shared: true,
            parent: None,
        };
        let text = items(&[item], now);
        let expected =
            format!("0123456789ab  step  -         1.5 MB*  2 hours ago  [2/3] RUN {}…\n", "x".repeat(50));
        assert_eq!(text.split_inclusive('\n').nth(1), Some(expected.as_str()));
    }
}
