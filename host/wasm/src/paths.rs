//! Paths of rules, and whether a path stands under one.
//!
//! Two readings must agree before a path is allowed: as it is written, and as it really is once
//! each link on the way is followed.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// How far the links on the way to a path are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Follow {
    /// Those of a folder, as far as it exists.
    Folder,
    /// Those of a path's folder; what stands at its end stays.
    Parent,
    /// All of them; its last part stays where nothing stands there.
    End,
    /// All of them, and each entry of a folder on the way: the path's own, and those that a chain
    /// of links at its end leads to.
    Chain,
}

/// What the broker judges by: what paths stand for.
pub trait Paths {
    /// What a path stands for now: one path, or for [`Follow::Chain`] several. Blocks.
    fn follow(&self, path: &Path, how: Follow) -> Vec<PathBuf>;
}

/// Whether a text is an absolute path without `.`, `..`, doubled slashes or a NUL.
pub(crate) fn is_plain_absolute(path: &str) -> bool {
    path.starts_with('/')
        && path.len() <= 4096
        && !path.contains('\0')
        && (path == "/" || path.split('/').skip(1).all(|part| !matches!(part, "" | "." | "..")))
}

/// A path pattern of a rule: one path, the files of a folder, or everything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PathPattern {
    Exact(PathBuf),
    /// The entries of this folder.
    Entries(PathBuf),
    /// Everything below this folder.
    Below(PathBuf),
}

impl PathPattern {
    /// Reads the pattern of a rule.
    pub(crate) fn parse(text: &str) -> Self {
        if let Some(folder) = text.strip_suffix("/**") {
            Self::Below(root_if_empty(folder))
        } else if let Some(folder) = text.strip_suffix("/*") {
            Self::Entries(root_if_empty(folder))
        } else {
            Self::Exact(PathBuf::from(text))
        }
    }

    /// The same pattern with the links on the way followed, as far as it exists. A link at the end
    /// of an exact path stays.
    pub(crate) fn real(&self, paths: &dyn Paths) -> Self {
        match self {
            Self::Exact(path) => Self::Exact(one(paths, path, Follow::Parent)),
            Self::Entries(folder) => Self::Entries(one(paths, folder, Follow::Folder)),
            Self::Below(folder) => Self::Below(one(paths, folder, Follow::Folder)),
        }
    }

    /// As [`Self::real`], and a link at the end of an exact path is followed too: the operator
    /// named that very path, whatever it stands for.
    pub(crate) fn followed(&self, paths: &dyn Paths) -> Self {
        match self {
            Self::Exact(path) => Self::Exact(one(paths, path, Follow::End)),
            folder => folder.real(paths),
        }
    }

    /// Whether a path stands under the pattern.
    pub(crate) fn covers(&self, path: &Path) -> bool {
        match self {
            Self::Exact(exact) => path == exact,
            Self::Entries(folder) => path.parent() == Some(folder),
            Self::Below(folder) => path != folder && path.starts_with(folder),
        }
    }

    /// Whether the names of a folder's entries may be seen under the pattern.
    pub(crate) fn covers_folder(&self, path: &Path) -> bool {
        match self {
            Self::Exact(exact) => path == exact,
            Self::Entries(folder) => path == folder,
            Self::Below(folder) => path.starts_with(folder),
        }
    }
}

/// What one path stands for.
fn one(paths: &dyn Paths, path: &Path, how: Follow) -> PathBuf {
    paths.follow(path, how).pop().unwrap_or_else(|| path.to_path_buf())
}

fn root_if_empty(folder: &str) -> PathBuf {
    PathBuf::from(if folder.is_empty() { "/" } else { folder })
}

/// Whether a text matches a pattern in which `*` stands for any text.
pub(crate) fn wildcard(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(first) = parts.next() else { return text.is_empty() };
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Whether arguments match a rule's patterns, one by one; `**` at the end takes any further ones.
pub(crate) fn arguments_match(patterns: &[String], args: &[String]) -> bool {
    match patterns.split_last() {
        Some((last, patterns)) if last == "**" => {
            args.len() >= patterns.len()
                && patterns.iter().zip(args).all(|(pattern, arg)| wildcard(pattern, arg))
        }
        _ => {
            patterns.len() == args.len()
                && patterns.iter().zip(args).all(|(pattern, arg)| wildcard(pattern, arg))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn only_plain_absolute_paths_are_paths() {
        for good in ["/", "/etc/nginx/conf.d/*", "/a/.hidden"] {
            assert!(is_plain_absolute(good), "{good}");
        }
        for bad in ["", "etc", "/a/../b", "/a/./b", "/a//b", "/a/", "/a\0b", "/.."] {
            assert!(!is_plain_absolute(bad), "{bad}");
        }
    }

    #[test]
    fn a_pattern_of_entries_does_not_reach_into_folders() {
        let entries = PathPattern::parse("/etc/nginx/conf.d/*");
        assert!(entries.covers(Path::new("/etc/nginx/conf.d/a.conf")));
        assert!(!entries.covers(Path::new("/etc/nginx/conf.d/sub/a.conf")));
        assert!(!entries.covers(Path::new("/etc/nginx/conf.d-other")));
        let below = PathPattern::parse("/etc/nginx/**");
        assert!(below.covers(Path::new("/etc/nginx/conf.d/a.conf")));
        assert!(!below.covers(Path::new("/etc/nginx-other/a")));
        assert!(!below.covers(Path::new("/etc/nginx")));
        assert!(below.covers_folder(Path::new("/etc/nginx")));
    }

    #[test]
    fn wildcards_stand_for_any_text_and_nothing_else_is_special() {
        for (pattern, text) in [
            ("*", ""),
            ("a*", "abc"),
            ("*.conf", "x.conf"),
            ("a*b*c", "a-b-b-c"),
            ("[x]?", "[x]?"),
            ("", ""),
        ] {
            assert!(wildcard(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a", "ab"), ("a*b", "a"), ("ab*ba", "aba"), ("?", "a"), ("", "a")]
        {
            assert!(!wildcard(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn arguments_are_matched_one_by_one() {
        assert!(arguments_match(&owned(&["-t", "-c", "*"]), &owned(&["-t", "-c", "/etc/x y"])));
        assert!(!arguments_match(&owned(&["-t"]), &owned(&["-t", "-c"])));
        assert!(!arguments_match(&owned(&["-t", "*"]), &owned(&["-t"])));
        assert!(arguments_match(&owned(&["compose", "**"]), &owned(&["compose"])));
        assert!(arguments_match(&owned(&["compose", "**"]), &owned(&["compose", "up", "-d"])));
        assert!(!arguments_match(&owned(&["**", "x"]), &owned(&["y", "x", "z"])));
    }
}
