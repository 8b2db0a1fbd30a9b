//! Reads the plugin's section of the manifest into its type, and says where it doesn't fit.

use crate::failure::Failure;
use crate::plugin::{Plugin, Problem};
use serde::de::DeserializeOwned;

/// Reads JSON into a type; the problem carries the path to the value that doesn't fit.
pub fn parse<T: DeserializeOwned>(json: &str) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { String::new() } else { path };
        // The position inside the JSON that the host made of the manifest tells the operator nothing.
        let message = error.inner().to_string();
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(before, _)| before).to_owned();
        Problem { path, message }
    })
}

/// Judges a plugin's section as a whole: its shape, then its values.
pub fn check<P: Plugin>(json: &str) -> Vec<Problem> {
    match parse::<P::Config>(json) {
        Ok(config) => P::check_config(&config),
        Err(problem) => vec![problem],
    }
}

/// Reads a plugin's section for an operation.
pub fn load<P: Plugin>(json: &str) -> Result<P::Config, Failure> {
    let config: P::Config = parse(json).map_err(|problem| invalid(&problem))?;
    match P::check_config(&config).first() {
        Some(problem) => Err(invalid(problem)),
        None => Ok(config),
    }
}

fn invalid(problem: &Problem) -> Failure {
    if problem.path.is_empty() {
        Failure::invalid_config(format!("the plugin's configuration is wrong: {}", problem.message))
    } else {
        Failure::invalid_config(format!("the plugin's configuration is wrong at `{}`: {}", problem.path, problem.message))
    }
}
