//! Who runs this program, for journal, lease and mailbox.

use agente_engine::names::{DeploymentId, Timestamp};
use agente_engine::ports::Holder;
use agente_store::this_process;

/// The user's name, or its number: who became root by `sudo`, else who this process belongs to.
pub(crate) fn user() -> String {
    let number = rustix::process::getuid().as_raw();
    let by_sudo = std::env::var("SUDO_USER").ok().filter(|name| number == 0 && !name.is_empty());
    by_sudo.or_else(|| name_of(number)).unwrap_or_else(|| format!("uid {number}"))
}

/// The name of a user, from wherever this machine knows its users. A statically linked program is
/// told of those in `/etc/passwd` alone.
fn name_of(number: u32) -> Option<String> {
    uzers::get_user_by_uid(number).map(|user| user.name().to_string_lossy().into_owned())
}

/// This process, as the holder of a lease.
pub(crate) fn holder() -> Holder {
    let command: Vec<String> = std::env::args().collect();
    this_process(user(), command.join(" "))
}

/// `user@machine`.
pub(crate) fn who() -> String {
    let holder = holder();
    format!("{}@{}", holder.user, holder.host)
}

/// A new deployment's id: sorts by time, unique by chance.
pub(crate) fn deployment_id(now: Timestamp) -> DeploymentId {
    DeploymentId(format!(
        "{}-{:06x}",
        crate::times::compact(now),
        rand::random::<u32>() & 0x00ff_ffff
    ))
}
