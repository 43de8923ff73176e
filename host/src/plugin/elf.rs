//! The little of ELF (System V ABI, chapters 4 and 5) that tells a whole shared library for this machine from anything
//! else. A truncated one would raise SIGBUS inside the dynamic loader.

/// Why a file is no library for this machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The magic number is missing.
    #[error("it is not a shared library; name the plugin's .so file")]
    NotElf,
    /// The file ends early.
    #[error("the file is truncated: it has {have} bytes of at least {need}; copy or build it again")]
    Truncated {
        /// Bytes in the file.
        have: u64,
        /// Bytes that its headers speak of.
        need: u64,
    },
    /// It is for another kind of machine.
    #[error(
        "it was built for another machine ({found}, this is {}); install the build for this one",
        std::env::consts::ARCH
    )]
    Machine {
        /// What it was built for.
        found: String,
    },
    /// It is ELF, but no library.
    #[error("it is {0}, not a shared library; a plugin is built with crate-type cdylib")]
    NotALibrary(&'static str),
}

const HEADER: usize = 64;

/// Checks the headers, which `bytes` begin with, against the file's size and this machine.
pub fn check(bytes: &[u8], have: u64) -> Result<(), Fault> {
    if !bytes.starts_with(b"\x7fELF") {
        return Err(Fault::NotElf);
    }
    let truncated = |need| Fault::Truncated { have, need };
    if bytes.len() < HEADER {
        return Err(truncated(HEADER as u64));
    }
    if bytes[4] != 2 || bytes[5] != 1 {
        return Err(Fault::Machine {
            found: "32 bit or big endian".to_owned(),
        });
    }
    let machine = short(bytes, 18);
    if let Some(ours) = machine_of(std::env::consts::ARCH)
        && ours != machine
    {
        return Err(Fault::Machine {
            found: name_of(machine),
        });
    }
    match short(bytes, 16) {
        3 => {}
        1 => return Err(Fault::NotALibrary("an object file")),
        2 => return Err(Fault::NotALibrary("a program")),
        _ => return Err(Fault::NotALibrary("of another kind")),
    }
    let need = extent(bytes);
    if need > have { Err(truncated(need)) } else { Ok(()) }
}

/// The end of the last thing that the headers place in the file.
fn extent(bytes: &[u8]) -> u64 {
    let sections = long(bytes, 40).saturating_add(u64::from(short(bytes, 58)) * u64::from(short(bytes, 60)));
    sections.max(loaded_extent(bytes))
}

/// Up to where a file is of use, by what is read of it; `None` before enough is.
pub fn wanted(bytes: &[u8]) -> Option<u64> {
    if bytes.len() < HEADER {
        return None;
    }
    if !bytes.starts_with(b"\x7fELF") {
        return Some(HEADER as u64);
    }
    (table_end(bytes) <= bytes.len() as u64).then(|| loaded_extent(bytes))
}

/// The end of the table of program headers.
fn table_end(bytes: &[u8]) -> u64 {
    let (program, size, count) = (long(bytes, 32), short(bytes, 54), short(bytes, 56));
    program.saturating_add(u64::from(size) * u64::from(count))
}

/// The end of what is ever mapped: the program headers and their segments. Behind it come symbols and debug information,
/// often ten times as much.
pub fn loaded_extent(bytes: &[u8]) -> u64 {
    let (program, size, count) = (long(bytes, 32), short(bytes, 54), short(bytes, 56));
    let table_end = table_end(bytes);
    let mut end = table_end;
    if table_end <= bytes.len() as u64 && size >= 56 {
        for index in 0..u64::from(count) {
            let at = usize::try_from(program + index * u64::from(size)).unwrap_or(usize::MAX);
            end = end.max(long(bytes, at + 8).saturating_add(long(bytes, at + 32)));
        }
    }
    end
}

fn short(bytes: &[u8], at: usize) -> u16 {
    bytes
        .get(at..at + 2)
        .map_or(0, |field| u16::from_le_bytes([field[0], field[1]]))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    let field = bytes
        .get(at..at.saturating_add(8))
        .and_then(|field| field.try_into().ok());
    field.map_or(0, u64::from_le_bytes)
}

/// `e_machine` of an architecture as Rust names it.
fn machine_of(arch: &str) -> Option<u16> {
    MACHINES
        .iter()
        .find(|(_, name)| *name == arch)
        .map(|(number, _)| *number)
}

fn name_of(machine: u16) -> String {
    MACHINES
        .iter()
        .find(|(number, _)| *number == machine)
        .map_or_else(|| format!("ELF machine {machine}"), |(_, name)| (*name).to_owned())
}

const MACHINES: [(u16, &str); 5] = [
    (62, "x86_64"),
    (183, "aarch64"),
    (243, "riscv64"),
    (258, "loongarch64"),
    (22, "s390x"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with one segment that ends at `end`.
    fn library(machine: u16, kind: u16, end: u64) -> Vec<u8> {
        let mut bytes = vec![0; HEADER + 56];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[16..18].copy_from_slice(&kind.to_le_bytes());
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32..40].copy_from_slice(&(HEADER as u64).to_le_bytes());
        bytes[54..56].copy_from_slice(&56u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&1u16.to_le_bytes());
        bytes[HEADER + 32..HEADER + 40].copy_from_slice(&end.to_le_bytes());
        bytes
    }

    fn whole(bytes: &[u8]) -> Result<(), Fault> {
        check(bytes, bytes.len() as u64)
    }

    fn ours() -> u16 {
        machine_of(std::env::consts::ARCH).unwrap()
    }

    #[test]
    fn a_segment_past_the_end_means_truncated() {
        assert_eq!(whole(&library(ours(), 3, 120)), Ok(()));
        assert_eq!(
            whole(&library(ours(), 3, 121)),
            Err(Fault::Truncated { have: 120, need: 121 })
        );
        assert!(matches!(whole(b"\x7fELF"), Err(Fault::Truncated { .. })));
        let mut cut = library(ours(), 3, 120);
        cut.truncate(100);
        assert!(matches!(whole(&cut), Err(Fault::Truncated { .. })));
    }

    #[test]
    fn what_is_mapped_ends_with_the_last_segment() {
        let mut bytes = library(ours(), 3, 120);
        bytes.resize(4_000, 0);
        assert_eq!(loaded_extent(&bytes), 120);
        bytes[40..48].copy_from_slice(&3_900u64.to_le_bytes());
        assert_eq!((loaded_extent(&bytes), whole(&bytes)), (120, Ok(())));
    }

    #[test]
    fn the_beginning_tells_how_much_is_wanted() {
        let mut bytes = library(ours(), 3, 4_000);
        assert_eq!(wanted(&bytes[..HEADER - 1]), None);
        assert_eq!(wanted(&bytes[..HEADER]), None);
        assert_eq!(wanted(&bytes), Some(4_000));
        bytes[0] = b'!';
        assert_eq!(wanted(&bytes), Some(HEADER as u64));
    }

    #[test]
    fn other_files_are_named() {
        assert_eq!(whole(b"#!/bin/sh\n"), Err(Fault::NotElf));
        assert!(matches!(whole(&library(3, 3, 0)), Err(Fault::Machine { .. })));
        assert_eq!(whole(&library(ours(), 2, 0)), Err(Fault::NotALibrary("a program")));
    }

    #[test]
    fn absurd_offsets_do_not_overflow() {
        let mut bytes = library(ours(), 3, u64::MAX);
        bytes[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        bytes[40..48].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(whole(&bytes), Err(Fault::Truncated { .. })));
    }
}
