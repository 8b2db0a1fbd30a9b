//! Finding components, and loading them under the operator's grants.

mod refused;

use refused::User;
pub(crate) use refused::{add_command, manifest_error, unreadable, unusable_component};

use crate::adapters::{ManifestSecrets, PluginLines};
use crate::error::CliError;
use crate::store::{Opened, scratch_store};
use agente_engine::names::{EnvironmentName, PluginName, Scope, ServiceName};
use agente_manifest::{Manifest, ManifestError, Mistake};
use agente_runtimes::commands::HostCommands;
use agente_store::EmbeddedStore;
use agente_wasm::{
    Description, GrantSource, HostOptions, LoadError, LoadInput, LockFile, NotGranted,
    OperationContext, Plugin, PluginHost, PluginPorts,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The lock file's name, beside the manifest.
pub(crate) const LOCK_FILE: &str = "agente.lock";

/// The variables of our own environment that a program may be granted.
const PASSED_VARIABLES: [&str; 5] = ["PATH", "HOME", "LANG", "LC_ALL", "TZ"];

/// Where the lock file of a manifest is.
pub(crate) fn lock_path(directory: &Path) -> PathBuf {
    directory.join(LOCK_FILE)
}

/// Reads the lock file; an absent one grants nothing.
pub(crate) fn read_lock(directory: &Path) -> Result<LockFile, CliError> {
    LockFile::read(&lock_path(directory))
        .map_err(|error| CliError::usage(error.to_string()).because_sources(&error))
}

/// Finds a component: where it is said to be, else among the shipped ones.
pub(crate) fn find(name: &PluginName, path: Option<&Path>) -> Result<PathBuf, CliError> {
    if let Some(path) = path {
        return Ok(path.to_owned());
    }
    let places = shipped_folders();
    let file = format!("{name}.wasm");
    if let Some(found) = places.iter().map(|folder| folder.join(&file)).find(|path| path.is_file())
    {
        return Ok(found);
    }
    let looked: Vec<String> =
        places.iter().map(|folder| format!("`{}`", folder.display())).collect();
    Err(CliError::usage(format!(
        "the plugin `{name}` was not found: there is no `{file}` in {}",
        looked.join(", ")
    ))
    .hint(format!("set `path` in `[plugins.{name}]`, or pass the component with `--plugin`")))
}

/// Where the plugins that come with the program are.
fn shipped_folders() -> Vec<PathBuf> {
    let named = std::env::var_os("AGENTE_HOST_PLUGINS").map(PathBuf::from);
    let program =
        crate::program::path().map(|path| path.canonicalize().unwrap_or_else(|_| path.to_owned()));
    let beside = program.as_deref().and_then(Path::parent);
    let above = beside.and_then(Path::parent).unwrap_or(Path::new("/"));
    let beside = beside.map(|folder| {
        [folder.join("plugins"), above.join("plugins"), above.join("lib/agente-host/plugins")]
    });
    named.into_iter().chain(beside.into_iter().flatten()).collect()
}

/// Reads the name that a component gives itself.
pub(crate) fn name_of(path: &Path) -> Result<PluginName, CliError> {
    let bytes = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
    let inspection =
        agente_wasm::inspect(&bytes).map_err(|error| unusable_component(path, &error))?;
    PluginName::new(inspection.request.plugin.name).map_err(|error| {
        CliError::usage(format!("`{}` has an invalid name", path.display())).because(&error)
    })
}

/// Where compiled plugins are kept: with the user's own caches, since only their owner may trust
/// them; where there is no home, in the state directory.
fn cache_folder(store: &EmbeddedStore) -> PathBuf {
    let folder =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let of_home = || folder("HOME").filter(|home| home.is_dir()).map(|home| home.join(".cache"));
    folder("XDG_CACHE_HOME")
        .or_else(of_home)
        .map_or_else(|| store.directory().cache(), |caches| caches.join("agente-host"))
        .join("plugins")
}

/// A plugin host with its cache.
pub(crate) fn host(store: &EmbeddedStore) -> Result<PluginHost, CliError> {
    PluginHost::new(&HostOptions { cache_folder: Some(cache_folder(store)) })
        .map_err(|error| CliError::internal(error.to_string()).because_sources(&error))
}

/// The variables that programs of plugins may be granted.
pub(crate) fn variables() -> BTreeMap<String, String> {
    PASSED_VARIABLES
        .iter()
        .filter_map(|name| std::env::var(name).ok().map(|value| ((*name).to_owned(), value)))
        .collect()
}

/// The loaded plugins of a manifest.
pub(crate) struct Loaded {
    pub(crate) switcher: Plugin,
    pub(crate) checkers: BTreeMap<PluginName, Plugin>,
}

/// Loads every plugin that the manifest uses, and judges each check's own table. All that lack a
/// grant are named at once.
pub(crate) async fn load_all(
    host: &PluginHost,
    manifest: &Manifest,
    lock: &LockFile,
    store_id: &str,
    ports: &PluginPorts,
) -> Result<Loaded, CliError> {
    let mut ungranted: Vec<NotGranted> = Vec::new();
    let mut load = async |name: &PluginName, user: User<'_>| -> Result<Option<Plugin>, CliError> {
        let path =
            find(name, manifest.plugins.get(name).and_then(|section| section.path.as_deref()))?;
        let input = |grant| LoadInput {
            kind: Some(user.kind()),
            ..input(name, path.clone(), manifest, store_id, ports.clone(), grant)
        };
        match host.load(input(GrantSource::Lock(lock))).await {
            Ok(plugin) => Ok(Some(plugin)),
            // The very component that was granted, under a changed configuration: what is wrong
            // with that is said before anybody is asked to grant it.
            Err(LoadError::NotGranted(refusal))
                if refusal
                    .difference
                    .as_ref()
                    .is_some_and(|difference| difference.digest.is_none()) =>
            {
                let plugin = host
                    .load(input(GrantSource::Everything))
                    .await
                    .map_err(|error| refused::by(manifest, Some(user), &error))?;
                ungranted.push(*refusal);
                Ok(Some(plugin))
            }
            Err(LoadError::NotGranted(refusal)) => {
                ungranted.push(*refusal);
                Ok(None)
            }
            Err(error) => Err(refused::by(manifest, Some(user), &error)),
        }
    };
    let switcher = load(&manifest.switcher, User::Switch).await?;
    let (mut checkers, mut asked) = (BTreeMap::new(), BTreeSet::new());
    let queries = manifest.queries();
    let of_checks = manifest.policy.checks.iter().map(|check| (&check.plugin, check.name.as_str()));
    let of_measures = queries.iter().map(|asked| (&asked.query.plugin, asked.check));
    for (plugin, check) in of_checks.chain(of_measures) {
        if asked.insert(plugin)
            && let Some(checker) = load(plugin, User::Check(check)).await?
        {
            checkers.insert(plugin.clone(), checker);
        }
    }
    let mut mistakes: Vec<Mistake> = Vec::new();
    for check in &manifest.policy.checks {
        let Some(checker) = checkers
            .get(&check.plugin)
            .and_then(|plugin| plugin.checker(OperationContext::default()))
        else {
            continue;
        };
        for problem in checker.check_spec(&check.spec).await? {
            mistakes.push(manifest.check_mistake(&check.name, &problem.path, &problem.message));
        }
    }
    for asked in manifest.queries() {
        let Some(plugin) = checkers.get(&asked.query.plugin) else { continue };
        match plugin.metrics(OperationContext::default()) {
            Ok(source) => {
                let found = source.check_query(&asked.query.spec, asked.wanted).await?;
                mistakes.extend(found.iter().map(|problem| {
                    manifest.query_mistake(&asked, &problem.path, &problem.message)
                }));
            }
            Err(fault) => mistakes.push(manifest.query_mistake(&asked, "", &fault.message)),
        }
    }
    if !mistakes.is_empty() {
        return Err(manifest_error(&ManifestError { mistakes }));
    }
    match switcher.filter(|_| ungranted.is_empty()) {
        Some(switcher) => Ok(Loaded { switcher, checkers }),
        None => Err(refused::for_want_of_grants(manifest, &ungranted)),
    }
}

