//! Refuses to touch what is not ours, not as we left it, or newer than we are. The file is judged
//! before anything is asked of NGINX.

use crate::file::OnDisk;
use crate::marker::Said;
use crate::record::Record;
use crate::snapshot::Snapshot;
use crate::target::Target;
use crate::workers;
use agente_plugin_sdk::host::Host;
use agente_plugin_sdk::{Desired, Failure, label};

/// Judges our file.
pub fn file<H: Host>(
    target: &Target<'_, H>,
    wanted: &Desired,
    on_disk: &OnDisk,
    record: &Record,
) -> Result<(), Failure> {
    let path = &target.path;
    if let Some(other) = on_disk.snapshot().filter(|other| {
        other.service != target.names.service || other.environment != target.names.environment
    }) {
        let message = format!(
            "`{path}` belongs to {}/{}, not to {}",
            other.service,
            other.environment,
            target.names.scope()
        );
        return Err(Failure::conflict(message)
            .hint("give one of them another name, or its own directory")
            .label("drift", "foreign"));
    }
    if let Some(known) = on_disk.snapshot() {
        owner(target, wanted, known, &format!("`{path}`"))?;
    }
    if is_forced(wanted) {
        return Ok(());
    }
    match on_disk {
        OnDisk::Foreign => {
            Err(drifted(&format!("`{path}` was not written by agente-host"), "foreign"))
        }
        OnDisk::Edited(_) => {
            Err(drifted(&format!("`{path}` was edited after it was written"), "edited"))
        }
        OnDisk::Ours { digest, .. } if !record.knows(digest) => {
            Err(drifted(&format!("`{path}` is not the file that was last written"), "edited"))
        }
        OnDisk::Absent
            if record.applied.as_ref().is_some_and(|digest| !digest.is_empty())
                && record.intent.is_none() =>
        {
            Err(drifted(&format!("`{path}` was removed"), "edited"))
        }
        OnDisk::Absent | OnDisk::Ours { .. } => Ok(()),
    }
}

/// Judges what NGINX has loaded against our file, which has been judged good.
pub fn loaded<H: Host>(
    target: &Target<'_, H>,
    wanted: &Desired,
    on_disk: &OnDisk,
    said: &Said,
    record: &Record,
) -> Result<(), Failure> {
    if let Said::Loaded(loaded) = said {
        owner(target, wanted, &loaded.snapshot, "the running NGINX")?;
    }
    let settled =
        record.intent.is_none() && record.change.as_ref().is_some_and(|change| change.done);
    if is_forced(wanted) || !settled {
        return Ok(());
    }
    let path = &target.path;
    let generation = on_disk.snapshot().map_or("", |snapshot| &snapshot.generation);
    match said {
        Said::Loaded(loaded) if loaded.snapshot.generation != generation => Err(drifted(
            &format!(
                "NGINX has loaded generation {}, but `{path}` is {generation}",
                loaded.snapshot.generation
            ),
            "not-loaded",
        )),
        Said::Nobody(why) | Said::Other(why) if !generation.is_empty() => {
            // A stopped NGINX has words of its own.
            workers::find(target.host, target.config)?;
            Err(drifted(
                &format!(
                    "generation {generation} of `{path}` is no longer loaded: {why}; check \
                    whether its `include` was removed"
                ),
                "not-included",
            ))
        }
        Said::Loaded(_) | Said::Nobody(_) | Said::Other(_) => Ok(()),
    }
}

/// Tokens of different stores have nothing to do with each other: a higher one counts within a
/// store, and another store counts unless it is taken over.
fn owner<H>(
    target: &Target<'_, H>,
    wanted: &Desired,
    known: &Snapshot,
    place: &str,
) -> Result<(), Failure> {
    let store = Snapshot::wanted(&target.names, wanted).store;
    if known.store == store && known.fence > wanted.fence {
        let message = format!(
            "{place} holds the fencing token {} of a newer host; ours is {}",
            known.fence, wanted.fence
        );
        return Err(Failure::conflict(message)
            .hint("another host has taken over: `agente-host status` there shows what it is doing")
            .label("drift", "fenced"));
    }
    if known.store != store && !is_forced(wanted) {
        let message = format!(
            "{place} says that {} belongs to the store `{}`; ours is `{store}`",
            target.names.scope(),
            known.store
        );
        let hint =
            "use or restore that store, or take the service over with `agente-host adopt --force`";
        return Err(Failure::conflict(message).hint(hint).label("drift", "foreign"));
    }
    Ok(())
}

fn is_forced(wanted: &Desired) -> bool {
    label(&wanted.labels, "adopt") == Some("force")
}

fn drifted(message: &str, drift: &str) -> Failure {
    let hint = "revert the manual change, or take the target over with `agente-host adopt --force`";
    Failure::conflict(format!("drifted: {message}")).hint(hint).label("drift", drift)
}
