//! One call of a plugin: on whose behalf, until when. All effects of the call go through here: to
//! the broker, to the audit trail, and then to what does them.

mod doing;

use crate::audit::{
    CallEnd, CallRecord, EffectRecord, LogLevel, MAX_EFFECT_BYTES, MAX_EFFECTS, PluginMessage, cut,
};
use crate::broker::{Allowed, Circumstances, Denied};
use crate::calls::Call;
use crate::cpu::CpuMeter;
use crate::effect::{Effect, Handle};
use crate::effects::Live;
use crate::household::Household;
use crate::masks::Masks;
use crate::performer::{CallName, Performer};
use crate::secrets::OpenSecrets;
use crate::wanted::{Waiting, Wanted};
use agente_engine::ports::TargetLock;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a message of a plugin may be.
const MAX_MESSAGE_BYTES: usize = 8 * 1024;

/// How many messages of one operation are passed on.
const MAX_MESSAGES: u32 = 1000;

/// How many lines of what a plugin wrote last are kept for the report of its crash.
const LAST_WORDS: usize = 5;

/// On whose behalf a plugin is asked.
#[derive(Debug, Clone, Default)]
pub struct OperationContext {
    /// The deployment's id; empty outside one.
    pub deployment: String,
    /// `host:port` of each backend of the deployment. Those that an operation itself carries are
    /// added.
    pub backends: Vec<String>,
    /// The service's public URL.
    pub public_url: Option<String>,
    /// The image of the release that is being deployed: where `release` programs run.
    pub image: Option<String>,
    /// The lock of the target that a call is about to change, held until nothing of the call is on
    /// its way any more.
    pub lock: Option<TargetLock>,
    /// Set when somebody has asked for an abort.
    pub cancelled: Arc<AtomicBool>,
}

/// One call of a plugin.
pub(crate) struct Operation {
    pub(crate) household: Arc<Household>,
    pub(crate) call: Call,
    pub(crate) context: OperationContext,
    pub(crate) deadline: Instant,
    pub(crate) circumstances: Circumstances,
    pub(crate) cpu: CpuMeter,
    /// Those that the guest has opened.
    pub(crate) secrets: OpenSecrets,
    performer: Arc<dyn Performer>,
    wanted: Wanted,
    masks: Masks,
    harmless_seen: AtomicU32,
    denied_seen: AtomicU32,
    messages_seen: AtomicU32,
    last_words: Mutex<VecDeque<String>>,
    denied: Mutex<Option<Denied>>,
    trouble: Mutex<Option<String>>,
    touched: AtomicBool,
    began: Instant,
    end: Mutex<Option<(Duration, CallEnd)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Operation {
    pub(crate) fn new(
        household: Arc<Household>,
        call: Call,
        context: OperationContext,
        wall: Duration,
    ) -> Self {
        let wall = wall.min(call.wall).min(household.limits.wall.duration());
        let deadline = Instant::now() + wall;
        let circumstances = Circumstances {
            backends: context.backends.clone(),
            public_url: context.public_url.clone(),
        };
        let (masks, wanted) = (Masks::default(), Wanted::new());
        let world: Arc<dyn Performer> = Arc::new(Live::new(
            Arc::clone(&household),
            context.image.clone(),
            deadline,
            masks.clone(),
            wanted.clone(),
            context.lock.clone(),
        ));
        let performer = match &household.ports.seam {
            None => world,
            Some(seam) => {
                let name = CallName {
                    plugin: household.plugin.clone(),
                    version: household.version.clone(),
                    deployment: context.deployment.clone(),
                    operation: call.name.to_owned(),
                };
                seam.performer(name, world)
            }
        };
        Self {
            cpu: CpuMeter::new(household.limits.cpu),
            household,
            call,
            context,
            deadline,
            circumstances,
            secrets: OpenSecrets::default(),
            performer,
            wanted,
            masks,
            harmless_seen: AtomicU32::new(0),
            denied_seen: AtomicU32::new(0),
            messages_seen: AtomicU32::new(0),
            last_words: Mutex::default(),
            denied: Mutex::default(),
            trouble: Mutex::default(),
            touched: AtomicBool::new(false),
            began: Instant::now(),
            end: Mutex::default(),
        }
    }

    /// Notes how the call ended. What is found out about its answer later replaces that; the time
    /// stays that of the answer.
    pub(crate) fn note_end(&self, end: CallEnd) {
        let mut noted = lock(&self.end);
        let took = noted.map_or_else(|| self.began.elapsed(), |(took, _)| took);
        *noted = Some((took, end));
    }

    /// Adds the backends that the operation itself is about.
    pub(crate) fn with_backends<'a>(mut self, backends: impl IntoIterator<Item = &'a str>) -> Self {
        for address in backends {
            if !self.circumstances.backends.iter().any(|known| known == address) {
                self.circumstances.backends.push(address.to_owned());
            }
        }
        self
    }

    /// The plugin and its version, for messages.
    pub(crate) fn whose(&self) -> String {
        self.household.whose()
    }

    /// The time that is left.
    pub(crate) fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// What makes the call unwanted when it is dropped: nothing of it lands any more.
    pub(crate) fn waiting(&self) -> Waiting {
        self.wanted.waiting()
    }

