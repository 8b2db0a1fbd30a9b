//! The text of a manifest, and the line and column of each byte of it.

use std::ops::Range;

/// A stretch of the text, in bytes.
pub(crate) type Stretch = Range<usize>;

/// A place in a file, as people count: from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub line: usize,
    /// The character within the line.
    pub column: usize,
}

/// The text and where its lines begin.
#[derive(Debug, Clone)]
pub(crate) struct SourceText {
    text: String,
    line_starts: Vec<usize>,
}

impl SourceText {
    /// Takes a text and finds its lines.
    pub(crate) fn new(text: String) -> Self {
        let mut line_starts = vec![0];
        line_starts.extend(
            text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n').map(|(at, _)| at + 1),
        );
        Self { text, line_starts }
    }

    /// The whole text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The part of the text in a stretch; empty where the stretch is not one of this text.
    pub(crate) fn slice(&self, stretch: &Stretch) -> &str {
        self.text.get(stretch.clone()).unwrap_or("")
    }

    /// Where a byte stands. Beyond the end, and just after a last line break, it is the end of the
    /// last line that holds something.
    pub(crate) fn position(&self, offset: usize) -> Position {
        let offset = offset.min(self.text.trim_end().len());
        let line = self.line_starts.partition_point(|&start| start <= offset).max(1);
        let start = self.line_starts.get(line - 1).copied().unwrap_or(0);
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count()) + 1;
        Position { line, column }
    }

    /// A line without its line break.
    pub(crate) fn line(&self, number: usize) -> &str {
        let start = number.checked_sub(1).and_then(|index| self.line_starts.get(index)).copied();
        start
            .and_then(|start| self.text.get(start..))
            .and_then(|rest| rest.lines().next())
            .unwrap_or("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_lines_count_from_one() {
        let source = SourceText::new("a = 1\n# größe\nb = \"é\" # x\n".to_owned());
        let at = source.text().find('b').unwrap();
        assert_eq!(source.position(at), Position { line: 3, column: 1 });
        assert_eq!(
            source.position(source.text().find('x').unwrap()),
            Position { line: 3, column: 11 }
        );
        assert_eq!(source.line(2), "# größe");
        assert_eq!(source.line(9), "");
    }

    #[test]
    fn the_end_of_the_text_is_the_end_of_its_last_written_line() {
        let source = SourceText::new("ab\n\n\n".to_owned());
        assert_eq!(source.position(usize::MAX), Position { line: 1, column: 3 });
        assert_eq!(SourceText::new(String::new()).position(0), Position { line: 1, column: 1 });
    }
}
