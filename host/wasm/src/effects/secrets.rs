//! Secrets: a placeholder for the guest, and the value in its place on the way out.

use super::live::Live;
use crate::answer::EffectError;
use crate::performer::{PermittedSecret, SecretStands};
use crate::secrets::basic_credentials;
use agente_engine::ports::SecretValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A random text that stands for a value.
pub(super) fn placeholder() -> String {
    format!("{}{}", crate::secrets::PLACEHOLDER, hex::encode(rand::random::<[u8; 24]>()))
}

/// The value itself, which from now on is masked wherever the call speaks.
pub(super) async fn value(live: &Live, name: &str) -> Result<SecretValue, EffectError> {
    let value = live.household.ports.secrets.value(name).await?;
    live.masks.add(value.clone());
    Ok(value)
}

/// Placeholders and what stands in their place.
pub(super) struct Swaps {
    in_headers: Vec<(String, SecretValue)>,
    in_body: Vec<(String, SecretValue)>,
}

impl Swaps {
    /// Gets the values of the secrets that go along.
    pub(super) async fn of(live: &Live, secrets: &[PermittedSecret]) -> Result<Self, EffectError> {
        let mut swaps = Self { in_headers: Vec::new(), in_body: Vec::new() };
        for secret in secrets {
            let (list, placeholder) = match &secret.stands {
                SecretStands::InHeaders { placeholder } => (&mut swaps.in_headers, placeholder),
                SecretStands::InBody { placeholder } => (&mut swaps.in_body, placeholder),
                SecretStands::AsVariable(_) => continue,
            };
            list.push((placeholder.clone(), value(live, &secret.name).await?));
        }
        Ok(swaps)
    }

    /// A header's value with the secrets in it, also inside `Basic` credentials, which a guest can
    /// only encode with the placeholder in them. None where there is none to put in.
    pub(super) fn header(&self, live: &Live, text: &str) -> Option<String> {
        match basic_credentials(text) {
            Some(decoded) => swapped(&self.in_headers, &decoded).map(|swapped| {
                let encoded = STANDARD.encode(swapped);
                live.masks.add(SecretValue::new(encoded.clone()));
                format!("Basic {encoded}")
            }),
            None => swapped(&self.in_headers, text),
        }
    }

    /// A body with the secrets in it.
    pub(super) fn body(&self, bytes: &[u8]) -> Vec<u8> {
        let swapped = std::str::from_utf8(bytes).ok().and_then(|text| swapped(&self.in_body, text));
        swapped.map_or_else(|| bytes.to_vec(), String::into_bytes)
    }
}

fn swapped(swaps: &[(String, SecretValue)], text: &str) -> Option<String> {
    let mut swapped = None;
    for (placeholder, value) in swaps {
        let so_far: &str = swapped.as_deref().unwrap_or(text);
        if so_far.contains(placeholder) {
            swapped = Some(so_far.replace(placeholder, value.expose()));
        }
    }
    swapped
}
