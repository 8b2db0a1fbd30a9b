//! Reads PromQL as far as it must be known before Prometheus is asked: whether it is well formed,
//! which selectors are in it, and where its placeholders stand.
//!
//! Functions, types and the number of arguments are not judged here: preflight lets the server do
//! that. Texts of any nesting and length are read without recursion deeper than 64 levels.

mod lexer;
#[cfg(test)]
mod tests;

use lexer::{Kind, Token, tokens};
use std::ops::Range;

/// How deep expressions may be nested.
const MAX_DEPTH: usize = 64;

const AGGREGATIONS: [&str; 14] = [
    "sum",
    "min",
    "max",
    "avg",
    "group",
    "stddev",
    "stdvar",
    "count",
    "count_values",
    "bottomk",
    "topk",
    "quantile",
    "limitk",
    "limit_ratio",
];
const KEYWORDS: [&str; 13] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "and",
    "or",
    "unless",
    "bool",
    "offset",
    "atan2",
    "nan",
];
const OPERATORS: [&str; 12] = ["+", "-", "*", "/", "%", "^", "==", "!=", "<=", ">=", "<", ">"];

/// What is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// The byte where it was seen.
    pub at: usize,
    /// What is wrong.
    pub message: String,
}

impl SyntaxError {
    fn new(at: usize, message: impl Into<String>) -> Self {
        Self { at, message: message.into() }
    }

    /// In words, with the position as people count it.
    pub fn told(&self, text: &str) -> String {
        let character = text.char_indices().take_while(|(index, _)| *index < self.at).count() + 1;
        format!("character {character}: {}", self.message)
    }
}

/// Where a placeholder stands, which says how its value is quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the expression itself: a duration.
    Bare,
    /// In a text in quotes of this kind.
    Literal {
        /// `"`, `'` or a backtick.
        quote: char,
        /// Whether the text is a regular expression.
        regex: bool,
    },
}

/// A placeholder in an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    /// Its bytes, braces and all.
    pub range: Range<usize>,
    pub name: String,
    pub place: Place,
}

/// A vector selector in an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// Its bytes, without range, offset and `@`.
    pub range: Range<usize>,
    /// The metric's name, where it names one.
    pub metric: Option<String>,
    /// Whether a range, an offset or `@` follows.
    pub modified: bool,
}

/// What was found in an expression.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expression {
    /// Its selectors, in order.
    pub selectors: Vec<Selector>,
    /// Its placeholders, in order.
    pub holes: Vec<Hole>,
    /// Whether it is one selector and nothing else.
    pub plain: bool,
}

/// Reads an expression.
///
/// # Errors
///
/// The first thing that is wrong with it.
pub fn read(text: &str) -> Result<Expression, SyntaxError> {
    let tokens = tokens(text)?;
    let mut parser =
        Parser { text, tokens: &tokens, next: 0, depth: 0, found: Expression::default() };
    parser.expression()?;
    if let Some(token) = parser.peek() {
        return Err(parser.unexpected(token, "an operator or the end"));
    }
    let mut found = parser.found;
    let whole =
        tokens.first().map_or(0, |token| token.start)..tokens.last().map_or(0, |token| token.end);
    found.plain = match found.selectors.as_slice() {
        [one] => !one.modified && one.range == whole,
        _ => false,
    };
    found.holes.sort_by_key(|hole| hole.range.start);
    Ok(found)
}

struct Parser<'t> {
    text: &'t str,
    tokens: &'t [Token],
    next: usize,
    depth: usize,
    found: Expression,
}

