//! The engine's prober: sends on schedule, on fresh and on kept-alive connections in turn.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agente_engine::fault::{Fault, FaultKind};
use agente_engine::policy::ProbePolicy;
use agente_engine::ports::{ProbeReport, Prober};
use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use http::uri::PathAndQuery;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::connection::{Ask, Connection};
use crate::outcome::{Answer, Class, Loss};
use crate::pool::Pool;
use crate::recorder::{IdentityTimes, Presence, Recorder, Window, now_ms};
use crate::target::Target;

/// The slowest rate that still sees anything of a deployment: a request in 100 seconds.
const SLOWEST: f64 = 0.01;
/// The fastest rate that is still a probe and not a load test.
const FASTEST: f64 = 10_000.0;
/// How many requests may be in flight: each holds a socket, and the usual limit of a process is
/// 1024.
const MOST_IN_FLIGHT: usize = 512;
/// How many kept-alive connections are used in turn.
const KEPT_CONNECTIONS: usize = 4;
/// Every which request is a POST, where a path for it is declared. Odd, so that fresh and
/// kept-alive connections carry both.
const POST_EVERY: u64 = 5;
/// How many fresh connections `identities` opens at once.
const AT_ONCE: usize = 8;
/// How far behind its schedule the prober may fall, because this machine did not let it run, before
/// it skips what it missed.
const FURTHEST_BEHIND: Duration = Duration::from_secs(1);

const POST_BODY: &[u8] = b"agente-host probe\n";

/// Sends our own requests to one service.
pub struct HttpProber {
    shared: Arc<Shared>,
    period: Duration,
    running: Mutex<Option<AbortHandle>>,
}

struct Shared {
    target: Target,
    timeout: Duration,
    post_path: Option<PathAndQuery>,
    recorder: Recorder,
    pool: Pool,
}

impl HttpProber {
    /// A prober for this policy. Reads the file of certificate authorities now; sends nothing.
    ///
    /// # Errors
    ///
    /// Returns a fault of kind `invalid-config` when the URL, an override, a path, the rate or the
    /// timeout can't be used.
    pub fn new(policy: &ProbePolicy) -> Result<Self, Fault> {
        let target = Target::from_policy(policy)?;
        let period = Some(policy.rate)
            .filter(|rate| (SLOWEST..=FASTEST).contains(rate))
            .and_then(|rate| Duration::try_from_secs_f64(1.0 / rate).ok());
        let Some(period) = period else {
            let message = format!(
                "the probe's rate is `{}` requests per second; it must be from {SLOWEST} to \
                 {FASTEST}",
                policy.rate
            );
            return Err(Fault::new(FaultKind::InvalidConfig, message)
                .hint("set for example `rate = 50` in `[probe]`"));
        };
        if policy.timeout.is_zero() {
            return Err(Fault::new(FaultKind::InvalidConfig, "the probe's timeout is zero")
                .hint("set for example `timeout = \"5s\"` in `[probe]`"));
        }
        let post_path = policy.post_path.as_deref().map(Target::parse_path).transpose()?;
        let recorder = Recorder::new(policy.identity_header.is_some(), policy.count_idle_resets);
        let shared = Shared {
            target,
            timeout: policy.timeout,
            post_path,
            recorder,
            pool: Pool::new(KEPT_CONNECTIONS),
        };
        Ok(Self { shared: Arc::new(shared), period, running: Mutex::new(None) })
    }

    /// When each identity answered first and last.
    pub fn identity_times(&self) -> BTreeMap<String, IdentityTimes> {
        self.shared.recorder.identity_times()
    }

    /// Who answered from when to when.
    pub fn presences(&self) -> Vec<Presence> {
        self.shared.recorder.presences()
    }

    /// The last hour, second by second.
    pub fn windows(&self) -> Vec<Window> {
        self.shared.recorder.windows()
    }
}

impl Drop for HttpProber {
    fn drop(&mut self) {
        if let Some(running) = self.running.get_mut().unwrap_or_else(PoisonError::into_inner).take()
        {
            running.abort();
        }
    }
}

#[async_trait]
impl Prober for HttpProber {
    async fn start(&self) -> Result<(), Fault> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.is_none() {
            *running = Some(
                tokio::spawn(keep_sending(Arc::clone(&self.shared), self.period)).abort_handle(),
            );
        }
        Ok(())
    }

    fn report(&self) -> ProbeReport {
        self.shared.recorder.report()
    }

    async fn identities(&self, count: usize) -> Result<Vec<String>, Fault> {
        let mut asking = JoinSet::new();
        let mut seen = Vec::new();
        for number in 0..count {
            if number >= AT_ONCE {
                seen.extend(next_identity(&mut asking).await?);
            }
            let shared = Arc::clone(&self.shared);
            asking.spawn(async move {
                let deadline = Instant::now() + shared.timeout;
                let mut connection = Connection::open(&shared.target, deadline).await?;
                connection.exchange(&shared.target, &shared.ask(false, true), deadline).await
            });
        }
        while let Some(identity) = next_identity(&mut asking).await? {
            seen.push(identity);
        }
        Ok(seen)
    }
}

