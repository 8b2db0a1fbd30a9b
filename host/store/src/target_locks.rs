//! Locks of targets: changes of one NGINX take turns, whichever service, store or user they come
//! from.
//!
//! The lock is taken twice: in the machine's folder for locks, where there is one, and in the
//! store's own, which all users of the store can open. Always in this order, so that nobody waits
//! for nobody.

use crate::directory::Access;
use crate::faults;
use crate::file_lock::{FileLock, FileLockError, LockKind};
use crate::patience;
use crate::store::EmbeddedStore;
use agente_engine::fault::Fault;
use agente_engine::ports::{TargetLock, TargetLocks};
use async_trait::async_trait;
use sha2::{Digest as _, Sha256};
use std::io::ErrorKind;
use std::path::Path;

/// The folder within the machine's that an administrator may make for those who deploy.
const OWN_FOLDER: &str = "agente-host";

#[async_trait]
impl TargetLocks for EmbeddedStore {
    async fn lock_target(&self, key: &str) -> Result<TargetLock, Fault> {
        let attempted = format!("the target `{key}` can't be locked");
        let name = file_name(key);
        let of_machine = match self.directory.machine_locks() {
            Some(folder) => take_of_machine(folder, &name, self.access())
                .await
                .map_err(|error| faults::lock(&attempted, &error))?,
            None => None,
        };
        let of_store = FileLock::take(
            &self.directory.locks().join(&name),
            self.access(),
            LockKind::Exclusive,
            patience::TARGET,
        )
        .await
        .map_err(|error| faults::lock(&attempted, &error))?;
        // Freed in the order in which they were taken: whoever waits for the second has the first.
        Ok(TargetLock::new((of_machine, of_store)))
    }
}

/// Takes the machine's lock; none where its folder can't be used. What belongs to others is not
/// passed over: they may be at the target right now.
async fn take_of_machine(
    folder: &Path,
    name: &str,
    access: Access,
) -> Result<Option<FileLock>, FileLockError> {
    let own = folder.join(OWN_FOLDER);
    let is_for_us = own.is_dir();
    let path = if is_for_us { own.join(name) } else { folder.join(name) };
    match FileLock::take(&path, access, LockKind::Exclusive, patience::TARGET).await {
        Err(FileLockError::Io { source, .. })
            if source.kind() == ErrorKind::PermissionDenied && (is_for_us || path.exists()) =>
        {
            Err(FileLockError::NotOurs { path })
        }
        Err(FileLockError::Io { source, .. })
            if matches!(
                source.kind(),
                ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            Ok(None)
        }
        other => other.map(Some),
    }
}

