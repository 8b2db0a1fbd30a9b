//! Writes the file, tests it, and tells NGINX to load it. After a failure the file is as before the
//! call.
//!
//! NGINX may load that change all the same where the answer to the reload was lost: it stays
//! unfinished in what is remembered, so that it is neither taken for drift nor left in force.
//!
//! The order matters: what is about to be written is remembered before it is written, so that a
//! host that dies in between meets a file that it knows; the workers and the end of the log are
//! taken before the reload, as nothing tells afterwards which workers are old.

use crate::file::OnDisk;
use crate::guard;
use crate::marker::Said;
use crate::nginx::{self, Dumped, Told};
use crate::observe::observe;
use crate::record::{Change, Record};
use crate::refusal::reload_failure;
use crate::render::{Rendered, render};
use crate::snapshot::{self, SLOTS, Snapshot};
use crate::target::{Target, first_line};
use crate::workers::{self, Running};
use agente_plugin_sdk::host::{Host, Level};
use agente_plugin_sdk::{Code, Desired, Failure, Observed, Route};
use std::collections::BTreeSet;

/// A reload that was told a moment ago is not told again.
const RELOAD_UNDER_WAY_MS: u64 = 5_000;

/// The permission bits of our file: NGINX's workers need not read it, the operator should.
const MODE: u32 = 0o644;

/// Starts the change to the wanted state.
pub fn apply<H: Host>(target: &Target<'_, H>, wanted: &Desired) -> Result<Observed, Failure> {
    snapshot::check(wanted)?;
    let before = target.bytes()?;
    let on_disk = OnDisk::read(before.as_deref());
    let record = target.record()?;
    guard::file(target, wanted, &on_disk, &record)?;
    let said = target.said()?;
    guard::loaded(target, wanted, &on_disk, &said, &record)?;
    if wanted.routes.is_empty() {
        return remove(target, wanted, before.as_deref(), &said, record);
    }
    let rendered = render(target.config, &target.names, wanted);
    write(target, Some(&rendered), before.as_deref(), &said, record)?;
    observe(target)
}

