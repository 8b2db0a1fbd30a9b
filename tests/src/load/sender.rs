//! Sends one request and judges its answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use agente_probe::{Answer, Ask, Class, Connection, Loss, Recorder, Target, TargetError, now_ms};
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::options::{Mode, Options};
use super::record::Record;

/// How many different bodies are posted in turn.
const BODIES: u8 = 16;

/// Which loop a request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Usual,
    Slow,
}

/// What is left of a request.
pub(super) struct Done {
    /// The connection, where it can be used again.
    pub(super) kept: Option<Connection>,
    /// Whether the request was lost in any way.
    pub(super) lost: bool,
}

/// What all loops share.
pub(super) struct Sender {
    target: Target,
    mode: Mode,
    careful: bool,
    verify: bool,
    timeout: Duration,
    mix: Vec<Method>,
    post_path: PathAndQuery,
    slow_path: Option<PathAndQuery>,
    bodies: Vec<(Bytes, Receipt)>,
    number: AtomicU64,
    users: Option<u64>,
    records: Option<Mutex<Vec<Record>>>,
    pub(super) usual: Recorder,
    pub(super) slow: Recorder,
    pub(super) verified: AtomicU64,
}

/// What the service says about a body that it received.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Receipt {
    length: u64,
    sha256: String,
}

impl Sender {
    pub(super) fn new(options: &Options) -> Result<Self, TargetError> {
        let target = super::target(options)?;
        let post_path = options
            .post_path
            .as_deref()
            .map_or_else(|| Ok(target.path().clone()), Target::parse_path)?;
        let by_identity = options.header_identity.is_some();
        Ok(Self {
            mode: options.mode,
            careful: options.careful,
            verify: !options.no_verify,
            timeout: options.timeout,
            mix: options.mix.clone(),
            post_path,
            slow_path: options.slow_path.as_deref().map(Target::parse_path).transpose()?,
            bodies: (0..BODIES).map(|seed| body(options.body_bytes, seed)).collect(),
            number: AtomicU64::new(0),
            users: options.users,
            records: options.record.then(Mutex::default),
            usual: Recorder::new(by_identity, true),
            slow: Recorder::new(by_identity, true),
            verified: AtomicU64::new(0),
            target,
        })
    }

    pub(super) fn url(&self) -> &str {
        self.target.url()
    }

    pub(super) fn keeps_alive(&self) -> bool {
        self.mode == Mode::KeepAlive
    }

    pub(super) fn not_sent(&self, loss: &Loss) {
        self.usual.not_sent("a request that was due", loss);
    }

    /// Sends one request, on this connection if there is one.
    pub(super) async fn send(&self, kind: Kind, kept: Option<Connection>, due: Instant) -> Done {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let (ask, receipt) = self.ask(kind, number);
        let recorder = if kind == Kind::Slow { &self.slow } else { &self.usual };
        let (sent_ms, deadline) = (now_ms(), Instant::now() + self.timeout);
        recorder.sent();
        let kept = kept.filter(|connection| !(self.careful && connection.is_closed()));
        let opened = match kept {
            Some(connection) => Ok(connection),
            None => Connection::open(&self.target, deadline).await,
        };
        let mut connection = match opened {
            Ok(connection) => connection,
            Err(loss) => {
                self.remember(kind, number, &ask, sent_ms, Err(&loss));
                recorder.ended(
                    due.into_std(),
                    sent_ms,
                    format_args!("{} {}", ask.method, ask.path),
                    Err(&loss),
                );
                return Done { kept: None, lost: true };
            }
        };
        let reused = connection.is_reused();
        let answer = connection.exchange(&self.target, &ask, deadline).await;
        let answer = answer.and_then(|answer| self.judge(answer, receipt));
        self.remember(kind, number, &ask, sent_ms, answer.as_ref());
        let what = format_args!(
            "{} {} on a {} connection from port {}",
            ask.method,
            ask.path,
            if reused { "reused" } else { "fresh" },
            connection.local_port()
        );
        recorder.ended(due.into_std(), sent_ms, what, answer.as_ref());
        let lost = answer.as_ref().map_or(true, |answer| answer.status >= 500);
        Done { kept: answer.is_ok_and(|answer| answer.reusable).then_some(connection), lost }
    }

    pub(super) fn records(&self) -> Vec<Record> {
        self.records
            .as_ref()
            .map(|records| records.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .unwrap_or_default()
    }

    fn remember(
        &self,
        kind: Kind,
        number: u64,
        ask: &Ask,
        sent_ms: u64,
        result: Result<&Answer, &Loss>,
    ) {
        if let (Kind::Usual, Some(records)) = (kind, &self.records) {
            let record =
                Record::new(sent_ms, now_ms(), ask.method.clone(), self.user(number), result);
            records.lock().unwrap_or_else(PoisonError::into_inner).push(record);
        }
    }

    fn user(&self, number: u64) -> u64 {
        self.users.and_then(|users| number.checked_rem(users)).unwrap_or_default()
    }

    fn ask(&self, kind: Kind, number: u64) -> (Ask, Option<&Receipt>) {
        let close = self.mode == Mode::Close;
        let cookie = self
            .users
            .and_then(|_| HeaderValue::from_str(&format!("uid=user-{}", self.user(number))).ok());
        let get = |path: &PathAndQuery, cookie| {
            (
                Ask { method: Method::GET, path: path.clone(), body: Bytes::new(), close, cookie },
                None,
            )
        };
        if let (Kind::Slow, Some(path)) = (kind, &self.slow_path) {
            return get(path, cookie);
        }
        let of = |count: usize| usize::try_from(number % count.max(1) as u64).unwrap_or_default();
        match (self.mix.get(of(self.mix.len())), self.bodies.get(of(self.bodies.len()))) {
            (Some(method), Some((body, receipt))) if *method == Method::POST => (
                Ask {
                    method: Method::POST,
                    path: self.post_path.clone(),
                    body: body.clone(),
                    close,
                    cookie,
                },
                Some(receipt),
            ),
            _ => get(self.target.path(), cookie),
        }
    }

    /// A status of 500 or above is left to the recorder; what else is not as expected is a loss here.
    fn judge(&self, answer: Answer, receipt: Option<&Receipt>) -> Result<Answer, Loss> {
        if (400..500).contains(&answer.status) {
            return Err(Loss::new(Class::WrongAnswer, format!("answered {}", answer.status)));
        }
        if let (Some(receipt), true) = (receipt, self.verify && answer.status < 400) {
            match serde_json::from_slice::<Receipt>(&answer.body) {
                Ok(got) if got == *receipt => drop(self.verified.fetch_add(1, Ordering::Relaxed)),
                Ok(got) => {
                    return Err(Loss::new(
                        Class::WrongAnswer,
                        format!(
                            "posted {} bytes, and the answer speaks of {} others",
                            receipt.length, got.length
                        ),
                    ));
                }
                Err(_) => {
                    return Err(Loss::new(
                        Class::WrongAnswer,
                        "the answer to a POST has no `length` and `sha256` of the body \
                         (`--no-verify` accepts that)",
                    ));
                }
            }
        }
        Ok(answer)
    }
}

/// A body that looks random, and what a service must say that it received.
fn body(length: usize, seed: u8) -> (Bytes, Receipt) {
    let mut state = u32::from(seed) + 1;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        // xorshift: any order will do in which no two bodies have a part in common.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    })
    .take(length)
    .collect();
    let receipt =
        Receipt { length: bytes.len() as u64, sha256: hex::encode(Sha256::digest(&bytes)) };
    (bytes.into(), receipt)
}
