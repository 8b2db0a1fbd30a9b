//! Splits PromQL into tokens.

use super::SyntaxError;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name or a keyword.
    Word,
    Number,
    /// `5m`, or the placeholder of one.
    Duration,
    /// A text in quotes.
    Text,
    Sign,
}

/// A token and its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

const SIGNS: [&str; 23] = [
    "==", "!=", "<=", ">=", "=~", "!~", "<", ">", "=", "+", "-", "*", "/", "%", "^", "(", ")", "{",
    "}", "[", "]", ",", "@",
];

/// Splits a text.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, SyntaxError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    let mut in_brackets = false;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let Some(first) = rest.chars().next() else { break };
        if first.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        if first == '#' {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        }
        let (kind, length) = match first {
            '{' if rest.starts_with("{{") => (Kind::Duration, placeholder(rest, at)?),
            '"' | '\'' | '`' => (Kind::Text, literal(rest, first, at)?),
            ':' if in_brackets => (Kind::Sign, 1),
            '0'..='9' => number(rest, at)?,
            '.' if rest.chars().nth(1).is_some_and(|c| c.is_ascii_digit()) => number(rest, at)?,
            'a'..='z' | 'A'..='Z' | '_' | ':' => {
                (Kind::Word, length_of(rest, |c| c.is_ascii_alphanumeric() || c == '_' || c == ':'))
            }
            _ => match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
                Some(sign) => (Kind::Sign, sign.len()),
                None => {
                    return Err(SyntaxError::new(
                        at,
                        format!("`{}` has no place in PromQL", first.escape_debug()),
                    ));
                }
            },
        };
        match first {
            '[' => in_brackets = true,
            ']' => in_brackets = false,
            _ => {}
        }
        tokens.push(Token { kind, start: at, end: at + length });
        at += length;
    }
    Ok(tokens)
}

fn length_of(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

/// The length of a placeholder outside of any text in quotes.
fn placeholder(rest: &str, at: usize) -> Result<usize, SyntaxError> {
    let Some(close) = rest.find("}}") else { return Err(SyntaxError::new(at, "`{{` has no `}}`")) };
    let name = rest.get(2..close).unwrap_or_default().trim();
    if name == "window" {
        return Ok(close + 2);
    }
    let message = if crate::placeholder::NAMES.contains(&name) {
        format!("`{{{{{name}}}}}` is outside of quotes, where only `{{{{window}}}}` is allowed")
    } else {
        format!("there is no placeholder `{{{{{name}}}}}`; there are {}", crate::placeholder::all())
    };
    Err(SyntaxError::new(at, message))
}

/// The length of a text in quotes.
fn literal(rest: &str, quote: char, at: usize) -> Result<usize, SyntaxError> {
    let mut escaped = false;
    for (index, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote != '`' => escaped = true,
            '\n' if quote != '`' => break,
            _ if c == quote => return Ok(index + 1),
            _ => {}
        }
    }
    Err(SyntaxError::new(at, "the quoted string is not closed"))
}

/// The kind and length of what begins with a digit or a point.
fn number(rest: &str, at: usize) -> Result<(Kind, usize), SyntaxError> {
    let mut length = length_of(rest, |c| c.is_ascii_alphanumeric() || c == '.' || c == '_');
    let mut word = rest.get(..length).unwrap_or_default();
    // The sign of an exponent.
    if word.ends_with(['e', 'E'])
        && !word.starts_with("0x")
        && rest.get(length..).is_some_and(|after| after.starts_with(['+', '-']))
    {
        length += 1 + length_of(rest.get(length + 1..).unwrap_or_default(), |c| c.is_ascii_digit());
        word = rest.get(..length).unwrap_or_default();
    }
    let hexadecimal = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"));
    if word.parse::<f64>().is_ok()
        || hexadecimal.is_some_and(|digits| {
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    {
        Ok((Kind::Number, length))
    } else if is_duration(word) {
        Ok((Kind::Duration, length))
    } else {
        Err(SyntaxError::new(
            at,
            format!("`{word}` is neither a number nor a duration such as `5m` or `1h30m`"),
        ))
    }
}

fn is_duration(word: &str) -> bool {
    let mut rest = word;
    while !rest.is_empty() {
        let (digits, after) = rest.split_at(length_of(rest, |c| c.is_ascii_digit()));
        let (unit, after) = after.split_at(length_of(after, |c| c.is_ascii_alphabetic()));
        if digits.is_empty() || !matches!(unit, "ms" | "s" | "m" | "h" | "d" | "w" | "y") {
            return false;
        }
        rest = after;
    }
    !word.is_empty()
}
