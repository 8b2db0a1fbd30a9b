//! What a supervisor waits for, all at once and without a busy loop: the end of its backend, a
//! request in its directory, a signal, a time.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How often the directory is looked at where the system has no watch left to give.
const WITHOUT_WATCH: Duration = Duration::from_millis(100);

/// The signals that a closed terminal sends, and that must not reach a supervisor. They are caught
/// and dropped rather than ignored, because an ignored signal would stay ignored in the backend.
const DROPPED: [i32; 3] = [1, 2, 3];

/// SIGTERM: stop the backend and end, as at shutdown.
const TERMINATE: i32 = 15;

/// The sources.
pub(super) struct Wake {
    terminate: UnixStream,
    changes: Option<OwnedFd>,
    told_to_end: bool,
}

impl Wake {
    /// Begins to listen. Called before anything can be lost by not listening.
    pub(super) fn new() -> io::Result<Self> {
        let (terminate, sender) = UnixStream::pair()?;
        terminate.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(TERMINATE, sender)?;
        let (_unread, dropped) = UnixStream::pair()?;
        for signal in DROPPED {
            signal_hook::low_level::pipe::register(signal, dropped.try_clone()?)?;
        }
        Ok(Self { terminate, changes: None, told_to_end: false })
    }

    /// Hears of changes in the directory too. Where that is not possible it is looked at ten times a second.
    pub(super) fn hear_changes_in(&mut self, directory: &Path) {
        self.changes =
            inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
                .and_then(|watch| {
                    inotify::add_watch(&watch, directory, inotify::WatchFlags::MOVED_TO)
                        .map(|_| watch)
                })
                .ok();
    }

    /// Whether SIGTERM has come.
    pub(super) fn told_to_end(&self) -> bool {
        self.told_to_end
    }

    /// Waits for any of them, at most `timeout`. True when `process` has ended.
    pub(super) fn wait(&mut self, process: Option<BorrowedFd<'_>>, timeout: Duration) -> bool {
        let timeout = if self.changes.is_none() { timeout.min(WITHOUT_WATCH) } else { timeout };
        let limit = Timespec::try_from(timeout).ok();
        let mut sources = vec![PollFd::new(&self.terminate, PollFlags::IN)];
        sources.extend(self.changes.as_ref().map(|changes| PollFd::new(changes, PollFlags::IN)));
        let watched = process.is_some();
        if let Some(process) = process {
            sources.push(PollFd::from_borrowed_fd(process, PollFlags::IN));
        }
        // Interrupted: the caller looks at everything again anyway.
        let _woken = poll(&mut sources, limit.as_ref());
        let ended = watched && sources.last().is_some_and(|source| !source.revents().is_empty());
        drop(sources);
        let mut buffer = [0; 4096];
        while matches!((&self.terminate).read(&mut buffer), Ok(read) if read > 0) {
            self.told_to_end = true;
        }
        if let Some(changes) = &self.changes {
            while matches!(rustix::io::read(changes.as_fd(), &mut buffer), Ok(read) if read > 0) {}
        }
        ended
    }
}
