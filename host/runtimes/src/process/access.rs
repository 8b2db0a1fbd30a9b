//! Who may use what the runtime makes: in a folder that its group may write to, the group too,
//! whatever the mask of the process says.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

/// What a group may do with a file of a shared folder.
const SHARED_FILE: u32 = 0o660;

/// Gives a file to the group of its folder where that is shared; one that another user made and
/// opened up is left as it is.
pub(super) fn share(file: &File, folder: &Path) -> io::Result<()> {
    let (above, own) = (fs::metadata(folder)?, file.metadata()?);
    if above.mode() & 0o020 == 0 || own.uid() != rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    if own.gid() != above.gid() {
        // Refused where the user is not in the group: then the mode is all we can give.
        let _ = fchown(file, None, Some(above.gid()));
    }
    if own.mode() & 0o777 == SHARED_FILE {
        Ok(())
    } else {
        file.set_permissions(Permissions::from_mode(SHARED_FILE))
    }
}

/// Makes a folder as open as the one above it, unless it is there; never open to everybody, and
/// those above it likewise.
pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent() {
        make_folder(above)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    }
    match path.parent().and_then(|above| fs::metadata(above).ok()) {
        Some(above) => fs::set_permissions(path, Permissions::from_mode(above.mode() & 0o7775)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::os::unix::fs::OpenOptionsExt;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn made_in(folder_mode: u32) -> (u32, u32) {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(folder_mode)).unwrap();
        let inner = folder.path().join("outer/inner");
        make_folder(&inner).unwrap();
        let file = inner.join("file");
        share(
            &OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file).unwrap(),
            &inner,
        )
        .unwrap();
        (mode(&inner), mode(&file))
    }

    #[test]
    fn what_lies_in_a_shared_folder_is_shared_and_nothing_else_is() {
        assert_eq!(made_in(0o2770), (0o2770, 0o660));
        assert_eq!(made_in(0o700), (0o700, 0o600));
        assert_eq!(made_in(0o777), (0o775, 0o660), "never open to everybody");
    }
}
