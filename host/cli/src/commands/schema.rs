//! `schema`: the JSON Schemas of what users write and of what programs read.

use crate::arguments::{SchemaOf, SchemaOptions};
use crate::error::{CliError, Exit};
use crate::output::{self, data};
use std::process::ExitCode;

pub(crate) fn run(options: &SchemaOptions) -> Result<ExitCode, CliError> {
    let text = match options.of {
        SchemaOf::Manifest => serde_json::to_string_pretty(&agente_manifest::schema()),
        SchemaOf::Events => serde_json::to_string_pretty(&output::schema()),
    };
    data(&text.map_err(|error| CliError::internal(error.to_string()))?);
    Ok(Exit::Done.into())
}
