//! What this NGINX can do, whether it can be used, and what the operator should know before the
//! first switch.

use crate::config::{Reload, Sticky, seconds};
use crate::dump::Dump;
use crate::nginx::{self, Dumped, KEEPALIVE_MIN_TIMEOUT, OLDEST, Version, WHOLE_ANSWERS};
use crate::snapshot::SLOTS;
use crate::target::{Inclusion, Target, first_line};
use crate::workers;
use agente_plugin_sdk::host::Host;
use agente_plugin_sdk::{Code, Failure, Features, Labels, label};

/// Looks at everything that a deployment will need.
pub fn features<H: Host>(target: &Target<'_, H>) -> Result<Features, Failure> {
    let config = target.config;
    folder(target)?;
    let version = nginx::version(target.host, config)?;
    if version < OLDEST {
        return Err(Failure::unsupported(format!(
            "NGINX {version} is too old; the oldest supported version is {OLDEST}"
        ))
        .hint("install a newer NGINX"));
    }
    let running = workers::find(target.host, config)?;
    if config.reload == Reload::Signal
        && label(&running.master.labels, "signalable") == Some("false")
    {
        let message = format!(
            "the user that runs agente-host can't send signals to NGINX's master (process {}), \
            but `reload` is `signal`",
            running.master.pid
        );
        return Err(Failure::new(Code::Denied, message)
            .hint(format!("set `reload = \"command\"`, and {}", nginx::AS_THE_MASTER)));
    }
    let mut warnings = Vec::new();
    let dump = match target.dump()? {
        Dumped::Whole(dump) => Some(dump),
        Dumped::TooLong => {
            warnings.push(
                "NGINX's configuration is too long to search: whether it includes our file will \
                only show when the file is written"
                    .into(),
            );
            None
        }
        // Our own file is replaced as a whole by the next change.
        Dumped::Invalid(message) if message.contains(&target.seen_path) => {
            warnings.push(format!("`nginx -t` rejects our file: {message}"));
            None
        }
        // The operator's server was changed before our file was there to define what it uses.
        Dumped::Invalid(message)
            if ["pool", "slot"].iter().any(|what| {
                message.contains(&format!("unknown \"{}\"", target.names.variable(what)))
            }) =>
        {
            // Where it is there, it is not taken up.
            if target.bytes()?.is_some()
                && let Some(failure) = target.exclusion(Inclusion::NotIncluded)
            {
                return Err(failure);
            }
            warnings.push(format!(
                "NGINX's configuration is not valid until the first routes are in force: {message}"
            ));
            None
        }
        Dumped::Invalid(message) => return Err(invalid(target, &message)),
    };
    let mut labels = Labels::new();
    labels.push(("version".into(), version.to_string()));
    labels.push((
        "workers".into(),
        running
            .workers
            .iter()
            .filter(|worker| !workers::is_shutting_down(worker))
            .count()
            .to_string(),
    ));
    if let Some(dump) = &dump {
        usable(target, dump)?;
        version_warnings(version, dump, &mut warnings);
        shutdown_warnings(dump, &mut warnings);
        log_warnings(target, dump, &mut warnings);
        routing(target, dump, &mut warnings, &mut labels);
    }
    if let Err(failure) = target.host.log_mark(&config.log()) {
        warnings.push(format!(
            "the error log can't be read, so a reload that NGINX refuses is noticed only when it \
            times out: {failure}"
        ));
    }

    let mut names: Vec<String> =
        ["weights", "header", "cookie", "fence", "drain"].map(str::to_owned).to_vec();
    if config.sticky != Sticky::None {
        names.push("sticky".into());
    }
    if label(&labels, "public-identity-header").is_some() {
        names.push("outside-identity".into());
    }
    let lock_key = match &config.container {
        Some(name) => format!("nginx:container:{name}:{}", config.conf),
        None => format!("nginx:{}:{}", config.conf, config.pid_file),
    };
    Ok(Features { names, lock_key, warnings, labels })
}

fn invalid<H: Host>(target: &Target<'_, H>, message: &str) -> Failure {
    let failure = Failure::rejected(format!(
        "NGINX's configuration `{}` is already invalid: {message}",
        target.config.conf
    ));
    failure.hint(nginx::hint(message).unwrap_or_else(|| "fix it first; nothing was changed".into()))
}

/// Whether a file of ours would take effect in this configuration, and in this NGINX.
fn usable<H: Host>(target: &Target<'_, H>, dump: &Dump) -> Result<(), Failure> {
    let bytes = target.bytes()?;
    if let Some(failure) =
        target.exclusion(target.inclusion(dump, bytes.as_deref().and_then(first_line)))
    {
        return Err(failure);
    }
    if let Some(failure) = target.names_taken(dump) {
        return Err(failure);
    }
    same_instance(target, dump)
}

fn folder<H: Host>(target: &Target<'_, H>) -> Result<(), Failure> {
    let folder = target.config.directory.trim_end_matches('/');
    let wrong = |message: String| {
        Err(Failure::invalid_config(message).hint(format!(
            "`install -d -m 2775 -g <group> {folder}`, with a group of the user that runs \
            agente-host"
        )))
    };
    match target.host.stat(folder)? {
        None => wrong(format!("the directory `{folder}` does not exist")),
        Some(entry) if entry.kind == "file" || entry.kind == "other" => {
            wrong(format!("`{folder}` is not a directory"))
        }
        Some(entry) if label(&entry.labels, "writable") == Some("false") => Err(Failure::new(
            Code::Denied,
            format!("the user that runs agente-host can't write to `{folder}`"),
        )
        .hint(format!(
            "give it to a group of that user: `chgrp <group> {folder} && chmod 2775 {folder}`"
        ))),
        Some(_) => Ok(()),
    }
}

