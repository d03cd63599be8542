//! The word that was probably meant.

/// Longest word in bytes that can be a mistyped name. What is longer is not compared letter by letter: it may
/// be megabytes.
const LONGEST: usize = 64;

/// The candidate most like `word`, if one is like it; case does not count.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST {
        return None;
    }
    let word = word.to_lowercase();
    let allowed = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn only_similar_words_are_offered() {
        let table: [(&str, Option<&str>); 6] = [
            ("bulider", Some("builder")),
            ("BUILDER", Some("builder")),
            ("runtim", Some("runtime")),
            ("x", None),
            ("debian", None),
            (&"r".repeat(1 << 20), None),
        ];
        for (word, expected) in table {
            assert_eq!(nearest(word, ["builder", "runtime"]), expected, "{word}");
        }
    }
}
