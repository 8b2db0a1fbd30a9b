//! How calls go wrong: they are counted, and each may be told to fail, to hang, to take its time, or
//! to be the last thing that its host does for a while or for ever.

use super::host::Host;
use super::{Inner, Sim, fault};
use agente_engine::fault::{Failure, Fault};
use agente_engine::names::BackendId;
use agente_engine::ports::{HEARTBEAT, TargetLock};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a call does when it comes about.
type ComeAbout = Box<dyn FnOnce(&mut Inner, u64) + Send>;

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// It says no and does nothing.
    Refuses,
    /// It fails, and did nothing.
    FailsBefore,
    /// It fails, and did everything.
    FailsAfter,
    /// It never answers, and did nothing.
    HangsBefore,
    /// It never answers, and did everything.
    HangsAfter,
    /// What it does comes about so many milliseconds later, and then it answers: also when nobody
    /// waits for it any more. What only looks answers by then what it saw at first.
    Slow(u64),
    /// What it did is undone soon by somebody who writes the target without its lock.
    Overwritten,
    /// The host is stopped in the middle of it, and goes on so many milliseconds later.
    Freezes(u64),
    /// The host dies, before the effect.
    DiesBefore,
    /// The host dies, after the effect.
    DiesAfter,
    /// The host dies, and what it has asked of the target comes about so many milliseconds later.
    DiesMeanwhile(u64),
}

/// How soon somebody undoes what was done.
const OVERWRITTEN_AFTER: u64 = 50;

/// What a call changes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum About {
    /// A backend. Whatever is asked of it next waits for what is on its way.
    Backend(BackendId),
    /// The target, under its lock: a copy is kept for as long as something is on its way.
    Target(TargetLock),
}

/// Something that was asked for and has not come about yet.
pub(super) struct InFlight {
    due: u64,
    about: About,
    host: u64,
    /// The token of its lease.
    fence: u64,
    come_about: ComeAbout,
}

impl Clone for InFlight {
    fn clone(&self) -> Self {
        panic!("a world is forked while something is under way")
    }
}

impl InFlight {
    /// Whether a host has asked this of the target.
    pub(super) fn is_of_target(&self, host: u64) -> bool {
        self.host == host && matches!(self.about, About::Target(_))
    }
}

/// What becomes of a call.
enum Course<T> {
    Answered(T),
    Fails(Failure),
    Hangs,
    Comes { answer: Arc<Mutex<Option<T>>>, due: u64 },
}

