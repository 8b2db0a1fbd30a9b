//! Looks at the running NGINX and says how it stands to our file.
//!
//! Loaded is only what the marker tells on fresh connections while no worker from before the last
//! reload takes connections: in the moment after a reload both generations answer.

use crate::file::OnDisk;
use crate::marker::{Loaded, Said};
use crate::nginx::Dumped;
use crate::record::{Change, Record};
use crate::refusal::reload_failure;
use crate::snapshot::Snapshot;
use crate::target::{Inclusion, Target, first_line};
use crate::workers::{self, Running, is_shutting_down};
use agente_plugin_sdk::host::Host;
use agente_plugin_sdk::traffic::ObservedState;
use agente_plugin_sdk::{Failure, Labels, Observed};

/// On how many fresh connections the marker must answer the same.
const PROOFS: usize = 3;

/// By then a reload has come into force or been refused, also where the log that would tell can't
/// be read.
const LATE_MS: u64 = 5_000;

/// What was found, before it is put into the contract's words.
struct Finding {
    state: ObservedState,
    message: String,
    drift: Option<&'static str>,
}

fn finding(state: ObservedState, message: impl Into<String>) -> Finding {
    Finding { state, message: message.into(), drift: None }
}

fn drifted(drift: &'static str, message: impl Into<String>) -> Finding {
    Finding { state: ObservedState::Drifted, message: message.into(), drift: Some(drift) }
}

/// Looks once.
pub fn observe<H: Host>(target: &Target<'_, H>) -> Result<Observed, Failure> {
    let bytes = target.bytes()?;
    let on_disk = OnDisk::read(bytes.as_deref());
    let running = workers::find(target.host, target.config)?;
    let mut record = target.record()?;
    let mut all = Vec::with_capacity(PROOFS);
    for _ in 0..PROOFS {
        all.push(target.said()?);
    }
    let loaded: Option<Loaded> = all.iter().rev().find_map(|said| match said {
        Said::Loaded(loaded) => Some(loaded.clone()),
        Said::Nobody(_) | Said::Other(_) => None,
    });
    let found = judge(target, &on_disk, bytes.as_deref(), &all, &running, &mut record)?;
    let fence = [on_disk.snapshot(), loaded.as_ref().map(|loaded| &loaded.snapshot)]
        .into_iter()
        .flatten()
        .map(|snapshot| snapshot.fence)
        .max()
        .unwrap_or(0);
    let in_force = loaded.map(|loaded| loaded.snapshot).unwrap_or_default();
    let store = if in_force.store.is_empty() {
        on_disk.snapshot().map(|snapshot| snapshot.store.clone()).unwrap_or_default()
    } else {
        in_force.store.clone()
    };
    let mut labels = Labels::new();
    if !store.is_empty() {
        labels.push(("store".into(), store));
    }
    if let Some(drift) = found.drift {
        labels.push(("drift".into(), drift.into()));
    }
    Ok(Observed {
        state: found.state,
        generation: in_force.generation,
        fence,
        routes: in_force.routes,
        overrides: in_force.overrides,
        message: found.message,
        labels,
    })
}

