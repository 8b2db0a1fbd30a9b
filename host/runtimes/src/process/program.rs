//! The program of a backend: where it is, and whether this machine can run it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where a bare name is looked for when the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Why a program can't be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    /// Nothing to run.
    #[error("the command is empty")]
    Empty,
    /// A bare name that is nowhere.
    #[error("there is no program `{name}` in `{path}`")]
    NotFound {
        /// As the manifest has it.
        name: String,
        /// Where it was looked for.
        path: String,
    },
    /// A path that leads nowhere.
    #[error("the program `{}` can't be read", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A directory, a socket …
    #[error("`{}` is not a file", path.display())]
    NotAFile { path: PathBuf },
    /// No execute bit.
    #[error("`{}` is not executable", path.display())]
    NotExecutable { path: PathBuf },
    /// Neither a program nor a script with `#!`. Told apart here because a system may hand such a
    /// file to a shell.
    #[error("`{}` is neither an ELF program nor a script that begins with `#!`", path.display())]
    NotAProgram { path: PathBuf },
    /// For other processors.
    #[error("`{}` is built for a different processor (ELF machine {found}) than this machine's \
    ({own})", path.display())]
    OtherMachine {
        path: PathBuf,
        /// ELF machine number of the program.
        found: u16,
        /// And of this one.
        own: u16,
    },
}

impl ProgramError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            ProgramError::Empty => "set `command` in the manifest",
            ProgramError::NotFound { .. } => {
                "write the artifact as `./` and its file name, or give an absolute path"
            }
            ProgramError::Unreadable { .. } | ProgramError::NotAFile { .. } => {
                "correct the first word of `command`: `./` and the artifact's file name, or an \
                 absolute path"
            }
            ProgramError::NotExecutable { .. } => {
                "make it executable (`chmod +x`) and deploy again"
            }
            ProgramError::NotAProgram { .. } => {
                "deploy an executable program, or begin the script with `#!` and its interpreter"
            }
            ProgramError::OtherMachine { .. } => "build it for this machine",
        }
    }
}

/// Finds the program of a command that runs in `folder` with this `PATH`. A bare name is looked for
/// in the path alone.
pub(crate) fn find(name: &str, folder: &Path, path: Option<&str>) -> Result<PathBuf, ProgramError> {
    if name.is_empty() {
        return Err(ProgramError::Empty);
    }
    if name.contains('/') {
        let relative = Path::new(name);
        return Ok(folder.join(relative.strip_prefix("./").unwrap_or(relative)));
    }
    let path = path.unwrap_or(DEFAULT_PATH);
    let found = path
        .split(':')
        .filter(|folder| folder.starts_with('/'))
        .map(|folder| Path::new(folder).join(name))
        .find(|candidate| candidate.is_file());
    found.ok_or_else(|| ProgramError::NotFound { name: name.to_owned(), path: path.to_owned() })
}

/// Judges whether this machine can run the file.
pub(crate) fn judge(path: &Path) -> Result<(), ProgramError> {
    let owned = || path.to_owned();
    let unreadable = |source| ProgramError::Unreadable { path: owned(), source };
    let about = std::fs::metadata(path).map_err(unreadable)?;
    if !about.is_file() {
        return Err(ProgramError::NotAFile { path: owned() });
    }
    if about.permissions().mode() & 0o111 == 0 {
        return Err(ProgramError::NotExecutable { path: owned() });
    }
    let head = match head(path) {
        Ok(head) => head,
        // A program may be executable without being readable.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
        Err(error) => return Err(unreadable(error)),
    };
    if head.starts_with(b"#!") {
        return Ok(());
    }
    let Some(found) = machine(&head) else {
        return Err(ProgramError::NotAProgram { path: owned() });
    };
    match self::head(Path::new("/proc/self/exe")).ok().as_deref().and_then(machine) {
        Some(own) if own != found => Err(ProgramError::OtherMachine { path: owned(), found, own }),
        _ => Ok(()),
    }
}

fn head(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path)?.take(20).read_to_end(&mut head)?;
    Ok(head)
}

/// The machine number of an ELF file, from its first twenty bytes.
fn machine(head: &[u8]) -> Option<u16> {
    let number = <[u8; 2]>::try_from(head.strip_prefix(b"\x7fELF").and(head.get(18..20))?).ok()?;
    // Byte 5 tells the byte order: 1 is little, 2 is big.
    Some(if head.get(5) == Some(&2) {
        u16::from_be_bytes(number)
    } else {
        u16::from_le_bytes(number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};

    fn file(folder: &Path, name: &str, content: &[u8], mode: u32) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn what_this_machine_can_not_run_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let own = std::env::current_exe().unwrap();
        assert!(judge(&own).is_ok());
        assert!(judge(&file(folder, "script", b"#!/bin/sh\n", 0o755)).is_ok());
        assert!(matches!(
            judge(&file(folder, "plain", b"#!/bin/sh\n", 0o644)),
            Err(ProgramError::NotExecutable { .. })
        ));
        assert!(matches!(
            judge(&file(folder, "text", b"exec rm\n", 0o755)),
            Err(ProgramError::NotAProgram { .. })
        ));
        assert!(matches!(judge(folder), Err(ProgramError::NotAFile { .. })));
        assert!(matches!(judge(&folder.join("absent")), Err(ProgramError::Unreadable { .. })));
        let mut other = head(&own).unwrap();
        other[18] ^= 0x55;
        assert!(matches!(
            judge(&file(folder, "other", &other, 0o755)),
            Err(ProgramError::OtherMachine { .. })
        ));
    }

    #[test]
    fn a_bare_name_is_looked_for_in_the_declared_path_alone() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().to_str().unwrap();
        file(folder.path(), "tool", b"#!/bin/sh\n", 0o755);
        assert_eq!(find("tool", Path::new("/"), Some(place)).unwrap(), folder.path().join("tool"));
        assert!(
            matches!(find("tool", folder.path(), None), Err(ProgramError::NotFound { .. })),
            "not from the working folder"
        );
        assert_eq!(find("./tool", folder.path(), None).unwrap(), folder.path().join("tool"));
        assert_eq!(find("/bin/sh", folder.path(), None).unwrap(), Path::new("/bin/sh"));
    }
}