/// Brings the file to `rendered`, or away, and tells NGINX unless it has loaded that already.
fn write<H: Host>(
    target: &Target<'_, H>,
    rendered: Option<&Rendered>,
    before: Option<&[u8]>,
    said: &Said,
    mut record: Record,
) -> Result<(), Failure> {
    let (host, config) = (target.host, target.config);
    let digest = rendered.map_or("", |rendered| &rendered.digest);
    let generation = rendered.map_or("", |rendered| &rendered.snapshot.generation);
    let same_bytes = rendered.map(|rendered| rendered.text.as_bytes()) == before;
    let loaded = loaded_generation(said) == generation;
    let change = record.change.as_ref();
    let unfinished = change.filter(|change| !change.done);
    let under_way = unfinished.is_some_and(|change| {
        let recent = host.now_ms().saturating_sub(change.at_ms) < RELOAD_UNDER_WAY_MS;
        change.told
            && change.generation == generation
            && recent
            && reload_failure(target, change, None).is_none()
    });
    let running = workers::find_at_rest(host, config)?;
    // What NGINX has refused for good will not come into force behind our back.
    let settled = unfinished.is_none_or(|change| {
        change.generation == generation
            || reload_failure(target, change, Some(running.master.pid)).is_some()
    });
    if same_bytes && ((loaded && settled) || under_way) {
        if record.applied.as_deref() != Some(digest) || record.intent.is_some() {
            (record.applied, record.intent) = (Some(digest.to_owned()), None);
            record.save(host)?;
        }
        return Ok(());
    }

    let earlier = record.clone();
    if !same_bytes {
        record.intent = Some(digest.to_owned());
        record.save(host)?;
        put(target, rendered.map(|rendered| rendered.text.as_bytes()))?;
    }
    if let Err(failure) = test(target, rendered, said) {
        return Err(restore(target, before, failure, &earlier));
    }
    if loaded && settled {
        // Only the comments and the token differ, or this is what NGINX kept when it refused
        // another. A reload would close idle connections for nothing.
        (record.applied, record.intent) = (Some(digest.to_owned()), None);
        record.change =
            record.change.filter(|change| change.done || change.generation == generation);
        record.drains.forget(&reachable(rendered.map(|rendered| &rendered.snapshot)));
        return record.save(host).map_err(|failure| restore(target, before, failure, &earlier));
    }
    let log_mark = match host.log_mark(&config.log()) {
        Ok(mark) => Some(mark),
        Err(failure) => {
            host.log(
                Level::Warn,
                &format!(
                    "if NGINX refuses to load a generation, the reason can't be read: {failure}"
                ),
                &[],
            );
            None
        }
    };
    // A worker that died while the test ran has been replaced by one that is old as well.
    let running = workers::find(host, config).unwrap_or(running);
    remember_drains(
        &mut record,
        rendered.map(|rendered| &rendered.snapshot),
        said,
        OnDisk::read(before).snapshot(),
        &running,
    );
    let change = Change {
        generation: generation.to_owned(),
        from: loaded_generation(said).to_owned(),
        at_ms: host.now_ms(),
        log_mark,
        workers: running.remembered(),
        told: false,
        done: false,
    };
    (record.change, record.intent) = (Some(change), Some(digest.to_owned()));
    if let Err(failure) = record.save(host) {
        return Err(restore(target, before, failure, &earlier));
    }
    let (failure, left) = match nginx::reload(host, config) {
        Told::Yes => {
            record.told(digest);
            if let Err(failure) = record.save(host) {
                host.log(
                    Level::Warn,
                    &format!(
                        "the reload could not be recorded, so NGINX may be reloaded once more: \
                        {failure}"
                    ),
                    &[],
                );
            }
            return Ok(());
        }
        Told::Refused(message) => {
            (Failure::rejected(format!("NGINX refused to reload: {message}")), earlier)
        }
        // The generation may be in force all the same, so its change stays unfinished, and the way
        // back tells NGINX once more.
        Told::Unknown(failure) => (
            failure.while_doing("telling NGINX to reload"),
            Record { intent: earlier.intent, ..record },
        ),
    };
    let failure = match nginx::hint(&failure.message) {
        Some(hint) if failure.hint.is_none() => failure.hint(hint),
        _ => failure,
    };
    Err(restore(target, before, failure, &left))
}

fn loaded_generation(said: &Said) -> &str {
    match said {
        Said::Loaded(loaded) => &loaded.snapshot.generation,
        Said::Nobody(_) | Said::Other(_) => "",
    }
}

fn put<H: Host>(target: &Target<'_, H>, bytes: Option<&[u8]>) -> Result<(), Failure> {
    let path = &target.path;
    let result = match bytes {
        Some(bytes) => target.host.replace_file(path, bytes, MODE),
        None => target.host.remove_file(path).map(|_| ()),
    };
    result.map_err(|failure| {
        let failure = failure.while_doing(format_args!("writing `{path}`"));
        if failure.hint.is_none() && failure.code == Code::Denied {
            return failure.hint(format!(
                "give the user that runs agente-host write access to `{}`, for example through \
                its group",
                target.config.directory
            ));
        }
        failure
    })
}

