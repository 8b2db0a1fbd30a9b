//! A backend's log: written by the backend itself, bounded by its supervisor.
//!
//! The backend appends to the file without anything in between, so that it goes on when its
//! supervisor is killed. Rotation therefore can't move the file away from under it: the head is
//! copied to `log.1` and cut off the front. Where the file system can cut blocks off a front (ext4,
//! XFS) no line is lost; elsewhere what is written between the last copied byte and the cut is.

use crate::process::access;
use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The log of one backend.
#[derive(Debug, Clone)]
pub(crate) struct LogFile {
    path: PathBuf,
}

impl LogFile {
    /// The log at this path.
    pub(crate) fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Opens it for appending, as the backend gets it.
    pub(crate) fn open(&self) -> io::Result<File> {
        let file = OpenOptions::new().append(true).create(true).mode(0o640).open(&self.path)?;
        self.share(&file)?;
        Ok(file)
    }

    /// Another user of a shared folder may be the next to append.
    fn share(&self, file: &File) -> io::Result<()> {
        self.path.parent().map_or(Ok(()), |folder| access::share(file, folder))
    }

    /// Adds a line of the supervisor's own. A log that can't be written is no reason to stop a
    /// backend.
    pub(crate) fn note(&self, text: &str) {
        if let Ok(mut file) = self.open() {
            let _unwritten = file.write_all(format!("[agente-host] {text}\n").as_bytes());
        }
    }

    /// An older part of the log: 1 is the newest of them.
    pub(crate) fn older(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }

    /// Where the log is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves the log's head aside when it has grown over `max_bytes`, keeping `files` in all.
    pub(crate) fn rotate_when_over(&self, max_bytes: u64, files: u32) -> io::Result<()> {
        let mut log = match OpenOptions::new().read(true).write(true).open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        let size = log.metadata()?.len();
        if size <= max_bytes {
            return Ok(());
        }
        for number in (1..files.max(2) - 1).rev() {
            match fs::rename(self.older(number), self.older(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let block = fstatvfs(&log).map_or(4096, |file_system| file_system.f_bsize).max(1);
        // Cutting must leave something: a cut up to the end is refused.
        let head = (size - 1) / block * block;
        let newest = self.older(1);
        let mut draft = newest.clone().into_os_string();
        draft.push(".new");
        let mut copy =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&draft)?;
        self.share(&copy)?;
        // Kept whole, so that a follower finds its place in it; a backend that writes far faster
        // than its log is looked at loses the oldest.
        let kept = if head > max_bytes.saturating_mul(2) { max_bytes } else { head };
        log.seek(SeekFrom::Start(head - kept))?;
        io::copy(&mut (&log).take(kept), &mut copy)?;
        fs::rename(&draft, &newest)?;
        if head > 0 && fallocate(&log, FallocateFlags::COLLAPSE_RANGE, 0, head).is_ok() {
            return Ok(());
        }
        io::copy(&mut log, &mut copy)?;
        log.set_len(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes numbered lines, rotating after every few, and returns what is kept, oldest first.
    fn written(lines: u32, max_bytes: u64, files: u32) -> (tempfile::TempDir, Vec<String>, u64) {
        let folder = tempfile::tempdir().unwrap();
        let log = LogFile::at(folder.path().join("log"));
        let mut backend = log.open().unwrap();
        for number in 0..lines {
            writeln!(backend, "line {number:07}").unwrap();
            if number % 100 == 0 {
                log.rotate_when_over(max_bytes, files).unwrap();
            }
        }
        let mut text = String::new();
        let mut total = 0;
        for path in [log.older(3), log.older(2), log.older(1), log.path().to_owned()] {
            if let Ok(part) = fs::read_to_string(&path) {
                total += part.len() as u64;
                text.push_str(&part);
            }
        }
        (folder, text.lines().map(str::to_owned).collect(), total)
    }

    #[test]
    fn a_log_is_bounded_and_its_newest_lines_are_kept_in_order() {
        let (folder, lines, total) = written(60_000, 64 * 1024, 3);
        assert!(total <= 3 * 64 * 1024 + 16 * 1024, "{total} bytes are kept");
        assert!(!folder.path().join("log.3").exists(), "three files, not four");
        let numbers: Vec<u32> = lines
            .iter()
            .skip(1)
            .map(|line| line.trim_start_matches("line ").parse().unwrap())
            .collect();
        assert_eq!(numbers.last(), Some(&59_999));
        assert!(
            numbers.windows(2).all(|pair| pair[1] == pair[0] + 1),
            "no line is lost, doubled or torn"
        );
    }

    #[test]
    fn a_log_below_its_limit_is_left_alone() {
        let (folder, lines, _) = written(100, 1024 * 1024, 3);
        assert_eq!(lines.len(), 100);
        assert!(!folder.path().join("log.1").exists());
    }
}
