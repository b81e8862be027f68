//! The known word that a misspelt one most likely means.

/// The known word with the fewest letters inserted, left out, changed or swapped; none if all are far away.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = |word: &str| word.to_lowercase().replace('_', "-");
    let word = plain(word);
    let (distance, nearest) = known
        .iter()
        .map(|&known| (distance(&word, &plain(known)), known))
        .min()?;
    (distance <= 1 + word.chars().count() / 4).then_some(nearest)
}

/// Edits from one word to the other, a swap of neighbours counting as one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut best = change.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_finds_its_word_and_nonsense_finds_none() {
        let known = ["listen", "data", "sync-delay"];
        for (word, expected) in [
            ("listne", Some("listen")),
            ("dat", Some("data")),
            ("SYNC_DELAY", Some("sync-delay")),
            ("sync-dealy", Some("sync-delay")),
            ("colour", None),
        ] {
            assert_eq!(nearest(word, &known), expected, "{word}");
        }
        assert_eq!(nearest("x", &[]), None);
    }
}
