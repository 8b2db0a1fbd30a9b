//! Running processes, from `/proc`.

use super::container::Engine;
use crate::failure::{Code, Failure};
use crate::host::{Connection, Process};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// One line of `/proc/<pid>/stat`.
struct Stat {
    parent: u32,
    group: u32,
    zombie: bool,
    started_ms: u64,
}

fn stat(pid: u32, boot_ms: u64) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?; // the name before it may hold anything
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks: u64 = fields.get(19)?.parse().ok()?;
    Some(Stat {
        zombie: *fields.first()? == "Z",
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        started_ms: boot_ms + ticks * 1000 / rustix::param::clock_ticks_per_second(),
    })
}

fn boot_ms() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("btime "))
        .and_then(|seconds| seconds.trim().parse::<u64>().ok())
        .unwrap_or_default()
        * 1000
}

fn top(engine: &Engine, of: &str) -> Result<u32, Failure> {
    if let Some(name) = of.strip_prefix("container:") {
        return engine.top_pid(name);
    }
    let path = of.strip_prefix("pid-file:").ok_or_else(|| {
        Failure::invalid_config(format!(
            "`{of}` is neither `pid-file:<path>` nor `container:<name>`"
        ))
    })?;
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Failure::unavailable(format!("there is no pid file `{path}`"))
                .label("reason", "no-pid-file"));
        }
        Err(error) => {
            return Err(Failure::new(
                Code::Denied,
                format!("can't read the pid file `{path}`: {error}"),
            ));
        }
    };
    let pid: u32 = text.trim().parse().map_err(|_| {
        Failure::unavailable(format!(
            "the pid file `{path}` contains `{}`, which is not a pid",
            text.trim().escape_debug()
        ))
        .label("reason", "bad-pid-file")
    })?;
    match stat(pid, 0) {
        Some(stat) if !stat.zombie => Ok(pid),
        _ => Err(Failure::unavailable(format!(
            "the pid file `{path}` names process {pid}, which is not running"
        ))
        .label("reason", "not-running")),
    }
}

fn title(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<String> = bytes
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    words.join(" ").trim().to_owned()
}

fn is_signalable(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::PERM))
}

pub(super) fn tree(engine: &Engine, of: &str) -> Result<Vec<Process>, Failure> {
    let top = top(engine, of)?;
    let boot_ms = boot_ms();
    let pids = fs::read_dir("/proc")
        .map_err(|error| Failure::failed(format!("can't list processes: {error}")))?;
    let all: BTreeMap<u32, Stat> = pids
        .filter_map(|found| found.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid, boot_ms)?)))
        .filter(|(_, stat)| !stat.zombie)
        .collect();
    let mut ours = BTreeSet::from([top]);
    loop {
        let more: Vec<u32> = all
            .iter()
            .filter(|(pid, stat)| !ours.contains(*pid) && ours.contains(&stat.parent))
            .map(|(pid, _)| *pid)
            .collect();
        if more.is_empty() {
            break;
        }
        ours.extend(more);
    }
    let orphans: BTreeSet<u32> = all
        .iter()
        .filter(|(pid, stat)| stat.group == top && !ours.contains(*pid))
        .map(|(pid, _)| *pid)
        .collect();
    Ok(ours
        .union(&orphans)
        .filter_map(|pid| {
            let stat = all.get(pid)?;
            let mut labels = if orphans.contains(pid) {
                vec![("orphan-of".to_owned(), top.to_string())]
            } else {
                Vec::new()
            };
            if of.starts_with("pid-file:") {
                labels.push(("signalable".to_owned(), is_signalable(*pid).to_string()));
            }
            Some(Process {
                pid: *pid,
                parent: stat.parent,
                title: title(*pid),
                started_ms: stat.started_ms,
                labels,
            })
        })
        .collect())
}

/// `0100007F:1F90` as an address; the kernel writes each 32-bit word in the machine's order.
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(host.get(at..at + 8)?, 16).ok();
    let ip = match host.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?.to_ne_bytes())),
        32 => {
            let mut bytes = [0; 16];
            for (index, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(index * 8)?.to_ne_bytes());
            }
            let ip = Ipv6Addr::from(bytes);
            ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4)
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

pub(super) fn connections(engine: &Engine, of: &str) -> Result<Vec<Connection>, Failure> {
    let mut found = Vec::new();
    for process in tree(engine, of)? {
        let pid = process.pid;
        let handles = match fs::read_dir(format!("/proc/{pid}/fd")) {
            Ok(handles) => handles,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue, /* it ended meanwhile */
            Err(error) => {
                return Err(Failure::new(
                    Code::Denied,
                    format!("can't see the connections of process {pid}: {error}"),
                ));
            }
        };
        let sockets: BTreeSet<String> = handles
            .filter_map(|handle| fs::read_link(handle.ok()?.path()).ok())
            .filter_map(|link| {
                Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
            })
            .collect();
        for table in ["tcp", "tcp6"] {
            let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
            for line in text.lines().skip(1) {
                let fields: Vec<&str> = line.split_whitespace().collect();
                let (Some(local), Some(remote), Some(state), Some(socket)) =
                    (fields.get(1), fields.get(2), fields.get(3), fields.get(9))
                else {
                    continue;
                };
                if *state == "01"
                    && sockets.contains(*socket)
                    && let (Some(local), Some(remote)) = (address(local), address(remote))
                {
                    found.push(Connection {
                        local: local.to_string(),
                        remote: remote.to_string(),
                        pid,
                    });
                }
            }
        }
    }
    Ok(found)
}

pub(super) fn signal(engine: &Engine, of: &str, signal: &str) -> Result<(), Failure> {
    if let Some(name) = of.strip_prefix("container:") {
        return engine.kill(name, signal);
    }
    let number = match signal {
        "HUP" => rustix::process::Signal::HUP,
        "USR1" => rustix::process::Signal::USR1,
        "QUIT" => rustix::process::Signal::QUIT,
        other => {
            return Err(Failure::unsupported(format!(
                "the signal `{other}` is not supported here"
            )));
        }
    };
    let pid = i32::try_from(top(engine, of)?)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .ok_or_else(|| Failure::failed("a pid can't be zero"))?;
    rustix::process::kill_process(pid, number).map_err(|error| {
        Failure::failed(format!("can't send {signal} to process {}: {error}", pid.as_raw_nonzero()))
    })
}
