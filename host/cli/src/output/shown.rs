//! Words of others on a terminal: what it would act on is shown instead.

use agente_wasm::acts_on_terminal;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

/// A text with all that a terminal acts on written as `\u001b`, which is right inside of JSON too;
/// ends of lines and tabs stay.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    let acts = |c: char| acts_on_terminal(c) && !matches!(c, '\n' | '\t');
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if acts(c) {
            let _ = write!(shown, "\\u{:04x}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// A text after what we painted ourselves.
pub(super) fn after(painted: &str, text: &str) -> String {
    format!("{painted}{}", shown(text))
}

/// A writer of whole lines that are shown.
pub(super) struct Shown<W>(pub(super) W);

impl<W: io::Write> io::Write for Shown<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(shown(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn what_a_terminal_acts_on_is_shown_and_all_else_stays() {
        assert_eq!(shown("✓ größer\n\tund 日本"), "✓ größer\n\tund 日本");
        assert_eq!(shown("a\u{1b}[2K\rb\u{9b}1A\u{202e}c"), "a\\u001b[2K\\u000db\\u009b1A\\u202ec");
        let json = serde_json::json!({ "reason": "a\u{1b}\u{7f}\u{9b}\u{202e}" });
        let line = shown(&json.to_string()).into_owned();
        assert!(!line.contains(acts_on_terminal), "{line}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), json);
    }

    #[test]
    fn only_our_own_colours_get_through() {
        assert_eq!(
            after("\u{1b}[32m✓\u{1b}[0m", " a\u{1b}[32mb"),
            "\u{1b}[32m✓\u{1b}[0m a\\u001b[32mb"
        );
    }

    #[test]
    fn the_log_is_shown_like_everything() {
        let mut written = Vec::new();
        Shown(&mut written).write_all(b"WARN odd\r\x1b[1A\n").unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), "WARN odd\\u000d\\u001b[1A\n");
    }
}
