//! The running NGINX: its master, its workers, and the clear word when it is not there or not the
//! one that was meant.

use crate::config::Config;
use crate::marker;
use agente_plugin_sdk::host::{Host, Process};
use agente_plugin_sdk::{Failure, label};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A worker, named for good by pid and start. A start is told by the clock, and a clock that is set
/// moves the master's as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    pub pid: u32,
    /// How long after its master it started, in milliseconds.
    pub after_ms: u64,
}

impl Worker {
    /// Whether both name the same process.
    pub fn is(&self, other: &Self) -> bool {
        self.pid == other.pid && self.after_ms.abs_diff(other.after_ms) <= SAME_START_MS
    }
}

/// The clock may be set while processes are listed, and some hosts know the moment of boot in whole
/// seconds.
const SAME_START_MS: u64 = 2_000;

/// A master begins its workers within a few milliseconds; a loaded machine takes longer.
const AT_REST_MS: u64 = 150;

/// An NGINX whose workers die as fast as they begin is never at rest.
const MOST_LOOKS: u32 = 10;

/// Who runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    pub master: Process,
    /// Its workers, those that are shutting down, too.
    pub workers: Vec<Process>,
}

/// Whether a process is a worker that takes no new connections any more.
pub fn is_shutting_down(process: &Process) -> bool {
    process.title.contains("is shutting down")
}

/// Whether a child of the master takes requests. One that has just begun still shows its parent's
/// title; a new master, during an upgrade of the program, has children of its own.
fn is_worker(process: &Process, tree: &[Process]) -> bool {
    process.title.starts_with("nginx: worker process")
        || (!process.title.starts_with("nginx: cache ")
            && tree.iter().all(|other| other.parent != process.pid))
}

impl Running {
    /// A worker as it is remembered.
    pub fn worker(&self, process: &Process) -> Worker {
        Worker {
            pid: process.pid,
            after_ms: process.started_ms.saturating_sub(self.master.started_ms),
        }
    }

    /// The workers as they are remembered.
    pub fn remembered(&self) -> Vec<Worker> {
        self.workers.iter().map(|process| self.worker(process)).collect()
    }

    /// The workers that are on their way out.
    pub fn leaving(&self) -> Vec<Worker> {
        self.workers
            .iter()
            .filter(|process| is_shutting_down(process))
            .map(|process| self.worker(process))
            .collect()
    }

    /// The process of a remembered worker, if it still runs. One that is shutting down is believed
    /// to be the one of its pid, whatever is told of its start: it is waited for too long at
    /// worst.
    pub fn find(&self, worker: &Worker) -> Option<&Process> {
        self.workers.iter().find(|process| {
            worker.is(&self.worker(process))
                || (worker.pid == process.pid && is_shutting_down(process))
        })
    }
}

/// Finds the running NGINX. Each way in which it can be missing has its own words.
pub fn find<H: Host>(host: &H, config: &Config) -> Result<Running, Failure> {
    let tree =
        host.process_tree(&config.target()).map_err(|failure| missing(host, config, &failure))?;
    let Some(master) =
        tree.iter().find(|process| process.title.starts_with("nginx: master process")).cloned()
    else {
        return Err(no_master(config, &tree));
    };
    if let Some(other) = other_conf(&master.title, config) {
        let message = format!(
            "the NGINX running as process {} was started with `-c {other}`, not with `{}`: a test \
            or reload with `{}` would use another configuration",
            master.pid, config.conf, config.conf
        );
        return Err(Failure::conflict(message)
            .hint(format!("set `conf = \"{other}\"`, or set `pid_file` to the intended NGINX"))
            .label("reason", "other-conf"));
    }
    let workers = tree
        .iter()
        .filter(|process| process.parent == master.pid && is_worker(process, &tree))
        .cloned()
        .collect();
    Ok(Running { master, workers })
}

/// Finds the running NGINX when no worker has begun just now: a master that is starting workers
/// would have some of them overlooked, and they would count as new ones after the next reload.
pub fn find_at_rest<H: Host>(host: &H, config: &Config) -> Result<Running, Failure> {
    let mut looks = 0;
    loop {
        let running = find(host, config)?;
        let youngest = running
            .workers
            .iter()
            .map(|worker| worker.started_ms)
            .max()
            .unwrap_or(running.master.started_ms);
        let age = host.now_ms().saturating_sub(youngest);
        looks += 1;
        if (age >= AT_REST_MS && !running.workers.is_empty()) || looks > MOST_LOOKS {
            return Ok(running);
        }
        std::thread::sleep(Duration::from_millis(
            AT_REST_MS.saturating_sub(age).clamp(10, AT_REST_MS),
        ));
    }
}

