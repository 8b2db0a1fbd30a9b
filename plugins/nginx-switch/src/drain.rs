//! Whether the last requests that were sent to a slot have ended.
//!
//! Strong evidence: all workers that were there when the slot lost its weight are gone. Where somebody else's long requests keep them alive, weak
//! evidence: for a while no connection to the slot's backends has been seen. An upload that NGINX still takes in has no such connection yet.

use crate::marker::Said;
use crate::record::Draining;
use crate::snapshot::{Snapshot, percent};
use crate::target::Target;
use crate::workers::{self, Running, Worker, is_shutting_down};
use agente_plugin_sdk::host::Host;
use agente_plugin_sdk::{Drained, Failure, Labels};
use std::net::{IpAddr, SocketAddr};

/// Looks once.
pub fn drain<H: Host>(target: &Target<'_, H>, slot: &str) -> Result<Drained, Failure> {
    if !crate::snapshot::SLOTS.contains(&slot) {
        return Err(Failure::invalid_config(format!("`{}` is not a slot: there are `blue` and `green`", slot.escape_debug())));
    }
    let running = workers::find(target.host, target.config)?;
    let loaded = match target.said()? {
        Said::Loaded(loaded) => Some(loaded.snapshot),
        Said::Nobody(_) | Said::Other(_) => None,
    };
    if let Some(message) = loaded.as_ref().and_then(|loaded| still_served(loaded, slot)) {
        return Ok(draining(1, "routed", message));
    }
    let mut record = target.record()?;
    let old: Vec<Worker> = match record.drains.get(slot) {
        Some(draining) => draining.workers.iter().filter(|worker| running.find(worker).is_some()).copied().collect(),
        None => remember_leaving(&running),
    };
    if old.is_empty() {
        return Ok(drained("workers-gone", format!("no worker is left that sent requests to {slot}")));
    }
    let count = u32::try_from(old.len()).unwrap_or(u32::MAX);
    let pids: Vec<String> = old.iter().map(|worker| worker.pid.to_string()).collect();
    let pinned = format!("{count} earlier worker{} still end{} requests ({})", plural(count), if count == 1 { "s" } else { "" }, pids.join(", "));

    let addresses = addresses(target, loaded.as_ref(), slot)?;
    let open = match open_connections(target, &addresses) {
        Ok(open) => open,
        Err(why) => return Ok(draining(count, "workers", format!("{pinned}; connections to {slot} can't be counted: {why}"))),
    };
    let now = target.host.now_ms();
    let entry = record.drains.entry(slot.to_owned()).or_insert_with(|| Draining { workers: old.clone(), quiet_since_ms: None });
    let quiet_since = if open > 0 { None } else { Some(entry.quiet_since_ms.unwrap_or(now)) };
    if entry.quiet_since_ms != quiet_since {
        entry.quiet_since_ms = quiet_since;
        record.save(target.host)?;
    }
    let wanted = target.config.quiet();
    match quiet_since.map(|since| now.saturating_sub(since)) {
        None => Ok(draining(open, "connections", format!("{open} connection{} to {slot} open; {pinned}", plural(open)))),
        Some(quiet) if u128::from(quiet) >= wanted.as_millis() => {
            Ok(drained("no-connections", format!("no connection to {slot} for {} s; {pinned}, of somebody else as far as connections tell", quiet / 1000)))
        }
        Some(quiet) => Ok(draining(count, "workers", format!("{pinned}; no connection to {slot} for {} of {} s", quiet / 1000, wanted.as_secs()))),
    }
}

fn plural(count: u32) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn drained(evidence: &str, message: String) -> Drained {
    Drained { done: true, remaining: 0, evidence: evidence.into(), message, labels: Labels::new() }
}

fn draining(remaining: u32, evidence: &str, message: String) -> Drained {
    Drained { done: false, remaining, evidence: evidence.into(), message, labels: Labels::new() }
}

/// Why requests still go to the slot, where they do.
fn still_served(loaded: &Snapshot, slot: &str) -> Option<String> {
    if loaded.weight(slot) > 0 {
        return Some(format!("{slot} still has {} % of the requests", percent(loaded.weight(slot))));
    }
    let rule = loaded.overrides.iter().find(|rule| rule.slot == slot)?;
    Some(format!("the {} `{}: {}` still sends requests to {slot}", rule.by, rule.name, rule.value))
}

/// Without a record: the workers that are on their way out. All others have loaded what the marker told.
fn remember_leaving(running: &Running) -> Vec<Worker> {
    running.workers.iter().filter(|process| is_shutting_down(process)).map(|process| Worker { pid: process.pid, started_ms: process.started_ms }).collect()
}

/// The addresses of the slot's backends, from what is loaded and from our file.
fn addresses<H: Host>(target: &Target<'_, H>, loaded: Option<&Snapshot>, slot: &str) -> Result<Vec<String>, Failure> {
    let on_disk = target.on_disk()?;
    let of = |snapshot: Option<&Snapshot>| -> Vec<String> {
        snapshot
            .and_then(|snapshot| snapshot.route(slot))
            .map(|route| route.backends.iter().map(|backend| backend.address.clone()).collect())
            .unwrap_or_default()
    };
    let mut all = of(loaded);
    all.extend(of(on_disk.snapshot()));
    all.sort();
    all.dedup();
    Ok(all)
}

fn open_connections<H: Host>(target: &Target<'_, H>, addresses: &[String]) -> Result<u32, String> {
    if addresses.is_empty() {
        return Err("the slot's addresses are not known any more".into());
    }
    let mut wanted = Vec::new();
    for address in addresses {
        wanted.extend(resolve(address).ok_or_else(|| format!("`{address}` is a name, and connections have only numbers"))?);
    }
    let connections = target.host.connections(&target.config.target()).map_err(|failure| failure.message)?;
    let open = connections.iter().filter(|connection| connection.remote.parse().is_ok_and(|remote: SocketAddr| wanted.contains(&remote))).count();
    Ok(u32::try_from(open).unwrap_or(u32::MAX))
}

/// The socket addresses that an address stands for, without asking anybody.
fn resolve(address: &str) -> Option<Vec<SocketAddr>> {
    if let Ok(address) = address.parse() {
        return Some(vec![address]);
    }
    let port = address.strip_prefix("localhost:")?.parse().ok()?;
    Some(vec![SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port), SocketAddr::new(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]), port)])
}
