//! The reserve: space that a store keeps for the moment when its disk is full and a bad release has
//! to be taken back.
//!
//! It is a file of allocated blocks beside the database. Whoever takes a release back gives it up,
//! and the journal has room again for the way back. Whoever takes a lease later puts it back once
//! there is room for more than it.

use crate::directory::{Access, StateDirectory};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

/// How much is kept: five times what a canary of nineteen weights was measured to write on its way
/// back (0.8 MiB).
pub(crate) const BYTES: u64 = 4 << 20;

/// The head of the reserve, which is never given up: what plugins remember while the disk is full is
/// written there. Far more than a switcher remembers, which is a few KiB.
pub(crate) const HEAD_BYTES: u64 = 256 << 10;

/// The index that `SQLite` keeps beside its log: what it takes to open the database at all.
const INDEX_BYTES: u64 = 64 << 10;

/// How much has to be free for a deployment to begin, and for one that waits to go on: room for the
/// reserve, and as much again.
pub(crate) const NEEDED_BYTES: u64 = 2 * BYTES;

/// Bytes that are free for us where a path lies; none where that can't be told.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let found = statvfs(path).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Whether the disk is so full that the database may not be opened.
pub(crate) fn has_no_room_for_index(directory: &StateDirectory) -> bool {
    free_bytes(directory.root()).is_some_and(|free| free < INDEX_BYTES)
}

/// Puts the reserve back where it is missing and the disk has room for more than it: what was just
/// given up for somebody who needs it is not taken from them. Tells whether it is there, whole.
pub(crate) fn keep(directory: &StateDirectory, access: Access) -> io::Result<bool> {
    let path = directory.reserve();
    if std::fs::metadata(&path).is_ok_and(|found| found.len() >= BYTES) {
        return Ok(true);
    }
    if free_bytes(directory.root()).is_some_and(|free| free < NEEDED_BYTES) {
        return Ok(false);
    }
    access.make_file(&path)?;
    let file = open(&path)?;
    match fallocate(&file, FallocateFlags::empty(), 0, BYTES) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_out(&file)?,
        Err(Errno::NOSPC) => return Ok(false),
        other => other?,
    }
    Ok(true)
}

/// Gives the reserve up where the disk is full. Tells whether that made room.
pub(crate) fn give_up(directory: &StateDirectory) -> io::Result<bool> {
    shrink(directory, u64::MAX, BYTES)
}

/// Gives up as much of it as opening the database takes, where the disk is full.
pub(crate) fn lend_index(directory: &StateDirectory) -> io::Result<bool> {
    shrink(directory, INDEX_BYTES, INDEX_BYTES)
}

/// Gives up `bytes` of the reserve's end if less than `least` are free.
fn shrink(directory: &StateDirectory, bytes: u64, least: u64) -> io::Result<bool> {
    if free_bytes(directory.root()).is_some_and(|free| free >= least) {
        return Ok(false);
    }
    let file = match open(&directory.reserve()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    let there = file.metadata()?.len();
    let left = there.saturating_sub(bytes).max(HEAD_BYTES);
    if left >= there {
        return Ok(false);
    }
    file.set_len(left)?;
    Ok(true)
}

pub(crate) fn open(path: &Path) -> io::Result<File> {
    let no_link = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    OpenOptions::new().read(true).write(true).custom_flags(no_link).open(path)
}

/// For file systems that allocate nothing ahead.
fn write_out(file: &File) -> io::Result<()> {
    let zeros = vec![0; 64 << 10];
    let mut there = file.metadata()?.len();
    while there < BYTES {
        file.write_all_at(&zeros, there)?;
        there += zeros.len() as u64;
    }
    file.sync_all()
}
