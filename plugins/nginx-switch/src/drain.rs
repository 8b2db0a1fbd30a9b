//! Whether the last requests that were sent to some backends have ended.
//!
//! Strong evidence: all workers that were there when they left the routes are gone. Where somebody
//! else's long requests keep them alive, or those of backends that stay, weak evidence: for a while
//! no connection to the backends has been seen. An upload that NGINX still takes in has no such
//! connection yet.

use crate::marker::Said;
use crate::snapshot::{Snapshot, percent};
use crate::target::Target;
use crate::workers;
use agente_plugin_sdk::host::Host;
use agente_plugin_sdk::{Backend, Drained, Failure, Labels};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// Looks once.
pub fn drain<H: Host>(
    target: &Target<'_, H>,
    slot: &str,
    backends: &[Backend],
) -> Result<Drained, Failure> {
    if !crate::snapshot::SLOTS.contains(&slot) {
        return Err(Failure::invalid_config(format!(
            "`{}` is not a slot; the slots are `blue` and `green`",
            slot.escape_debug()
        )));
    }
    let running = workers::find(target.host, target.config)?;
    let loaded = match target.said()? {
        Said::Loaded(loaded) => Some(loaded.snapshot),
        Said::Nobody(_) | Said::Other(_) => None,
    };
    let addresses =
        if backends.is_empty() { known(target, loaded.as_ref(), slot)? } else { sorted(backends) };
    if let Some(message) = loaded.as_ref().and_then(|loaded| still_served(loaded, &addresses)) {
        return Ok(draining(1, "routed", message));
    }
    // A part of a slot that goes on serving has to be told by its addresses.
    let whom = match loaded.as_ref().and_then(|loaded| loaded.route(slot)) {
        Some(route) if route.weight > 0 => format!("{} of {slot}", addresses.join(", ")),
        Some(_) | None => slot.to_owned(),
    };
    let mut record = target.record()?;
    let mut old = record.drains.workers(&addresses, &running);
    let forgotten: Vec<String> =
        addresses.iter().filter(|address| !record.drains.knows(address)).cloned().collect();
    if addresses.is_empty() || !forgotten.is_empty() {
        // Of a backend that is not remembered they may hold requests. All others have loaded what
        // the marker told.
        old.extend(
            running
                .leaving()
                .into_iter()
                .filter(|leaving| !old.iter().any(|worker| worker.is(leaving)))
                .collect::<Vec<_>>(),
        );
    }
    if old.is_empty() {
        return Ok(drained(
            "workers-gone",
            format!("every worker that sent requests to {whom} has exited"),
        ));
    }
    let count = u32::try_from(old.len()).unwrap_or(u32::MAX);
    let pids: Vec<String> = old.iter().map(|worker| worker.pid.to_string()).collect();
    let pinned = format!(
        "{count} earlier worker{} still finishing requests ({})",
        plural(count),
        pids.join(", ")
    );

    let open = match open_connections(target, &addresses) {
        Ok(open) => open,
        Err(why) => {
            return Ok(draining(
                count,
                "workers",
                format!("{pinned}; connections to {whom} can't be counted: {why}"),
            ));
        }
    };
    let now = target.host.now_ms();
    let mut news = !forgotten.is_empty();
    if news {
        record.drains.leave(forgotten, &old, &running);
    }
    for (address, open) in addresses.iter().zip(&open) {
        news |= record.drains.seen(address, *open > 0, now);
    }
    if news {
        record.save(target.host)?;
    }
    let open: u32 = open.iter().sum();
    let wanted = target.config.quiet();
    match record.drains.quiet_since_ms(&addresses).map(|since| now.saturating_sub(since)) {
        None => Ok(draining(
            open.max(1),
            "connections",
            format!("{open} connection{} to {whom} open; {pinned}", plural(open)),
        )),
        Some(quiet) if u128::from(quiet) >= wanted.as_millis() => Ok(drained(
            "no-connections",
            format!(
                "no connection to {whom} for {} s; {pinned}, of other services as far as their \
                connections show",
                quiet / 1000
            ),
        )),
        Some(quiet) => Ok(draining(
            count,
            "workers",
            format!(
                "{pinned}; no connection to {whom} for {} of {} s",
                quiet / 1000,
                wanted.as_secs()
            ),
        )),
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

/// Why requests still go to any of the addresses, where they do.
fn still_served(loaded: &Snapshot, addresses: &[String]) -> Option<String> {
    let has = |route: &&agente_plugin_sdk::Route| {
        route.backends.iter().any(|backend| addresses.contains(&backend.address))
    };
    loaded.routes.iter().filter(has).find_map(|route| {
        let slot = &route.slot;
        if route.weight > 0 {
            return Some(format!("{slot} still has {} % of the requests", percent(route.weight)));
        }
        let rule = loaded.overrides.iter().find(|rule| rule.slot == *slot)?;
        Some(format!(
            "the {} `{}: {}` still sends requests to {slot}",
            rule.by, rule.name, rule.value
        ))
    })
}

fn sorted(backends: &[Backend]) -> Vec<String> {
    backends
        .iter()
        .map(|backend| backend.address.clone())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

/// The addresses of the slot's backends, from what is loaded and from our file.
fn known<H: Host>(
    target: &Target<'_, H>,
    loaded: Option<&Snapshot>,
    slot: &str,
) -> Result<Vec<String>, Failure> {
    let on_disk = target.on_disk()?;
    let routes = [loaded, on_disk.snapshot()]
        .into_iter()
        .flatten()
        .filter_map(|snapshot| snapshot.route(slot));
    let backends: Vec<Backend> = routes.flat_map(|route| route.backends.iter().cloned()).collect();
    Ok(sorted(&backends))
}

/// How many connections to each address are open.
fn open_connections<H: Host>(
    target: &Target<'_, H>,
    addresses: &[String],
) -> Result<Vec<u32>, String> {
    if addresses.is_empty() {
        return Err("the slot's addresses are no longer known".into());
    }
    let mut wanted = Vec::new();
    for address in addresses {
        wanted.push(resolve(address).ok_or_else(|| {
            format!("`{address}` is a name, but connections show only IP addresses")
        })?);
    }
    let connections =
        target.host.connections(&target.config.target()).map_err(|failure| failure.message)?;
    let remotes: Vec<SocketAddr> =
        connections.iter().filter_map(|connection| connection.remote.parse().ok()).collect();
    let open =
        |wanted: &Vec<SocketAddr>| remotes.iter().filter(|remote| wanted.contains(remote)).count();
    Ok(wanted.iter().map(|wanted| u32::try_from(open(wanted)).unwrap_or(u32::MAX)).collect())
}

/// The socket addresses that an address stands for, without asking anybody.
fn resolve(address: &str) -> Option<Vec<SocketAddr>> {
    if let Ok(address) = address.parse() {
        return Some(vec![address]);
    }
    let port = address.strip_prefix("localhost:")?.parse().ok()?;
    Some(vec![
        SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port),
        SocketAddr::new(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]), port),
    ])
}
