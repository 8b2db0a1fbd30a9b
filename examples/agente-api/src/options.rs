//! What the service can be told: one flag and one environment variable per switch; a flag wins over
//! its variable.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use clap::builder::BoolishValueParser;

const AFTER_HELP: &str = "\
Paths:
  GET  /healthz               the process answers
  GET  /readyz                it wants traffic (503 with --never-ready, --unready-after, before \
                          --startup has passed)
  GET  /startupz              it has started (503 before --startup has passed)
  GET  /health/dependencies   what it needs is there (503 once --leak has used everything up)
  GET  /health/version        version and release as JSON
  GET  /metrics               Prometheus text format
  GET  /api/items             a small JSON list
  POST /api/items             reads the whole body, answers with its length and SHA-256
  GET  /api/slow?ms=1000      answers after that time
  GET  /api/stream?seconds=5  one line a second (another pace with &tick_ms=)

Every answer carries `X-Version`, and `X-Release` where the release is known.

Example:
  agente-api 127.0.0.1:18100 --version-name v2 --fail 5";

/// A small HTTP/1.1 service to deploy, with a switch for every way to be bad.
#[derive(Debug, Clone, Parser)]
#[command(name = "agente-api", version, after_help = AFTER_HELP)]
pub(crate) struct Options {
    /// Address to listen on, such as `127.0.0.1:18100`; port 0 takes a free one. The first line
    /// printed names it.
    #[arg(env = "AGENTE_API_LISTEN")]
    pub(crate) listen: SocketAddr,

    /// What `X-Version` says, so that one binary can play several versions.
    #[arg(long, env = "AGENTE_API_VERSION_NAME", default_value = "v1", value_name = "TEXT")]
    pub(crate) version_name: String,

    /// What `X-Release` says.
    #[arg(long, env = "AGENTE_RELEASE", value_name = "TEXT")]
    pub(crate) release: Option<String>,

    /// How long a connection may be idle, in seconds. Longer than the balancer keeps its own side
    /// open, or requests are lost.
    #[arg(long, env = "AGENTE_API_KEEP_ALIVE", default_value = "75", value_parser = seconds, value_name = "SECONDS")]
    pub(crate) keep_alive: Duration,

    /// How long requests in flight may go on after SIGTERM, in seconds.
    #[arg(long, env = "AGENTE_API_SHUTDOWN_GRACE", default_value = "30", value_parser = seconds, value_name = "SECONDS")]
    pub(crate) shutdown_grace: Duration,

    /// How long it takes to become ready, in seconds.
    #[arg(long, env = "AGENTE_API_STARTUP", default_value = "0", value_parser = seconds, value_name = "SECONDS")]
    pub(crate) startup: Duration,

    /// Never becomes ready.
    #[arg(long, env = "AGENTE_API_NEVER_READY", value_parser = BoolishValueParser::new())]
    pub(crate) never_ready: bool,

    /// Is no longer ready after this time, while it goes on serving well.
    #[arg(long, env = "AGENTE_API_UNREADY_AFTER", value_parser = seconds, value_name = "SECONDS")]
    pub(crate) unready_after: Option<Duration>,

    /// Exits with code 101 after this time, whatever is in flight.
    #[arg(long, env = "AGENTE_API_CRASH_AFTER", value_parser = seconds, value_name = "SECONDS")]
    pub(crate) crash_after: Option<Duration>,

    /// Share of requests below `/api` that fail with 500; 100 with `--fail-after` alone.
    #[arg(long, env = "AGENTE_API_FAIL", value_parser = percent, value_name = "PERCENT")]
    pub(crate) fail: Option<f64>,

    /// Fails only after this time.
    #[arg(long, env = "AGENTE_API_FAIL_AFTER", value_parser = seconds, value_name = "SECONDS")]
    pub(crate) fail_after: Option<Duration>,

    /// Fails only requests with this method.
    #[arg(long, env = "AGENTE_API_FAIL_METHOD", value_name = "METHOD")]
    pub(crate) fail_method: Option<String>,

    /// Adds this many milliseconds to requests below `/api`.
    #[arg(long, env = "AGENTE_API_SLOW", value_name = "MS")]
    pub(crate) slow: Option<u64>,

    /// Share of requests below `/api` that `--slow` slows down.
    #[arg(long, env = "AGENTE_API_SLOW_PERCENT", default_value = "100", value_parser = percent, value_name = "PERCENT")]
    pub(crate) slow_percent: f64,

    /// Leaks memory, and one of its 50 workers with every tenth request below `/api`; once all are
    /// gone, none is answered any more.
    #[arg(long, env = "AGENTE_API_LEAK", value_parser = BoolishValueParser::new())]
    pub(crate) leak: bool,

    /// Goes on as if nothing had happened when it is asked to stop.
    #[arg(long, env = "AGENTE_API_IGNORE_SIGTERM", value_parser = BoolishValueParser::new())]
    pub(crate) ignore_sigterm: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let value: f64 = text.parse().map_err(|_| format!("`{text}` is not a number of seconds"))?;
    Duration::try_from_secs_f64(value)
        .map_err(|_| format!("`{text}` is not a time: seconds are 0 or more"))
}

fn percent(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    if (0.0..=100.0).contains(&value) {
        Ok(value)
    } else {
        Err(format!("`{text}` is not a percentage: 0 to 100 percent"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_outside_0_to_100_are_refused() {
        for bad in ["-1", "100.1", "NaN", "many"] {
            assert!(
                Options::try_parse_from(["agente-api", "127.0.0.1:0", &format!("--fail={bad}")])
                    .is_err(),
                "{bad} was taken"
            );
        }
        assert_eq!(
            Options::try_parse_from(["agente-api", "127.0.0.1:0", "--fail=2.5"]).unwrap().fail,
            Some(2.5)
        );
    }

    #[test]
    fn seconds_may_be_fractions_but_not_negative() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        assert!(seconds("-1").is_err());
        assert!(seconds("soon").is_err());
    }
}