/// The configuration must be that of the NGINX whose pid file we were given.
fn same_instance<H: Host>(target: &Target<'_, H>, dump: &Dump) -> Result<(), Failure> {
    let config = target.config;
    if config.container.is_some() {
        return Ok(());
    }
    let said = dump
        .all("pid")
        .find(|pid| pid.inside.is_empty())
        .map(|pid| pid.word(1))
        .filter(|path| path.starts_with('/'));
    match said {
        // `/var/run` is a link to `/run` everywhere.
        Some(said)
            if said.trim_start_matches("/var") != config.pid_file.trim_start_matches("/var") =>
        {
            Err(Failure::conflict(format!(
                "`{}` writes its pid to `{said}`, but `pid_file` is `{}`: that may be another \
                NGINX",
                config.conf, config.pid_file
            ))
            .hint(format!("set `pid_file = \"{said}\"`"))
            .label("reason", "other-instance"))
        }
        _ => Ok(()),
    }
}

fn version_warnings(version: Version, dump: &Dump, warnings: &mut Vec<String>) {
    if version < WHOLE_ANSWERS {
        warnings.push(format!(
            "NGINX {version} may truncate a proxied response at a reload; {WHOLE_ANSWERS} and \
            later do not"
        ));
    }
    if version < KEEPALIVE_MIN_TIMEOUT {
        warnings.push(format!(
            "keep-alive clients may see resets at each switch: NGINX {version} closes idle \
             connections when it reloads; {KEEPALIVE_MIN_TIMEOUT} and later have \
             `keepalive_min_timeout`"
        ));
    } else if dump.all("keepalive_min_timeout").next().is_none() {
        warnings.push(
            "keep-alive clients may see resets at each switch: put `keepalive_min_timeout 5s;` in \
            the `http` block"
                .into(),
        );
    }
}

fn shutdown_warnings(dump: &Dump, warnings: &mut Vec<String>) {
    if let Some(limit) = dump.all("worker_shutdown_timeout").next() {
        let limit = limit.word(1);
        // NGINX takes a number without a unit as seconds.
        let limit_seconds = limit.parse().ok().or_else(|| seconds(limit));
        let short = limit_seconds.is_none_or(|seconds| seconds < 60);
        let short = if short { ", which is shorter than a typical drain" } else { "" };
        warnings.push(format!(
            "`worker_shutdown_timeout {limit}` cuts requests that are still open {limit} after a \
            switch{short}"
        ));
    }
}

fn log_warnings<H: Host>(target: &Target<'_, H>, dump: &Dump, warnings: &mut Vec<String>) {
    if target.config.container.is_some() {
        return;
    }
    let main = dump
        .all("error_log")
        .find(|log| log.inside.is_empty())
        .map(|log| log.word(1))
        .filter(|path| path.starts_with('/'));
    if let Some(path) = main.filter(|path| *path != target.config.error_log) {
        warnings.push(format!(
            "NGINX writes its errors to `{path}`, but `error_log` is `{}`: the reason for a \
            failed reload could not be read",
            target.config.error_log
        ));
    }
}

/// Whether the operator's servers use our variables already.
fn routing<H: Host>(
    target: &Target<'_, H>,
    dump: &Dump,
    warnings: &mut Vec<String>,
    labels: &mut Labels,
) {
    let uses = |word: &str, what: &str| {
        let name = target.names.variable(what);
        word.contains(&format!("${name}")) || word.contains(&format!("${{{name}}}"))
    };
    let theirs = || dump.directives.iter().filter(|directive| directive.file != target.seen_path);
    let (pool, slot) = (target.names.variable("pool"), target.names.variable("slot"));
    let routed = theirs().any(|directive| {
        directive.name().ends_with("_pass") && directive.words.iter().any(|word| uses(word, "pool"))
    });
    labels.push(("routed".into(), routed.to_string()));
    if !routed {
        warnings.push(format!(
            "no server sends requests to the slots yet: add `proxy_pass http://${pool};` once the \
            first routes are in force"
        ));
    }
    let header = theirs()
        .find(|directive| directive.name() == "add_header" && uses(directive.word(2), "slot"));
    match header {
        Some(header) => labels.push(("public-identity-header".into(), header.word(1).to_owned())),
        None => warnings.push(format!(
            "responses don't identify their slot: add `add_header X-Agente-Slot ${slot} always;` \
            next to the `proxy_pass`"
        )),
    }
    let hidden = theirs().any(|directive| {
        directive.name() == "proxy_pass"
            && SLOTS.iter().any(|slot| {
                let upstream = target.names.upstream(slot);
                directive.word(1).split(['/', ':']).any(|part| part == upstream)
            })
    });
    if hidden {
        warnings.push(format!(
            "a `proxy_pass` names an upstream of {} directly and so ignores the weights: use \
            `${pool}`",
            target.names.scope()
        ));
    }
}
