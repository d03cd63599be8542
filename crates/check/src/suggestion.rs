//! The name that was probably meant.

/// The candidate that is at most two edits away, as BuildKit suggests names; the nearest one.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = candidates
        .into_iter()
        .map(|candidate| (strsim::levenshtein(name, candidate), candidate))
        .filter(|(distance, _)| *distance < 3)
        .min()?;
    // The same name is not a suggestion: something else is wrong then.
    (near.0 > 0).then_some(near.1)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn only_near_names_are_suggested() {
        for (name, expected) in
            [("VERSON", Some("VERSION")), ("VERSIONSS", Some("VERSION")), ("VERSION", None), ("X", None)]
        {
            assert_eq!(nearest(name, ["VERSION", "REVISION"]), expected, "{name}");
        }
    }
}
