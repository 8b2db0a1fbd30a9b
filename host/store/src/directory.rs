//! Where the state lives, and what the folder looks like inside.
//!
//! A folder that its group may write to is shared: what is made in it belongs to the group too,
//! whatever the mask of the process says. Otherwise everything in it is private to its user.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The machine's own folder; made by the administrator, writable for the group that deploys.
const SYSTEM_FOLDER: &str = "/var/lib/agente-host";
/// Where Linux keeps lock files that all users share.
const MACHINE_LOCKS: &str = "/run/lock";
/// The name of our folder within a user's state directory.
const USER_FOLDER: &str = "agente-host";

/// What decides where the state lives. Filled in by the command line; this crate reads no
/// environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateInputs {
    /// What the user said, by option or variable. Wins.
    pub explicit: Option<PathBuf>,
    /// The machine's folder, taken where it is there and writable.
    pub system: PathBuf,
    /// `$XDG_STATE_HOME`; ignored unless absolute, as its specification demands.
    pub xdg_state_home: Option<PathBuf>,
    pub home: Option<PathBuf>,
    /// The folder for locks that state directories of one machine share. A folder `agente-host` in
    /// it is used instead where an administrator made one. Where there is neither, the state
    /// directory's own locks have to do.
    pub machine_locks: Option<PathBuf>,
}

impl Default for StateInputs {
    fn default() -> Self {
        Self {
            explicit: None,
            system: SYSTEM_FOLDER.into(),
            xdg_state_home: None,
            home: None,
            machine_locks: Some(MACHINE_LOCKS.into()),
        }
    }
}

/// By which rule the state directory was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The user named it.
    Explicit,
    /// It is the machine's.
    System,
    /// It is the user's own.
    User,
}

/// Why there is no usable state directory.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// No rule gave one.
    #[error("there is nowhere to keep the state: `{}` is missing or not writable, and the home \
    directory is unknown", system.display())]
    Nowhere {
        /// The machine's folder.
        system: PathBuf,
    },
    /// Something else is at its path.
    #[error("the state directory `{}` is not a directory", path.display())]
    NotADirectory { path: PathBuf },
    /// A part of it can't be made or read.
    #[error("the state directory's `{}` can't be used", path.display())]
    Unusable {
        /// Which part.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl DirectoryError {
    /// What to type or change.
    pub fn hint(&self) -> String {
        match self {
            Self::Nowhere { .. } => "set `--state`, or set `HOME`".to_owned(),
            Self::NotADirectory { path } => {
                format!("move `{}` away, or use another state directory", path.display())
            }
            Self::Unusable { path, .. } => {
                format!(
                    "check with `ls -ld {}` that you can write there; to share it with a group: \
                     `install -d -m 2770 -g <group> <directory>`",
                    path.display()
                )
            }
        }
    }
}

/// The folder that holds everything the host remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDirectory {
    root: PathBuf,
    origin: Origin,
    passed_over: Option<PathBuf>,
    machine_locks: Option<PathBuf>,
}

impl StateDirectory {
    /// Chooses the folder: the explicit one; else the machine's, where it may be written to; else
    /// the user's. Makes nothing.
    pub fn resolve(inputs: &StateInputs) -> Result<Self, DirectoryError> {
        let with = |root: PathBuf, origin, passed_over| Self {
            root,
            origin,
            passed_over,
            machine_locks: inputs.machine_locks.clone(),
        };
        if let Some(path) = &inputs.explicit {
            let root = std::path::absolute(path)
                .map_err(|source| DirectoryError::Unusable { path: path.clone(), source })?;
            return Ok(with(root, Origin::Explicit, None));
        }
        if is_writable_folder(&inputs.system) {
            return Ok(with(inputs.system.clone(), Origin::System, None));
        }
        let passed_over = inputs.system.is_dir().then(|| inputs.system.clone());
        let absolute = |path: &&PathBuf| path.is_absolute();
        let of_user = inputs.xdg_state_home.as_ref().filter(absolute).cloned();
        let of_user = of_user.or_else(|| {
            inputs.home.as_ref().filter(absolute).map(|home| home.join(".local/state"))
        });
        let of_user =
            of_user.ok_or_else(|| DirectoryError::Nowhere { system: inputs.system.clone() })?;
        Ok(with(of_user.join(USER_FOLDER), Origin::User, passed_over))
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// By which rule it was found.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The machine's folder, if it is there but was passed over because it can't be written to:
    /// worth telling the user.
    pub fn passed_over(&self) -> Option<&Path> {
        self.passed_over.as_deref()
    }

    /// The `SQLite` file.
    pub fn database(&self) -> PathBuf {
        self.root.join("store.db")
    }

    /// Space that is kept for taking a release back on a full disk.
    pub(crate) fn reserve(&self) -> PathBuf {
        self.root.join("reserve")
    }

    /// Artifacts, `<hex digest>/<file name>`.
    pub fn artifacts(&self) -> PathBuf {
        self.root.join("artifacts")
    }

    /// What runtimes keep about local backends.
    pub fn backends(&self) -> PathBuf {
        self.root.join("backends")
    }

    /// What can be made again: compiled plugins.
    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// A path that only a store leaves behind; none in a directory that never had one.
    pub(crate) fn remains(&self) -> io::Result<Option<PathBuf>> {
        for part in [self.backends(), self.artifacts()] {
            let mut entries = match std::fs::read_dir(&part) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if let Some(first) = entries.next() {
                return first.map(|first| Some(first.path()));
            }
        }
        Ok(None)
    }

    /// Lock files. They stay; only the locks on them come and go.
    pub fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    /// The folder for locks that all users of the machine share.
    pub(crate) fn machine_locks(&self) -> Option<&Path> {
        self.machine_locks.as_deref()
    }

    /// Makes the folder and its parts where they are missing.
    pub(crate) fn create(&self) -> Result<(), DirectoryError> {
        let unusable = |path: &Path| {
            let path = path.to_owned();
            |source| DirectoryError::Unusable { path, source }
        };
        if !self.root.is_dir() {
            if self.root.exists() {
                return Err(DirectoryError::NotADirectory { path: self.root.clone() });
            }
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&self.root)
                .map_err(unusable(&self.root))?;
        }
        let access = self.access().map_err(unusable(&self.root))?;
        for part in [self.artifacts(), self.backends(), self.cache(), self.locks()] {
            access.make_folder(&part).map_err(unusable(&part))?;
        }
        Ok(())
    }