impl<'t> Parser<'t> {
    fn peek(&self) -> Option<&'t Token> {
        self.tokens.get(self.next)
    }

    fn slice(&self, token: &Token) -> &'t str {
        self.text.get(token.start..token.end).unwrap_or_default()
    }

    fn is(&self, ahead: usize, text: &str) -> bool {
        self.tokens.get(self.next + ahead).is_some_and(|token| {
            matches!(token.kind, Kind::Word | Kind::Sign)
                && self.slice(token).eq_ignore_ascii_case(text)
        })
    }

    fn take(&mut self, text: &str) -> bool {
        let taken = self.is(0, text);
        self.next += usize::from(taken);
        taken
    }

    fn expect(&mut self, text: &str) -> Result<usize, SyntaxError> {
        match self.peek() {
            Some(token) if self.is(0, text) => {
                self.next += 1;
                Ok(token.end)
            }
            Some(token) => Err(self.unexpected(token, &format!("`{text}`"))),
            None => Err(self.ended(&format!("`{text}`"))),
        }
    }

    fn unexpected(&self, token: &Token, wanted: &str) -> SyntaxError {
        SyntaxError::new(
            token.start,
            format!("found `{}` where {wanted} is expected", self.slice(token)),
        )
    }

    fn ended(&self, wanted: &str) -> SyntaxError {
        SyntaxError::new(self.text.trim_end().len(), format!("it ends where {wanted} is expected"))
    }

    fn expression(&mut self) -> Result<(), SyntaxError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(SyntaxError::new(
                self.peek().map_or(0, |token| token.start),
                format!("it is nested deeper than {MAX_DEPTH} levels"),
            ));
        }
        self.operand()?;
        while self.operator() {
            self.take("bool");
            if self.take("on") || self.take("ignoring") {
                self.labels()?;
                if (self.take("group_left") || self.take("group_right")) && self.is(0, "(") {
                    self.labels()?;
                }
            }
            self.operand()?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn operator(&mut self) -> bool {
        OPERATORS
            .iter()
            .chain(["and", "or", "unless", "atan2"].iter())
            .any(|operator| self.take(operator))
    }

    fn operand(&mut self) -> Result<(), SyntaxError> {
        while self.take("+") || self.take("-") {}
        let Some(token) = self.peek() else { return Err(self.ended("an expression")) };
        let word = self.slice(token);
        let first_selector = self.found.selectors.len();
        let mut selector = false;
        match token.kind {
            Kind::Number => self.next += 1,
            Kind::Text => self.literal(false)?,
            Kind::Word if is_one_of(word, &["inf", "nan"]) => self.next += 1,
            Kind::Word
                if is_one_of(word, &AGGREGATIONS)
                    && (self.is(1, "(") || self.is(1, "by") || self.is(1, "without")) =>
            {
                self.aggregation()?;
            }
            Kind::Word if self.is(1, "(") && !is_one_of(word, &KEYWORDS) => {
                self.next += 1;
                self.arguments(true)?;
            }
            Kind::Word if !is_one_of(word, &KEYWORDS) => {
                self.selector()?;
                selector = true;
            }
            Kind::Sign if word == "{" => {
                self.selector()?;
                selector = true;
            }
            Kind::Sign if word == "(" => {
                self.next += 1;
                self.expression()?;
                self.expect(")")?;
            }
            Kind::Word | Kind::Sign | Kind::Duration => {
                return Err(self.unexpected(token, "an expression"));
            }
        }
        let modified = self.modifiers()?;
        if let Some(found) = self.found.selectors.get_mut(first_selector).filter(|_| selector) {
            found.modified = modified;
        }
        Ok(())
    }

    fn aggregation(&mut self) -> Result<(), SyntaxError> {
        self.next += 1;
        let grouped = self.grouping()?;
        self.arguments(false)?;
        if !grouped {
            self.grouping()?;
        }
        Ok(())
    }

    fn grouping(&mut self) -> Result<bool, SyntaxError> {
        let grouped = self.take("by") || self.take("without");
        if grouped {
            self.labels()?;
        }
        Ok(grouped)
    }

    fn arguments(&mut self, may_be_empty: bool) -> Result<(), SyntaxError> {
        self.expect("(")?;
        if may_be_empty && self.take(")") {
            return Ok(());
        }
        loop {
            self.expression()?;
            if !self.take(",") {
                return self.expect(")").map(drop);
            }
        }
    }

    /// A list of labels in parentheses.
    fn labels(&mut self) -> Result<(), SyntaxError> {
        self.expect("(")?;
        while !self.is(0, ")") {
            match self.peek() {
                Some(Token { kind: Kind::Word, .. }) => self.next += 1,
                Some(Token { kind: Kind::Text, .. }) => self.literal(false)?,
                Some(token) => return Err(self.unexpected(token, "the name of a label")),
                None => return Err(self.ended("`)`")),
            }
            if !self.take(",") {
                break;
            }
        }
        self.expect(")").map(drop)
    }

    fn selector(&mut self) -> Result<(), SyntaxError> {
        let Some(first) = self.peek() else { return Err(self.ended("a selector")) };
        let mut found = Selector { range: first.start..first.end, metric: None, modified: false };
        if matches!(first.kind, Kind::Word) {
            found.metric = Some(self.slice(first).to_owned());
            self.next += 1;
        }
        if self.is(0, "{") {
            self.next += 1;
            found.range.end = self.matchers(&mut found.metric)?;
        }
        self.found.selectors.push(found);
        Ok(())
    }

    /// The rest of `{…}`; gives its end.
    fn matchers(&mut self, metric: &mut Option<String>) -> Result<usize, SyntaxError> {
        let mut any = metric.is_some();
        while !self.is(0, "}") {
            let Some(label) = self.peek() else { return Err(self.ended("`}`")) };
            match label.kind {
                // A metric's name in quotes.
                Kind::Text
                    if !self.tokens.get(self.next + 1).is_some_and(|after| {
                        matches!(self.slice(after), "=" | "!=" | "=~" | "!~")
                    }) =>
                {
                    metric.get_or_insert_with(|| unquoted(self.slice(label)).to_owned());
                    self.literal(false)?;
                }
                Kind::Word | Kind::Text => {
                    self.next += 1;
                    self.matcher(self.slice(label), metric)?;
                }
                Kind::Number | Kind::Duration | Kind::Sign => {
                    return Err(self.unexpected(label, "the name of a label"));
                }
            }
            any = true;
            if !self.take(",") {
                break;
            }
        }
        let end = self.expect("}")?;
        if any {
            Ok(end)
        } else {
            Err(SyntaxError::new(
                end.saturating_sub(1),
                "a selector without a name and without a matcher selects everything",
            ))
        }
    }

    fn matcher(&mut self, label: &str, metric: &mut Option<String>) -> Result<(), SyntaxError> {
        let Some(sign) = self.peek() else { return Err(self.ended("`=`, `!=`, `=~` or `!~`")) };
        let sign @ ("=" | "!=" | "=~" | "!~") = self.slice(sign) else {
            return Err(self.unexpected(sign, "`=`, `!=`, `=~` or `!~`"));
        };
        self.next += 1;
        match self.peek() {
            Some(value) if value.kind == Kind::Text => {
                if unquoted(label) == "__name__" && sign == "=" {
                    metric.get_or_insert_with(|| unquoted(self.slice(value)).to_owned());
                }
                self.literal(matches!(sign, "=~" | "!~"))
            }
            Some(value) => Err(self.unexpected(value, "a quoted string")),
            None => Err(self.ended("a quoted string")),
        }
    }

    /// Whether anything follows that changes what a selector selects.
    fn modifiers(&mut self) -> Result<bool, SyntaxError> {
        let mut any = false;
        loop {
            if self.take("[") {
                self.duration()?;
                if self.take(":") && !self.is(0, "]") {
                    self.duration()?;
                }
                self.expect("]")?;
            } else if self.take("offset") {
                self.take("-");
                self.duration()?;
            } else if self.take("@") {
                match self.peek() {
                    Some(Token { kind: Kind::Number, .. }) => self.next += 1,
                    Some(_) if self.take("start") || self.take("end") => {
                        self.expect("(")?;
                        self.expect(")")?;
                    }
                    Some(token) => {
                        return Err(self.unexpected(token, "a time, `start()` or `end()`"));
                    }
                    None => return Err(self.ended("a time")),
                }
            } else {
                return Ok(any);
            }
            any = true;
        }
    }

    fn duration(&mut self) -> Result<(), SyntaxError> {
        match self.peek() {
            Some(token) if token.kind == Kind::Duration => {
                if self.slice(token).starts_with("{{") {
                    self.found.holes.push(Hole {
                        range: token.start..token.end,
                        name: "window".to_owned(),
                        place: Place::Bare,
                    });
                }
                self.next += 1;
                Ok(())
            }
            Some(token) => Err(self.unexpected(token, "a duration such as `5m` or `{{window}}`")),
            None => Err(self.ended("a duration")),
        }
    }

    /// A text in quotes and the placeholders in it.
    fn literal(&mut self, regex: bool) -> Result<(), SyntaxError> {
        let Some(token) = self.peek() else { return Err(self.ended("a quoted string")) };
        self.next += 1;
        let literal = self.slice(token);
        let place = Place::Literal { quote: literal.chars().next().unwrap_or('"'), regex };
        let mut from = 0;
        while let Some(open) =
            literal.get(from..).and_then(|rest| rest.find("{{")).map(|at| at + from)
        {
            let inside = open + 2;
            let close =
                literal.get(inside..).and_then(|rest| rest.find("}}")).map(|at| at + inside);
            let Some(close) = close else {
                return Err(SyntaxError::new(token.start + open, "`{{` has no `}}`"));
            };
            let name = literal.get(inside..close).unwrap_or_default().trim().to_owned();
            let range = token.start + open..token.start + close + 2;
            if !crate::placeholder::NAMES.contains(&name.as_str()) {
                let message = format!(
                    "there is no placeholder `{{{{{name}}}}}`; there are {}",
                    crate::placeholder::all()
                );
                return Err(SyntaxError::new(range.start, message));
            }
            if name == "backends" && !regex {
                return Err(SyntaxError::new(
                    range.start,
                    "`{{backends}}` is a regular expression: it stands behind `=~` or `!~`",
                ));
            }
            self.found.holes.push(Hole { range, name, place });
            from = close + 2;
        }
        Ok(())
    }
}

fn is_one_of(word: &str, words: &[&str]) -> bool {
    words.iter().any(|one| one.eq_ignore_ascii_case(word))
}

fn unquoted(literal: &str) -> &str {
    literal.trim_matches(['"', '\'', '`'])
}
