//! Reads the configuration file and refuses what can't be one, before any parser sees it.

use super::Position;
use super::fault::Collector;
use std::fs::File;
use std::io;
use std::io::ErrorKind;
use std::io::Read;
use std::path::Path;

/// The largest file that is read.
const LARGEST: u64 = 1 << 20;

/// The text of the file at `path`; `None` if there is none, and the reason is among the faults.
pub(super) fn text(path: &Path, faults: &mut Collector) -> Option<String> {
    let bytes = match read_at_most(path, LARGEST) {
        Ok(bytes) => bytes,
        Err(error) => {
            let message = match error.kind() {
                ErrorKind::FileTooLarge => "unable to read the file: it is larger than 1 MiB, the limit".to_owned(),
                _ => format!("unable to read the file: {}", plainly(&error)),
            };
            faults.push(None, "", message);
            return None;
        }
    };
    match decode(&bytes) {
        Ok(text) => Some(text.to_owned()),
        Err((at, message)) => {
            faults.push(at, "", message);
            None
        }
    }
}

/// The bytes of a file; an error of kind `FileTooLarge` if there are more than `most`.
pub(super) fn read_at_most(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        Err(ErrorKind::FileTooLarge.into())
    } else {
        Ok(bytes)
    }
}

/// An I/O error in words, without the error number.
pub(super) fn plainly(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "no such file".to_owned(),
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        ErrorKind::IsADirectory => "it is a directory".to_owned(),
        ErrorKind::NotADirectory => "a part of its path is no directory".to_owned(),
        _ => error.to_string(),
    }
}

fn decode(bytes: &[u8]) -> Result<&str, (Option<Position>, String)> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err((None, "this is UTF-16 text, save it as UTF-8".to_owned()));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let readable = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        (Some(end_of(&readable)), "this is not UTF-8 text".to_owned())
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match text.find(|c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}')) {
        Some(index) => Err((
            Some(end_of(&text[..index])),
            "this is binary data, expected YAML".to_owned(),
        )),
        None => Ok(text),
    }
}

/// The place behind `text`.
fn end_of(text: &str) -> Position {
    let last = text.rsplit('\n').next().unwrap_or_default();
    Position {
        line: text.matches('\n').count() + 1,
        column: last.chars().count() + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_utf8_text_is_taken() {
        assert_eq!(decode("\u{feff}a: é\r\n".as_bytes()), Ok("a: é\r\n"));
        assert_eq!(
            decode(b"a\0"),
            Err((
                Some(Position { line: 1, column: 2 }),
                "this is binary data, expected YAML".into()
            ))
        );
        assert_eq!(
            decode("é\nbc\x7f".as_bytes()).unwrap_err().0,
            Some(Position { line: 2, column: 3 })
        );
        assert_eq!(
            decode(b"ok\n\xc3\xa9\xff"),
            Err((Some(Position { line: 2, column: 2 }), "this is not UTF-8 text".into()))
        );
        assert!(decode(&[0xff, 0xfe, b'a', 0]).unwrap_err().1.contains("UTF-16"));
    }

    #[test]
    fn unreadable_files_say_why() {
        let dir = tempfile::tempdir().unwrap();
        let huge = dir.path().join("huge.yaml");
        std::fs::write(&huge, vec![b'#'; (1 << 20) + 1]).unwrap();
        for (path, expected) in [
            (dir.path().join("none.yaml"), "unable to read the file: no such file"),
            (dir.path().to_owned(), "unable to read the file: it is a directory"),
            (huge, "unable to read the file: it is larger than 1 MiB, the limit"),
        ] {
            let mut faults = Collector::new("x");
            assert_eq!(text(&path, &mut faults), None);
            assert_eq!(faults.into_faults().list()[0].message, expected);
        }
    }
}
