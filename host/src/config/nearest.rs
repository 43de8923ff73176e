//! Finds the name that was probably meant.

use strsim::damerau_levenshtein;

/// `nodeName`, `node-name` and `node_name` are one name to a person.
pub(super) fn folded(name: &str) -> String {
    name.chars()
        .filter(|c| !matches!(c, '-' | '_'))
        .flat_map(char::to_lowercase)
        .collect()
}

/// The known name closest to `name`, if one is close enough to be a slip of the finger.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = folded(name);
    let length = wanted.chars().count();
    let allowed = (length / 3).max(1);
    let distance = |candidate: &str| {
        let candidate = folded(candidate);
        // Somebody who shortens a name has not mistyped it.
        let shortened = length >= 3 && candidate.starts_with(&wanted);
        if shortened {
            1
        } else {
            damerau_levenshtein(&wanted, &candidate)
        }
    };
    known
        .into_iter()
        .map(|candidate| (distance(candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed && *distance < length)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `, did you mean "x"?` or nothing.
pub(super) fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known)
        .map(|candidate| format!(", did you mean {candidate:?}?"))
        .unwrap_or_default()
}

/// `a, b or c`.
pub(super) fn alternatives<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names: Vec<_> = names.into_iter().collect();
    match names.pop() {
        None => "nothing".to_owned(),
        Some(last) if names.is_empty() => last.to_owned(),
        Some(last) => format!("{} or {last}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let known = ["provider", "providers", "nodes", "onShutdown", "id"];
        for (written, meant) in [
            ("provder", Some("provider")),
            ("on_shutdown", Some("onShutdown")),
            ("on-shutdwon", Some("onShutdown")),
            ("Nodes", Some("nodes")),
            ("x", None),
            ("completely", None),
            ("prov", Some("provider")),
            ("", None),
        ] {
            assert_eq!(nearest(written, known), meant, "{written}");
        }
    }

    #[test]
    fn alternatives_read_as_a_sentence() {
        assert_eq!(alternatives(["a"]), "a");
        assert_eq!(alternatives(["a", "b", "c"]), "a, b or c");
    }
}
