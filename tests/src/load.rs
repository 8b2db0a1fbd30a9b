//! A load client that judges: it never sends a request twice, verifies what it posts, and counts
//! every way in which a request can be lost.
//!
//! Invariants: requests, connections and classes are those of the prober (`agente-probe`), so that
//! host and test judge by the same rules; when the load stops, every request that was sent is
//! waited for, so that none ends unjudged.

mod options;
mod record;
mod report;
mod sender;

use std::sync::Arc;
use std::time::Duration;

use agente_probe::{Class, Loss, Pool, Target, TargetError, now_ms};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

pub use options::{Form, Mode, Options};
pub use record::{Outcome, Record};
pub use report::{Latency, Report, Slow, Switch};
use sender::{Kind, Sender};

/// How many requests of an open loop may be in flight: each holds a socket, and the usual limit of
/// a process is 1024.
const MOST_IN_FLIGHT: usize = 900;
/// How long a closed loop waits after a lost request, so that a server which is down is not
/// hammered.
const PAUSE_AFTER_LOSS: Duration = Duration::from_millis(10);

/// A load that is running. Dropped, it stops at once and leaves what is in flight unjudged.
pub struct Load {
    sender: Arc<Sender>,
    loops: JoinSet<()>,
    stopping: watch::Sender<bool>,
    begun_ms: u64,
}

impl Load {
    /// Starts sending.
    ///
    /// # Errors
    ///
    /// Returns [`TargetError`] when the URL, a path or an override can't be used; nothing was sent
    /// then.
    pub fn start(options: &Options) -> Result<Self, TargetError> {
        let sender = Arc::new(Sender::new(options)?);
        let (stopping, stopped) = watch::channel(false);
        let mut loops = JoinSet::new();
        if let Some(rate) = options.rate {
            loops.spawn(open_loop(Arc::clone(&sender), rate, options.connections, stopped.clone()));
        } else {
            for number in 0..options.connections {
                // Spread over the first second, or all clients would think and send in step.
                let delay = options
                    .think
                    .min(Duration::from_secs(1))
                    .mul_f64(fraction(number, options.connections));
                loops.spawn(closed_loop(
                    Arc::clone(&sender),
                    Kind::Usual,
                    options.think,
                    delay,
                    stopped.clone(),
                ));
            }
        }
        if options.slow_path.is_some() {
            for number in 0..options.slow_inflight {
                let delay = Duration::from_secs(1).mul_f64(fraction(number, options.slow_inflight));
                loops.spawn(closed_loop(
                    Arc::clone(&sender),
                    Kind::Slow,
                    Duration::ZERO,
                    delay,
                    stopped.clone(),
                ));
            }
        }
        Ok(Self { sender, loops, stopping, begun_ms: now_ms() })
    }

    /// The counts so far.
    pub fn report(&self) -> Report {
        Report::of(&self.sender, self.begun_ms)
    }

    /// What became of each single request so far, in the order of their ends; empty where nothing
    /// is remembered. Slow requests are left out.
    pub fn records(&self) -> Vec<Record> {
        self.sender.records()
    }

    /// Sends nothing more, waits for every answer that is still due, and returns the final counts.
    pub async fn stop(&mut self) -> Report {
        let _ = self.stopping.send(true);
        while self.loops.join_next().await.is_some() {}
        self.report()
    }
}

/// The target that these options name.
///
/// # Errors
///
/// Returns [`TargetError`] when a part of it can't be used.
fn target(options: &Options) -> Result<Target, TargetError> {
    Target::new(
        &options.url,
        options.connect.as_deref(),
        options.host.as_deref(),
        options.ca.as_deref(),
        options.header_identity.as_deref(),
    )
}

fn fraction(number: usize, of: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of clients are small")]
    let fraction = number as f64 / of as f64;
    fraction
}

/// Sends on schedule, whatever becomes of the requests before.
async fn open_loop(
    sender: Arc<Sender>,
    rate: f64,
    connections: usize,
    mut stopped: watch::Receiver<bool>,
) {
    let pool = Arc::new(Pool::new(connections));
    let begin = Instant::now();
    let mut in_flight = JoinSet::new();
    for tick in 0_u32.. {
        let due = begin + Duration::from_secs_f64(f64::from(tick) / rate);
        tokio::select! {
            () = sleep_until(due) => {}
            _ = stopped.wait_for(|stopped| *stopped) => break,
        }
        while in_flight.try_join_next().is_some() {}
        if in_flight.len() >= MOST_IN_FLIGHT {
            sender.not_sent(&Loss::new(
                Class::Overload,
                format!("not sent: {} requests are already in flight", in_flight.len()),
            ));
            continue;
        }
        let (sender, pool) = (Arc::clone(&sender), Arc::clone(&pool));
        in_flight.spawn(async move {
            if !sender.keeps_alive() {
                sender.send(Kind::Usual, None, due).await;
                return;
            }
            match sender.send(Kind::Usual, pool.take(), due).await.kept {
                Some(connection) => pool.give_back(connection),
                None => pool.write_off(),
            }
        });
    }
    while in_flight.join_next().await.is_some() {}
}

/// Sends, waits for the answer, thinks, and sends again.
async fn closed_loop(
    sender: Arc<Sender>,
    kind: Kind,
    think: Duration,
    delay: Duration,
    mut stopped: watch::Receiver<bool>,
) {
    let mut connection = None;
    let mut pause = delay;
    loop {
        if !pause.is_zero() {
            tokio::select! {
                () = sleep(pause) => {}
                _ = stopped.wait_for(|stopped| *stopped) => {}
            }
        }
        if *stopped.borrow() {
            return;
        }
        let done = sender.send(kind, connection, Instant::now()).await;
        pause = if done.lost { think.max(PAUSE_AFTER_LOSS) } else { think };
        connection = done.kept;
    }
}
