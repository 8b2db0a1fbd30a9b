//! What is wrong with a manifest: where it stands, what it is, and what to change.
//!
//! Invariants: every mistake says how to fix it; a [`ManifestError`] holds at least one mistake,
//! sorted by place.

use crate::source::{Position, SourceText, Stretch};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// Something to object to, before it has a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// What is wrong, with the value.
    pub(crate) message: String,
    /// What to change.
    pub(crate) fix: String,
    /// Whether the line may hold something that nobody else should see.
    concealed: bool,
}

impl Complaint {
    /// Pairs what is wrong with what to do.
    pub(crate) fn new(message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { message: message.into(), fix: fix.into(), concealed: false }
    }

    /// Hides the texts of the line when it is shown, because one of them may be a secret that was
    /// written where it shouldn't be.
    #[must_use]
    pub(crate) fn concealed(self) -> Self {
        Self { concealed: true, ..self }
    }
}

/// One thing that is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// The file, as the caller named it.
    pub path: PathBuf,
    /// The line, from 1; 0 where it is about the file as a whole.
    pub line: usize,
    /// The character in that line, from 1; 0 where it is about the file as a whole.
    pub column: usize,
    /// The key, joined by dots; empty where no key is meant.
    pub key: String,
    /// What is wrong, with the value.
    pub message: String,
    /// What to change or to type.
    pub fix: String,
    /// The line itself, for showing it; empty where there is none.
    pub excerpt: String,
    /// How many characters of the line are meant, from `column` on.
    pub width: usize,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        if self.line == 0 {
            write!(f, "{path}: {}", self.message)?;
        } else {
            write!(f, "{path}:{}:{}: {}", self.line, self.column, self.message)?;
        }
        if self.line > 0 && !self.excerpt.trim().is_empty() {
            let number = self.line.to_string();
            let margin = " ".repeat(number.len());
            write!(f, "\n {number} | {}", self.excerpt)?;
            write!(
                f,
                "\n {margin} | {}{}",
                " ".repeat(self.column.saturating_sub(1)),
                "^".repeat(self.width.max(1))
            )?;
        }
        write!(f, "\nfix: {}", self.fix)
    }
}

/// Everything that is wrong with a manifest, sorted by place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", joined(.mistakes))]
pub struct ManifestError {
    /// At least one.
    pub mistakes: Vec<Mistake>,
}

impl ManifestError {
    /// One mistake with the file as a whole.
    pub(crate) fn of_file(path: &Path, complaint: Complaint) -> Self {
        let mistake = Mistake {
            path: path.to_owned(),
            line: 0,
            column: 0,
            key: String::new(),
            message: complaint.message,
            fix: complaint.fix,
            excerpt: String::new(),
            width: 0,
        };
        Self { mistakes: vec![mistake] }
    }
}

fn joined(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(Mistake::to_string).collect::<Vec<_>>().join("\n\n")
}

/// A character as it may be printed: a terminal must not obey what a manifest holds, and a tab
/// would move the caret.
fn shown(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

/// A line in which everything after the first `=` is hidden but for its punctuation.
fn without_values(line: &str) -> String {
    let mut value = !line.contains('=');
    let hide =
        |c: char| if c.is_whitespace() || "={}[]\"',".contains(c) { shown(c) } else { '•' };
    line.chars()
        .map(|c| {
            let hidden = if value { hide(c) } else { shown(c) };
            value |= c == '=';
            hidden
        })
        .collect()
}

/// Makes a mistake of a complaint about a stretch of the text.
pub(crate) fn located(
    path: &Path,
    source: &SourceText,
    stretch: &Stretch,
    key: String,
    complaint: Complaint,
) -> Mistake {
    let Position { line, column } = source.position(stretch.start);
    let text = source.line(line);
    let rest = text.chars().count().saturating_sub(column - 1);
    let meant = source.slice(stretch).lines().next().unwrap_or("").chars().count();
    Mistake {
        path: path.to_owned(),
        line,
        column,
        key,
        message: complaint.message,
        fix: complaint.fix,
        excerpt: if complaint.concealed {
            without_values(text)
        } else {
            text.chars().map(shown).collect()
        },
        width: meant.min(rest).max(1),
    }
}

/// Collects the mistakes of one manifest.
pub(crate) struct Findings<'a> {
    path: &'a Path,
    source: &'a SourceText,
    mistakes: Vec<Mistake>,
}

impl<'a> Findings<'a> {
    /// None so far.
    pub(crate) fn new(path: &'a Path, source: &'a SourceText) -> Self {
        Self { path, source, mistakes: Vec::new() }
    }

    /// Adds a complaint about a stretch of the text.
    pub(crate) fn add(&mut self, stretch: &Stretch, key: impl Into<String>, complaint: Complaint) {
        let mistake = located(self.path, self.source, stretch, key.into(), complaint);
        self.mistakes.push(mistake);
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.mistakes.is_empty()
    }

    /// The text that is judged.
    pub(crate) fn source(&self) -> &'a SourceText {
        self.source
    }

    /// The lines that already have a mistake.
    pub(crate) fn lines(&self) -> BTreeSet<usize> {
        self.mistakes.iter().map(|mistake| mistake.line).collect()
    }

    /// Drops what was added after the first `count` mistakes on any of these lines.
    pub(crate) fn drop_after_on(&mut self, count: usize, lines: &BTreeSet<usize>) {
        let mut index = 0;
        self.mistakes.retain(|mistake| {
            index += 1;
            index <= count || !lines.contains(&mistake.line)
        });
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.mistakes.len()
    }

    /// All of them, sorted by place; nothing is said twice.
    pub(crate) fn into_error(self) -> Result<(), ManifestError> {
        let mut mistakes = self.mistakes;
        if mistakes.is_empty() {
            return Ok(());
        }
        mistakes.sort_by(|a, b| (a.line, a.column, &a.key).cmp(&(b.line, b.column, &b.key)));
        mistakes.dedup();
        Err(ManifestError { mistakes })
    }
}
