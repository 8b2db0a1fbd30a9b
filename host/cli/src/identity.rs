//! Who runs this program, for journal, lease and mailbox.

use agente_engine::names::{DeploymentId, Timestamp};
use agente_store::Holder;

/// The user's name, or its number.
pub(crate) fn user() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    named.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

/// This process, as the holder of a lease.
pub(crate) fn holder() -> Holder {
    let command: Vec<String> = std::env::args().collect();
    Holder::this_process(user(), command.join(" "))
}

/// `user@machine`.
pub(crate) fn who() -> String {
    let holder = holder();
    format!("{}@{}", holder.user, holder.host)
}

/// A new deployment's id: sorts by time, unique by chance.
pub(crate) fn deployment_id(now: Timestamp) -> DeploymentId {
    DeploymentId(format!("{}-{:06x}", crate::clock::compact(now), rand::random::<u32>() & 0x00ff_ffff))
}
