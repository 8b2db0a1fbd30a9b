//! Measures what a plugin costs: `measure <packed component> [<its section of the manifest as
//! JSON>]`.
//!
//! Prints medians as JSON: loading with and without the cache, a fresh instance with one call, a
//! call on a warm instance.

use agente_engine::fault::{Fault, FaultKind};
use agente_engine::names::{EnvironmentName, PluginName, Scope, ServiceName};
use agente_engine::ports::{
    CommandOutput, CommandSpec, Commands, ConnectionInfo, Memory, ProcessError, ProcessInfo,
    ProcessTarget, SecretValue, Secrets,
};
use agente_wasm::{
    Audit, EffectRecord, GrantSource, HostOptions, LoadInput, PluginHost, PluginLog, PluginMessage,
    PluginPorts, inspect,
};
use async_trait::async_trait;
use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROUNDS: usize = 101;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("usage: measure <packed component> [<configuration as JSON>]")?;
    let config: serde_json::Value =
        serde_json::from_str(&args.next().unwrap_or_else(|| "{}".to_owned()))?;
    let folder = tempfile::tempdir()?;
    let load = async |cache: bool| -> Result<_, Box<dyn Error>> {
        let host = PluginHost::new(&HostOptions {
            cache_folder: cache.then(|| folder.path().join("cache")),
        })?;
        let input = input(Path::new(&path), &config)?;
        let started = Instant::now();
        let plugin = host.load(input).await?;
        Ok((started.elapsed(), plugin))
    };
    let mut compiled = Vec::new();
    for _ in 0..5 {
        compiled.push(load(false).await?.0);
    }
    load(true).await?;
    let (mut cached, mut parts) = (Vec::new(), [Vec::new(), Vec::new(), Vec::new()]);
    for _ in 0..ROUNDS {
        let (time, plugin) = load(true).await?;
        cached.push(time);
        let times = plugin.times();
        for (part, time) in parts.iter_mut().zip([times.read, times.compile, times.admit]) {
            part.push(time);
        }
    }
    let [read, take, admit] = parts.map(median);
    let plugin = load(true).await?.1;
    let mut fresh = Vec::new();
    for _ in 0..ROUNDS {
        let started = Instant::now();
        plugin.describe_afresh().await?;
        fresh.push(started.elapsed());
    }
    let mut instance = plugin.warm().await?;
    let mut warm = Vec::new();
    for _ in 0..ROUNDS {
        let started = Instant::now();
        instance.describe().await?;
        warm.push(started.elapsed());
    }
    let report = serde_json::json!({
        "plugin": plugin.name().as_str(),
        "size_bytes": plugin.size_bytes(),
        "load_compiled_us": median(compiled),
        "load_cached_us": median(cached),
        "load_cached_parts_us": { "read": read, "cache": take, "admit": admit },
        "fresh_instance_and_call_us": median(fresh),
        "warm_call_us": median(warm),
    });
    writeln!(std::io::stdout(), "{report}")?;
    Ok(())
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times.get(times.len() / 2).map_or(0.0, |time| time.as_secs_f64() * 1e6)
}

fn input(path: &Path, config: &serde_json::Value) -> Result<LoadInput<'static>, Box<dyn Error>> {
    let name = inspect(&std::fs::read(path)?)?.request.plugin.name;
    Ok(LoadInput {
        name: PluginName::new(name)?,
        path: path.to_owned(),
        kind: None,
        config: config.clone(),
        specs: Vec::new(),
        scope: Scope {
            service: ServiceName::new("shop")?,
            environment: EnvironmentName::new("production")?,
        },
        store_id: "store".to_owned(),
        grant: GrantSource::Everything,
        ports: PluginPorts {
            commands: Arc::new(Nothing),
            secrets: Arc::new(Nothing),
            memory: Arc::new(Nothing),
            audit: Arc::new(Nothing),
            log: Arc::new(Nothing),
            variables: std::collections::BTreeMap::new(),
            seam: None,
        },
    })
}

/// No effect is measured here, so there is nothing behind the ports.
struct Nothing;

fn refused() -> Fault {
    Fault::new(FaultKind::Unsupported, "nothing is done while measuring")
}

impl Audit for Nothing {
    fn record(&self, _record: EffectRecord) {}
}

impl PluginLog for Nothing {
    fn write(&self, _message: PluginMessage) {}
}

#[async_trait]
impl Secrets for Nothing {
    async fn value(&self, _name: &str) -> Result<SecretValue, Fault> {
        Err(refused())
    }
}

#[async_trait]
impl Memory for Nothing {
    async fn get(
        &self,
        _plugin: &str,
        _scope: &Scope,
        _key: &str,
    ) -> Result<Option<Vec<u8>>, Fault> {
        Ok(None)
    }

    async fn set(
        &self,
        _plugin: &str,
        _scope: &Scope,
        _key: &str,
        _value: Option<&[u8]>,
    ) -> Result<(), Fault> {
        Err(refused())
    }
}

#[async_trait]
impl Commands for Nothing {
    async fn run(&self, _command: &CommandSpec) -> Result<CommandOutput, Fault> {
        Err(refused())
    }

    async fn tree(&self, _target: &ProcessTarget) -> Result<Vec<ProcessInfo>, ProcessError> {
        Err(ProcessError::Other(refused()))
    }

    async fn connections(
        &self,
        _target: &ProcessTarget,
    ) -> Result<Vec<ConnectionInfo>, ProcessError> {
        Err(ProcessError::Other(refused()))
    }

    async fn signal(&self, _target: &ProcessTarget, _signal: &str) -> Result<(), ProcessError> {
        Err(ProcessError::Other(refused()))
    }

    async fn log_mark(&self, _path: &str) -> Result<u64, Fault> {
        Err(refused())
    }

    async fn log_since(
        &self,
        _path: &str,
        _mark: u64,
        _max_bytes: usize,
    ) -> Result<Vec<u8>, Fault> {
        Err(refused())
    }
}
