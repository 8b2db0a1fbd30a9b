//! The processes that were started from a folder, found by what the kernel says of them and ended
//! by their numbers.

use super::wait_for;
use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Whether a process has ended and only waits for its parent.
fn is_zombie(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).ok().is_none_or(|stat| {
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X']))
    })
}

/// Whether a process runs.
pub(crate) fn runs(pid: u32) -> bool {
    !is_zombie(pid)
}

/// Sends a signal.
pub fn kill(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Waits until a process has ended.
pub fn wait_gone(pid: u32) {
    wait_for(&format!("the end of process {pid}"), || is_zombie(pid).then_some(()));
}

/// The processes whose program or arguments lie below a folder; this one is never among them.
pub fn under(folder: &Path) -> Vec<u32> {
    let folder = folder.as_os_str().as_bytes();
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir("/proc") else { return found };
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if pid == std::process::id() || is_zombie(pid) {
            continue;
        }
        let holds = |bytes: &[u8]| bytes.windows(folder.len()).any(|window| window == folder);
        let link =
            |name: &str| std::fs::read_link(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let paths: [PathBuf; 2] = [link("exe"), link("cwd")];
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if paths.iter().any(|path| holds(path.as_os_str().as_bytes())) || holds(&arguments) {
            found.push(pid);
        }
    }
    found
}

/// Ends everything that was started from a folder, at once: as when the machine loses its power.
pub fn end_all(folder: &Path) {
    // A supervisor that is still alive starts its backend again, so it is looked until nothing is
    // left.
    for _ in 0..100 {
        let found = under(folder);
        if found.is_empty() {
            return;
        }
        for pid in found {
            kill(pid, Signal::KILL);
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
