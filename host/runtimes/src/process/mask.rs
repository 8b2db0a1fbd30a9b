//! Keeps the values of secrets out of what is told of a log.

use crate::process::directory::BackendDirectory;
use crate::process::launch::traces;
use crate::process::runtime::ProcessRuntime;
use agente_engine::fault::Fault;
use procfs::process::Process;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;

/// What stands where a value stood.
const MASKED: &str = "[redacted]";

/// Shorter values are not looked for: masking `1` would leave nothing readable and hide nothing.
const SHORTEST: usize = 4;

/// Values that must not be shown.
#[derive(Clone, Default)]
pub(super) struct Mask {
    /// Longest first, so that a value that holds another is masked as a whole.
    values: Vec<String>,
}

impl Mask {
    fn of(values: impl IntoIterator<Item = String>) -> Self {
        // A value of several lines, such as a key, is logged line by line.
        let lines = values
            .into_iter()
            .flat_map(|value| value.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>());
        let mut values: Vec<String> = lines
            .filter(|line| line.len() >= SHORTEST)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Self { values }
    }

    /// The line with every value masked.
    pub(super) fn apply(&self, line: &str) -> String {
        self.values.iter().fold(line.to_owned(), |line, value| {
            if line.contains(value) { line.replace(value, MASKED) } else { line }
        })
    }
}

impl ProcessRuntime {
    /// The mask for a backend with these secrets (variable to name): today's values, and those that
    /// its process was started with, where it runs. With the mask comes the first secret that
    /// could not be looked up.
    pub(super) async fn mask(
        &self,
        directory: &BackendDirectory,
        backend: &str,
        secrets: &BTreeMap<String, String>,
    ) -> (Mask, Option<Fault>) {
        let mut values = Vec::new();
        let mut missing = None;
        for (variable, name) in secrets {
            let started_with = started_with(directory, backend, variable);
            let known = started_with.is_some();
            values.extend(started_with);
            match self.config.secrets.value(name).await {
                Ok(value) => values.push(value.expose().to_owned()),
                Err(fault) if !known => missing = missing.or(Some(fault)),
                Err(_) => {}
            }
        }
        (Mask::of(values), missing)
    }
}

fn started_with(directory: &BackendDirectory, backend: &str, variable: &str) -> Option<String> {
    let leader = traces(directory, backend)
        .leader
        .filter(crate::process::identity::ProcessIdentity::is_alive)?;
    let environment = Process::new(i32::try_from(leader.pid).ok()?).ok()?.environ().ok()?;
    environment.get(OsStr::new(variable)).and_then(|value| value.to_str()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_a_value_is_masked_and_short_ones_are_left() {
        let mask = Mask::of([
            "hunter2".to_owned(),
            "hunter2-longer".to_owned(),
            "line one\nline two\n".to_owned(),
            "no".to_owned(),
        ]);
        assert_eq!(
            mask.apply("a=hunter2-longer b=hunter2,hunter2"),
            "a=[redacted] b=[redacted],[redacted]"
        );
        assert_eq!(mask.apply("key: line two"), "key: [redacted]");
        assert_eq!(mask.apply("no secret"), "no secret");
    }
}
