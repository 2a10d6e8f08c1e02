//! What was probably meant.

/// What was probably meant by `word`: the nearest of `known`, if it is near.
pub(crate) fn near_match<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // 0.7 takes a slip or two in a short word and not a different word (judgement, as for the daemon's configuration).
    let scored = known.into_iter().map(|known| (strsim::normalized_damerau_levenshtein(word, known), known));
    scored.filter(|(score, _)| *score >= 0.7).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}

/// The same as a sentence that follows a refusal; empty if nothing is near.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    near_match(word, known).map_or_else(String::new, |near| format!(". Did you mean `{near}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_near_and_another_word_is_not() {
        let known = ["status", "members", "events"];
        assert_eq!(near_match("statsu", known), Some("status"));
        assert_eq!(near_match("event", known), Some("events"));
        assert_eq!(near_match("go", known), None);
        assert_eq!(did_you_mean("member", known), ". Did you mean `members`?");
        assert_eq!(did_you_mean("x", known), "");
    }
}