impl Sim {
    /// A call that changes something.
    pub(super) async fn effect<T: Send + 'static>(
        &self,
        name: &str,
        about: About,
        effect: impl FnOnce(&mut Inner, u64) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        self.stays_dead().await;
        if let About::Backend(id) = &about {
            self.wait_for_in_flight(id).await;
        }
        let course = {
            let now = self.now();
            let mut inner = self.inner();
            let wrong = self.counted(&mut inner, now, name);
            self.check_owner(&mut inner, now, name);
            let course = match wrong {
                None => Course::Answered(effect(&mut inner, now)),
                Some(Wrong::Refuses) => Course::refused(),
                Some(Wrong::FailsBefore) => Course::failed(),
                Some(Wrong::FailsAfter) => {
                    effect(&mut inner, now);
                    Course::failed()
                }
                Some(Wrong::HangsBefore | Wrong::DiesBefore) => Course::Hangs,
                Some(Wrong::HangsAfter | Wrong::DiesAfter) => {
                    effect(&mut inner, now);
                    Course::Hangs
                }
                Some(Wrong::Overwritten) => {
                    let before = (inner.applied.clone(), inner.loaded.clone());
                    let value = effect(&mut inner, now);
                    inner.overwrite(before, now + OVERWRITTEN_AFTER);
                    Course::Answered(value)
                }
                Some(Wrong::Slow(for_so_long) | Wrong::Freezes(for_so_long)) => {
                    let due = now + for_so_long;
                    let answer = inner.leave_in_flight(&self.host, about, due, effect);
                    Course::Comes { answer, due }
                }
                Some(Wrong::DiesMeanwhile(for_so_long)) => {
                    let due = now + for_so_long;
                    inner.leave_in_flight(&self.host, about, due, effect);
                    Course::Hangs
                }
            };
            self.befalls(wrong, now);
            inner.check(now);
            course
        };
        self.follow(course).await
    }

    /// A call that only looks.
    pub(super) async fn look<T>(
        &self,
        name: &str,
        look: impl FnOnce(&mut Inner, u64) -> T,
    ) -> Result<T, Fault> {
        self.stays_dead().await;
        let course = {
            let now = self.now();
            let mut inner = self.inner();
            let wrong = self.counted(&mut inner, now, name);
            let course = match wrong {
                None | Some(Wrong::Overwritten) => Course::Answered(look(&mut inner, now)),
                Some(Wrong::Refuses) => Course::refused(),
                Some(Wrong::FailsBefore) => Course::failed(),
                Some(Wrong::FailsAfter) => {
                    look(&mut inner, now);
                    Course::failed()
                }
                Some(Wrong::HangsBefore | Wrong::DiesBefore) => Course::Hangs,
                Some(Wrong::HangsAfter | Wrong::DiesAfter | Wrong::DiesMeanwhile(_)) => {
                    look(&mut inner, now);
                    Course::Hangs
                }
                Some(Wrong::Slow(for_so_long) | Wrong::Freezes(for_so_long)) => {
                    let answer = Arc::new(Mutex::new(Some(look(&mut inner, now))));
                    Course::Comes { answer, due: now + for_so_long }
                }
            };
            self.befalls(wrong, now);
            inner.check(now);
            course
        };
        self.follow(course).await.map_err(|failure| failure.fault().clone())
    }

    /// Numbers a call.
    fn counted(&self, inner: &mut Inner, now: u64, name: &str) -> Option<Wrong> {
        inner.calls += 1;
        let number = inner.calls;
        let wrong = inner.wrong.get(&number).copied();
        let host = self.host.number();
        inner.log.push(match wrong {
            None => format!("{now:>7} call {number} {name} by {host}"),
            Some(wrong) => format!("{now:>7} call {number} {name} by {host}: {wrong:?}"),
        });
        inner.settle(now);
        wrong
    }

    /// What befalls the host in a call.
    fn befalls(&self, wrong: Option<Wrong>, now: u64) {
        match wrong {
            Some(Wrong::DiesBefore | Wrong::DiesAfter | Wrong::DiesMeanwhile(_)) => {
                self.host.dies();
            }
            Some(Wrong::Freezes(for_so_long)) => self.host.freezes(now + for_so_long),
            _ => {}
        }
    }

    async fn follow<T>(&self, course: Course<T>) -> Result<T, Failure> {
        match course {
            Course::Answered(value) => Ok(value),
            Course::Fails(failure) => Err(failure),
            Course::Hangs => std::future::pending().await,
            Course::Comes { answer, due } => {
                let wait = due.saturating_sub(self.now());
                self.time.sleep(Duration::from_millis(wait)).await;
                let now = self.now();
                self.inner().settle(now);
                let came = answer.lock().unwrap().take();
                came.ok_or_else(|| Failure::Unknown { fault: fault("it was never heard of again") })
            }
        }
    }

    /// What was asked of a backend and left is waited for before anything else is asked of it.
    pub(super) async fn wait_for_in_flight(&self, id: &BackendId) {
        loop {
            self.stays_dead().await;
            let now = self.now();
            {
                let mut inner = self.inner();
                inner.settle(now);
                let about = About::Backend(id.clone());
                if !inner.in_flight.iter().any(|one| one.about == about) {
                    return;
                }
            }
            self.time.sleep(Duration::from_millis(10)).await;
        }
    }

    /// Whoever has lost the lease changes nothing from its next heartbeat on; at once when it was
    /// stopped meanwhile.
    fn check_owner(&self, inner: &mut Inner, now: u64, name: &str) {
        if self.host.fence() == inner.fence() {
            return;
        }
        let since = *inner.passed_over.get_or_insert(now);
        let heartbeat = u64::try_from(HEARTBEAT.as_millis()).unwrap();
        let grace = if self.host.was_frozen() { 0 } else { heartbeat };
        assert!(
            now <= since + grace,
            "host {} lost its lease at {since} and does `{name}` at {now}\n{}",
            self.host.number(),
            inner.log.join("\n")
        );
    }
}