/// Tests the configuration with our file in it, and that it is in it.
fn test<H: Host>(
    target: &Target<'_, H>,
    rendered: Option<&Rendered>,
    said: &Said,
) -> Result<(), Failure> {
    let rejected = |message: &str| {
        let failure = Failure::rejected(format!(
            "`nginx -t` rejects the configuration with `{}`: {message}",
            target.path
        ));
        match nginx::hint(message) {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    };
    // Once the marker has answered, the file is known to be included; in a container the file
    // itself may be another one.
    let known = matches!(said, Said::Loaded(_)) && target.config.container.is_none();
    let Some(rendered) = rendered.filter(|_| !known) else {
        return nginx::test(target.host, target.config)?.map_err(|message| rejected(&message));
    };
    let dump = match target.dump()? {
        Dumped::Whole(dump) => dump,
        // Whether it is included will be seen by the marker.
        Dumped::TooLong => return Ok(()),
        Dumped::Invalid(message) => return Err(rejected(&message)),
    };
    if let Some(failure) = target.names_taken(&dump) {
        return Err(failure);
    }
    match target.exclusion(target.inclusion(&dump, first_line(rendered.text.as_bytes()))) {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

/// Puts the earlier bytes back, and remembers what is left; says so if that failed, too.
fn restore<H: Host>(
    target: &Target<'_, H>,
    before: Option<&[u8]>,
    failure: Failure,
    left: &Record,
) -> Failure {
    if let Err(second) = put(target, before) {
        let message =
            format!("{}; and the previous file could not be restored: {second}", failure.message);
        return Failure { message, ..failure }
            .hint(format!("fix `{}` before anything reloads NGINX", target.path))
            .label("restored", "false");
    }
    let failure = match left.save(target.host) {
        Ok(()) => failure.label("restored", "true"),
        Err(second) => Failure {
            message: format!("{}; and that could not be recorded: {second}", failure.message),
            ..failure
        },
    };
    if failure.code == Code::Rejected
        && let Ok(Err(message)) = nginx::test(target.host, target.config)
    {
        let message =
            format!("NGINX's configuration is invalid even without our change: {message}");
        return Failure { message, ..failure }.hint(format!(
            "`{} -t -c {}` shows it; nothing was changed",
            target.config.nginx, target.config.conf
        ));
    }
    failure
}

fn reachable(snapshot: Option<&Snapshot>) -> BTreeSet<String> {
    snapshot.map(Snapshot::reachable).unwrap_or_default()
}

/// A backend that requests can reach no more begins to drain; one that they can reach again no
/// longer does.
fn remember_drains(
    record: &mut Record,
    then: Option<&Snapshot>,
    said: &Said,
    on_disk: Option<&Snapshot>,
    running: &Running,
) {
    let mut before = match said {
        Said::Loaded(loaded) => loaded.snapshot.reachable(),
        Said::Nobody(_) | Said::Other(_) => BTreeSet::new(),
    };
    if record.change.as_ref().is_some_and(|change| !change.done) {
        // Of an unfinished change nobody knows which workers have loaded it: those of now may send
        // requests wherever it, or an earlier one, led.
        before.extend(reachable(on_disk));
        before.extend(record.drains.addresses());
    }
    let then = reachable(then);
    record.drains.forget(&then);
    record.drains.leave(before.difference(&then).cloned(), &running.remembered(), running);
}

/// Takes our file away. Where NGINX's own configuration uses our variables, a file that serves
/// nothing stays.
fn remove<H: Host>(
    target: &Target<'_, H>,
    wanted: &Desired,
    before: Option<&[u8]>,
    said: &Said,
    record: Record,
) -> Result<Observed, Failure> {
    let expected =
        record.change.as_ref().is_some_and(|change| !change.done && !change.generation.is_empty());
    if before.is_none() && !matches!(said, Said::Loaded(_)) && !expected {
        return observe(target);
    }
    match write(target, None, before, said, record) {
        Err(failure)
            if failure.code == Code::Rejected && failure.message.contains("unknown \"agente_") =>
        {
            let nothing = |slot: &str| Route {
                slot: slot.to_owned(),
                weight: 0,
                backends: Vec::new(),
                labels: Vec::new(),
            };
            let empty = Desired {
                routes: SLOTS.map(nothing).to_vec(),
                overrides: Vec::new(),
                ..wanted.clone()
            };
            let rendered = render(target.config, &target.names, &empty);
            write(target, Some(&rendered), before, said, target.record()?)?;
        }
        result => result?,
    }
    observe(target)
}
