//! Reading what another program wrote to its log since a mark.

use agente_engine::fault::{Fault, FaultKind};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};

fn unreadable(path: &str, error: &io::Error) -> Fault {
    Fault::new(FaultKind::Failed, format!("the log `{path}` can't be read"))
        .hint("check that you have permission to read it")
        .because(error)
}

/// The file's length, if there is one. Anything but a file (a pipe, a terminal) could block, and is
/// refused.
fn length(path: &str) -> Result<Option<u64>, Fault> {
    match fs::metadata(path) {
        Ok(about) if about.is_file() => Ok(Some(about.len())),
        Ok(_) => Err(Fault::new(FaultKind::Unsupported, format!("the log `{path}` is not a file"))
            .hint("have the program log to a file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// The present end. A log that is not there yet begins at 0.
pub(super) fn mark(path: &str) -> Result<u64, Fault> {
    Ok(length(path)?.unwrap_or(0))
}

/// What was written since, the newest `max_bytes` of it. A log that is shorter than it was has been
/// rotated: all of it is new.
pub(super) fn since(path: &str, mark: u64, max_bytes: usize) -> Result<Vec<u8>, Fault> {
    let Some(length) = length(path)? else {
        return Ok(Vec::new());
    };
    let from = if length < mark { 0 } else { mark };
    let kept = (length - from).min(u64::try_from(max_bytes).unwrap_or(u64::MAX));
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(length - kept))?;
        let mut bytes = Vec::new();
        file.take(kept).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|error| unreadable(path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_is_read_also_after_a_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("error.log");
        let name = path.to_str().unwrap();
        assert_eq!((mark(name), since(name, 0, 100)), (Ok(0), Ok(Vec::new())), "no log yet");
        fs::write(&path, "old line\n").unwrap();
        let before = mark(name).unwrap();
        fs::write(&path, "old line\nnew line\n").unwrap();
        assert_eq!(since(name, before, 100).unwrap(), b"new line\n");
        assert_eq!(since(name, before, 5).unwrap(), b"line\n", "the newest of it");
        fs::write(&path, "fresh\n").unwrap();
        assert_eq!(since(name, before, 100).unwrap(), b"fresh\n");
        assert_eq!(
            since("/dev/null", 0, 10).map_err(|fault| fault.kind),
            Err(FaultKind::Unsupported)
        );
    }
}
