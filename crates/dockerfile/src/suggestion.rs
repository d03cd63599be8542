//! The valid word that a mistyped one looks like.

/// Longest word in bytes that can be a mistyped name. What is longer is not compared letter by letter: it may
/// be megabytes.
const LONGEST: usize = 64;

/// The candidate that needs the fewest edits, at most two, and fewer than the word has letters.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST {
        return None;
    }
    let word = word.to_ascii_lowercase();
    let limit = word.chars().count().saturating_sub(1).min(2);
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&word, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
