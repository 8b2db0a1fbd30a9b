//! One operation's view of the target: configuration, names, what is on the disk, what is loaded,
//! what is remembered.

use crate::config::Config;
use crate::dump::Dump;
use crate::file::OnDisk;
use crate::marker::{self, Said};
use crate::names::Names;
use crate::nginx::{self, Dumped};
use crate::record::Record;
use agente_plugin_sdk::Failure;
use agente_plugin_sdk::host::Host;

/// One operation's view.
#[derive(Debug)]
pub struct Target<'a, H> {
    pub host: &'a H,
    /// The plugin's section.
    pub config: &'a Config,
    /// What everything is called.
    pub names: Names,
    /// Our file's path, as the host sees it.
    pub path: String,
    /// Our file's path, as NGINX sees it.
    pub seen_path: String,
}

/// How NGINX's configuration on the disk stands to our file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inclusion {
    /// It takes it up, as it is on the host's disk.
    Included,
    /// No `include` names it.
    NotIncluded,
    /// An `include` names it, and NGINX sees no such file.
    NotSeen,
    /// NGINX sees another file there than the host.
    OtherBytes,
}

impl<'a, H: Host> Target<'a, H> {
    /// Begins an operation.
    pub fn new(host: &'a H, config: &'a Config) -> Result<Self, Failure> {
        let names = Names::of(&host.context())?;
        let path = format!("{}/{}", config.directory.trim_end_matches('/'), names.file());
        let seen_path = format!("{}/{}", config.seen_directory(), names.file());
        Ok(Self { host, config, names, path, seen_path })
    }

    /// Our file's bytes.
    pub fn bytes(&self) -> Result<Option<Vec<u8>>, Failure> {
        self.host.read_file(&self.path)
    }

    /// What our file says.
    pub fn on_disk(&self) -> Result<OnDisk, Failure> {
        Ok(OnDisk::read(self.bytes()?.as_deref()))
    }

    /// What the running NGINX says.
    pub fn said(&self) -> Result<Said, Failure> {
        marker::ask(self.host, self.config, &self.names)
    }

    /// What is remembered.
    pub fn record(&self) -> Result<Record, Failure> {
        Record::load(self.host)
    }

    /// The configuration on the disk, tested.
    pub fn dump(&self) -> Result<Dumped, Failure> {
        nginx::dump(self.host, self.config)
    }

    /// How the configuration stands to our file, whose first line is `first_line` where it exists.
    pub fn inclusion(&self, dump: &Dump, first_line: Option<&str>) -> Inclusion {
        match (dump.file(&self.seen_path), first_line) {
            (Some(text), Some(first)) if text.lines().next() == Some(first) => Inclusion::Included,
            (Some(_), _) => Inclusion::OtherBytes,
            (None, _) if !dump.includes(&self.seen_path) => Inclusion::NotIncluded,
            (None, Some(_)) => Inclusion::NotSeen,
            (None, None) => Inclusion::Included,
        }
    }

    /// Why our file can't take effect, as a failure; none where it can.
    pub fn exclusion(&self, inclusion: Inclusion) -> Option<Failure> {
        let (conf, folder, seen) =
            (&self.config.conf, &self.config.directory, self.config.seen_directory());
        let container = self.config.container.as_deref().unwrap_or_default();
        let (message, hint, reason) = match inclusion {
            Inclusion::Included => return None,
            Inclusion::NotIncluded => (
                format!("`{conf}` does not include `{}`", self.seen_path),
                format!(
                    "put `include {seen}/*.conf;` in its `http` block, with the path written as \
                    in `directory`"
                ),
                "not-included",
            ),
            Inclusion::NotSeen if container.is_empty() => (
                format!("NGINX does not see the file `{}` that was written", self.seen_path),
                "check that NGINX and this plugin see the same file system".into(),
                "not-seen",
            ),
            Inclusion::NotSeen => (
                format!(
                    "NGINX in the container `{container}` does not see `{}` although `{}` was \
                    written: `{folder}` is not mounted at `{seen}`",
                    self.seen_path, self.path
                ),
                format!("mount the whole directory: `--volume {folder}:{seen}`"),
                "not-seen",
            ),
            Inclusion::OtherBytes if container.is_empty() => (
                format!(
                    "NGINX sees a different file at `{}` than the one that was written",
                    self.seen_path
                ),
                "check that NGINX and this plugin see the same file system".into(),
                "other-bytes",
            ),
            Inclusion::OtherBytes => (
                format!(
                    "NGINX in the container `{container}` sees a different file at `{}` than the \
                    one at `{}`: a bind mount of a single file keeps showing the old file after \
                    it is replaced",
                    self.seen_path, self.path
                ),
                format!("mount the directory, not the file: `--volume {folder}:{seen}`"),
                "single-file-mount",
            ),
        };
        Some(Failure::unsupported(message).hint(hint).label("reason", reason))
    }

    /// A failure if another file defines one of our names: NGINX takes two maps of one variable
    /// without a word, and one service gets the other's requests.
    pub fn names_taken(&self, dump: &Dump) -> Option<Failure> {
        let base = self.names.base();
        let upstreams = crate::snapshot::SLOTS.map(|slot| self.names.upstream(slot));
        let ours = |variable: &str| {
            let rest = variable
                .strip_prefix('$')
                .and_then(|name| name.strip_prefix(base))
                .and_then(|rest| rest.strip_prefix('_'));
            rest.is_some_and(|rest| {
                matches!(rest, "pool" | "slot" | "split" | "key")
                    || rest
                        .strip_prefix("rule_")
                        .is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()))
            })
        };
        let taken =
            dump.directives.iter().filter(|directive| directive.file != self.seen_path).find_map(
                |directive| match directive.name() {
                    "upstream" => upstreams
                        .iter()
                        .any(|name| name == directive.word(1))
                        .then(|| (format!("the upstream `{}`", directive.word(1)), directive)),
                    "map" | "geo" | "split_clients" | "perl_set" | "js_set" => {
                        let variable = directive.words.last().map_or("", String::as_str);
                        ours(variable).then(|| (format!("the variable `{variable}`"), directive))
                    }
                    "set" => ours(directive.word(1))
                        .then(|| (format!("the variable `{}`", directive.word(1)), directive)),
                    "server_name" => {
                        let host = self.names.marker_host();
                        directive
                            .words
                            .contains(&host)
                            .then(|| (format!("the server `{host}`"), directive))
                    }
                    _ => None,
                },
            );
        taken.map(|(what, directive)| {
            Failure::conflict(format!(
                "{what} of {} is also defined by `{}`",
                self.names.scope(),
                directive.file
            ))
            .hint("rename the service or environment, or rename it in the other file")
            .label("reason", "names-taken")
        })
    }
}

/// The first line of a file.
pub fn first_line(bytes: &[u8]) -> Option<&str> {
    str::from_utf8(bytes).ok()?.lines().next()
}