async fn next_identity(
    asking: &mut JoinSet<Result<Answer, Loss>>,
) -> Result<Option<String>, Fault> {
    match asking.join_next().await {
        None => Ok(None),
        Some(Ok(Ok(answer))) => Ok(Some(answer.identity)),
        Some(Ok(Err(loss))) => Err(unanswered(loss.to_string())),
        Some(Err(error)) => Err(unanswered(error.to_string())),
    }
}

fn unanswered(cause: String) -> Fault {
    let mut fault = Fault::new(
        FaultKind::Unavailable,
        "could not find out who answers at the service's public URL",
    )
    .retryable();
    fault.causes.push(cause);
    fault.hint("try the URL of `[probe]` by hand: `curl --include`")
}

/// Sends what is due, for ever. Each request runs on its own; dropping this future ends them all.
async fn keep_sending(shared: Arc<Shared>, period: Duration) {
    let mut in_flight = JoinSet::new();
    let mut begin = Instant::now();
    // Counted from `begin`, so that the schedule does not drift; `number` goes on when the begin
    // moves.
    let (mut number, mut tick) = (0_u64, 0_u64);
    loop {
        let mut due = begin + multiply(period, tick);
        sleep_until(due).await;
        while in_flight.try_join_next().is_some() {}
        if due.elapsed() > FURTHEST_BEHIND {
            tracing::warn!(
                behind_ms = due.elapsed().as_millis(),
                url = shared.target.url(),
                "the machine was too busy to run the prober on time; it skips the missed requests"
            );
            (begin, tick) = (Instant::now(), 0);
            due = begin;
        }
        let ticket = shared.ticket(number);
        if in_flight.len() >= MOST_IN_FLIGHT {
            let loss = Loss::new(
                Class::Overload,
                format!("not sent: {} requests are already in flight", in_flight.len()),
            );
            shared.recorder.not_sent(ticket.describe(&shared, None), &loss);
        } else {
            shared.recorder.sent();
            let shared = Arc::clone(&shared);
            in_flight.spawn(async move { shared.send(&ticket, due).await });
        }
        number += 1;
        tick += 1;
    }
}

fn multiply(period: Duration, by: u64) -> Duration {
    let nanos = period.as_nanos() * u128::from(by);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// What kind of request is due.
struct Ticket {
    post: bool,
    kept_alive: bool,
}

impl Ticket {
    fn describe(&self, shared: &Shared, connection: Option<&Connection>) -> String {
        let method = if self.post { "POST" } else { "GET" };
        let path = shared.path(self.post);
        let kind = match (connection, self.kept_alive) {
            (Some(connection), _) if connection.is_reused() => "kept-alive",
            (_, true) => "new kept-alive",
            (_, false) => "fresh",
        };
        match connection {
            Some(connection) => format!(
                "{method} {path} on a {kind} connection from port {}",
                connection.local_port()
            ),
            None => format!("{method} {path} on a {kind} connection"),
        }
    }
}

impl Shared {
    fn ticket(&self, number: u64) -> Ticket {
        Ticket {
            post: self.post_path.is_some() && number % POST_EVERY == POST_EVERY - 1,
            kept_alive: number % 2 == 1,
        }
    }

    fn path(&self, post: bool) -> &PathAndQuery {
        match &self.post_path {
            Some(path) if post => path,
            _ => self.target.path(),
        }
    }

    fn ask(&self, post: bool, close: bool) -> Ask {
        let (method, body) = if post {
            (Method::POST, Bytes::from_static(POST_BODY))
        } else {
            (Method::GET, Bytes::new())
        };
        Ask { method, path: self.path(post).clone(), body, close, cookie: None }
    }

    async fn send(&self, ticket: &Ticket, due: Instant) {
        let (sent_ms, deadline) = (now_ms(), Instant::now() + self.timeout);
        let taken = if ticket.kept_alive { self.pool.take() } else { None };
        let opened = match taken {
            Some(connection) => Ok(connection),
            None => Connection::open(&self.target, deadline).await,
        };
        let mut connection = match opened {
            Ok(connection) => connection,
            Err(loss) => {
                if ticket.kept_alive {
                    self.pool.write_off();
                }
                return self.recorder.ended(
                    due.into_std(),
                    sent_ms,
                    ticket.describe(self, None),
                    Err(&loss),
                );
            }
        };
        let what = ticket.describe(self, Some(&connection));
        let result = connection
            .exchange(&self.target, &self.ask(ticket.post, !ticket.kept_alive), deadline)
            .await;
        self.recorder.ended(due.into_std(), sent_ms, what, result.as_ref());
        match result {
            Ok(answer) if ticket.kept_alive && answer.reusable => self.pool.give_back(connection),
            _ if ticket.kept_alive => self.pool.write_off(),
            _ => {}
        }
    }
}