fn judge<H: Host>(
    target: &Target<'_, H>,
    on_disk: &OnDisk,
    bytes: Option<&[u8]>,
    all: &[Said],
    running: &Running,
    record: &mut Record,
) -> Result<Finding, Failure> {
    if let Some(stranger) = stranger(target, all, running) {
        return Err(stranger);
    }
    if let Some(found) = of_the_file(target, on_disk, all, record) {
        return Ok(found);
    }
    let wanted = on_disk.snapshot();
    let generation = wanted.map_or("", |snapshot| snapshot.generation.as_str());
    let agreeing = all.iter().filter(|said| generation_of(said) == generation).count();
    // Of a change whose answer was lost our file tells no more.
    let (lost, change) = match record.change.as_ref() {
        Some(change) if !change.done && change.generation != generation => (Some(change), None),
        change => (None, change),
    };
    if agreeing == all.len()
        && let Some(lost) = lost.filter(|lost| {
            !is_late(target, lost)
                && reload_failure(target, lost, Some(running.master.pid)).is_none()
        })
    {
        return Ok(finding(
            ObservedState::Pending,
            format!("NGINX may have been told to load generation {}", spell(&lost.generation)),
        ));
    }
    let accepting = change
        .filter(|change| !unchanged(target, change, running))
        .map_or(0, |change| accepting(change, running));
    if agreeing == all.len() && accepting == 0 {
        return settled(target, on_disk, running, record);
    }
    if let Some(change) =
        record.change.as_ref().filter(|change| !change.done && change.generation == generation)
    {
        if let Some(words) = reload_failure(target, change, Some(running.master.pid)) {
            return Ok(drifted(
                "not-loaded",
                format!("NGINX did not load generation {}: {words}", spell(generation)),
            ));
        }
        let message = if agreeing == all.len() {
            format!(
                "generation {} answers, but {accepting} earlier workers still accept connections",
                spell(generation)
            )
        } else {
            format!(
                "generation {} answered {agreeing} of {} times after the reload",
                spell(generation),
                all.len()
            )
        };
        return Ok(finding(ObservedState::Pending, message));
    }
    not_loaded(target, wanted, bytes, all)
}

/// What our file alone, or its absence, already says.
fn of_the_file<H: Host>(
    target: &Target<'_, H>,
    on_disk: &OnDisk,
    all: &[Said],
    record: &Record,
) -> Option<Finding> {
    let path = &target.path;
    let (service, environment) = (&target.names.service, &target.names.environment);
    match on_disk {
        OnDisk::Foreign => {
            Some(drifted("foreign", format!("`{path}` was not written by agente-host")))
        }
        OnDisk::Edited(_) => {
            Some(drifted("edited", format!("`{path}` was edited after it was written")))
        }
        OnDisk::Ours { snapshot, .. }
            if snapshot.service != *service || snapshot.environment != *environment =>
        {
            Some(drifted(
                "foreign",
                format!("`{path}` belongs to {}/{}", snapshot.service, snapshot.environment),
            ))
        }
        OnDisk::Ours { snapshot, .. }
            if !target.names.store.is_empty() && snapshot.store != target.names.store =>
        {
            Some(drifted(
                "foreign",
                format!(
                    "`{path}` belongs to the store `{}`; ours is `{}`",
                    snapshot.store, target.names.store
                ),
            ))
        }
        OnDisk::Ours { digest, .. } if !record.knows(digest) => {
            Some(drifted("edited", format!("`{path}` is not the file that was last written")))
        }
        OnDisk::Ours { .. } => None,
        OnDisk::Absent => {
            let removed_by_us = record.applied.as_ref().is_some_and(String::is_empty)
                || record.intent.as_ref().is_some_and(String::is_empty);
            let loaded = all.iter().any(|said| !generation_of(said).is_empty());
            match (record.applied.is_some() || loaded, removed_by_us) {
                (true, true) if loaded => None,
                (true, false) => Some(drifted(
                    "edited",
                    format!(
                        "`{path}` was removed{}",
                        if loaded { ", but NGINX still has it loaded" } else { "" }
                    ),
                )),
                _ => Some(finding(
                    ObservedState::Absent,
                    format!(
                        "there is no `{path}`, and NGINX has nothing of {} loaded",
                        target.names.scope()
                    ),
                )),
            }
        }
    }
}

/// A marker that is answered by a process that is not among the workers of the NGINX that was
/// meant.
fn stranger<H: Host>(target: &Target<'_, H>, all: &[Said], running: &Running) -> Option<Failure> {
    if target.config.container.is_some() {
        return None; // it has other pids there
    }
    let strange = |said: &Said, running: &Running| match said {
        Said::Loaded(loaded) => {
            loaded.worker.filter(|pid| running.workers.iter().all(|worker| worker.pid != *pid))
        }
        Said::Nobody(_) | Said::Other(_) => None,
    };
    all.iter().find_map(|said| strange(said, running))?;
    // A worker that began or ended while we were looking is no stranger.
    let said = target.said().ok()?;
    let pid = strange(&said, &workers::find(target.host, target.config).ok()?)?;
    let message = format!(
        "the marker at `{}` is answered by process {pid}, which is not a worker of the NGINX of \
        `{}` (master {})",
        target.config.marker, target.config.pid_file, running.master.pid
    );
    let hint = "two NGINX instances share the marker's address: give each its own `marker`, or \
    set `pid_file` and `conf` to the intended one";
    Some(Failure::conflict(message).hint(hint).label("reason", "other-instance"))
}