    /// Who may use what is made in the folder.
    pub(crate) fn access(&self) -> io::Result<Access> {
        let metadata = std::fs::metadata(&self.root)?;
        Ok(Access { group: (metadata.mode() & 0o020 != 0).then(|| metadata.gid()) })
    }
}

/// Who may use a new file or folder: its user alone, or a group too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access {
    group: Option<u32>,
}

impl Access {
    /// For its user alone.
    pub(crate) const PRIVATE: Self = Self { group: None };

    /// For a group.
    #[cfg(test)]
    pub(crate) const fn of_group(group: u32) -> Self {
        Self { group: Some(group) }
    }

    /// The mode of a folder. A shared one hands its group down.
    fn folder_mode(self) -> u32 {
        if self.group.is_some() { 0o2770 } else { 0o700 }
    }

    /// The mode of a file.
    pub(crate) fn file_mode(self) -> u32 {
        if self.group.is_some() { 0o660 } else { 0o600 }
    }

    /// Makes a folder unless it is there.
    pub(crate) fn make_folder(self, path: &Path) -> io::Result<()> {
        match DirBuilder::new().mode(self.folder_mode()).create(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        self.hand_over(&File::open(path)?, self.folder_mode())
    }

    /// Makes an empty file unless it is there.
    pub(crate) fn make_file(self, path: &Path) -> io::Result<()> {
        match OpenOptions::new().write(true).create_new(true).mode(self.file_mode()).open(path) {
            Ok(file) => self.hand_over(&file, self.file_mode()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Gives something new to the group, if there is one, and the mode that the process's mask may
    /// have narrowed.
    pub(crate) fn hand_over(self, file: &File, mode: u32) -> io::Result<()> {
        if let Some(group) = self.group
            && file.metadata()?.gid() != group
        {
            // Refused where the user is not in the group: then the folder was made writable for
            // somebody else, and the mode is all we can give.
            let _ = std::os::unix::fs::fchown(file, None, Some(group));
        }
        file.set_permissions(Permissions::from_mode(mode))
    }
}

fn is_writable_folder(path: &Path) -> bool {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    path.is_dir()
        && accessat(CWD, path, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(root: &Path) -> StateInputs {
        StateInputs {
            explicit: None,
            system: root.join("system"),
            xdg_state_home: Some(root.join("xdg")),
            home: Some(root.join("home")),
            machine_locks: None,
        }
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn an_explicit_folder_wins_then_the_machines_then_the_users() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let mut inputs = inputs(root);
        let found = StateDirectory::resolve(&inputs).unwrap();
        assert_eq!(
            (found.root(), found.origin()),
            (root.join("xdg/agente-host").as_path(), Origin::User)
        );

        std::fs::create_dir(root.join("system")).unwrap();
        let found = StateDirectory::resolve(&inputs).unwrap();
        assert_eq!((found.root(), found.origin()), (root.join("system").as_path(), Origin::System));

        inputs.explicit = Some(root.join("mine"));
        let found = StateDirectory::resolve(&inputs).unwrap();
        assert_eq!((found.root(), found.origin()), (root.join("mine").as_path(), Origin::Explicit));
    }

    #[test]
    fn a_relative_state_home_is_ignored_and_without_a_home_there_is_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let mut inputs = inputs(folder.path());
        inputs.xdg_state_home = Some("relative".into());
        assert_eq!(
            StateDirectory::resolve(&inputs).unwrap().root(),
            folder.path().join("home/.local/state/agente-host")
        );
        inputs.home = None;
        assert!(matches!(StateDirectory::resolve(&inputs), Err(DirectoryError::Nowhere { .. })));
    }

    #[test]
    fn a_folder_is_private_unless_its_group_may_write_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut inputs = inputs(folder.path());
        let private = StateDirectory::resolve(&inputs).unwrap();
        private.create().unwrap();
        assert_eq!(
            (mode(private.root()), mode(&private.locks()), private.access().unwrap().file_mode()),
            (0o700, 0o700, 0o600)
        );

        std::fs::create_dir(&inputs.system).unwrap();
        std::fs::set_permissions(&inputs.system, Permissions::from_mode(0o2770)).unwrap();
        inputs.xdg_state_home = None;
        let shared = StateDirectory::resolve(&inputs).unwrap();
        shared.create().unwrap();
        shared.create().unwrap();
        assert_eq!(
            (mode(&shared.artifacts()), shared.access().unwrap().file_mode()),
            (0o2770, 0o660)
        );
        let file = shared.root().join("file");
        shared.access().unwrap().make_file(&file).unwrap();
        assert_eq!(mode(&file), 0o660, "the process's mask must not narrow it");
    }

    #[test]
    fn a_file_in_the_folders_place_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut inputs = inputs(folder.path());
        inputs.explicit = Some(folder.path().join("taken"));
        std::fs::write(folder.path().join("taken"), "").unwrap();
        let error = StateDirectory::resolve(&inputs).unwrap().create().unwrap_err();
        assert!(error.to_string().contains("taken` is not a directory"), "{error}");
    }
}
