//! What may have been meant by a path that does not exist.

use crate::Entry;

/// Most suggestions.
const MAX_SIMILAR: usize = 3;

/// Existing paths like `missing`, best first: those that differ by few letters, then those that have
/// the same name in another directory.
pub(crate) fn paths(entries: &[Entry], missing: &str) -> Vec<String> {
    let name = missing.rsplit('/').next().unwrap_or_default();
    let tolerance = (missing.len() / 5).max(2);
    let mut ranked: Vec<(usize, &str)> = entries
        .iter()
        .filter(|entry| !entry.path.is_empty())
        .filter_map(|entry| {
            let path = entry.path.as_str();
            if path.len().abs_diff(missing.len()) <= tolerance {
                let distance = strsim::damerau_levenshtein(&path.to_lowercase(), &missing.to_lowercase());
                if distance <= tolerance {
                    return Some((distance, path));
                }
            }
            (entry.name() == name).then_some((tolerance + path.len(), path))
        })
        .collect();
    ranked.sort_unstable();
    ranked.into_iter().take(MAX_SIMILAR).map(|(_, path)| path.to_owned()).collect()
}