/// A file name that any key fits into.
fn file_name(key: &str) -> String {
    let digest = hex::encode(Sha256::digest(key.as_bytes()));
    format!("agente-target-{}.lock", digest.get(..32).unwrap_or(&digest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::other_process::{Other, child_folder};
    use crate::sample;
    use futures_util::FutureExt;
    use std::fs::Permissions;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    /// Whether a lock can be had now: then nobody has to wait for it.
    fn is_free(store: &EmbeddedStore, key: &str) -> bool {
        store.lock_target(key).now_or_never().is_some_and(|locked| locked.is_ok())
    }

    #[tokio::test]
    async fn a_target_is_one_holders_at_a_time_across_stores_and_targets_do_not_meet() {
        let (machine, first, second) = (
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
        );
        let first = sample::store_with_locks(first.path(), Some(machine.path())).await;
        let second = sample::store_with_locks(second.path(), Some(machine.path())).await;
        let held = first.lock_target("nginx:/etc/nginx").await.unwrap();
        assert!(!is_free(&second, "nginx:/etc/nginx"));
        assert!(!is_free(&first, "nginx:/etc/nginx"));
        assert!(is_free(&second, "nginx:/opt/nginx"));
        drop(held);
        assert!(is_free(&second, "nginx:/etc/nginx"));
    }

    /// A group that is not the one that new files get by themselves, where this user may give files
    /// away to one.
    fn another_group() -> u32 {
        let own = rustix::process::getegid().as_raw();
        if rustix::process::geteuid().is_root() {
            return own + 4_242;
        }
        let groups = rustix::process::getgroups().unwrap();
        groups.iter().map(|group| group.as_raw()).find(|group| *group != own).unwrap_or(own)
    }

    #[tokio::test]
    async fn the_machines_lock_belongs_to_the_group_of_the_state_and_to_nobody_else() {
        let (machine, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let owner = |folder: &Path| {
            let file = std::fs::metadata(folder.join(file_name("nginx"))).unwrap();
            (file.mode() & 0o777, file.gid())
        };
        let store = sample::store_with_locks(state.path(), Some(machine.path())).await;
        drop(store.lock_target("nginx").await.unwrap());
        assert_eq!(owner(machine.path()).0, 0o600, "a private state, a private lock");

        let own = machine.path().join(OWN_FOLDER);
        std::fs::create_dir(&own).unwrap();
        let group = another_group();
        std::os::unix::fs::chown(state.path(), None, Some(group)).unwrap();
        std::fs::set_permissions(state.path(), Permissions::from_mode(0o2770)).unwrap();
        drop(store.lock_target("nginx").await.unwrap());
        assert_eq!(owner(&own), (0o660, group));
    }

    #[test]
    fn a_lock_that_belongs_to_others_is_refused_with_what_to_do_and_not_passed_over() {
        let machine = tempfile::tempdir().unwrap();
        std::fs::set_permissions(machine.path(), Permissions::from_mode(0o1777)).unwrap();
        let path = machine.path().join(file_name("nginx"));
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
        let folder = machine.path().to_owned();
        // The thread becomes nobody, where it may be anybody: root is not refused.
        let taken = std::thread::spawn(move || {
            if rustix::process::geteuid().is_root() {
                let nobody = rustix::process::Uid::from_raw(65534);
                rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            }
            let name = file_name("nginx");
            let taking = take_of_machine(&folder, &name, Access::PRIVATE);
            taking.now_or_never().expect("it waits")
        });
        let Err(error) = taken.join().unwrap() else { panic!("it was passed over") };
        assert!(matches!(error, FileLockError::NotOurs { .. }), "{error:?}");
        let fault = faults::lock("the target can't be locked", &error);
        assert!(fault.hint.unwrap().contains("install -d -m 2770"));
    }

    #[tokio::test]
    async fn without_a_machine_wide_folder_the_stores_own_lock_holds() {
        let folder = tempfile::tempdir().unwrap();
        let store =
            sample::store_with_locks(folder.path(), Some(&folder.path().join("missing"))).await;
        let held = store.lock_target("nginx").await.unwrap();
        assert!(!is_free(&store, "nginx"));
        drop(held);
        assert!(is_free(&store, "nginx"));
    }

    #[tokio::test]
    async fn a_link_in_the_lock_files_place_is_refused_with_what_to_do() {
        let (folder, machine) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = sample::store_with_locks(folder.path(), Some(machine.path())).await;
        let victim = machine.path().join("victim");
        std::os::unix::fs::symlink(&victim, machine.path().join(file_name("nginx"))).unwrap();
        let Err(fault) = store.lock_target("nginx").await else { panic!("the link was followed") };
        assert!(fault.message.contains("symbolic link") && fault.hint.is_some(), "{fault:?}");
        assert!(!victim.exists());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_target_is_free_as_soon_as_its_killed_holder_is_gone() {
        if let Some(folder) = child_folder() {
            let store = sample::store(&folder).await;
            let _held = store.lock_target("nginx").await.unwrap_or_else(|fault| panic!("{fault}"));
            println!("child: held");
            std::io::stdin().read_line(&mut String::new()).unwrap();
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let store = sample::store(folder.path()).await;
        let mut other = Other::start(
            "target_locks::tests::a_target_is_free_as_soon_as_its_killed_holder_is_gone",
            folder.path(),
        );
        assert_eq!(other.says(), "held");
        assert!(!is_free(&store, "nginx"));
        other.kill();
        assert!(is_free(&store, "nginx"));
    }
}
