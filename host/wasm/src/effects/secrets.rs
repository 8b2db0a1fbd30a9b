//! Secrets of guests: a handle with a placeholder, which the host swaps for the value on the way
//! out.

use crate::bindings::any::agente::types::types::Failure;
use crate::broker::Effect;
use crate::capability::SecretUse;
use crate::operation::Operation;
use agente_engine::ports::SecretValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::sync::{Arc, Mutex, PoisonError};

/// How each placeholder begins.
const PLACEHOLDER: &str = "agente-secret-";

/// A granted secret in a guest's hands.
#[expect(unreachable_pub, reason = "the generated bindings name it again")]
#[derive(Debug, Clone)]
pub struct OpenSecret {
    pub(crate) name: String,
    pub(crate) placeholder: String,
}

/// The secrets that a guest has opened; shared with what sends its requests.
#[derive(Debug, Clone, Default)]
pub(crate) struct OpenSecrets(Arc<Mutex<Vec<OpenSecret>>>);

impl OpenSecrets {
    pub(crate) fn open(&self, operation: &Operation, name: &str) -> Result<OpenSecret, Failure> {
        operation.authorize(&Effect::OpenSecret(name.to_owned()))?;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.iter().find(|secret| secret.name == name) {
            return Ok(known.clone());
        }
        let secret = OpenSecret {
            name: name.to_owned(),
            placeholder: format!("{PLACEHOLDER}{}", hex::encode(rand::random::<[u8; 24]>())),
        };
        all.push(secret.clone());
        Ok(secret)
    }

    fn found_in(&self, text: &str) -> Vec<OpenSecret> {
        if !text.contains(PLACEHOLDER) {
            return Vec::new();
        }
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .filter(|secret| text.contains(&secret.placeholder))
            .cloned()
            .collect()
    }

    /// Whether the guest has opened any.
    pub(crate) fn any(&self) -> bool {
        !self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Swaps the placeholders of a text that goes to `host`.
    pub(crate) async fn swap(
        &self,
        operation: &Operation,
        text: &str,
        way: SecretUse,
        host: &str,
    ) -> Result<Option<String>, SwapError> {
        let mut swapped = None;
        for secret in self.found_in(text) {
            operation
                .authorize(&Effect::SendSecret {
                    name: secret.name.clone(),
                    way,
                    host: host.to_owned(),
                })
                .map_err(|_| SwapError::Denied)?;
            let value = value(operation, &secret.name).await.map_err(SwapError::NoValue)?;
            let so_far = swapped.as_deref().unwrap_or(text);
            swapped = Some(so_far.replace(&secret.placeholder, value.expose()));
        }
        Ok(swapped)
    }

    /// As [`Self::swap`] for a header's value, also inside `Basic` credentials, which a guest can
    /// only encode with the placeholder in them.
    pub(crate) async fn swap_header(
        &self,
        operation: &Operation,
        text: &str,
        host: &str,
    ) -> Result<Option<String>, SwapError> {
        let basic = text
            .strip_prefix("Basic ")
            .and_then(|encoded| STANDARD.decode(encoded.trim()).ok())
            .and_then(|bytes| String::from_utf8(bytes).ok());
        match basic {
            Some(decoded) => {
                Ok(self.swap(operation, &decoded, SecretUse::Header, host).await?.map(|swapped| {
                    let encoded = STANDARD.encode(swapped);
                    operation.mask(SecretValue::new(encoded.clone()));
                    format!("Basic {encoded}")
                }))
            }
            None => self.swap(operation, text, SecretUse::Header, host).await,
        }
    }
}

/// Why a placeholder was not swapped.
#[derive(Debug)]
pub(crate) enum SwapError {
    /// It may not go there; the operation has recorded why.
    Denied,
    /// Its value could not be had.
    NoValue(Failure),
}

/// The value itself, which from now on is masked wherever the operation speaks.
pub(crate) async fn value(operation: &Operation, name: &str) -> Result<SecretValue, Failure> {
    let value = operation.household.effects.secrets.value(name).await?;
    operation.mask(value.clone());
    Ok(value)
}

pub(crate) async fn reveal(operation: &Operation, name: &str) -> Result<String, Failure> {
    operation.authorize(&Effect::RevealSecret(name.to_owned()))?;
    Ok(value(operation, name).await?.expose().to_owned())
}
