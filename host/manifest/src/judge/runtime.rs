//! `[runtime]`: what runs, and how.

mod docker;
mod launch;
mod process;

use super::Judge;
use crate::raw::RawRuntime;
use launch::Runtime;

/// Judges the table. That there is exactly one runtime, the shape of the manifest has shown.
pub(super) fn judge(judge: &mut Judge<'_, '_>, raw: RawRuntime) -> Option<Runtime> {
    match (raw.process, raw.docker) {
        (Some(raw), _) => process::process(judge, raw),
        (None, Some(raw)) => docker::docker(judge, raw),
        (None, None) => None,
    }
}
