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
    use std::fs::Permissions;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    /// Whether a lock can be had now.
    async fn is_free(store: &EmbeddedStore, key: &str) -> bool {
        tokio::time::timeout(Duration::from_millis(30), store.lock_target(key)).await.is_ok()
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
        assert!(!is_free(&second, "nginx:/etc/nginx").await);
        assert!(!is_free(&first, "nginx:/etc/nginx").await);
        assert!(is_free(&second, "nginx:/opt/nginx").await);
        drop(held);
        assert!(is_free(&second, "nginx:/etc/nginx").await);
    }

    #[tokio::test]
    async fn the_machines_lock_belongs_to_the_group_of_the_state_and_to_nobody_else() {
        let (machine, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mode = |folder: &Path| {
            let file = std::fs::metadata(folder.join(file_name("nginx"))).unwrap();
            (file.mode() & 0o777, file.gid())
        };
        let private = sample::store_with_locks(state.path(), Some(machine.path())).await;
        drop(private.lock_target("nginx").await.unwrap());
        assert_eq!(mode(machine.path()).0, 0o600);

        let own = machine.path().join(OWN_FOLDER);
        std::fs::create_dir(&own).unwrap();
        std::fs::set_permissions(state.path(), Permissions::from_mode(0o2770)).unwrap();
        drop(private.lock_target("nginx").await.unwrap());
        let gid = std::fs::metadata(state.path()).unwrap().gid();
        assert_eq!(mode(&own), (0o660, gid));
    }

    #[tokio::test]
    async fn without_a_machine_wide_folder_the_stores_own_lock_holds() {
        let folder = tempfile::tempdir().unwrap();
        let store =
            sample::store_with_locks(folder.path(), Some(&folder.path().join("missing"))).await;
        let held = store.lock_target("nginx").await.unwrap();
        assert!(!is_free(&store, "nginx").await);
        drop(held);
        assert!(is_free(&store, "nginx").await);
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
        assert!(!is_free(&store, "nginx").await);
        other.kill();
        assert!(is_free(&store, "nginx").await);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn many_waiters_each_get_their_turn_alone() {
        let folder = tempfile::tempdir().unwrap();
        let store = sample::store(folder.path()).await;
        let inside = std::sync::Arc::new(AtomicU32::new(0));
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let (store, inside) = (store.clone(), inside.clone());
                tokio::spawn(async move {
                    let lock = store.lock_target("nginx").await.unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at once");
                    tokio::task::yield_now().await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(lock);
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    }
}