/// Loads the plugin that switches, alone: who only looks at the target needs no other.
pub(crate) async fn load_switcher(
    host: &PluginHost,
    manifest: &Manifest,
    lock: &LockFile,
    store_id: &str,
    ports: &PluginPorts,
) -> Result<Plugin, CliError> {
    let path = find(
        &manifest.switcher,
        manifest.plugins.get(&manifest.switcher).and_then(|section| section.path.as_deref()),
    )?;
    let input =
        input(&manifest.switcher, path, manifest, store_id, ports.clone(), GrantSource::Lock(lock));
    let input = LoadInput { kind: Some(User::Switch.kind()), ..input };
    host.load(input).await.map_err(|error| refused::by(manifest, Some(User::Switch), &error))
}

/// What a plugin will be asked in a manifest's words: its checks' and queries' own tables.
fn specs(name: &PluginName, manifest: &Manifest) -> Vec<serde_json::Value> {
    let checks = manifest
        .policy
        .checks
        .iter()
        .filter(|check| check.plugin == *name)
        .map(|check| check.spec.clone());
    let queries = manifest
        .queries()
        .into_iter()
        .filter(|asked| asked.query.plugin == *name)
        .map(|asked| asked.query.spec.clone());
    checks.chain(queries).collect()
}

/// What is to be loaded for a manifest.
fn input<'a>(
    name: &PluginName,
    path: PathBuf,
    manifest: &Manifest,
    store_id: &str,
    ports: PluginPorts,
    grant: GrantSource<'a>,
) -> LoadInput<'a> {
    LoadInput {
        name: name.clone(),
        path,
        kind: None,
        config: manifest
            .plugins
            .get(name)
            .map_or_else(|| serde_json::json!({}), |section| section.config.clone()),
        specs: specs(name, manifest),
        scope: manifest.scope.clone(),
        store_id: store_id.to_owned(),
        grant,
        ports,
    }
}

