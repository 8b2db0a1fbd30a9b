//! The secrets that a guest has opened: placeholders, which the host swaps for the values on the
//! way out.

use crate::handles::OpenSecret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::sync::{Mutex, PoisonError};

/// How each placeholder begins.
pub(crate) const PLACEHOLDER: &str = "agente-secret-";

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct OpenSecrets(Mutex<Vec<OpenSecret>>);

impl OpenSecrets {
    /// Keeps a placeholder for a secret, or gives the one that is there already.
    pub(crate) fn keep(&self, name: &str, placeholder: String) -> OpenSecret {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.iter().find(|secret| secret.name == name) {
            return known.clone();
        }
        let secret = OpenSecret { name: name.to_owned(), placeholder };
        all.push(secret.clone());
        secret
    }

    /// Those whose placeholders stand in a header's value or a body.
    pub(crate) fn found_in(&self, bytes: &[u8]) -> Vec<OpenSecret> {
        let Ok(text) = std::str::from_utf8(bytes) else { return Vec::new() };
        let decoded = basic_credentials(text);
        let text = decoded.as_deref().unwrap_or(text);
        if !text.contains(PLACEHOLDER) {
            return Vec::new();
        }
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|secret| text.contains(&secret.placeholder)).cloned().collect()
    }
}

/// What is inside a header of basic authentication.
pub(crate) fn basic_credentials(text: &str) -> Option<String> {
    let encoded = text.strip_prefix("Basic ")?;
    String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()
}
