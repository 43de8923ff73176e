use super::*;

fn read(text: &str) -> (Option<Node>, Vec<String>) {
    let mut faults = Collector::new("f.yaml");
    let root = parse(text, &mut faults);
    let faults = faults.into_faults();
    (root, faults.list().iter().map(ToString::to_string).collect())
}

/// The tree as serde_yaml would have read it.
fn plain(node: &Node) -> serde_yaml::Value {
    match &node.value {
        Value::Null => serde_yaml::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Number(number) => serde_yaml::Value::Number(number.clone()),
        Value::Text(text) => text.as_str().into(),
        Value::List(items) => items.iter().map(plain).collect::<Vec<_>>().into(),
        Value::Map(entries) => serde_yaml::Value::Mapping(
            entries
                .iter()
                .map(|entry| (entry.key.as_str().into(), plain(&entry.node)))
                .collect(),
        ),
    }
}

fn entry<'a>(node: &'a Node, key: &str) -> &'a Entry {
    let Value::Map(entries) = &node.value else {
        panic!("no mapping")
    };
    entries.iter().find(|entry| entry.key == key).unwrap()
}

#[test]
fn every_part_knows_its_place() {
    let (root, faults) = read("a: 1\nb:\n  - x\n  - {c: 'd'}\n");
    assert_eq!(faults, Vec::<String>::new());
    let root = root.unwrap();
    let b = entry(&root, "b");
    assert_eq!((b.at.line, b.at.column), (2, 1));
    let Value::List(items) = &b.node.value else {
        panic!("no list")
    };
    assert_eq!(items[0].at.to_string(), "3:5");
    let c = entry(&items[1], "c");
    assert_eq!(
        (c.at.to_string(), c.node.at.to_string()),
        ("4:6".to_owned(), "4:9".to_owned())
    );
}

#[test]
fn values_are_those_of_serde_yaml() {
    let texts = [
        "a: [1, -2, 0x1f, 0o17, 1e3, 1.5, .5, 1_000, 010, +7, 18446744073709551615]",
        "a: [true, True, yes, no, on, ~, null, Null, '', \"~\", 'true', \"5\"]",
        "a:\nb: |\n  x\n  y\nc: >-\n  x\n  y\nd: plain words: no\n",
        "a: plain\n  over lines\nb: - \n",
        "a: {b: [c, {d: e}], 'f g': h}",
        "a: &x [1, 2]\nb: *x\n",
        "# only a comment\na: b # and one more\n",
        "a: http://x/y#z\nb: 'it''s'\nc: \"\\u00e9\\n\"\n",
        "a: 10s\nb: 1.2.3\nc: 2026-01-01\nd: 12:30\ne: ---x\n",
    ];
    for text in texts {
        let serde = serde_yaml::from_str::<serde_yaml::Value>(text);
        let (root, faults) = read(text);
        match serde {
            Ok(serde) => assert_eq!(root.map(|root| plain(&root)), Some(serde), "{text} {faults:?}"),
            Err(error) => assert!(!faults.is_empty(), "serde_yaml alone refuses {text:?}: {error}"),
        }
    }
}

#[test]
fn duplicates_tags_and_odd_keys_are_all_found_at_once() {
    let (root, faults) = read("a: 1\nb: !!str 5\na: 2\n5: x\n[1]: y\n'odd key': {z: 1, z: 2}\n");
    assert!(root.is_some());
    assert_eq!(
        faults,
        [
            "f.yaml:2:4: b: YAML tags (!...) are not read here, write the plain value",
            "f.yaml:3:1: a: duplicate field, first given in line 1",
            "f.yaml:4:1: expected a text as the name of a field, found the number 5",
            "f.yaml:5:1: expected a text as the name of a field, found a list",
            "f.yaml:6:19: [\"odd key\"].z: duplicate field, first given in line 6",
        ]
    );
}

#[test]
fn an_alias_bomb_is_stopped() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let inner = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{inner}]\n"));
    }
    let (root, faults) = read(&bomb);
    assert_eq!(root, None);
    assert_eq!(faults.len(), 1);
    assert!(
        faults[0].contains("too many values, at most 100000 are read"),
        "{faults:?}"
    );
}

