//! “Did you mean”: the known name that an unknown one is most like.

/// The candidate nearest to `written`, where it is near enough to be a slip of the fingers.
pub(crate) fn nearest<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', ' '], "_");
    let wanted = plain(written);
    candidates
        .into_iter()
        .map(|candidate| {
            let name = plain(candidate);
            (
                strsim::damerau_levenshtein(&wanted, &name),
                strsim::jaro_winkler(&wanted, &name),
                candidate,
            )
        })
        .filter(|&(distance, likeness, candidate)| {
            distance <= (candidate.chars().count() / 3).max(1) || likeness > 0.9
        })
        .min_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)))
        .map(|(_, _, candidate)| candidate)
}

/// Names in backticks, joined by commas.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        let known = ["instances", "ports", "stop_grace", "command"];
        assert_eq!(nearest("instnaces", known), Some("instances"));
        assert_eq!(nearest("stop-grace", known), Some("stop_grace"));
        assert_eq!(nearest("port", known), Some("ports"));
        assert_eq!(nearest("replicas", known), None);
    }
}
