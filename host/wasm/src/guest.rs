//! What stands behind one instance of a plugin: its operation, its meters, its handles. The imports
//! of the contract are in `guest/imports.rs`.

mod imports;

use crate::audit::LogLevel;
use crate::egress::Egress;
use crate::limits::{MAX_HANDLES, MemoryMeter};
use crate::operation::Operation;
use crate::stdio::Lines;
use std::sync::Arc;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

/// What the engine keeps for one instance.
pub(crate) struct Guest {
    pub(crate) operation: Arc<Operation>,
    egress: Egress,
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    pub(crate) memory: MemoryMeter,
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
        Self {
            egress: Egress(Arc::clone(&operation)),
            table,
            wasi,
            http: WasiHttpCtx::new(),
            memory: MemoryMeter::new(operation.household.limits.memory),
            operation,
        }
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