fn settled<H: Host>(
    target: &Target<'_, H>,
    on_disk: &OnDisk,
    running: &Running,
    record: &mut Record,
) -> Result<Finding, Failure> {
    let wanted = on_disk.snapshot();
    let generation = wanted.map_or("", |snapshot| snapshot.generation.as_str());
    if record.finish(generation, on_disk.digest(), running) {
        record.save(target.host)?;
    }
    let leaving = running.workers.iter().filter(|worker| is_shutting_down(worker)).count();
    let leaving = if leaving == 0 {
        String::new()
    } else {
        format!("; {leaving} earlier workers are finishing their requests")
    };
    Ok(match wanted {
        Some(snapshot) => finding(
            ObservedState::Converged,
            format!(
                "generation {} is in force: {}{leaving}",
                snapshot.generation,
                snapshot.weights()
            ),
        ),
        None => finding(
            ObservedState::Absent,
            format!("NGINX has nothing of {} loaded any more{leaving}", target.names.scope()),
        ),
    })
}

/// No change is under way, and yet NGINX has something else loaded than our file says.
fn not_loaded<H: Host>(
    target: &Target<'_, H>,
    wanted: Option<&Snapshot>,
    bytes: Option<&[u8]>,
    all: &[Said],
) -> Result<Finding, Failure> {
    let Some(wanted) = wanted else {
        return Ok(drifted(
            "not-loaded",
            format!("`{}` is gone, but NGINX still has it loaded", target.path),
        ));
    };
    let said = all.iter().find(|said| generation_of(said) != wanted.generation);
    let words = match said {
        Some(Said::Loaded(loaded)) => {
            let generation = &loaded.snapshot.generation;
            return Ok(drifted(
                "not-loaded",
                format!(
                    "NGINX has loaded generation {generation}, but `{}` is {}",
                    target.path, wanted.generation
                ),
            ));
        }
        Some(Said::Nobody(why) | Said::Other(why)) => why.as_str(),
        None => "earlier workers still accept connections",
    };
    let inclusion = match target.dump()? {
        Dumped::Whole(dump) => target.inclusion(&dump, bytes.and_then(first_line)),
        Dumped::TooLong => Inclusion::Included,
        Dumped::Invalid(message) => {
            return Ok(drifted(
                "not-loaded",
                format!(
                    "`{}` is not loaded, and NGINX's configuration is not valid: {message}",
                    target.path
                ),
            ));
        }
    };
    Ok(match target.exclusion(inclusion) {
        Some(failure) if inclusion == Inclusion::NotIncluded => {
            drifted("not-included", failure.message)
        }
        Some(failure) => drifted("not-loaded", failure.message),
        None => drifted("not-loaded", format!("NGINX has not loaded `{}`: {words}", target.path)),
    })
}

fn generation_of(said: &Said) -> &str {
    match said {
        Said::Loaded(loaded) => &loaded.snapshot.generation,
        Said::Nobody(_) | Said::Other(_) => "",
    }
}

/// How many workers from before a change still take connections.
fn accepting(change: &Change, running: &Running) -> usize {
    change
        .workers
        .iter()
        .filter_map(|worker| running.find(worker))
        .filter(|process| !is_shutting_down(process))
        .count()
}

/// Whether a change that went from a generation to the same one was refused: then the workers from
/// before it have it loaded just as well.
fn unchanged<H: Host>(target: &Target<'_, H>, change: &Change, running: &Running) -> bool {
    change.from == change.generation
        && (is_late(target, change)
            || reload_failure(target, change, Some(running.master.pid)).is_some())
}

fn is_late<H: Host>(target: &Target<'_, H>, change: &Change) -> bool {
    target.host.now_ms().saturating_sub(change.at_ms) > LATE_MS
}

fn spell(generation: &str) -> &str {
    if generation.is_empty() { "without our file" } else { generation }
}
