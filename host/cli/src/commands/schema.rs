//! `schema`: the JSON Schema of the manifest.

use crate::error::{CliError, Exit};
use crate::output::data;
use std::process::ExitCode;

pub(crate) fn run() -> Result<ExitCode, CliError> {
    let text = serde_json::to_string_pretty(&agente_manifest::schema())
        .map_err(|error| CliError::internal(error.to_string()))?;
    data(&text);
    Ok(Exit::Done.into())
}
