//! Tests that can't run here say so where nobody can miss it.

use std::fs::OpenOptions;
use std::io::Write;

/// Notes that a test, or a part of one, is not run, and why: on stderr, past the test harness's capture, and as a line of
/// the file that `OUTRIGGER_SKIPS` names.
pub fn skip(what: &str, reason: &str) {
    let line = format!("SKIPPED {what}: {reason}\n");
    let mut everywhere: Vec<Box<dyn Write>> = vec![Box::new(std::io::stderr())];
    if let Some(path) = std::env::var_os("OUTRIGGER_SKIPS") {
        let file = OpenOptions::new().create(true).append(true).open(&path);
        everywhere.push(Box::new(
            file.unwrap_or_else(|error| panic!("unable to open {path:?}: {error}")),
        ));
    }
    for mut place in everywhere {
        place
            .write_all(line.as_bytes())
            .unwrap_or_else(|error| panic!("unable to note a skip: {error}"));
    }
}
