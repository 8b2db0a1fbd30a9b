//! Load on a service while a test does something to it.

use super::{Service, wait_for};
use crate::load::{Load, Options, Record, Report};
use tokio::runtime::{Builder, Runtime};

/// A load that runs in a thread of its own.
pub struct Traffic {
    load: Option<Load>,
    runtime: Runtime,
}

impl Traffic {
    /// Sends GET and POST in turn, each on a connection of its own, with slow requests always in
    /// flight; returns once answers come.
    pub fn on(service: &Service, rate: f64, slow: usize) -> Self {
        let mut options = Options::new(service.url("/api/items"));
        options.rate = Some(rate);
        options.mix = vec![::http::Method::GET, ::http::Method::POST];
        options.header_identity = Some("X-Version".to_owned());
        if slow > 0 {
            options.slow_path = Some("/api/slow?ms=1000".to_owned());
            options.slow_inflight = slow;
        }
        Self::with(&options)
    }

    /// Sends as the options say; returns once answers come.
    pub fn with(options: &Options) -> Self {
        let runtime =
            Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let load = runtime.block_on(async { Load::start(options) }).expect("the load starts");
        let traffic = Self { load: Some(load), runtime };
        wait_for("the first answer to the load", || (traffic.report().succeeded > 0).then_some(()));
        traffic
    }

    /// The counts so far.
    pub fn report(&self) -> Report {
        self.load.as_ref().expect("the load runs").report()
    }

    /// What became of each single request so far, where the options say that it is remembered.
    pub fn records(&self) -> Vec<Record> {
        self.load.as_ref().expect("the load runs").records()
    }

    /// Waits until so many more requests have succeeded.
    pub fn wait_more(&self, count: u64) {
        let before = self.report().succeeded;
        wait_for("more answers to the load", || {
            (self.report().succeeded >= before + count).then_some(())
        });
    }

    /// Stops sending, waits for what is in flight, and gives the counts.
    pub fn stop(mut self) -> Report {
        let mut load = self.load.take().expect("the load runs");
        self.runtime.block_on(load.stop())
    }

    /// Stops sending, waits for what is in flight, and gives what became of each single request.
    pub fn finish(mut self) -> Vec<Record> {
        let mut load = self.load.take().expect("the load runs");
        self.runtime.block_on(load.stop());
        load.records()
    }

    /// Stops, and demands that not one request failed.
    #[track_caller]
    pub fn nothing_lost(self) -> Report {
        let report = self.stop();
        assert_eq!((report.failed_total, report.unfinished), (0, 0), "{report}");
        assert!(report.succeeded > 0, "{report}");
        report
    }
}
