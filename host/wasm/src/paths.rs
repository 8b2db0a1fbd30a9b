//! Paths of rules, and whether a path stands under one.
//!
//! Two readings must agree before a path is allowed: as it is written, and as it really is once
//! each link on the way is followed.

use std::path::{Component, Path, PathBuf};

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
    pub(crate) fn real(&self) -> Self {
        match self {
            Self::Exact(path) => Self::Exact(real_parent(path)),
            Self::Entries(folder) => Self::Entries(real_prefix(folder)),
            Self::Below(folder) => Self::Below(real_prefix(folder)),
        }
    }

    /// As [`Self::real`], and a link at the end of an exact path is followed too: the operator
    /// named that very path, whatever it stands for.
    pub(crate) fn followed(&self) -> Self {
        match self {
            Self::Exact(path) => Self::Exact(followed(path)),
            folder => folder.real(),
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

fn root_if_empty(folder: &str) -> PathBuf {
    PathBuf::from(if folder.is_empty() { "/" } else { folder })
}

/// Follows the links of a path's folder and keeps its last part as it is.
pub(crate) fn real_parent(path: &Path) -> PathBuf {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => real_prefix(parent).join(name),
        _ => path.to_path_buf(),
    }
}

/// Follows all links of a path; its last part stays where nothing stands there.
pub(crate) fn followed(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| real_parent(path))
}

/// How many links the kernel follows before it gives up.
const MAX_LINKS: usize = 40;

/// Each entry of a folder that a path stands for: its own, and those that a chain of links at its
/// end leads to. Who may write one of them decides what the path stands for.
pub(crate) fn stands_for(path: &Path) -> Vec<PathBuf> {
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
