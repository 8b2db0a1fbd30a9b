//! What the load is to be.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use http::Method;

/// Sends requests and never sends one twice; counts every way in which one can be lost, and prints
/// a report at the end.
///
/// The end is `--duration`, SIGINT or SIGTERM; what is in flight is waited for. Exit code 0
/// whatever was counted, 2 for wrong options.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "strict-load",
    after_help = "Example:\n  strict-load --url http://127.0.0.1:8080/api/items --rate 300 --mode \
                  keepalive --mix get,post \\\n    --slow-path '/api/slow?ms=1000' \
                  --slow-inflight 8 --header-identity X-Release --duration 30 --report text"
)]
pub struct Options {
    /// Where GET requests go.
    #[arg(long)]
    pub url: String,
    /// `HOST:PORT` to connect to instead of the URL's own.
    #[arg(long, value_name = "HOST:PORT")]
    pub connect: Option<String>,
    /// The `Host` header and TLS name instead of the URL's own.
    #[arg(long)]
    pub host: Option<String>,
    /// A PEM file of certificate authorities instead of the system's.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Requests per second, open loop: they are due on a schedule, however slow the answers are.
    #[arg(long, value_parser = rate)]
    pub rate: Option<f64>,
    /// Without `--rate`: how many clients send in closed loops. With it: how many kept-alive
    /// connections are used in turn.
    #[arg(long, default_value_t = 32, value_parser = at_least_one)]
    pub connections: usize,
    /// How long a client of a closed loop waits between an answer and its next request, in
    /// milliseconds.
    #[arg(long, value_name = "MS", default_value = "50", value_parser = milliseconds)]
    pub think: Duration,
    /// Whether each request has a connection of its own.
    #[arg(long, value_enum, default_value = "close")]
    pub mode: Mode,
    /// A client that looks whether a kept-alive connection is still open before it sends, as
    /// browsers and most libraries do.
    #[arg(long)]
    pub careful: bool,
    /// The methods to send in turn.
    #[arg(long, value_delimiter = ',', default_value = "get", value_parser = method)]
    pub mix: Vec<Method>,
    /// Where POST requests go; the URL's own path without it.
    #[arg(long, value_name = "PATH")]
    pub post_path: Option<String>,
    /// The length of a posted body.
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    pub body_bytes: usize,
    /// Accepts any answer to a POST, instead of demanding JSON with the body's `length` and
    /// `sha256`.
    #[arg(long)]
    pub no_verify: bool,
    /// How many users send in turn, each told by a cookie `uid`; no cookie is sent without it.
    #[arg(long, value_name = "COUNT")]
    pub users: Option<u64>,
    /// A path that answers slowly, to have such requests always in flight.
    #[arg(long, value_name = "PATH")]
    pub slow_path: Option<String>,
    /// How many slow requests are in flight.
    #[arg(long, value_name = "COUNT", default_value_t = 4)]
    pub slow_inflight: usize,
    /// How long one request may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub timeout: Duration,
    /// How long to go on, in seconds; until a signal without it.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub duration: Option<Duration>,
    /// The response header that names who answered.
    #[arg(long, value_name = "NAME")]
    pub header_identity: Option<String>,
    /// Whether what became of each single request is remembered, for a program that asks
    /// ([`Load::records`](super::Load::records)).
    #[arg(skip)]
    pub record: bool,
    /// The form of the report, on standard output.
    #[arg(long, value_enum, default_value = "text")]
    pub report: Form,
}

impl Options {
    /// The options that a URL alone gives.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            connect: None,
            host: None,
            ca: None,
            rate: None,
            connections: 32,
            think: Duration::from_millis(50),
            mode: Mode::Close,
            careful: false,
            mix: vec![Method::GET],
            post_path: None,
            body_bytes: 1024,
            no_verify: false,
            users: None,
            slow_path: None,
            slow_inflight: 4,
            timeout: Duration::from_secs(30),
            duration: None,
            header_identity: None,
            record: false,
            report: Form::Text,
        }
    }
}

/// Whether connections are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Each request says `Connection: close`.
    Close,
    /// Connections are used again and again.
    #[value(name = "keepalive")]
    KeepAlive,
}

/// The form of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// One JSON object.
    Json,
    /// Lines for people.
    Text,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && rate <= 100_000.0 => Ok(rate),
        _ => {
            Err("a rate is a number of requests per second, above 0 and at most 100000".to_owned())
        }
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err("a number above 0".to_owned()),
    }
}

fn method(text: &str) -> Result<Method, String> {
    match text {
        "get" => Ok(Method::GET),
        "post" => Ok(Method::POST),
        _ => Err("a mix is made of `get` and `post`".to_owned()),
    }
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_millis).map_err(|_| "a whole number of milliseconds".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || "a number of seconds above 0".to_owned();
    let value = text.strip_suffix('s').unwrap_or(text).parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(value).ok().filter(|duration| !duration.is_zero()).ok_or_else(wrong)
}
