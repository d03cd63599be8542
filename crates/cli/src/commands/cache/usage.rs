//! `archway cache du` and `ls`.

use archway_store::{
    Item, ItemKind, Store, Usage,
    garbage::{
        KindUsage,
        automatic::{Policy, Space},
    },
};
use jiff::Timestamp;
use serde::Serialize;

use super::text;
use crate::{
    args::{CacheListArgs, Format, UsageArgs, cache_policy},
    error::CliError,
    session, table,
};

/// The JSON of `du`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    /// Of the items, and in bytes of the disk.
    total: u64,
    reclaimable: u64,
    shared: u64,
    images: u64,
    garbage: u64,
    unfinished: u64,
    index: u64,
    items: &'a [Item],
}

pub(super) fn usage(args: &UsageArgs) -> Result<(), CliError> {
    let filter = args.filter.parse()?;
    let policy = cache_policy::from_environment()?;
    let store = session::store()?;
    let now = Timestamp::now();
    let usage = store.usage_of(&|item| filter.takes(item, now))?;
    match args.format {
        Format::Json => {
            let kinds = |bytes: fn(&KindUsage) -> u64| usage.kinds.iter().map(bytes).sum();
            let document = Document {
                total: kinds(|kind| kind.all.bytes),
                reclaimable: kinds(|kind| kind.reclaimable.bytes),
                shared: kinds(|kind| kind.shared.bytes),
                images: usage.images.bytes,
                garbage: usage.garbage.bytes,
                unfinished: usage.unfinished.bytes,
                index: usage.index.bytes,
                items: &usage.items,
            };
            anstream::println!("{}", serde_json::to_string_pretty(&document).expect("plain data"));
        }
        Format::Text => {
            if args.verbose && !usage.items.is_empty() {
                let recent_first: Vec<Item> = usage.items.iter().rev().cloned().collect();
                anstream::println!("{}", text::items(&recent_first, now));
            }
            if filter.is_empty() {
                anstream::print!("{}\n{}", text::totals(&usage), limits(&store, &usage, policy, now)?);
            } else {
                anstream::print!("{}", text::kinds(&usage));
            }
        }
    }
    Ok(())
}

/// What builds remove by themselves.
fn limits(store: &Store, usage: &Usage, policy: Option<Policy>, now: Timestamp) -> Result<String, CliError> {
    let disk = store.disk()?;
    let cache = table::bytes(usage.cache);
    let Some(policy) = policy else {
        return Ok(format!("The build cache has {cache}. Nothing is removed by itself.\n"));
    };
    let bytes = |space: Space| table::bytes(space.of(disk));
    let mut lines = format!(
        "The build cache has {cache} of at most {}; {} of the disk are free, and {} are to be.\n",
        bytes(policy.max_used_space),
        table::bytes(disk.free),
        bytes(policy.min_free_space),
    );
    if let Some(age) = policy.unused_for {
        lines.push_str(&format!("What nobody used for {} is removed.", text::ago(age)));
    }
    let last = store.last_collection()?.map(|last| now.duration_since(last).unsigned_abs());
    if let Some(last) = last {
        lines.push_str(&format!(" Builds last looked {} ago.", text::ago(last)));
    }
    Ok(lines.trim_end().to_owned() + "\n")
}

pub(super) fn list(args: &CacheListArgs) -> Result<(), CliError> {
    let (filter, kinds) = (args.filter.parse()?, args.kinds()?);
    let platform = super::platform(args.platform.as_deref())?.map(|platform| platform.to_string());
    let now = Timestamp::now();
    let mut items = session::store()?.usage()?.items;
    items.reverse();
    items.retain(|item| {
        kinds.contains(&item.kind)
            && platform.as_ref().is_none_or(|platform| item.platform.as_ref() == Some(platform))
            && filter.takes(item, now)
    });
    let chosen = named(items, &args.ids)?;
    match args.format {
        Format::Json => anstream::println!("{}", serde_json::to_string_pretty(&chosen).expect("plain data")),
        Format::Text => anstream::print!("{}", text::items(&chosen, now)),
    }
    Ok(())
}

/// Those of `items` that `ids` name; all if it names none.
fn named(items: Vec<Item>, ids: &[String]) -> Result<Vec<Item>, CliError> {
    if let Some(id) = ids.iter().find(|id| !items.iter().any(|item| is_named(item, id))) {
        return Err(CliError::NotInCache { id: id.clone() });
    }
    Ok(items.into_iter().filter(|item| ids.is_empty() || ids.iter().any(|id| is_named(item, id))).collect())
}

/// Digits of a key that are enough to name something.
const SHORTEST_KEY: usize = 6;

fn is_named(item: &Item, name: &str) -> bool {
    let digits = item.id.split_once(':').map_or(item.id.as_str(), |(_, digits)| digits);
    let is_key = name.len() >= SHORTEST_KEY && (digits.starts_with(name) || item.id.starts_with(name));
    is_key || item.kind == ItemKind::CacheMount && item.description == name
}
