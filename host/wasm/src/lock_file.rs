//! `agente.lock`: what the operator granted, per plugin and environment, bound to the digest of the
//! component.
//!
//! Only `plugin add` and `plugin remove` write the file; a deployment never does. They change one grant under a lock,
//! and only as it was when somebody decided about it.

use crate::grant::Grant;
use agente_engine::names::{EnvironmentName, PluginName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The version of the file's form.
const VERSION: u32 = 1;

const HEADING: &str = "# Written by `agente-host plugin add` and `plugin remove`: what each \
                       plugin is granted, per environment.\n\n";

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockFile {
    version: u32,
    #[serde(default)]
    plugins: BTreeMap<PluginName, BTreeMap<EnvironmentName, Grant>>,
}

/// Why the file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LockFileError {
    /// It could not be read.
    #[error("the lock file `{}` can't be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// It is not what we write.
    #[error("the lock file `{}` is damaged; restore it from version control, or remove it and grant again with `agente-host plugin add`", path.display())]
    Syntax {
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A later host wrote it.
    #[error("the lock file `{}` has version {found}, but this host supports version {VERSION}: \
    use the host that wrote it", path.display())]
    Version {
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// It could not be written.
    #[error("the lock file `{}` can't be written", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// It could not be locked.
    #[error("the directory of the lock file `{}` can't be locked", path.display())]
    Lock {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Somebody else was faster.
    #[error("the grant of `{plugin}` for {environment} in `{}` was changed in the meantime; \
    nothing was written", path.display())]
    Changed {
        path: PathBuf,
        /// Whose grant.
        plugin: PluginName,
        /// In which environment.
        environment: EnvironmentName,
    },
    /// It could not be put into its form.
    #[error("the lock file `{}` can't be serialized", path.display())]
    Form {
        path: PathBuf,
        #[source]
        source: Box<toml::ser::Error>,
    },
}

impl Default for LockFile {
    fn default() -> Self {
        Self { version: VERSION, plugins: BTreeMap::new() }
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Locks the folder of the file, for the file itself is replaced and one beside it would be
/// committed by mistake. Dropping what is returned unlocks it.
fn lock_folder(path: &Path) -> std::io::Result<std::fs::File> {
    use rustix::io::Errno;
    let folder = std::fs::File::open(folder_of(path))?;
    match rustix::io::retry_on_intr(|| {
        rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockExclusive)
    }) {
        // A network file system that can't lock a folder: there the comparison with what was seen
        // must do.
        Ok(()) | Err(Errno::BADF | Errno::NOLCK | Errno::OPNOTSUPP | Errno::INVAL) => Ok(folder),
        Err(error) => Err(error.into()),
    }
}

impl LockFile {
    /// Reads a file; an absent one grants nothing.
    pub fn read(path: &Path) -> Result<Self, LockFileError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(source) => return Err(LockFileError::Read { path: path.to_owned(), source }),
        };
        let file: Self = toml::from_str(&text).map_err(|source| LockFileError::Syntax {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        if file.version != VERSION {
            return Err(LockFileError::Version { path: path.to_owned(), found: file.version });
        }
        Ok(file)
    }

    /// Writes the file as one step: sorted, the same bytes for the same grants.
    pub fn write(&self, path: &Path) -> Result<(), LockFileError> {
        let text = toml::to_string(self).map_err(|source| LockFileError::Form {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        let folder = folder_of(path);
        let write = || {
            let mut file = tempfile::Builder::new()
                .prefix(".agente.lock.")
                .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
                .tempfile_in(folder)?;
            file.write_all(HEADING.as_bytes())?;
            file.write_all(text.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(path).map_err(|error| error.error)?;
            std::fs::File::open(folder)?.sync_all()
        };
        write().map_err(|source| LockFileError::Write { path: path.to_owned(), source })
    }

    /// Puts `next` in the place of the grant that was `seen`, or takes that away. All other grants
    /// stay as they are in the file by now.
    ///
    /// # Errors
    ///
    /// Returns [`LockFileError::Changed`] where the grant is not the one that was seen any more.
    pub fn change(
        path: &Path,
        plugin: &PluginName,
        environment: &EnvironmentName,
        seen: Option<&Grant>,
        next: Option<Grant>,
    ) -> Result<(), LockFileError> {
        let _turn = lock_folder(path)
            .map_err(|source| LockFileError::Lock { path: path.to_owned(), source })?;
        let mut file = Self::read(path)?;
        if file.grant(plugin, environment) != seen {
            return Err(LockFileError::Changed {
                path: path.to_owned(),
                plugin: plugin.clone(),
                environment: environment.clone(),
            });
        }
        match next {
            Some(grant) => file.set(plugin.clone(), environment.clone(), grant),
            None => drop(file.remove(plugin, Some(environment))),
        }
        file.write(path)
    }

    /// The grant of a plugin in an environment.
    pub fn grant(&self, plugin: &PluginName, environment: &EnvironmentName) -> Option<&Grant> {
        self.plugins.get(plugin)?.get(environment)
    }

    /// All grants, sorted.
    pub fn grants(&self) -> impl Iterator<Item = (&PluginName, &EnvironmentName, &Grant)> {
        self.plugins.iter().flat_map(|(plugin, environments)| {
            environments.iter().map(move |(environment, grant)| (plugin, environment, grant))
        })
    }

    /// Sets the grant of a plugin in an environment.
    pub fn set(&mut self, plugin: PluginName, environment: EnvironmentName, grant: Grant) {
        self.plugins.entry(plugin).or_default().insert(environment, grant);
    }

    /// Removes a plugin's grant in one environment, or in all. Says whether there was one.
    pub fn remove(&mut self, plugin: &PluginName, environment: Option<&EnvironmentName>) -> bool {
        let Some(environments) = self.plugins.get_mut(plugin) else { return false };
        let before = environments.len();
        environments.retain(|name, _| environment.is_some_and(|environment| environment != name));
        let removed = environments.len() < before;
        if environments.is_empty() {
            self.plugins.remove(plugin);
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::Capabilities;
    use crate::component::digest_of;

    fn capabilities(folder: &str) -> Capabilities {
        toml::from_str(&format!(
            r#"
            files = [{{ path = "{folder}/*", access = "write" }}]
            exec = [{{ program = "/usr/sbin/nginx", args = ["-t"], phase = "read" }}, {{ program = "/usr/sbin/nginx", args = ["-s", "reload"], phase = "write" }}]
            tcp = [{{ address = "@backends" }}]
            "#
        ))
        .unwrap()
    }

    fn names() -> (PluginName, EnvironmentName) {
        (PluginName::new("nginx-switch").unwrap(), EnvironmentName::new("production").unwrap())
    }

    #[test]
    fn what_is_written_is_read_again_and_written_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agente.lock");
        let (plugin, environment) = names();
        let mut lock = LockFile::default();
        lock.set(
            plugin.clone(),
            environment.clone(),
            Grant::of_all(
                "plugins/nginx-switch.wasm",
                digest_of(b"a"),
                capabilities("/etc/nginx/conf.d"),
            ),
        );
        lock.set(
            PluginName::new("a").unwrap(),
            environment.clone(),
            Grant::of_all("a.wasm", digest_of(b"b"), Capabilities::default()),
        );
        lock.write(&path).unwrap();
        let first = std::fs::read_to_string(&path).unwrap();
        let again = LockFile::read(&path).unwrap();
        assert_eq!(again, lock);
        again.write(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), first);
        assert!(first.find("plugins.a.") < first.find("plugins.nginx-switch."), "{first}");
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            1,
            "a temporary file was left"
        );
    }

    #[test]
    fn a_grant_is_removed_once() {
        let (plugin, environment) = names();
        let mut lock = LockFile::default();
        lock.set(
            plugin.clone(),
            environment.clone(),
            Grant::of_all("x.wasm", digest_of(b"a"), capabilities("/etc")),
        );
        assert!(lock.remove(&plugin, Some(&environment)));
        assert!(!lock.remove(&plugin, None));
    }

    #[test]
    fn a_grant_is_changed_only_as_it_was_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agente.lock");
        let (plugin, environment) = names();
        let grant = |folder: &str| Grant::of_all("x.wasm", digest_of(b"a"), capabilities(folder));
        let change = |seen: Option<&Grant>, next: Option<Grant>| {
            LockFile::change(&path, &plugin, &environment, seen, next)
        };
        change(None, Some(grant("/a"))).unwrap();
        // Somebody else granted, changed or revoked it while a person was asked.
        assert!(matches!(change(None, Some(grant("/b"))), Err(LockFileError::Changed { .. })));
        assert!(matches!(change(Some(&grant("/b")), None), Err(LockFileError::Changed { .. })));
        change(Some(&grant("/a")), None).unwrap();
        assert!(
            matches!(
                change(Some(&grant("/a")), Some(grant("/b"))),
                Err(LockFileError::Changed { .. })
            ),
            "a revoked grant came back"
        );
        assert_eq!(LockFile::read(&path).unwrap(), LockFile::default());
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            1,
            "something was left beside the file"
        );
    }

    #[test]
    fn grants_that_are_given_at_the_same_time_are_all_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agente.lock");
        let (_, environment) = names();
        std::thread::scope(|scope| {
            for number in 0..16 {
                let (path, environment) = (&path, &environment);
                scope.spawn(move || {
                    let plugin = PluginName::new(format!("plugin-{number}")).unwrap();
                    let grant = Grant::of_all("x.wasm", digest_of(b"a"), capabilities("/etc"));
                    LockFile::change(path, &plugin, environment, None, Some(grant)).unwrap();
                });
            }
        });
        assert_eq!(LockFile::read(&path).unwrap().grants().count(), 16);
    }

    #[test]
    fn a_damaged_or_newer_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agente.lock");
        assert_eq!(LockFile::read(&path).unwrap(), LockFile::default());
        std::fs::write(&path, "version = 2\n").unwrap();
        assert!(matches!(LockFile::read(&path), Err(LockFileError::Version { found: 2, .. })));
        std::fs::write(&path, "version = 1\n[plugins.x.production]\nall = true\n").unwrap();
        assert!(matches!(LockFile::read(&path), Err(LockFileError::Syntax { .. })));
    }
}
