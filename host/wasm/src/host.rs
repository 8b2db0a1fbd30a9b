//! The plugin host: one compiler, one clock of ticks, one cache and one set of imports for all
//! plugins of the process.

use crate::bindings::any::agente::host as imports;
use crate::cache::{Cache, Compiled};
use crate::component::digest_of;
use crate::effects::tls::Tls;
use crate::guest::Guest;
use crate::limits::TICK;
use agente_engine::names::Digest;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, Engine};

/// How the host is set up.
#[derive(Debug, Clone, Default)]
pub struct HostOptions {
    /// Where compiled plugins are kept, a folder for this purpose alone; none to compile each
    /// time.
    pub cache_folder: Option<PathBuf>,
}

/// Why there is no plugin host.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The engine could not be set up.
    #[error("the WebAssembly engine could not be set up: {0}")]
    Engine(String),
    /// The thread that counts time could not be started.
    #[error("the thread that measures plugins' time could not be started")]
    Ticker(#[source] std::io::Error),
}

/// Loads and runs plugins. Make one per process; it is cheap to clone.
#[derive(Clone)]
pub struct PluginHost(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) engine: Engine,
    ticker: JoinHandle<()>,
    cache: Option<Cache>,
    compiling: Mutex<HashMap<Digest, Arc<Mutex<()>>>>,
    /// All imports but the one that gives the values of secrets.
    linker: Linker<Guest>,
    /// All imports.
    revealing: Linker<Guest>,
    pub(crate) tls: Tls,
}

impl PluginHost {
    /// Sets up the engine, its imports and its clock.
    pub fn new(options: &HostOptions) -> Result<Self, HostError> {
        let wrong = |error: wasmtime::Error| HostError::Engine(format!("{error:#}"));
        let mut config = Config::new();
        config.epoch_interruption(true);
        // Both are for backtraces into guests, which stripped plugins don't have; without them
        // compiled code is a third smaller to read and prove.
        config.generate_address_map(false).native_unwind_info(false);
        let engine = Engine::new(&config).map_err(wrong)?;
        let linker = linker(&engine).map_err(wrong)?;
        let mut revealing = linker.clone();
        imports::reveal::add_to_linker::<_, HasSelf<Guest>>(&mut revealing, |guest| guest)
            .map_err(wrong)?;
        let ticker = start_ticker(&engine)?;
        let cache = options.cache_folder.as_deref().and_then(Cache::open);
        Ok(Self(Arc::new(Shared {
            engine,
            ticker,
            cache,
            compiling: Mutex::default(),
            linker,
            revealing,
            tls: Tls::default(),
        })))
    }
}

impl Shared {
    /// The imports for a plugin.
    pub(crate) fn linker(&self, reveals: bool) -> &Linker<Guest> {
        if reveals { &self.revealing } else { &self.linker }
    }

    /// Whether time is counted; without it no plugin may run, for nothing would stop it.
    pub(crate) fn is_ticking(&self) -> bool {
        !self.ticker.is_finished()
    }

    /// The compiled component of what a path held last. Blocks.
    pub(crate) fn guess(&self, path: &Path) -> Option<(Digest, Component)> {
        self.cache.as_ref()?.guess(&self.engine, path)
    }

    /// The digest of what stands at a path: known where that is what stood there last, else taken
    /// and remembered.
    pub(crate) fn digest_of(&self, path: &Path, bytes: &[u8]) -> Digest {
        let known = self.cache.as_ref().and_then(|cache| cache.digest_of(path, bytes));
        known.unwrap_or_else(|| {
            let digest = digest_of(bytes);
            if let Some(cache) = &self.cache {
                cache.remember(path, bytes, &digest);
            }
            digest
        })
    }

    /// Takes a component from the cache, or compiles and keeps it. Takes long and blocks.
    pub(crate) fn compile(
        &self,
        bytes: &[u8],
        digest: &Digest,
    ) -> wasmtime::Result<(Component, Compiled)> {
        let cached = || self.cache.as_ref().and_then(|cache| cache.load(&self.engine, digest));
        if let Some(component) = cached() {
            return Ok((component, Compiled::Cached));
        }
        // Whoever asks for the same component meanwhile waits here and finds it in the cache.
        let turn = Arc::clone(
            self.compiling
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(digest.clone())
                .or_default(),
        );
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(component) = cached() {
            return Ok((component, Compiled::Cached));
        }
        let component = Component::from_binary(&self.engine, bytes)?;
        if let Some(cache) = &self.cache {
            cache.keep(&self.engine, digest, &component);
        }
        Ok((component, Compiled::Now))
    }
}

fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    let guest: fn(&mut Guest) -> &mut Guest = |guest| guest;
    imports::log::add_to_linker::<_, HasSelf<Guest>>(&mut linker, guest)?;
    imports::context::add_to_linker::<_, HasSelf<Guest>>(&mut linker, guest)?;
    imports::config::add_to_linker::<_, HasSelf<Guest>>(&mut linker, guest)?;
    imports::memory::add_to_linker::<_, HasSelf<Guest>>(&mut linker, guest)?;
    imports::files::add_to_linker::<_, HasSelf<Guest>>(&mut linker, guest)?;
    imports::tcp::add_to_linker::<_, HasSelf<Guest>>(&mut linker, guest)?;
    imports::secrets::add_to_linker::<_, HasSelf<Guest>>(&mut linker, guest)?;
    imports::exec::add_to_linker::<_, HasSelf<Guest>>(&mut linker, guest)?;
    imports::process::add_to_linker::<_, HasSelf<Guest>>(&mut linker, guest)?;
    crate::bindings::any::agente::types::types::add_to_linker::<_, HasSelf<Guest>>(
        &mut linker,
        guest,
    )?;
    Ok(linker)
}

/// Ticks until the engine is gone.
fn start_ticker(engine: &Engine) -> Result<JoinHandle<()>, HostError> {
    let engine = engine.weak();
    let tick = move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TICK);
        }
    };
    std::thread::Builder::new()
        .name("plugin-ticks".to_owned())
        .spawn(tick)
        .map_err(HostError::Ticker)
}
