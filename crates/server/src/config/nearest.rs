//! The name somebody probably meant.

/// The candidate closest to `word` by edit distance, if any is close enough to be a likely slip: at most one edit per
/// three characters, not counting case and `_` for `-`.
pub(crate) fn nearest<'a>(word: &str, candidates: &'a [String]) -> Option<&'a str> {
    let plain = word.to_lowercase().replace('_', "-");
    let edits_max = plain.chars().count().div_ceil(3);
    candidates
        .iter()
        .map(|candidate| (edit_distance(&plain, candidate), candidate.as_str()))
        .min()
        .filter(|(edits, _)| *edits <= edits_max)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance in characters. Cost: product of the lengths; words are short here.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in right.iter().enumerate() {
            let replace = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_the_name_that_was_meant() {
        let names = ["s3-listen", "nfs-listen", "cache-size", "disks"].map(str::to_owned);
        for (typed, meant) in [("s3_listen", "s3-listen"), ("cachesize", "cache-size"), ("disk5", "disks")] {
            assert_eq!(nearest(typed, &names), Some(meant));
        }
        assert_eq!(nearest("colour", &names), None);
    }

    #[test]
    fn distance_counts_single_edits() {
        for (left, right, edits) in [("", "abc", 3), ("abc", "abc", 0), ("kitten", "sitting", 3), ("ab", "ba", 2)] {
            assert_eq!(edit_distance(left, right), edits);
        }
    }
}
