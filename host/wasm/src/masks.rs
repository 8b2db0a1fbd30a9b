//! The secrets that a call has come across: masked in all that leaves it.

use agente_engine::ports::SecretValue;
use std::sync::{Arc, Mutex, PoisonError};

/// Values that are masked from the moment that they are known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Masks(Arc<Mutex<Vec<SecretValue>>>);

impl Masks {
    /// From now on, this value is masked.
    pub(crate) fn add(&self, value: SecretValue) {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !value.expose().is_empty() && !values.contains(&value) {
            values.push(value);
        }
    }

    /// Masks the values in a text.
    pub(crate) fn redact(&self, text: String) -> String {
        let values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        values.iter().fold(text, |text, secret| {
            if text.contains(secret.expose()) {
                text.replace(secret.expose(), "[redacted]")
            } else {
                text
            }
        })
    }
}

/// Puts `[redacted]` in the place of a value in bytes.
pub(crate) fn masked(bytes: Vec<u8>, value: &[u8]) -> Vec<u8> {
    if value.is_empty() || !bytes.windows(value.len()).any(|window| window == value) {
        return bytes;
    }
    let mut kept = Vec::with_capacity(bytes.len());
    let mut rest = bytes.as_slice();
    while let Some((&first, after)) = rest.split_first() {
        if let Some(beyond) = rest.strip_prefix(value) {
            kept.extend_from_slice(b"[redacted]");
            rest = beyond;
        } else {
            kept.push(first);
            rest = after;
        }
    }
    kept
}
