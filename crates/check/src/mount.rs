//! What an outline and the graph of stages need of `RUN --mount`.

use archway_dockerfile::{
    ast::{Run, Word},
    mount::{Mount, MountKey},
};

/// The value of an option as written.
pub(crate) fn value(mount: &Mount, key: MountKey) -> Option<&str> {
    mount.value(key).map(|word| word.value.as_str())
}

/// `bind` without a type.
pub(crate) fn kind(mount: &Mount) -> &str {
    value(mount, MountKey::Type).unwrap_or("bind")
}

/// Whether the step fails without it.
pub(crate) fn is_required(mount: &Mount) -> bool {
    let Some(option) = mount.option(MountKey::Required) else { return false };
    option.value.as_ref().is_none_or(|word| word.value.eq_ignore_ascii_case("true") || word.value == "1")
}

/// The values in which variables are expanded.
pub(crate) fn words(run: &Run) -> impl Iterator<Item = &Word> {
    let options = run.mounts.iter().flat_map(|mount| &mount.options);
    options.filter(|option| option.key.value != MountKey::From).filter_map(|option| option.value.as_ref())
}
