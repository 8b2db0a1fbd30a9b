//! What stands behind one instance of a plugin: its operation, its meters, its handles. The imports
//! of the contract convert and pass on.

use crate::audit::LogLevel;
use crate::bindings::any::agente::host::{
    config, context, exec, files, log, memory, process, reveal, secrets, tcp,
};
use crate::bindings::any::agente::types::types::{self, Failure};
use crate::broker::Effect;
use crate::effects::http::Egress;
use crate::effects::secrets::{OpenSecret, OpenSecrets};
use crate::effects::stdio::Lines;
use crate::effects::tcp::Connection;
use crate::effects::{self, programs};
use crate::limits::{CpuMeter, MAX_HANDLES, MemoryMeter};
use crate::operation::Operation;
use agente_engine::fault::FaultKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

/// The longest key of a plugin's memory.
const MAX_KEY_BYTES: usize = 256;

/// What the engine keeps for one instance.
pub(crate) struct Guest {
    operation: Arc<Operation>,
    secrets: OpenSecrets,
    egress: Egress,
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    pub(crate) memory: MemoryMeter,
    pub(crate) cpu: CpuMeter,
}

impl Guest {
    pub(crate) fn new(operation: Arc<Operation>) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        // Nothing is in it: no environment, no arguments, no folders, no network. Output becomes
        // log lines.
        let wasi = WasiCtx::builder()
            .stdout(Lines::new(Arc::clone(&operation), LogLevel::Info))
            .stderr(Lines::new(Arc::clone(&operation), LogLevel::Warn))
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .max_random_size(64 * 1024)
            .build();
        let secrets = OpenSecrets::default();
        let limits = operation.household.limits;
        Self {
            egress: Egress { operation: Arc::clone(&operation), secrets: secrets.clone() },
            secrets,
            table,
            wasi,
            http: WasiHttpCtx::new(),
            memory: MemoryMeter::new(limits.memory),
            cpu: CpuMeter::new(limits.cpu),
            operation,
        }
    }

    /// Works for the guest; the time is not the guest's.
    async fn work<R>(&mut self, work: impl AsyncFnOnceWith<R>) -> wasmtime::Result<R> {
        let since = Instant::now();
        let operation = Arc::clone(&self.operation);
        let result = work.call(operation).await;
        self.cpu.host_worked(since);
        Ok(result)
    }
}

/// A piece of host work on an operation.
trait AsyncFnOnceWith<R>: Send {
    fn call(self, operation: Arc<Operation>) -> impl Future<Output = R> + Send;
}

impl<R, F, W> AsyncFnOnceWith<R> for F
where
    F: FnOnce(Arc<Operation>) -> W + Send,
    W: Future<Output = R> + Send,
{
    fn call(self, operation: Arc<Operation>) -> impl Future<Output = R> + Send {
        self(operation)
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.egress, table: &mut self.table, ctx: &mut self.http }
    }
}

impl types::Host for Guest {}

impl log::Host for Guest {
    async fn log(
        &mut self,
        level: String,
        message: String,
        fields: types::Labels,
    ) -> wasmtime::Result<()> {
        self.operation.message(LogLevel::from_word(&level), message, fields);
        Ok(())
    }

    async fn progress(&mut self, percent: Option<u8>, note: String) -> wasmtime::Result<()> {
        let note = crate::audit::cut(self.operation.redact(note), 200);
        let household = &self.operation.household;
        household.effects.log.progress(
            &household.plugin,
            percent.map(|percent| percent.min(100)),
            &note,
        );
        Ok(())
    }
}

impl context::Host for Guest {
    async fn get(&mut self) -> wasmtime::Result<context::Info> {
        let operation = &self.operation;
        let household = &operation.household;
        Ok(context::Info {
            deployment: operation.context.deployment.clone(),
            service: household.scope.service.to_string(),
            environment: household.scope.environment.to_string(),
            phase: operation.call.phase.as_str().to_owned(),
            remaining_ms: u64::try_from(operation.remaining().as_millis()).unwrap_or(u64::MAX),
            labels: vec![
                ("store".to_owned(), household.store_id.clone()),
                ("backends".to_owned(), operation.circumstances.backends.join(",")),
            ],
        })
    }

    async fn cancelled(&mut self) -> wasmtime::Result<bool> {
        Ok(self.operation.context.cancelled.load(Ordering::Relaxed))
    }
}

impl config::Host for Guest {
    async fn get(&mut self) -> wasmtime::Result<String> {
        Ok(self.operation.household.config_json.clone())
    }
}

fn check_key(key: &str) -> Result<(), Failure> {
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Err(Failure::new(
            FaultKind::InvalidConfig,
            format!("a key of the memory has 1 to {MAX_KEY_BYTES} bytes"),
        ));
    }
    Ok(())
}

impl memory::Host for Guest {
    async fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<Vec<u8>>, Failure>> {
        self.work(|operation: Arc<Operation>| async move {
            check_key(&key)?;
            operation.authorize(&Effect::Recall(key.clone()))?;
            let household = &operation.household;
            Ok(household
                .effects
                .memory
                .get(household.plugin.as_str(), &household.scope, &key)
                .await?)
        })
        .await
    }

