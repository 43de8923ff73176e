//! What the fuzzer calls: a target, below its ceiling of memory.

use cap::Cap;
use std::alloc::System;
use std::panic;
use std::sync::OnceLock;

pub mod targets;

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// Feeds `data` to the target of that name. An allocation above the target's ceiling aborts the process, which the fuzzer
/// takes for the fault that it is.
pub fn run(name: &str, data: &[u8]) {
    static TARGET: OnceLock<&targets::Target> = OnceLock::new();
    let target = TARGET.get_or_init(|| {
        let target = targets::TARGETS
            .iter()
            .find(|target| target.name == name)
            .expect("the target is in the list");
        // What is made once and kept.
        (target.run)(&[]);
        // To say what went wrong takes memory, too.
        let hook = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            MEMORY.set_limit(usize::MAX).expect("it is raised");
            hook(info);
        }));
        target
    });
    let before = MEMORY.allocated();
    MEMORY.set_limit(before + target.ceiling).expect("less is allocated");
    (target.run)(data);
    MEMORY.set_limit(usize::MAX).expect("it is raised");
}
