//! Where the values of plugins lie that the database did not take: at the head of the reserve,
//! which is allocated, so that writing there needs no byte of a full disk.
//!
//! Without it a switcher that put routes back on a full disk would not know its own file again once
//! its host has ended, and refuse it as somebody else's.

use crate::directory::StateDirectory;
use crate::reserve;
use crate::unwritten::{Held, Place};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Begins what is written there; zeros say that nothing is.
const TAG: &[u8; 8] = b"agntheld";
const DIGEST_BYTES: usize = 32;
const LENGTH_BYTES: usize = 8;
const HEAD_BYTES: usize = TAG.len() + LENGTH_BYTES + DIGEST_BYTES;

/// One value.
#[derive(Serialize, Deserialize)]
struct Line {
    place: Place,
    value: Option<Vec<u8>>,
    over: Option<Vec<u8>>,
}

/// Writes all values in place of those that are there.
pub(crate) fn save(directory: &StateDirectory, all: &BTreeMap<Place, Held>) -> io::Result<()> {
    let lines: Vec<Line> = all
        .iter()
        .map(|(place, held)| Line {
            place: place.clone(),
            value: held.value.clone(),
            over: held.over.clone(),
        })
        .collect();
    let file = reserve::open(&directory.reserve())?;
    if lines.is_empty() {
        file.write_all_at(&[0; TAG.len()], 0)?;
        return file.sync_data();
    }
    let text = serde_json::to_vec(&lines)?;
    let mut bytes = Vec::with_capacity(HEAD_BYTES + text.len());
    bytes.extend_from_slice(TAG);
    bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
    bytes.extend_from_slice(&Sha256::digest(&text));
    bytes.extend_from_slice(&text);
    if bytes.len() as u64 > reserve::HEAD_BYTES.min(file.metadata()?.len()) {
        return Err(io::Error::other("it is more than what is kept for it"));
    }
    file.write_all_at(&bytes, 0)?;
    file.sync_data()
}

/// What lies there; nothing where it is not whole.
pub(crate) fn load(directory: &StateDirectory) -> BTreeMap<Place, Held> {
    let lines = read(directory).unwrap_or_default();
    lines.into_iter().map(|Line { place, value, over }| (place, Held { value, over })).collect()
}

fn read(directory: &StateDirectory) -> Option<Vec<Line>> {
    let file = reserve::open(&directory.reserve()).ok()?;
    let mut head = [0; HEAD_BYTES];
    file.read_exact_at(&mut head, 0).ok()?;
    let (tag, rest) = head.split_at(TAG.len());
    let (length, digest) = rest.split_at(LENGTH_BYTES);
    let length = u64::from_be_bytes(length.try_into().ok()?);
    if tag != TAG || length > reserve::HEAD_BYTES {
        return None;
    }
    let mut text = vec![0; usize::try_from(length).ok()?];
    file.read_exact_at(&mut text, HEAD_BYTES as u64).ok()?;
    if Sha256::digest(&text).as_slice() != digest {
        return None;
    }
    serde_json::from_slice(&text).ok()
}
