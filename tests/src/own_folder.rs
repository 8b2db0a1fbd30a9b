//! The folder of a program that makes scenes: what an earlier run left in it is ended first, and a
//! run that is interrupted leaves nothing in it.

use crate::scene;
use std::path::{Path, PathBuf};
use tokio::signal::unix::{SignalKind, signal};

/// Takes the folder for temporary files as the program's own. Its name must be `name`, so that
/// nothing else is ever emptied.
///
/// # Errors
///
/// Says what to set where the folder is another one.
pub fn take(name: &str) -> Result<(), String> {
    let folder = std::env::temp_dir();
    if !folder.ends_with(name) {
        return Err(format!(
            "{name}: set TMPDIR to a folder of its own named `{name}`, as `tests/bin/{name}` does"
        ));
    }
    clear(&folder);
    let made = std::fs::create_dir_all(&folder);
    made.map_err(|error| format!("{name}: `{}` can't be made: {error}", folder.display()))?;
    end_on_signal(folder);
    Ok(())
}

/// Ends what runs from a folder, and removes it.
fn clear(folder: &Path) {
    scene::end_all(folder);
    let _ = std::fs::remove_dir_all(folder);
}

fn end_on_signal(folder: PathBuf) {
    std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
            return;
        };
        runtime.block_on(async {
            let (Ok(mut terminate), Ok(mut interrupt)) =
                (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
            else {
                return;
            };
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            clear(&folder);
            // What the other threads may have begun meanwhile.
            clear(&folder);
            std::process::exit(130);
        });
    });
}
