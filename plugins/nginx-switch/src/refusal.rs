//! Whether NGINX has refused what it was told to load. Its log alone tells: the command to reload
//! ends well either way.

use crate::record::Change;
use crate::target::Target;
use agente_plugin_sdk::host::Host;

/// What is read of the log at most.
const MAX_LOG_BYTES: u32 = 64 * 1024;

/// What NGINX's log says against a change, in its own words; none where it says nothing. A bound
/// port that may yet become free is nothing.
pub fn reload_failure<H: Host>(
    target: &Target<'_, H>,
    change: &Change,
    master: Option<u32>,
) -> Option<String> {
    let log = target.host.log_since(&target.config.log(), change.log_mark?, MAX_LOG_BYTES).ok()?;
    let text = String::from_utf8_lossy(&log);
    // In a container NGINX has other pids than those that the host sees.
    let of_master =
        master.filter(|_| target.config.container.is_none()).map(|pid| format!(" {pid}#"));
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| {
            line.contains("[emerg]") && of_master.as_ref().is_none_or(|pid| line.contains(pid))
        })
        .collect();
    let given_up = lines.iter().any(|line| line.contains("still could not bind()"));
    let first = lines.iter().find(|line| given_up || !line.contains("bind() to"))?;
    Some(first.split_once("[emerg] ").map_or(*first, |(_, words)| words).to_owned())
}
