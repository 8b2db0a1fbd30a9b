//! Where this program is: asked once, at the start, because the answer changes when the file is
//! replaced.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

static PATH: OnceLock<Option<PathBuf>> = OnceLock::new();

/// The path from which this program was started; none where the system does not tell. Its
/// supervisors are started from there, in whatever version is there by then.
pub(crate) fn path() -> Option<&'static Path> {
    PATH.get_or_init(|| std::env::current_exe().ok()).as_deref()
}
