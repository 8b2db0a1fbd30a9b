//! Asks the running NGINX which generation it has loaded, on a fresh connection each time.

use crate::config::Config;
use crate::names::Names;
use crate::render::part_path;
use crate::snapshot::Snapshot;
use agente_plugin_sdk::host::Host;
use agente_plugin_sdk::http::{HttpError, Request, over};
use agente_plugin_sdk::{Code, Failure};
use std::time::Duration;

/// A loopback answer takes a millisecond; a machine under full load takes longer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What the marker said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Nothing takes connections there.
    Nobody(String),
    /// Something answers, but not with a marker of this service: another service's, none, or no
    /// NGINX of ours.
    Other(String),
    /// A generation of this service.
    Loaded(Loaded),
}

/// A generation that some worker has loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// What it says.
    pub snapshot: Snapshot,
    /// The worker that answered, by the number that it has itself: another one than the host's
    /// where it runs in a container.
    pub worker: Option<u32>,
}

/// Asks once, for everything. Only what the host refuses is a failure.
pub fn ask<H: Host>(host: &H, config: &Config, names: &Names) -> Result<Said, Failure> {
    let mut lines = Vec::new();
    let mut worker = None;
    let (mut index, mut parts, mut generation) = (0, 1, None);
    while index < parts {
        let (text, pid) = match ask_part(host, config, names, index)? {
            Part::Nobody(why) => return Ok(Said::Nobody(why)),
            Part::Other(why) => return Ok(Said::Other(why)),
            Part::Text(text, pid) => (text, pid),
        };
        let said = text.lines().find_map(|line| line.strip_prefix("part ")?.split(' ').nth(1));
        let said_parts = text.lines().find_map(|line| line.strip_prefix("parts ")?.parse().ok());
        match (generation.as_deref(), said) {
            // A reload came between two parts; begin again with what is loaded now.
            (Some(before), Some(now)) if before != now => {
                (index, parts, generation) = (0, 1, None);
                lines.clear();
                continue;
            }
            (_, Some(now)) => generation = Some(now.to_owned()),
            (_, None) => {
                return Ok(Said::Other(format!(
                    "`{}` does not answer like a marker",
                    config.marker
                )));
            }
        }
        parts = said_parts.unwrap_or(1).min(64);
        worker = pid.or(worker);
        lines.extend(text.lines().map(str::to_owned));
        index += 1;
    }
    let Some(snapshot) = Snapshot::read(lines.iter().map(String::as_str)) else {
        return Ok(Said::Other(format!("the answer of `{}` can't be parsed", config.marker)));
    };
    if snapshot.service != names.service || snapshot.environment != names.environment {
        return Ok(Said::Other(format!(
            "`{}` answers for {}/{}, not for {}",
            config.marker,
            snapshot.service,
            snapshot.environment,
            names.scope()
        )));
    }
    Ok(Said::Loaded(Loaded { snapshot, worker }))
}

enum Part {
    Nobody(String),
    Other(String),
    Text(String, Option<u32>),
}

fn ask_part<H: Host>(
    host: &H,
    config: &Config,
    names: &Names,
    index: usize,
) -> Result<Part, Failure> {
    let address = &config.marker;
    let (name, port) = address
        .rsplit_once(':')
        .and_then(|(name, port)| Some((name, port.parse().ok()?)))
        .ok_or_else(|| {
            Failure::invalid_config(format!("the marker `{address}` is not `host:port`"))
        })?;
    let mut stream = match host.connect(name, port, TIMEOUT) {
        Ok(stream) => stream,
        Err(failure) if matches!(failure.code, Code::Denied | Code::InvalidConfig) => {
            return Err(failure.while_doing("asking NGINX what it has loaded"));
        }
        Err(failure) => return Ok(Part::Nobody(failure.message)),
    };
    let request =
        Request::new("GET", &format!("http://{}{}", names.marker_host(), part_path(index)))
            .map_err(|error| Failure::failed(error.to_string()))?
            .timeouts(TIMEOUT, TIMEOUT);
    match over(&mut stream, &request) {
        Ok(answer) if answer.status == 200 => {
            let pid = answer.header("x-nginx-pid").and_then(|pid| pid.parse().ok());
            Ok(Part::Text(answer.text(), pid))
        }
        Ok(answer) => Ok(Part::Other(format!(
            "`{address}` answers {} instead of the marker of {}",
            answer.status,
            names.scope()
        ))),
        Err(HttpError::Denied { detail, .. }) => {
            Err(Failure::new(Code::Denied, detail).while_doing("asking NGINX what it has loaded"))
        }
        Err(error) => Ok(Part::Other(error.to_string())),
    }
}

/// Whether anything takes connections at the marker's address.
pub fn answers<H: Host>(host: &H, config: &Config) -> bool {
    config
        .marker
        .rsplit_once(':')
        .and_then(|(name, port)| host.connect(name, port.parse().ok()?, TIMEOUT).ok())
        .is_some()
}
