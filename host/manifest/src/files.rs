//! Looks at the files that a manifest names. Reads, never writes.

use crate::mistake::Complaint;
use std::borrow::Cow;
use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A file of certificates is never larger.
const LARGEST_CA_BYTES: u64 = 16 << 20;

/// Whether `path` is a file that can be there for `what`; `written` is how the manifest names it.
pub(crate) fn is_file(
    what: &str,
    written: &str,
    path: &Path,
    when_absent: &str,
) -> Result<Metadata, Complaint> {
    let metadata = path.metadata().map_err(|error| {
        let shown = path.display();
        match error.kind() {
            ErrorKind::NotFound => Complaint::new(
                format!("{what} `{written}` does not exist (looked for `{shown}`)"),
                when_absent,
            ),
            ErrorKind::NotADirectory => Complaint::new(
                format!("{what} `{written}` does not exist: part of `{shown}` is not a directory"),
                when_absent,
            ),
            ErrorKind::PermissionDenied => Complaint::new(
                format!("{what} `{written}` can't be reached: no permission for `{shown}`"),
                "give this user access to its directories",
            ),
            _ => Complaint::new(
                format!("{what} `{written}` can't be inspected: {error}"),
                "correct the path",
            ),
        }
    })?;
    if metadata.is_dir() {
        return Err(Complaint::new(
            format!("{what} `{written}` is a directory, not a file"),
            "name the file in it",
        ));
    }
    if !metadata.is_file() {
        return Err(Complaint::new(
            format!("{what} `{written}` is not a regular file"),
            "name a regular file",
        ));
    }
    Ok(metadata)
}

/// Whether it is a file that may be run.
pub(crate) fn is_program(
    what: &str,
    written: &str,
    path: &Path,
    when_absent: &str,
) -> Result<(), Complaint> {
    let metadata = is_file(what, written, path, when_absent)?;
    if metadata.permissions().mode() & 0o111 == 0 {
        let shown = path.display().to_string();
        // No path holds the byte 0, which alone can't be quoted.
        let word = shlex::try_quote(&shown).unwrap_or(Cow::Borrowed(&shown));
        return Err(Complaint::new(
            format!("{what} `{written}` is not executable"),
            format!("run `chmod +x {word}`"),
        ));
    }
    Ok(())
}

/// Whether it is a file that this user may read.
pub(crate) fn is_readable(
    what: &str,
    written: &str,
    path: &Path,
    when_absent: &str,
) -> Result<(), Complaint> {
    is_file(what, written, path, when_absent)?;
    File::open(path).map(drop).map_err(|error| unreadable(what, written, &error))
}

/// Whether it is a file of PEM certificates.
pub(crate) fn holds_certificates(what: &str, written: &str, path: &Path) -> Result<(), Complaint> {
    is_file(
        what,
        written,
        path,
        "correct the path, or omit `ca` to trust the system's certificate authorities",
    )?;
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST_CA_BYTES).read_to_end(&mut bytes))
        .map_err(|error| unreadable(what, written, &error))?;
    let marker = b"-----BEGIN CERTIFICATE-----";
    if bytes.windows(marker.len()).any(|window| window == marker) {
        return Ok(());
    }
    Err(Complaint::new(
        format!("{what} `{written}` contains no PEM certificate"),
        "name a file that contains `-----BEGIN CERTIFICATE-----`",
    ))
}

fn unreadable(what: &str, written: &str, error: &std::io::Error) -> Complaint {
    Complaint::new(
        format!("{what} `{written}` can't be read: {error}"),
        "give this user \
    permission to read it",
    )
}
