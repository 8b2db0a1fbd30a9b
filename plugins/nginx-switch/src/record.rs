//! What is remembered from one operation to the next, in the host's memory.

use crate::leaving::Leaving;
use crate::workers::{Running, Worker};
use agente_plugin_sdk::Failure;
use agente_plugin_sdk::host::Host;
use serde::{Deserialize, Serialize};

const KEY: &str = "record";

/// A little less than the 64 KiB that a plugin can remember.
const MOST_BYTES: usize = 60 * 1024;

/// Everything that is remembered of one service and environment. All of it may be lost: then less
/// is known, and nothing is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// The digest of the file that we last wrote; an empty text where we last removed it.
    pub applied: Option<String>,
    /// The digest of the file that we were about to write when we were last seen.
    pub intent: Option<String>,
    /// The last change that NGINX was told to load.
    pub change: Option<Change>,
    /// The backends that have left the routes, and who may still hold requests for them.
    pub drains: Leaving,
}

/// A change that NGINX was told to load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The generation; empty where our file was removed.
    pub generation: String,
    /// The generation that was loaded before it; empty where there was none.
    pub from: String,
    pub at_ms: u64,
    /// The end of the error log before it, where that could be read.
    pub log_mark: Option<u64>,
    /// The workers that ran before it.
    pub workers: Vec<Worker>,
    /// Whether it was told for certain: a host that dies just before has not told it, and of a
    /// lost answer nobody knows.
    pub told: bool,
    /// Whether it was seen in force.
    pub done: bool,
}

impl Record {
    /// Reads the record; one that can't be read is as none.
    pub fn load<H: Host>(host: &H) -> Result<Self, Failure> {
        let bytes = host.memory_get(KEY)?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
    }

    /// Keeps the record; where an NGINX of very many workers makes it too large, without what has
    /// left the routes.
    pub fn save<H: Host>(&self, host: &H) -> Result<(), Failure> {
        let json = |record: &Self| {
            serde_json::to_vec(record).map_err(|error| {
                Failure::failed(format!(
                    "the record can't be written as JSON: \
                {error}"
                ))
            })
        };
        let mut bytes = json(self)?;
        if bytes.len() > MOST_BYTES {
            bytes = json(&Self { drains: Leaving::default(), ..self.clone() })?;
        }
        host.memory_set(KEY, Some(&bytes))
    }

    /// The file with this digest is written, and NGINX was told to load it.
    pub fn told(&mut self, digest: &str) {
        (self.applied, self.intent) = (Some(digest.to_owned()), None);
        if let Some(change) = self.change.as_mut() {
            change.told = true;
        }
    }

    /// The generation of our file, which has this digest, was seen in force. Tells whether that is
    /// news.
    pub fn finish(&mut self, generation: &str, digest: &str, running: &Running) -> bool {
        let Some(change) =
            self.change.as_mut().filter(|change| !change.done && change.generation == generation)
        else {
            return false;
        };
        change.done = true;
        // Those of an earlier reload that NGINX had not begun when the workers were taken: they
        // loaded what this change took back.
        let overlooked = running
            .leaving()
            .into_iter()
            .filter(|worker| !change.workers.iter().any(|known| known.is(worker)));
        self.drains.wait_for(&overlooked.collect::<Vec<_>>());
        (self.applied, self.intent) = (Some(digest.to_owned()), None);
        true
    }

    /// Whether a file with this digest is one that we left or were about to leave. Without a record
    /// any file of ours is.
    pub fn knows(&self, digest: &str) -> bool {
        match (&self.applied, &self.intent) {
            (None, None) => true,
            (applied, intent) => {
                applied.as_deref() == Some(digest) || intent.as_deref() == Some(digest)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agente_plugin_sdk::host::Process;
    use agente_plugin_sdk::native::NativeHost;

    fn process(pid: u32) -> Process {
        Process {
            pid,
            parent: 1,
            title: "nginx: worker process".into(),
            started_ms: 1_700_000_000_000 + u64::from(pid),
            labels: Vec::new(),
        }
    }

    /// A record in the middle of a change, with `count` workers and a backend that left before
    /// them.
    fn record(count: u32) -> Record {
        let running = Running {
            master: Process { started_ms: 0, ..process(1) },
            workers: (1_000_000..1_000_000 + count).map(process).collect(),
        };
        let workers = running.remembered();
        let mut record = Record { applied: Some("digest".into()), ..Record::default() };
        record.drains.leave(
            ["10.0.0.1:80".to_owned()],
            workers.get(..600).unwrap_or(&workers),
            &running,
        );
        let (generation, from) = ("new".to_owned(), "old".to_owned());
        record.change = Some(Change {
            generation,
            from,
            at_ms: 1,
            log_mark: None,
            workers,
            told: true,
            done: false,
        });
        record
    }

    #[test]
    fn a_late_worker_that_leaves_while_the_change_settles_is_waited_for() {
        let worker = |pid: u32, title: &str| Process {
            title: format!("nginx: worker process{title}"),
            ..process(pid)
        };
        let running = |workers: Vec<Process>| Running { master: process(1), workers };
        let (first, candidate) = (["stable:80".to_owned()], ["candidate:80".to_owned()]);
        let mut record = Record::default();
        let before = running(vec![worker(10, ""), worker(11, "")]);
        record.drains.leave(first.clone(), &before.remembered(), &before);
        let before = running(vec![worker(20, "")]);
        record.drains.leave(candidate.clone(), &before.remembered(), &before);
        let (generation, from, workers) = ("old".to_owned(), "old".to_owned(), before.remembered());
        record.change = Some(Change {
            generation,
            from,
            at_ms: 1,
            log_mark: None,
            workers,
            told: true,
            done: false,
        });

        let after = running(vec![
            worker(20, " is shutting down"),
            worker(30, " is shutting down"),
            worker(40, ""),
        ]);
        assert!(!record.finish("another", "digest", &after));
        assert!(record.finish("old", "digest", &after));
        let waited_for = |addresses: &[String]| {
            record
                .drains
                .workers(addresses, &after)
                .iter()
                .map(|worker| worker.pid)
                .collect::<Vec<_>>()
        };
        assert_eq!((waited_for(&candidate), waited_for(&first)), (vec![20, 30], Vec::new()));
        let again = running(vec![worker(50, " is shutting down")]);
        assert!(!record.finish("old", "digest", &again), "once is enough");
    }

    #[test]
    fn a_record_that_would_be_too_large_is_kept_without_its_drains() {
        let host = NativeHost::new("shop", "production");
        let usual = record(64);
        usual.save(&host).unwrap();
        assert_eq!(Record::load(&host).unwrap(), usual);
        let large = record(1_200);
        assert!(large.drains.knows("10.0.0.1:80"));
        large.save(&host).unwrap();
        assert_eq!(Record::load(&host).unwrap(), Record { drains: Leaving::default(), ..large });
    }
}
