//! A small file system of a test's own, which can be filled to the last byte.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Big enough for the sample service, the compiled plugins and what a few deployments leave.
const MIB: u64 = 120;

/// A tmpfs at a folder; gone with this.
pub struct SmallDisk {
    folder: PathBuf,
    filler: PathBuf,
    greedy: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl SmallDisk {
    /// Mounts it at a folder, which is made.
    pub(super) fn at(folder: &Path) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "only root can mount a file system; run the tests as root"
        );
        std::fs::create_dir_all(folder).expect("a folder");
        let size = format!("size={MIB}m,mode=700");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder));
        Self { folder: folder.to_owned(), filler: folder.join("of-somebody-else"), greedy: None }
    }

    /// How many bytes are free.
    pub fn free(&self) -> u64 {
        let found = rustix::fs::statvfs(&self.folder).expect("the small disk");
        found.f_bavail * found.f_frsize
    }

    /// Fills it once, to the last byte.
    pub fn fill(&self) {
        // Somebody else may give something back meanwhile, so this is not asked for by free bytes.
        swallow(&self.filler);
    }

    /// Fills it, and goes on taking every byte that becomes free, as a log that nobody stops.
    pub fn keep_full(&mut self) {
        self.fill();
        let go_on = Arc::new(AtomicBool::new(true));
        let (goes_on, filler) = (Arc::clone(&go_on), self.filler.clone());
        let greedy = std::thread::spawn(move || {
            while goes_on.load(Ordering::Relaxed) {
                swallow(&filler);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        self.greedy = Some((go_on, greedy));
    }

    /// Ends whoever keeps it full, and gives so many bytes back.
    pub fn make_room(&mut self, bytes: u64) {
        self.end_greed();
        let filler = OpenOptions::new().write(true).open(&self.filler).expect("what fills it");
        let there = filler.metadata().expect("its size").len();
        filler.set_len(there.saturating_sub(bytes)).expect("less of it");
    }

    fn end_greed(&mut self) {
        if let Some((go_on, greedy)) = self.greedy.take() {
            go_on.store(false, Ordering::Relaxed);
            greedy.join().expect("its thread");
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.end_greed();
        // Who still has a file open there keeps what is left of it, and nobody else finds it.
        let _ = Command::new("umount").arg("--lazy").arg(&self.folder).status();
    }
}

/// Writes until nothing more fits.
fn swallow(filler: &Path) {
    let mut file: File =
        OpenOptions::new().create(true).append(true).open(filler).expect("a file on the disk");
    while file.write_all(&[b'x'; 4096]).is_ok() {}
}

fn run(command: &mut Command) {
    let ended = command.output().expect("the command runs");
    assert!(ended.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ended.stderr));
}
