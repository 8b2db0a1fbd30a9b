//! A component's bytes, read without running them: the embedded request, what it imports and
//! exports, its digest.
//!
//! The request travels inside the component, so that one digest covers code and request alike.

use crate::request::{PluginRequest, RequestError};
use agente_engine::names::Digest;
use sha2::{Digest as _, Sha256};
use std::ops::Range;
use wasm_encoder::{CustomSection, Encode as _, Section as _};
use wasmparser::{Encoding, Parser, Payload};

/// The custom section that carries a plugin's request.
pub const REQUEST_SECTION: &str = "agente:request";

/// Why bytes are not a plugin.
#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    /// They are no WebAssembly.
    #[error("it is not a WebAssembly file")]
    NotWasm,
    /// They are a core module.
    #[error(
        "it is a core WebAssembly module, not a component; build it for the target `wasm32-wasip2`"
    )]
    NotAComponent,
    /// They end too early.
    #[error("the component is truncated; download or build it again")]
    Cut,
    /// They are damaged.
    #[error("the component is damaged")]
    Damaged(#[source] wasmparser::BinaryReaderError),
    /// They carry no request.
    #[error(
        "the component has no embedded request; embed its plugin.toml with `agente-host plugin \
        pack <component> --request plugin.toml`"
    )]
    NoRequest,
    /// They carry a request that can't be read.
    #[error("the request in the component is invalid")]
    BadRequest(#[source] RequestError),
}

/// What a component's bytes say about it.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// The request it carries.
    pub request: PluginRequest,
    /// The names of its imports, such as `agente:host/files@0.1.0`. Evidence, not a request: many
    /// tools import what a plugin never uses.
    pub imports: Vec<String>,
    /// The names of its exports.
    pub exports: Vec<String>,
    /// Of all its bytes.
    pub digest: Digest,
    /// How many they are.
    pub size_bytes: u64,
}

/// Embeds a request into a component, in place of an earlier one. The same input gives the same
/// bytes.
pub fn pack(component: &[u8], plugin_toml: &str) -> Result<Vec<u8>, ComponentError> {
    PluginRequest::parse(plugin_toml).map_err(ComponentError::BadRequest)?;
    let parts = Parts::read(component)?;
    let mut packed = Vec::with_capacity(component.len() + plugin_toml.len() + 32);
    let mut kept = 0;
    for section in &parts.request_sections {
        packed.extend_from_slice(component.get(kept..section.start).unwrap_or_default());
        kept = section.end;
    }
    packed.extend_from_slice(component.get(kept..).unwrap_or_default());
    let section =
        CustomSection { name: REQUEST_SECTION.into(), data: plugin_toml.as_bytes().into() };
    packed.push(section.id());
    section.encode(&mut packed);
    Ok(packed)
}

/// Reads a component without running it.
pub fn inspect(component: &[u8]) -> Result<Inspection, ComponentError> {
    inspect_known(component, digest_of)
}

/// The same where its digest may be known; it is asked for only if the bytes are a plugin's.
pub(crate) fn inspect_known(
    component: &[u8],
    digest: impl FnOnce(&[u8]) -> Digest,
) -> Result<Inspection, ComponentError> {
    let mut parts = Parts::read(component)?;
    let text = parts.request.ok_or(ComponentError::NoRequest)?;
    let text = std::str::from_utf8(text).map_err(|_| ComponentError::NoRequest)?;
    let request = PluginRequest::parse(text).map_err(ComponentError::BadRequest)?;
    // In an order of their own: the linker's says nothing and is not always the same.
    parts.imports.sort();
    parts.exports.sort();
    Ok(Inspection {
        request,
        imports: parts.imports,
        exports: parts.exports,
        digest: digest(component),
        size_bytes: component.len() as u64,
    })
}

/// The digest of a component's bytes.
pub fn digest_of(bytes: &[u8]) -> Digest {
    digest_from(&Sha256::digest(bytes))
}

#[expect(clippy::expect_used, reason = "32 bytes in hexadecimal are a digest")]
fn digest_from(hash: &[u8]) -> Digest {
    Digest::new(format!("sha256:{}", hex::encode(hash))).expect("the form is fixed")
}

struct Parts<'a> {
    request: Option<&'a [u8]>,
    /// Whole sections with their headers.
    request_sections: Vec<Range<usize>>,
    imports: Vec<String>,
    exports: Vec<String>,
}

impl<'a> Parts<'a> {
    /// Walks the outermost sections; what is nested is passed over.
    fn read(bytes: &'a [u8]) -> Result<Self, ComponentError> {
        if !bytes.starts_with(b"\0asm") {
            return Err(ComponentError::NotWasm);
        }
        let mut parts = Parts {
            request: None,
            request_sections: Vec::new(),
            imports: Vec::new(),
            exports: Vec::new(),
        };
        let mut parser = Parser::new(0);
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let chunk = parser.parse(rest, true).map_err(ComponentError::Damaged)?;
            let wasmparser::Chunk::Parsed { consumed, payload } = chunk else {
                return Err(ComponentError::Cut);
            };
            let start = at;
            at += consumed;
            match payload {
                Payload::Version { encoding: Encoding::Module, .. } => {
                    return Err(ComponentError::NotAComponent);
                }
                Payload::ModuleSection { unchecked_range, .. }
                | Payload::ComponentSection { unchecked_range, .. } => {
                    // The outer parser has counted the nested bytes already; they are ours to step
                    // over.
                    let length = unchecked_range.end.saturating_sub(unchecked_range.start);
                    at = at.saturating_add(length);
                    if at > bytes.len() {
                        return Err(ComponentError::Cut);
                    }
                }
                Payload::CustomSection(section) if section.name() == REQUEST_SECTION => {
                    parts.request = Some(section.data());
                    parts.request_sections.push(start..at);
                }
                Payload::ComponentImportSection(section) => {
                    for import in section {
                        parts
                            .imports
                            .push(import.map_err(ComponentError::Damaged)?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) => {
                    for export in section {
                        parts
                            .exports
                            .push(export.map_err(ComponentError::Damaged)?.name.name.to_owned());
                    }
                }
                Payload::End(_) => return Ok(parts),
                _ => {}
            }
        }
    }
}