    async fn set(
        &mut self,
        key: String,
        value: Option<Vec<u8>>,
    ) -> wasmtime::Result<Result<(), Failure>> {
        self.work(|operation: Arc<Operation>| async move {
            check_key(&key)?;
            operation.authorize(&Effect::Remember(key.clone()))?;
            let household = &operation.household;
            Ok(household
                .effects
                .memory
                .set(household.plugin.as_str(), &household.scope, &key, value.as_deref())
                .await?)
        })
        .await
    }
}

impl files::Host for Guest {
    async fn read(&mut self, path: String) -> wasmtime::Result<Result<Option<Vec<u8>>, Failure>> {
        self.work(|operation| async move { effects::files::read(&operation, path).await }).await
    }

    async fn stat(
        &mut self,
        path: String,
    ) -> wasmtime::Result<Result<Option<files::Entry>, Failure>> {
        self.work(|operation| async move { effects::files::look_at(&operation, path).await }).await
    }

    async fn list(&mut self, path: String) -> wasmtime::Result<Result<Vec<files::Entry>, Failure>> {
        self.work(|operation| async move { effects::files::list(&operation, path).await }).await
    }

    async fn replace(
        &mut self,
        path: String,
        bytes: Vec<u8>,
        mode: u32,
    ) -> wasmtime::Result<Result<(), Failure>> {
        self.work(|operation| async move {
            effects::files::replace(&operation, path, bytes, mode).await
        })
        .await
    }

    async fn remove(&mut self, path: String) -> wasmtime::Result<Result<bool, Failure>> {
        self.work(|operation| async move { effects::files::remove(&operation, path).await }).await
    }
}

impl tcp::HostConnection for Guest {
    async fn read(
        &mut self,
        connection: Resource<Connection>,
        max_bytes: u32,
        timeout_ms: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, Failure>> {
        let since = Instant::now();
        let read = self.table.get_mut(&connection)?.read(max_bytes, timeout_ms).await;
        self.cpu.host_worked(since);
        Ok(read)
    }

    async fn write(
        &mut self,
        connection: Resource<Connection>,
        bytes: Vec<u8>,
        timeout_ms: u32,
    ) -> wasmtime::Result<Result<(), Failure>> {
        let since = Instant::now();
        let written = self.table.get_mut(&connection)?.write(&bytes, timeout_ms).await;
        self.cpu.host_worked(since);
        Ok(written)
    }

    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}

impl tcp::Host for Guest {
    async fn connect(
        &mut self,
        host: String,
        port: u16,
        timeout_ms: u32,
    ) -> wasmtime::Result<Result<Resource<Connection>, Failure>> {
        let connected = self
            .work(|operation| async move {
                effects::tcp::connect(&operation, &host, port, timeout_ms).await
            })
            .await?;
        Ok(match connected {
            Ok(connection) => Ok(self.table.push(connection)?),
            Err(failure) => Err(failure),
        })
    }
}

impl secrets::HostSecret for Guest {
    async fn placeholder(&mut self, secret: Resource<OpenSecret>) -> wasmtime::Result<String> {
        Ok(self.table.get(&secret)?.placeholder.clone())
    }

    async fn drop(&mut self, secret: Resource<OpenSecret>) -> wasmtime::Result<()> {
        self.table.delete(secret)?;
        Ok(())
    }
}

impl secrets::Host for Guest {
    async fn open(
        &mut self,
        name: String,
    ) -> wasmtime::Result<Result<Resource<OpenSecret>, Failure>> {
        Ok(match self.secrets.open(&self.operation, &name) {
            Ok(secret) => Ok(self.table.push(secret)?),
            Err(failure) => Err(failure),
        })
    }
}

impl reveal::Host for Guest {
    async fn reveal(
        &mut self,
        secret: Resource<OpenSecret>,
    ) -> wasmtime::Result<Result<String, Failure>> {
        let name = self.table.get(&secret)?.name.clone();
        self.work(|operation: Arc<Operation>| async move {
            effects::secrets::reveal(&operation, &name).await
        })
        .await
    }
}

impl exec::Host for Guest {
    async fn run(
        &mut self,
        command: exec::Command,
    ) -> wasmtime::Result<Result<exec::Output, Failure>> {
        self.work(
            |operation: Arc<Operation>| async move { programs::run(&operation, command).await },
        )
        .await
    }
}

impl process::Host for Guest {
    async fn tree(&mut self, of: String) -> wasmtime::Result<Result<Vec<process::Info>, Failure>> {
        self.work(|operation: Arc<Operation>| async move { programs::tree(&operation, of).await })
            .await
    }

    async fn connections(
        &mut self,
        of: String,
    ) -> wasmtime::Result<Result<Vec<process::Connection>, Failure>> {
        self.work(
            |operation: Arc<Operation>| async move { programs::connections(&operation, of).await },
        )
        .await
    }

    async fn signal(
        &mut self,
        of: String,
        signal: String,
    ) -> wasmtime::Result<Result<(), Failure>> {
        self.work(|operation: Arc<Operation>| async move {
            programs::signal(&operation, of, signal).await
        })
        .await
    }

    async fn log_mark(&mut self, path: String) -> wasmtime::Result<Result<u64, Failure>> {
        self.work(
            |operation: Arc<Operation>| async move { programs::log_mark(&operation, path).await },
        )
        .await
    }

    async fn log_since(
        &mut self,
        path: String,
        mark: u64,
        max_bytes: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, Failure>> {
        self.work(|operation: Arc<Operation>| async move {
            programs::log_since(&operation, path, mark, max_bytes).await
        })
        .await
    }
}