/// Loads one component with everything it asks for, to show it or to grant it.
pub(crate) async fn load_one(
    host: &PluginHost,
    name: &PluginName,
    path: PathBuf,
    manifest: &Manifest,
    store_id: &str,
    ports: PluginPorts,
) -> Result<Plugin, CliError> {
    let input = input(name, path, manifest, store_id, ports, GrantSource::Everything);
    host.load(input).await.map_err(|error| refused::by(manifest, None, &error))
}

/// Reads how a component describes itself. It runs with everything denied, and its configuration is
/// not judged.
pub(crate) async fn describe(name: &PluginName, path: &Path) -> Result<Description, CliError> {
    let (Opened { store, machine }, _folder) = scratch_store().await?;
    let scope = Scope {
        service: ServiceName::new("none").map_err(internal)?,
        environment: EnvironmentName::new("none").map_err(internal)?,
    };
    let ports = PluginPorts {
        commands: Arc::new(HostCommands),
        secrets: Arc::new(ManifestSecrets { sources: BTreeMap::new(), directory: PathBuf::new() }),
        memory: store,
        audit: Arc::new(PluginLines),
        log: Arc::new(PluginLines),
        variables: BTreeMap::new(),
        seam: None,
    };
    let input = LoadInput {
        name: name.clone(),
        path: path.to_owned(),
        kind: None,
        config: serde_json::json!({}),
        specs: Vec::new(),
        scope,
        store_id: String::new(),
        grant: GrantSource::Nothing,
        ports,
    };
    let plugin = host(&machine)?
        .load(input)
        .await
        .map_err(|error| CliError::usage(error.to_string()).because_sources(&error))?;
    Ok(plugin.description().clone())
}

fn internal(error: impl std::fmt::Display) -> CliError {
    CliError::internal(error.to_string())
}

/// The environment whose grants are meant.
pub(crate) fn environment_of(manifest: &Manifest) -> &EnvironmentName {
    &manifest.scope.environment
}
