//! Keeps the values of secrets out of what is shown: logs of containers, and messages of the engine
//! that repeat its input.

use agente_engine::fault::Fault;

/// Texts that must not be shown.
#[derive(Clone, Default)]
pub(crate) struct Mask {
    /// Longest first, so that a value that holds another one is covered whole.
    pieces: Vec<String>,
}

impl Mask {
    /// A mask for these values, and for each line of those that have several.
    pub(crate) fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut pieces: Vec<String> = Vec::new();
        for value in values {
            pieces.push(value.to_owned());
            // Logs are masked line by line; a line of under four characters says nothing and would
            // blot out the log.
            pieces.extend(
                value.lines().map(str::trim).filter(|line| line.len() >= 4).map(str::to_owned),
            );
        }
        pieces.retain(|piece| !piece.is_empty());
        pieces.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        pieces.dedup();
        Self { pieces }
    }

    /// The text with every piece replaced.
    pub(crate) fn apply(&self, text: &str) -> String {
        let mut masked = text.to_owned();
        for piece in &self.pieces {
            if masked.contains(piece.as_str()) {
                masked = masked.replace(piece.as_str(), "[redacted]");
            }
        }
        masked
    }

    /// The fault with its words masked.
    pub(crate) fn fault(&self, mut fault: Fault) -> Fault {
        fault.message = self.apply(&fault.message);
        fault.hint = fault.hint.map(|hint| self.apply(&hint));
        for cause in &mut fault.causes {
            *cause = self.apply(cause);
        }
        fault
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_covered_whole_even_when_it_holds_another() {
        let mask = Mask::new(["pass", "password"]);
        assert_eq!(mask.apply("a password, a pass"), "a [redacted], a [redacted]");
    }

    #[test]
    fn each_line_of_a_key_is_covered() {
        let mask = Mask::new(["-----KEY\nMIIEow\n}"]);
        assert_eq!(mask.apply("read MIIEow from }"), "read [redacted] from }");
    }
}
