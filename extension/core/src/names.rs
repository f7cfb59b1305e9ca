//! "Did you mean": the candidate nearest to a name that was not found.

/// The candidate that differs least from `name`, if it differs by less than half of the name.
///
/// ```
/// use pgml_core::names::nearest;
/// assert_eq!(nearest("lable", ["id", "label", "body"]), Some("label"));
/// assert_eq!(nearest("title", ["id", "body"]), None);
/// ```
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let distance = |other: &str| strsim::damerau_levenshtein(&name, &other.to_lowercase());
    let (best, nearest) = candidates.into_iter().map(|c| (distance(c), c)).min_by_key(|(d, _)| *d)?;
    (best * 2 < name.chars().count().max(2)).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn case_and_swapped_letters_count_little() {
        assert_eq!(nearest("Lable", ["title", "LABEL"]), Some("LABEL"));
    }

    #[test]
    fn nothing_is_near_an_empty_list_or_a_far_name() {
        assert_eq!(nearest("x", []), None);
        assert_eq!(nearest("stars", ["relation", "id"]), None);
    }
}