fn missing<H: Host>(host: &H, config: &Config, failure: &Failure) -> Failure {
    let reason = label(&failure.labels, "reason").unwrap_or_default().to_owned();
    let path = &config.pid_file;
    let answers = marker::answers(host, config);
    let (message, hint) = match (reason.as_str(), answers) {
        ("no-pid-file", false) => (
            format!(
                "NGINX is not running: there is no pid file `{path}` and nothing answers at `{}`",
                config.marker
            ),
            "start NGINX".to_owned(),
        ),
        ("no-pid-file", true) => (
            format!(
                "NGINX's pid file `{path}` is missing, although NGINX answers at `{}`",
                config.marker
            ),
            format!(
                "set `pid_file` to the value of `pid` in `{}`; if the file was removed, restart \
                NGINX",
                config.conf
            ),
        ),
        ("bad-pid-file", _) => (
            format!("the pid file `{path}` contains no pid: {}", failure.message),
            "restart NGINX, so that it writes the file again".to_owned(),
        ),
        ("not-running", false) if config.container.is_none() => (
            format!(
                "the pid file `{path}` is stale: its process is not running, and nothing answers \
                at `{}`",
                config.marker
            ),
            "start NGINX".to_owned(),
        ),
        ("not-running", true) if config.container.is_none() => (
            format!(
                "NGINX's master is dead (the pid file `{path}` is stale), but orphaned workers \
                still serve what they had loaded"
            ),
            format!(
                "kill the remaining workers, then start NGINX; the process that listens at `{}` \
                is one of them",
                config.marker
            ),
        ),
        _ => return failure.clone().while_doing("looking for NGINX"),
    };
    Failure::unavailable(message).hint(hint).label("reason", reason)
}

fn no_master(config: &Config, tree: &[Process]) -> Failure {
    let titles: Vec<String> =
        tree.iter().take(3).map(|process| format!("{} `{}`", process.pid, process.title)).collect();
    let message = match &config.container {
        Some(name) => format!(
            "no NGINX master runs in the container `{name}`; there is {}",
            titles.join(", ")
        ),
        None => format!(
            "the pid file `{}` names a process that is not an NGINX master: {}",
            config.pid_file,
            titles.join(", ")
        ),
    };
    Failure::unavailable(message)
        .hint("start NGINX with `master_process on`, or set `pid_file` to its pid file")
        .label("reason", "not-nginx")
}

/// The configuration file in a master's title, where it names one and that is another.
fn other_conf(title: &str, config: &Config) -> Option<String> {
    let mut words = title.split_whitespace();
    let named = loop {
        let word = words.next()?;
        if word == "-c" {
            break words.next()?;
        }
        if let Some(path) = word.strip_prefix("-c").filter(|path| !path.is_empty()) {
            break path;
        }
    };
    let named = match (&config.prefix, named.starts_with('/')) {
        (_, true) => named.to_owned(),
        (Some(prefix), false) => format!("{}/{named}", prefix.trim_end_matches('/')),
        (None, false) => return None, // relative to a folder that we don't know
    };
    (named != config.conf).then_some(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(conf: &str, prefix: Option<&str>) -> Config {
        let json = serde_json::json!({ "directory": "/d", "conf": conf, "prefix": prefix });
        serde_json::from_value(json).unwrap()
    }

    /// A master and two workers, of which the second is shutting down, by a clock that was set by
    /// so many milliseconds.
    fn running(clock_ms: u64, pids: [u32; 2]) -> Running {
        let process = |pid: u32, title: &str, after_ms| Process {
            pid,
            parent: 1,
            title: title.into(),
            started_ms: clock_ms + after_ms,
            labels: Vec::new(),
        };
        let [first, second] = pids;
        let workers = vec![
            process(first, "nginx: worker process", 50_000),
            process(second, "nginx: worker process is shutting down", 10_000),
        ];
        Running { master: process(1, "nginx: master process nginx", 0), workers }
    }

    #[test]
    fn a_clock_that_is_set_makes_no_worker_another_one() {
        let before = running(1_700_000_000_000, [10, 11]).remembered();
        for clock_ms in [1_699_999_000_000, 1_700_003_600_000] {
            let after = running(clock_ms, [10, 11]);
            assert!(before.iter().all(|worker| after.find(worker).is_some()), "{after:?}");
        }
        assert!(
            before.iter().all(|worker| running(1_700_000_000_000, [20, 21]).find(worker).is_none())
        );
    }

    #[test]
    fn a_worker_that_is_shutting_down_is_known_by_its_pid_alone() {
        let mut later = running(1_700_000_000_000, [10, 11]);
        let before = later.remembered();
        later.master.started_ms = 0;
        assert_eq!(
            before
                .iter()
                .filter_map(|worker| later.find(worker))
                .map(|process| process.pid)
                .collect::<Vec<_>>(),
            [11]
        );
    }

    #[test]
    fn a_master_with_another_configuration_is_noticed() {
        let title = "nginx: master process /usr/sbin/nginx -c /srv/a.conf";
        assert_eq!(
            other_conf(title, &config("/etc/nginx/nginx.conf", None)),
            Some("/srv/a.conf".into())
        );
        assert_eq!(other_conf(title, &config("/srv/a.conf", None)), None);
        assert_eq!(
            other_conf(
                "nginx: master process nginx -p /srv -c a.conf",
                &config("/srv/a.conf", Some("/srv/"))
            ),
            None
        );
        assert_eq!(
            other_conf(
                "nginx: master process /usr/sbin/nginx -g daemon on;",
                &config("/etc/nginx/nginx.conf", None)
            ),
            None
        );
    }
}
