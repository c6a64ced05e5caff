//! What the user may have meant by a word that is not known.

/// The candidates most like `word`, the best first; empty when none is close.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    const CLOSE: f64 = 0.8;
    let mut close: Vec<(f64, &str)> = candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|&(similarity, _)| similarity > CLOSE)
        .collect();
    close.sort_by(|a, b| b.0.total_cmp(&a.0));
    close.into_iter().map(|(_, candidate)| candidate).collect()
}

/// The candidates that `word` may be a misspelling of, the best first. Stricter than [`nearest`], for words that have little to
/// do with each other: at most one letter in three is another, missing, too many or in another place.
pub fn misspelt<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let most = (word.chars().count() / 3).max(1);
    let mut close: Vec<(usize, &str)> =
        candidates.into_iter().map(|candidate| (strsim::osa_distance(word, candidate), candidate)).collect();
    close.retain(|&(distance, candidate)| distance <= most && distance < candidate.chars().count());
    close.sort_by_key(|&(distance, _)| distance);
    close.into_iter().map(|(_, candidate)| candidate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_similar_comes_first_and_strangers_do_not_come() {
        let known = ["model.channels", "model.dropout", "train.epochs"];
        assert_eq!(nearest("model.dropuot", known)[0], "model.dropout");
        assert_eq!(nearest("zzz", known), Vec::<&str>::new());
    }

    #[test]
    fn a_misspelling_has_few_other_letters() {
        let known = ["train", "attach", "pause", "completions", "rm"];
        assert_eq!(misspelt("trian", known), ["train"]);
        assert_eq!(misspelt("atach", known), ["attach"]);
        for word in ["status", "compare", "x", "ls"] {
            assert_eq!(misspelt(word, known), Vec::<&str>::new(), "{word}");
        }
    }
}