impl<T> Course<T> {
    fn refused() -> Self {
        Course::Fails(Failure::Refused { fault: fault("it was refused") })
    }

    fn failed() -> Self {
        Course::Fails(Failure::Unknown { fault: fault("it failed") })
    }
}

impl Inner {
    /// Lets come about what is due, in its order.
    pub(super) fn settle(&mut self, now: u64) {
        while let Some(next) = self.next_in_flight(now) {
            let InFlight { due, about, host, fence, come_about } = self.in_flight.remove(next);
            self.load(due);
            // Whoever takes a lease over waits until its owner before has ended: a runtime knows no
            // tokens.
            if matches!(about, About::Backend(_)) && fence < self.fence() {
                self.log.push(format!("{due:>7} what host {host} asked for is not asked for"));
                continue;
            }
            self.log.push(format!("{due:>7} what host {host} asked for comes about"));
            come_about(self, due);
            drop(about);
            self.check(due);
        }
        self.load(now);
    }

    /// Lets an effect come about later; its answer is there then.
    fn leave_in_flight<T: Send + 'static>(
        &mut self,
        host: &Host,
        about: About,
        due: u64,
        effect: impl FnOnce(&mut Inner, u64) -> T + Send + 'static,
    ) -> Arc<Mutex<Option<T>>> {
        let answer = Arc::new(Mutex::new(None));
        let told = answer.clone();
        let come_about: ComeAbout = Box::new(move |inner, now| {
            let value = effect(inner, now);
            *told.lock().unwrap() = Some(value);
        });
        let (host, fence) = (host.number(), host.fence());
        self.in_flight.push(InFlight { due, about, host, fence, come_about });
        answer
    }

    /// Lets come about all that is on its way.
    pub fn settle_all(&mut self) {
        let last = self.in_flight.iter().map(|one| one.due).max();
        if let Some(last) = last {
            self.settle(last);
        }
        if let Some((_, at)) = self.applied {
            self.settle(at + self.load_takes);
        }
    }

    fn next_in_flight(&self, now: u64) -> Option<usize> {
        let due = self.in_flight.iter().enumerate().filter(|(_, one)| one.due <= now);
        due.min_by_key(|(_, one)| one.due).map(|(index, _)| index)
    }

    /// What becomes of what a host has under way when that dies: the target's lock is free at once;
    /// what was asked of a runtime comes about before anybody else asks.
    pub(super) fn abandon(&mut self, host: u64, now: u64) {
        for one in self.in_flight.iter_mut().filter(|one| one.host == host) {
            match &one.about {
                About::Backend(_) => one.due = now.min(one.due),
                About::Target(_) => one.about = About::Target(TargetLock::new(())),
            }
        }
        self.settle(now);
    }

    /// Somebody who knows nothing of locks puts back at a time what the target held.
    fn overwrite(&mut self, before: super::target::Held, due: u64) {
        let come_about: ComeAbout = Box::new(move |inner, now| {
            inner.log.push(format!("{now:>7} --- the target is overwritten"));
            (inner.applied, inner.loaded) = before;
        });
        let about = About::Target(TargetLock::new(()));
        self.in_flight.push(InFlight { due, about, host: 0, fence: 0, come_about });
    }
}
