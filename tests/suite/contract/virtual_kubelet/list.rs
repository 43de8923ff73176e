//! The committed list names tests that exist, and leaves nothing without a test or a reason.

use std::path::Path;

const LIST: &str = include_str!("../../VIRTUAL_KUBELET.md");

/// The tests that a line names, as file and function.
fn named(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let quoted = line.split('`').skip(1).step_by(2);
    quoted.filter_map(|quoted| quoted.split_once(".rs::"))
}

#[test]
fn every_named_test_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let mut count = 0;
    for (file, function) in LIST.lines().flat_map(named) {
        let path = root.join(format!("{file}.rs"));
        let source = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let signature = source.find(&format!("fn {function}("));
        let before = signature.map(|at| source[..at].trim_end_matches("async "));
        let before = before.unwrap_or_else(|| panic!("{} has no test {function}", path.display()));
        let attributes = before.trim_end().rsplit_once("\n\n").map_or(before, |(_, last)| last);
        let is_test = attributes.contains("#[test]") || attributes.contains("#[tokio::test");
        assert!(is_test, "{function} in {} is no test", path.display());
        count += 1;
    }
    assert!(count > 50, "only {count} tests are named");
}

#[test]
fn every_row_has_a_test_or_a_reason() {
    let rows = LIST
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| rule there"));
    let mut count = 0;
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 2, "{row}");
        assert!(!cells[0].is_empty(), "{row}");
        let reason = cells[1]
            .strip_prefix("no test: ")
            .is_some_and(|reason| reason.len() > 20);
        assert!(reason || named(cells[1]).next().is_some(), "{row}");
        count += 1;
    }
    assert!(count > 100, "only {count} rows");
}

#[test]
fn every_number_is_in_the_name_of_a_test() {
    let mut count = 0;
    for row in LIST.lines().filter(|line| line.starts_with("| ")) {
        let Some((rule, tests)) = row.trim_matches('|').split_once(" | ") else {
            continue;
        };
        if tests.starts_with("no test: ") {
            continue;
        }
        let carried: Vec<_> = named(tests).flat_map(|(_, name)| name.split('_')).collect();
        for rest in rule.split('#').skip(1) {
            let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
            assert!(
                carried.contains(&number.as_str()),
                "no test of this carries {number}: {row}"
            );
            count += 1;
        }
    }
    assert!(count > 50, "only {count} numbers");
}
