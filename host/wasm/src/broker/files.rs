//! Paths: as they are written, and as they really are.

use super::allowed::Allowed;
use super::denied::DeniedBecause;
use crate::capability::{Access, FilesRule};
use crate::paths::{Follow, PathPattern, Paths, is_plain_absolute};

use std::path::Path;

/// Whether an entry of a folder, its links followed, may be replaced or removed.
pub(super) fn may_change(rules: &[FilesRule], entry: &Path, paths: &dyn Paths) -> bool {
    rules
        .iter()
        .filter(|rule| rule.access >= Access::Write)
        .any(|rule| PathPattern::parse(&rule.path).real(paths).covers(entry))
}

type Decision = Result<Allowed, Option<DeniedBecause>>;

/// Reading follows a link at the end: what it stands for must be granted as well.
pub(super) fn read(rules: &[FilesRule], path: &str, paths: &dyn Paths) -> Decision {
    decide(rules, path, Access::Read, PathPattern::covers, Follow::End, paths)
}

/// Looking doesn't follow a link at the end.
pub(super) fn look_at(rules: &[FilesRule], path: &str, paths: &dyn Paths) -> Decision {
    // Who may list a folder may look at it.
    decide(
        rules,
        path,
        Access::Read,
        |pattern, path| pattern.covers(path) || pattern.covers_folder(path),
        Follow::Parent,
        paths,
    )
}

/// Listing follows a link at the end.
pub(super) fn list(rules: &[FilesRule], path: &str, paths: &dyn Paths) -> Decision {
    decide(rules, path, Access::Read, PathPattern::covers_folder, Follow::End, paths)
}

/// Replacing puts a new entry into the folder; a link there would be lost.
pub(super) fn replace(rules: &[FilesRule], path: &str, paths: &dyn Paths) -> Decision {
    let allowed = remove(rules, path, paths)?;
    match &allowed {
        Allowed::Path(real) if paths.follow(real, Follow::End).iter().any(|end| end != real) => {
            Err(Some(DeniedBecause::Link))
        }
        _ => Ok(allowed),
    }
}

/// Removing acts on the entry of the folder, never on what a link stands for.
pub(super) fn remove(rules: &[FilesRule], path: &str, paths: &dyn Paths) -> Decision {
    decide(rules, path, Access::Write, PathPattern::covers, Follow::Parent, paths)
}

fn decide(
    rules: &[FilesRule],
    path: &str,
    access: Access,
    covers: impl Fn(&PathPattern, &Path) -> bool,
    how: Follow,
    paths: &dyn Paths,
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
    let Some(real) = paths.follow(path, how).pop() else { return Err(None) };
    let covers_really = |pattern: &PathPattern| {
        let pattern =
            if how == Follow::End { pattern.followed(paths) } else { pattern.real(paths) };
        covers(&pattern, &real)
    };
    if patterns.iter().any(covers_really) {
        Ok(Allowed::Path(real))
    } else {
        Err(Some(DeniedBecause::Elsewhere(real.display().to_string())))
    }
}
