//! Tests of a volume's files.

use super::*;
use crate::{Content, ErrorCode, Part, Value};
use std::sync::atomic::{AtomicBool, Ordering};

fn file(path: &str, mode: u32, text: &str) -> File {
    File {
        path: path.into(),
        mode,
        user: None,
        group: None,
        content: Content::Text(Value::Now(text.into())),
        secret: false,
    }
}

fn volume() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let volume = directory.path().join("volume");
    (directory, volume)
}

/// All that a container sees: path, mode and content, without the writer's own names.
fn seen(volume: &Path) -> Vec<String> {
    fn walk(directory: &Path, below: &str, found: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.starts_with("..") {
                continue;
            }
            let path = directory.join(&name);
            let shown = format!("{below}{name}");
            let meta = fs::metadata(&path).unwrap();
            if meta.is_dir() {
                walk(&path, &format!("{shown}/"), found);
            } else {
                let mode = meta.mode() & 0o7777;
                found.push(format!("{shown} {mode:04o} {}", fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    walk(volume, "", &mut found);
    found.sort();
    found
}

/// The writer's own names.
fn own(volume: &Path) -> Vec<String> {
    let names = fs::read_dir(volume)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("..")).collect();
    names.sort();
    names
}

#[test]
fn files_are_written_with_their_modes_whatever_the_umask_says() {
    let (_directory, volume) = volume();
    let files = [
        file("a", 0o644, "one"),
        file("d/e/b", 0o400, "two"),
        file("x", 0o777, ""),
    ];
    assert!(write(&volume, &files, &[]).unwrap());
    assert_eq!(seen(&volume), ["a 0644 one", "d/e/b 0400 two", "x 0777 "]);
    assert_eq!(fs::read_link(volume.join("d")).unwrap(), Path::new("..data/d"));
    assert_eq!(fs::metadata(volume.join("d/e")).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn the_same_files_again_change_nothing() {
    let (_directory, volume) = volume();
    let files = [file("a", 0o644, "one"), file("d/b", 0o644, "two")];
    assert!(write(&volume, &files, &[]).unwrap());
    let data = fs::read_link(volume.join(DATA)).unwrap();
    assert!(!write(&volume, &files, &[]).unwrap());
    assert_eq!(fs::read_link(volume.join(DATA)).unwrap(), data);
}

#[test]
fn every_change_is_seen() {
    let (_directory, volume) = volume();
    let mut before = vec![file("a", 0o644, "one"), file("d/b", 0o644, "two")];
    write(&volume, &before, &[]).unwrap();
    for (after, expected) in [
        (
            vec![file("a", 0o644, "ONE"), file("d/b", 0o644, "two")],
            &["a 0644 ONE", "d/b 0644 two"][..],
        ),
        (
            vec![file("a", 0o600, "ONE"), file("d/b", 0o644, "two")],
            &["a 0600 ONE", "d/b 0644 two"],
        ),
        (vec![file("d/c", 0o644, "three")], &["d/c 0644 three"]),
        (
            vec![file("d", 0o644, "no directory any more")],
            &["d 0644 no directory any more"],
        ),
        (vec![], &[]),
        (vec![file("z", 0o644, "z")], &["z 0644 z"]),
    ] {
        assert!(write(&volume, &after, &[]).unwrap());
        assert_eq!(seen(&volume), expected);
        assert_eq!(own(&volume).len(), 2, "{:?}", own(&volume));
        before = after;
    }
    assert!(!write(&volume, &before, &[]).unwrap());
}

#[test]
fn a_reader_sees_old_or_new_and_nothing_between() {
    let (_directory, volume) = volume();
    let both = |text: &str| [file("a", 0o644, text), file("b", 0o644, text)];
    write(&volume, &both("0"), &[]).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut rounds = 0;
            while !done.load(Ordering::Relaxed) {
                // As a container does that wants both of one state: through the directory that it has open.
                let data = volume.join(fs::read_link(volume.join(DATA)).unwrap());
                let [a, b] = ["a", "b"].map(|name| fs::read_to_string(data.join(name)));
                // Reading it while it goes is its reader's bad luck; a mixture would be ours.
                if let (Ok(a), Ok(b)) = (a, b) {
                    assert_eq!(a, b);
                    rounds += 1;
                }
                fs::read_to_string(volume.join("a")).map_or_else(
                    |error| assert_eq!(error.kind(), io::ErrorKind::NotFound),
                    |text| assert!(!text.is_empty()),
                );
            }
            rounds
        });
        for round in 1..200 {
            write(&volume, &both(&round.to_string()), &[]).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
    });
}

#[test]
fn what_a_crash_left_is_cleared() {
    let (_directory, volume) = volume();
    let files = [file("a", 0o644, "one")];
    write(&volume, &files, &[]).unwrap();
    // Between making the link and moving it, with a directory half filled.
    fs::create_dir(volume.join("..1.half")).unwrap();
    fs::write(volume.join("..1.half/secret"), "x").unwrap();
    symlink("..1.half", volume.join(NEW_DATA)).unwrap();
    // And before the first link was shown.
    fs::remove_file(volume.join("a")).unwrap();
    assert!(!write(&volume, &files, &[]).unwrap());
    assert_eq!(seen(&volume), ["a 0644 one"]);
    assert_eq!(own(&volume).len(), 2, "{:?}", own(&volume));
    symlink("..gone", volume.join(NEW_DATA)).unwrap();
    assert!(write(&volume, &[file("a", 0o644, "two")], &[]).unwrap());
    assert_eq!(seen(&volume), ["a 0644 two"]);
}

#[test]
fn what_can_not_be_written_leaves_the_old_files() {
    let (_directory, volume) = volume();
    write(&volume, &[file("a", 0o644, "one")], &[]).unwrap();
    let late = File {
        content: Content::Text(Value::Late(vec![Part::PodIp])),
        ..file("ip", 0o644, "")
    };
    for wrong in [
        file("../a", 0o644, "x"),
        file("/a", 0o644, "x"),
        file("", 0o644, "x"),
        file("..data", 0o644, "x"),
        file("d/../../a", 0o644, "x"),
        late.clone(),
    ] {
        let error = write(&volume, &[wrong], &[]).unwrap_err();
        assert_eq!(error.code, ErrorCode::Invalid, "{}", error.message);
    }
    // A file as a directory: only the file system sees it.
    let error = write(&volume, &[file("a", 0o644, "new"), file("a/b", 0o644, "x")], &[]).unwrap_err();
    assert_eq!(error.code, ErrorCode::Internal);
    assert_eq!(seen(&volume), ["a 0644 one"]);
    assert_eq!(own(&volume).len(), 2, "{:?}", own(&volume));
    assert!(write(&volume, &[late], &["10.0.0.1".parse().unwrap()]).unwrap());
    assert_eq!(seen(&volume), ["ip 0644 10.0.0.1"]);
}

#[test]
fn files_belong_to_whom_they_should() {
    let (_directory, volume) = volume();
    // Any user may give a file to itself and its group; root, to anyone.
    let meta = fs::metadata("/proc/self").unwrap();
    let (user, group) = if meta.uid() == 0 {
        (4321, 8765)
    } else {
        (meta.uid(), meta.gid())
    };
    let owned = |path: &str| File {
        user: Some(user),
        group: Some(group),
        ..file(path, 0o640, "x")
    };
    assert!(write(&volume, &[owned("d/token")], &[]).unwrap());
    let owners = |path: &str| {
        let meta = fs::metadata(volume.join(path)).unwrap();
        (meta.uid(), meta.gid(), meta.mode() & 0o7777)
    };
    assert_eq!(owners("d/token"), (user, group, 0o640));
    assert_eq!((owners("d").1, owners("d").2), (group, 0o2755));
    assert!(!write(&volume, &[owned("d/token")], &[]).unwrap());
}
