//! Paths: as they are written, and as they really are.

use super::{Allowed, DeniedBecause};
use crate::capability::{Access, FilesRule};
use crate::paths::{PathPattern, followed, is_plain_absolute, real_parent};
use std::path::{Path, PathBuf};

/// Whether an entry of a folder, its links followed, may be replaced or removed.
pub(super) fn may_change(rules: &[FilesRule], entry: &Path) -> bool {
    rules
        .iter()
        .filter(|rule| rule.access >= Access::Write)
        .any(|rule| PathPattern::parse(&rule.path).real().covers(entry))
}

type Decision = Result<Allowed, Option<DeniedBecause>>;

/// Reading follows a link at the end: what it stands for must be granted as well.
pub(super) fn read(rules: &[FilesRule], path: &str) -> Decision {
    decide(rules, path, Access::Read, PathPattern::covers, followed, PathPattern::followed)
}

/// Looking doesn't follow a link at the end.
pub(super) fn look_at(rules: &[FilesRule], path: &str) -> Decision {
    // Who may list a folder may look at it.
    decide(
        rules,
        path,
        Access::Read,
        |pattern, path| pattern.covers(path) || pattern.covers_folder(path),
        real_parent,
        PathPattern::real,
    )
}

/// Listing follows a link at the end.
pub(super) fn list(rules: &[FilesRule], path: &str) -> Decision {
    decide(rules, path, Access::Read, PathPattern::covers_folder, followed, PathPattern::followed)
}

/// Replacing and removing act on the entry of the folder, never on what a link stands for.
pub(super) fn change(rules: &[FilesRule], path: &str) -> Decision {
    decide(rules, path, Access::Write, PathPattern::covers, real_parent, PathPattern::real)
}

fn decide(
    rules: &[FilesRule],
    path: &str,
    access: Access,
    covers: impl Fn(&PathPattern, &Path) -> bool,
    real: impl FnOnce(&Path) -> PathBuf,
    real_pattern: impl Fn(&PathPattern) -> PathPattern,
) -> Decision {
    if !is_plain_absolute(path) {
        return Err(Some(DeniedBecause::NotPlain));
    }
    let path = Path::new(path);
    let patterns: Vec<PathPattern> = rules
        .iter()
        .filter(|rule| rule.access >= access)
        .map(|rule| PathPattern::parse(&rule.path))
        .collect();
    if !patterns.iter().any(|pattern| covers(pattern, path)) {
        return Err(None);
    }
    let real = real(path);
    if patterns.iter().any(|pattern| covers(&real_pattern(pattern), &real)) {
        Ok(Allowed::Path(real))
    } else {
        Err(Some(DeniedBecause::Elsewhere(real.display().to_string())))
    }
}
