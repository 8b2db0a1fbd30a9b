//! Why a text is not the quantity that was expected.

/// A text that was not understood, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}; {fix}")]
pub struct Misread {
    /// What is wrong, with the text: “`10` is not a duration: the number has no unit”.
    pub message: String,
    /// What to write, as an instruction: “write `64MiB`”.
    pub fix: String,
}

/// The leading digits of a text as a number, and what follows.
pub(crate) fn split_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, rest))
}
