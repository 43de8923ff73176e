//! Replays the inputs that were kept of fuzzing, each below its target's ceiling of memory. `make fuzz` looks for new ones.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use cap::Cap;
use std::alloc::System;
use std::panic;
use std::path::Path;

#[path = "../fuzz/src/targets/mod.rs"]
mod targets;

/// It is the whole program's, which is why there is one test in it.
#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

// Above the ceiling, the program is aborted: `--nocapture` shows at which input.
#[test]
fn what_was_found_by_fuzzing_stays_harmless() {
    // To say what went wrong takes memory, too.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        MEMORY.set_limit(usize::MAX).unwrap();
        hook(info);
    }));
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for target in targets::TARGETS {
        (target.run)(&[]);
        let mut count = 0;
        for entry in std::fs::read_dir(corpus.join(target.name)).expect("every target has inputs") {
            let path = entry.unwrap().path();
            let input = std::fs::read(&path).unwrap();
            eprintln!("{}", path.display());
            MEMORY.set_limit(MEMORY.allocated() + target.ceiling).unwrap();
            (target.run)(&input);
            MEMORY.set_limit(usize::MAX).unwrap();
            count += 1;
        }
        assert!(count >= 10, "{} has only {count} inputs", target.name);
    }
}
