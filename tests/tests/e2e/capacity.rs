//! Whether enough of each side runs for the requests that it gets, watched from outside all the
//! time.

use agente_tests::scene::{Service, get};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// What was seen until now.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Moments at which a side had fewer backends than its weight needs.
    pub(crate) short: Vec<String>,
    /// The most backends that listened at the same time.
    pub(crate) most: usize,
    /// The weights of both slots in basis points, one after the other.
    pub(crate) weights: Vec<(u32, u32)>,
}

/// A thread that looks.
pub(crate) struct Capacity {
    end: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Capacity {
    /// Watches that each slot has at least its weight's part of `needed` backends.
    pub(crate) fn of(shop: &Service, needed: u32) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let (over, file, ports) =
            (Arc::clone(&end), shop.nginx_path().to_owned(), shop.backend_ports());
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            while !over.load(Ordering::Relaxed) {
                look(&file, ports, needed, &mut seen);
                std::thread::sleep(Duration::from_millis(20));
            }
            seen
        });
        Self { end, thread }
    }

    /// Ends, and demands that there was always enough.
    #[track_caller]
    pub(crate) fn always_enough(self) -> Seen {
        self.end.store(true, Ordering::Relaxed);
        let seen = self.thread.join().expect("the thread that looks");
        assert!(seen.short.is_empty(), "{seen:?}");
        assert!(!seen.weights.is_empty(), "nothing was seen");
        seen
    }
}

/// What the target's file says: weight and ports by slot.
fn routes(file: &Path) -> Option<Vec<(String, u32, Vec<u16>)>> {
    let text = std::fs::read_to_string(file).ok()?;
    let mut routes: Vec<(String, u32, Vec<u16>)> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["#", "route", slot, weight, ..] => {
                routes.push(((*slot).to_owned(), weight.parse().ok()?, Vec::new()));
            }
            ["#", "backend", _, address, ..] => {
                routes.last_mut()?.2.push(address.rsplit(':').next()?.parse().ok()?);
            }
            _ => {}
        }
    }
    Some(routes)
}

fn look(file: &Path, (first, last): (u16, u16), needed: u32, seen: &mut Seen) {
    let Some(before) = routes(file) else { return };
    let alive = |port: &&u16| get(**port, "/healthz").is_ok_and(|answer| answer.status == 200);
    let counted: Vec<usize> =
        before.iter().map(|(_, _, ports)| ports.iter().filter(alive).count()).collect();
    let listening =
        (first..=last).filter(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok()).count();
    // What changed while we looked is looked at again.
    if routes(file).as_ref() != Some(&before) {
        return;
    }
    seen.most = seen.most.max(listening);
    // Shares are rounded to a hundredth of a percent.
    for ((slot, weight, ports), alive) in before.iter().zip(counted) {
        if u64::from(weight.saturating_sub(1)) * u64::from(needed)
            > 10_000 * u64::try_from(alive).unwrap_or_default()
        {
            seen.short.push(format!(
                "{slot} has weight {weight} and {alive} of {} backends alive",
                ports.len()
            ));
        }
    }
    let weight = |of: &str| {
        before.iter().filter(|(slot, ..)| slot == of).map(|(_, weight, _)| *weight).sum()
    };
    let weights = (weight("blue"), weight("green"));
    if seen.weights.last() != Some(&weights) {
        seen.weights.push(weights);
    }
}