    /// Ends what a handle names.
    pub(crate) fn close(&self, handle: Handle) {
        self.performer.close(handle);
    }

    /// Asks the broker, and records the effect with the answer. Blocks where the effect is judged
    /// by files.
    fn authorize(&self, effect: &Effect) -> Result<Allowed, Denied> {
        let answer = self.household.broker.authorize(
            self.call.phase,
            &self.circumstances,
            effect,
            self.performer.as_ref(),
        );
        match &answer {
            Err(denied) => self.record_denied(effect, denied),
            Ok(_) if effect.goes_on() => {}
            Ok(allowed) if allowed.changes(effect) => {
                self.record(effect.to_string(), None);
                self.touched.store(true, Ordering::Relaxed);
            }
            // That it changes nothing is the operator's word, not the program's.
            Ok(Allowed::Command { .. }) => self.record(effect.to_string(), None),
            Ok(_) => self.record_up_to_limit(&self.harmless_seen, effect, None),
        }
        answer
    }

    /// Whether the operation was allowed anything that may have changed something outside.
    pub(crate) fn has_touched(&self) -> bool {
        self.touched.load(Ordering::Relaxed)
    }

    /// Records that an effect was denied, if only after all.
    fn record_denied(&self, effect: &Effect, denied: &Denied) {
        *lock(&self.denied) = Some(denied.clone());
        self.record_up_to_limit(&self.denied_seen, effect, Some(denied.because.to_string()));
    }

    fn record_up_to_limit(&self, seen: &AtomicU32, effect: &Effect, denied: Option<String>) {
        if seen.fetch_add(1, Ordering::Relaxed) < MAX_EFFECTS {
            self.record(effect.to_string(), denied);
        }
    }

    /// Records how many effects beyond the limits there were.
    fn record_rest(&self) {
        let rest = |seen: &AtomicU32| {
            Some(seen.load(Ordering::Relaxed).saturating_sub(MAX_EFFECTS)).filter(|&rest| rest > 0)
        };
        if let Some(rest) = rest(&self.harmless_seen) {
            self.record(format!("{rest} more effects that change nothing"), None);
        }
        if let Some(rest) = rest(&self.denied_seen) {
            self.record(
                format!("{rest} more effects"),
                Some(format!("only the first {MAX_EFFECTS} of an operation are listed")),
            );
        }
    }

    fn record(&self, effect: String, denied: Option<String>) {
        self.household.ports.audit.record(EffectRecord {
            plugin: self.household.plugin.clone(),
            version: self.household.version.clone(),
            deployment: self.context.deployment.clone(),
            operation: self.call.name,
            phase: self.call.phase,
            effect: cut(self.redact(effect), MAX_EFFECT_BYTES),
            denied: denied.map(|why| cut(self.redact(why), MAX_EFFECT_BYTES)),
        });
    }

    /// Keeps what went wrong in words where the guest only gets a code.
    pub(crate) fn note_trouble(&self, what: String) {
        *lock(&self.trouble) = Some(what);
    }

    /// What went wrong last where the guest only got a code.
    pub(crate) fn last_trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    /// The last denial, which explains what a plugin then did.
    pub(crate) fn last_denied(&self) -> Option<Denied> {
        lock(&self.denied).clone()
    }

    /// Masks the secrets of the operation.
    pub(crate) fn redact(&self, text: String) -> String {
        self.masks.redact(text)
    }

    /// Passes a message of the plugin on.
    pub(crate) fn message(&self, level: LogLevel, message: String, fields: Vec<(String, String)>) {
        let seen = self.messages_seen.fetch_add(1, Ordering::Relaxed);
        if seen > MAX_MESSAGES {
            return;
        }
        let message = if seen == MAX_MESSAGES {
            format!("more than {MAX_MESSAGES} messages; the others are not shown")
        } else {
            message
        };
        let tidy = |text: String| cut(self.redact(text), MAX_MESSAGE_BYTES);
        let fields =
            fields.into_iter().take(32).map(|(name, value)| (tidy(name), tidy(value))).collect();
        self.household.ports.log.write(PluginMessage {
            plugin: self.household.plugin.clone(),
            operation: self.call.name,
            level,
            message: tidy(message),
            fields,
        });
    }

    /// Passes a line on that the plugin wrote to its standard output or error.
    pub(crate) fn wrote(&self, level: LogLevel, line: &str) {
        {
            let mut words = lock(&self.last_words);
            if words.len() == LAST_WORDS {
                words.pop_front();
            }
            words.push_back(cut(line.to_owned(), 500));
        }
        self.message(level, line.to_owned(), Vec::new());
    }

    /// What the plugin wrote last.
    pub(crate) fn last_words(&self) -> Vec<String> {
        lock(&self.last_words).iter().map(|line| self.redact(line.clone())).collect()
    }
}

/// A call is told when it is over, whoever gave it up.
impl Drop for Operation {
    fn drop(&mut self) {
        self.record_rest();
        let (took, end) =
            lock(&self.end).unwrap_or_else(|| (self.began.elapsed(), CallEnd::Dropped));
        let plugin = self.household.plugin.clone();
        self.household.ports.audit.called(CallRecord {
            plugin,
            deployment: self.context.deployment.clone(),
            operation: self.call.name,
            took,
            end,
        });
    }
}
