//! What paths stand for: links are followed as they stand now.

use crate::paths::Follow;
use std::path::{Component, Path, PathBuf};

/// Follows the links of a path. Blocks.
pub(crate) fn follow(path: &Path, how: Follow) -> Vec<PathBuf> {
    match how {
        Follow::Folder => vec![real_prefix(path)],
        Follow::Parent => vec![real_parent(path)],
        Follow::End => vec![followed(path)],
        Follow::Chain => chain(path),
    }
}

/// Follows the links of a path's folder and keeps its last part as it is.
fn real_parent(path: &Path) -> PathBuf {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => real_prefix(parent).join(name),
        _ => path.to_path_buf(),
    }
}

/// Follows all links of a path; its last part stays where nothing stands there.
fn followed(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| real_parent(path))
}

/// How many links the kernel follows before it gives up.
const MAX_LINKS: usize = 40;

/// Each entry of a folder that a path stands for: its own, and those that a chain of links at its
/// end leads to. Who may write one of them decides what the path stands for.
fn chain(path: &Path) -> Vec<PathBuf> {
    let mut entries = vec![real_parent(path)];
    while let Some(last) = entries.last().filter(|_| entries.len() <= MAX_LINKS) {
        let Ok(target) = last.read_link() else { break };
        let next = real_parent(&last.parent().unwrap_or(last).join(target));
        entries.push(next);
    }
    entries.push(followed(path));
    entries
}

/// Follows the links of the part of a path that exists, and keeps the rest.
fn real_prefix(path: &Path) -> PathBuf {
    let mut rest = Vec::new();
    let mut prefix = path;
    loop {
        if let Ok(real) = prefix.canonicalize() {
            return rest.iter().rev().fold(real, |path, part| path.join(part));
        }
        match (prefix.parent(), prefix.components().next_back()) {
            (Some(parent), Some(Component::Normal(part))) => {
                rest.push(part.to_owned());
                prefix = parent;
            }
            _ => return path.to_path_buf(),
        }
    }
}
