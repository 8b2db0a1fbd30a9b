//! The terminal that the running step is redrawn on: its frames take their turn among the lines.

use super::writer;
use console::Term;
use indicatif::TermLike;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

/// Standard error as a terminal. A frame that nobody reads in time is left out.
pub(super) struct Terminal {
    size: Term,
    frame: Mutex<Vec<u8>>,
}

impl Terminal {
    pub(super) fn new() -> Self {
        Self { size: Term::stderr(), frame: Mutex::default() }
    }

    fn add(&self, text: fmt::Arguments<'_>) -> io::Result<()> {
        self.frame.lock().unwrap_or_else(PoisonError::into_inner).write_fmt(text)
    }

    /// Moves the cursor; a terminal takes 0 for 1.
    fn move_cursor(&self, by: usize, direction: char) -> io::Result<()> {
        if by == 0 { Ok(()) } else { self.add(format_args!("\x1b[{by}{direction}")) }
    }
}

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Terminal")
    }
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        self.size.size().1
    }

    fn height(&self) -> u16 {
        self.size.size().0
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'D')
    }

    fn write_line(&self, s: &str) -> io::Result<()> {
        self.add(format_args!("{s}\n"))
    }

    fn write_str(&self, s: &str) -> io::Result<()> {
        self.add(format_args!("{s}"))
    }

    fn clear_line(&self) -> io::Result<()> {
        self.add(format_args!("\r\x1b[2K"))
    }

    fn flush(&self) -> io::Result<()> {
        let frame = std::mem::take(&mut *self.frame.lock().unwrap_or_else(PoisonError::into_inner));
        if writer::is_behind() { Ok(()) } else { writer::stderr().write_all(&frame) }
    }
}