#[test]
fn an_alias_of_itself_is_stopped() {
    let (root, faults) = read("a: &a [*a]\n");
    assert_eq!(root, None);
    assert_eq!(
        faults,
        ["f.yaml:1:8: a[0]: this alias stands inside the value that it names"]
    );
}

#[test]
fn depth_is_limited() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(read(&deep(65)).1, Vec::<String>::new());
    assert_eq!(
        read(&deep(66)).1,
        [format!(
            "f.yaml:1:66: {}: nested too deep, at most 64 levels are read",
            "[0]".repeat(65)
        )]
    );
    for open in ["[", "{a: ", "- "] {
        let (root, faults) = read(&open.repeat(100_000));
        assert_eq!((root, faults.len()), (None, 1));
        assert!(
            faults[0].contains("nested too deep") || faults[0].contains("recursion limit"),
            "{faults:?}"
        );
    }
}

#[test]
fn a_number_that_does_not_fit_is_no_text() {
    let (_, faults) = read("a: 99999999999999999999\n");
    assert_eq!(
        faults,
        ["f.yaml:1:4: a: this number is too large to be read; if it is a name, put it in quotes"]
    );
}

#[test]
fn syntax_errors_name_their_place() {
    for (text, start) in [
        ("a: 1\n\tb: 2\n", "f.yaml:1:4: invalid YAML"),
        ("a: [1, 2\n", "f.yaml:2:1: invalid YAML"),
        ("a: 'x\n", "f.yaml:1:4: invalid YAML"),
        ("a: *nowhere\n", "f.yaml:1:4: invalid YAML"),
        ("a: b: c\n", "f.yaml:1:5: invalid YAML"),
    ] {
        let (_, faults) = read(text);
        assert!(
            faults.first().is_some_and(|fault| fault.starts_with(start)),
            "{text:?}: {faults:?}"
        );
    }
}

#[test]
fn a_second_document_is_refused() {
    let (_, faults) = read("a: 1\n---\nb: 2\n");
    assert_eq!(
        faults,
        ["f.yaml:2:1: a second document starts here, expected one: a host has one configuration file"]
    );
    assert_eq!(read("---\na: 1\n...\n").1, Vec::<String>::new());
    assert_eq!(read("").0, None);
    assert_eq!(read("# nothing\n").0, None);
}

/// Files that people really write, with slips that they really make: a character gone, doubled or swapped. Whatever
/// comes out, the two parsers agree on it, or it is refused.
#[test]
fn both_parsers_agree_on_slips() {
    let sample = include_str!("../../../configs/mock.yaml");
    let mut dice = fastrand::Rng::with_seed(7);
    let (mut agreed, mut refused) = (0, 0);
    for _ in 0..1000 {
        let mut text: Vec<char> = sample.chars().collect();
        for _ in 0..dice.usize(1..4) {
            let at = dice.usize(0..text.len() - 1);
            match dice.u8(0..4) {
                0 => drop(text.remove(at)),
                1 => text.insert(at, text[at]),
                2 => text.swap(at, at + 1),
                _ => text.insert(
                    at,
                    *dice
                        .choice(&[':', '-', '\'', '"', '[', '}', '&', '*', '!', '|', '\t', '\n'])
                        .unwrap(),
                ),
            }
        }
        let text: String = text.into_iter().collect();
        let (root, faults) = read(&text);
        let Some(root) = root.filter(|_| faults.is_empty()) else {
            assert!(!faults.is_empty(), "{text}");
            refused += 1;
            continue;
        };
        let mut faults = Collector::new("f.yaml");
        crate::config::agree::check(&root, &text, &mut faults);
        let faults = faults.into_faults();
        // serde_yaml may be stricter, for instance with tabs; it must not see anything else. But what the name of an anchor
        // may hold has changed with YAML 1.2: `&load: x` is two things, and refused.
        match faults.to_string().contains("more than one way") {
            true => {
                assert!(text.contains(['&', '*']), "{faults}\n{text}");
                refused += 1;
            }
            false => agreed += 1,
        }
    }
    assert!(agreed > 100 && refused > 100, "{agreed} {refused}");
}
