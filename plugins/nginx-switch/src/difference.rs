//! The difference of two texts as a unified diff. One algorithm of the library and no more: all of
//! them would be half of the component.

use similar::algorithms::{Capture, Replace, myers};
use similar::{DiffOp, DiffTag};
use std::fmt::Write as _;
use std::ops::Range;

/// How many lines stand around a change.
const CONTEXT: usize = 3;

/// The unified diff from `now` to `then`; empty where they are the same.
pub fn unified(path: &str, now: &str, then: &str) -> String {
    let (old, new) = (lines(now), lines(then));
    let mut capture = Replace::new(Capture::new());
    let Ok(()) =
        myers::diff(&mut capture, old.as_slice(), 0..old.len(), new.as_slice(), 0..new.len());
    let mut text = String::new();
    for hunk in capture.into_inner().into_grouped_ops(CONTEXT) {
        let (Some(first), Some(last)) = (hunk.first(), hunk.last()) else { continue };
        if text.is_empty() {
            let _infallible = writeln!(text, "--- {path} (now)\n+++ {path} (then)");
        }
        let old_span = span(first.old_range().start, last.old_range().end);
        let new_span = span(first.new_range().start, last.new_range().end);
        let _infallible = writeln!(text, "@@ -{old_span} +{new_span} @@");
        for op in &hunk {
            push(&mut text, op, &old, &new);
        }
    }
    text
}

fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// A range of lines as diffs write it: the first counts from 1, an empty range names the line
/// before it.
fn span(start: usize, end: usize) -> String {
    match end - start {
        0 => format!("{start},0"),
        1 => format!("{}", start + 1),
        count => format!("{},{count}", start + 1),
    }
}

fn push(text: &mut String, op: &DiffOp, old: &[&str], new: &[&str]) {
    let mut put = |mark: char, lines: &[&str], range: Range<usize>| {
        for line in lines.get(range).unwrap_or_default() {
            text.push(mark);
            text.push_str(line);
            if !line.ends_with('\n') {
                text.push_str("\n\\ No newline at end of file\n");
            }
        }
    };
    if op.tag() == DiffTag::Equal {
        put(' ', old, op.old_range());
    } else {
        put('-', old, op.old_range());
        put('+', new, op.new_range());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hunks_carry_context_and_line_numbers() {
        let now = (1..=20).map(|line| line.to_string()).collect::<Vec<_>>().join("\n") + "\n";
        let then = now.replace("5\n", "five\n").replace("19\n", "").replace("20\n", "20");
        assert_eq!(
            unified("/f", &now, &then),
            "--- /f (now)\n+++ /f (then)\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n@@ \
             -12,9 +12,8 @@\n 12\n 13\n 14\n-15\n+1five\n 16\n 17\n 18\n-19\n-20\n+20\n\\ No \
             newline at end of file\n"
        );
    }

    #[test]
    fn a_new_file_and_a_removed_one() {
        assert_eq!(
            unified("/f", "", "a\nb\n"),
            "--- /f (now)\n+++ /f (then)\n@@ -0,0 +1,2 @@\n+a\n+b\n"
        );
        assert_eq!(unified("/f", "a\n", ""), "--- /f (now)\n+++ /f (then)\n@@ -1 +0,0 @@\n-a\n");
        assert_eq!(unified("/f", "a\n", "a\n"), "");
    }
}
