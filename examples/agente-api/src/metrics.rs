//! What the service counts, in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Upper bounds of the latency buckets, in seconds: Prometheus' defaults plus 1 ms and 2 ms, where
/// a healthy answer of this service lies.
const BUCKETS: [f64; 13] =
    [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What kind of path a request asked for. Health checks are told apart, so that they can't thin out
/// a rate of errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Handler {
    Api,
    Health,
    Metrics,
    Other,
}

impl Handler {
    fn name(self) -> &'static str {
        match self {
            Handler::Api => "api",
            Handler::Health => "health",
            Handler::Metrics => "metrics",
            Handler::Other => "other",
        }
    }
}

#[derive(Default)]
struct Latencies {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
}

#[derive(Default)]
struct Counts {
    requests: BTreeMap<(Handler, &'static str, u16), u64>,
    latencies: Latencies,
}

/// The counters of one process.
#[derive(Default)]
pub(crate) struct Metrics {
    in_flight: AtomicI64,
    counts: Mutex<Counts>,
}

impl Metrics {
    pub(crate) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts one answer. Latencies are kept for `/api` alone.
    pub(crate) fn answered(
        &self,
        handler: Handler,
        method: &hyper::Method,
        code: u16,
        took: Duration,
    ) {
        let Ok(mut counts) = self.counts.lock() else { return };
        *counts.requests.entry((handler, known_method(method), code)).or_default() += 1;
        if handler != Handler::Api {
            return;
        }
        let seconds = took.as_secs_f64();
        counts.latencies.count += 1;
        counts.latencies.sum += seconds;
        for (count, bound) in counts.latencies.buckets.iter_mut().zip(BUCKETS) {
            if seconds <= bound {
                *count += 1;
            }
        }
    }

    /// All counters as text.
    pub(crate) fn render(&self, version: &str, release: &str) -> String {
        let mut out = String::with_capacity(2048);
        let (version, release) = (escaped(version), escaped(release));
        let _ = write!(
            out,
            "# HELP agente_api_info Version and release of this process.\n# TYPE agente_api_info \
             gauge\nagente_api_info{{version=\"{version}\",release=\"{release}\"}} 1\n"
        );
        let _ = write!(
            out,
            "# HELP http_requests_in_flight Requests that are being answered.\n# TYPE \
             http_requests_in_flight gauge\nhttp_requests_in_flight {}\n",
            self.in_flight.load(Ordering::Relaxed)
        );
        let Ok(counts) = self.counts.lock() else { return out };
        out.push_str(
            "# HELP http_requests_total Answers by path group, method and status code.\n# TYPE \
             http_requests_total counter\n",
        );
        for ((handler, method, code), count) in &counts.requests {
            let _ = writeln!(
                out,
                "http_requests_total{{handler=\"{}\",method=\"{method}\",code=\"{code}\"}} {count}",
                handler.name()
            );
        }
        out.push_str(
            "# HELP http_request_duration_seconds Time to the answer, below /api.\n# TYPE \
             http_request_duration_seconds histogram\n",
        );
        for (count, bound) in counts.latencies.buckets.iter().zip(BUCKETS) {
            let _ = writeln!(out, "http_request_duration_seconds_bucket{{le=\"{bound}\"}} {count}");
        }
        let Latencies { count, sum, .. } = &counts.latencies;
        let _ = write!(
            out,
            "http_request_duration_seconds_bucket{{le=\"+Inf\"}} \
             {count}\nhttp_request_duration_seconds_sum \
             {sum}\nhttp_request_duration_seconds_count {count}\n"
        );
        out
    }
}

/// The method as a label: a closed set, since a client can send any word.
fn known_method(method: &hyper::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
