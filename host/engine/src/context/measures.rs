//! Reading numbers of both sides while they serve.

use super::{Schedule, StepContext};
use crate::analysis::{Analysis, Question, Sides, Stand, Unmeasurable};
use crate::fault::{Failure, Fault, FaultKind};
use crate::names::Timestamp;
use crate::ports::{Progress, Reading};
use crate::standing::Standing;
use crate::verdict::Subject;
use crate::words::span;
use futures_util::future::join_all;

impl StepContext<'_> {
    /// Both sides as they stand now, and where they are read.
    pub(crate) fn sides(&self) -> Sides {
        let candidate = Subject {
            slot: Some(self.deployment.slot),
            release: Some(self.deployment.release.number),
            backends: self.place.candidate.clone(),
            public_url: None,
        };
        let stable = self.deployment.stable.as_ref().map(|stable| Subject {
            slot: Some(stable.slot),
            release: Some(stable.release),
            backends: self.place.stable.clone(),
            public_url: None,
        });
        Sides { candidate, stable }
    }

    /// Begins to measure with the candidate's first requests, where there is something to measure.
    pub(crate) async fn begin_analysis(&self) {
        let now = self.ports.clock.now();
        let mut analysis = self.analysis.lock().await;
        if analysis.is_none() {
            // The manifest has been judged; what it can't be is told in preflight.
            let policy = self.deployment.policy.analysis.as_ref();
            *analysis = policy.and_then(|policy| Analysis::new(policy, now).ok());
        }
        if let Some(analysis) = analysis.as_mut() {
            analysis.begin(now, self.ports.clock.elapsed());
        }
    }

    /// From here on nothing is there to compare with.
    pub(crate) async fn measure_alone(&self) {
        self.begin_analysis().await;
        if let Some(analysis) = self.analysis.lock().await.as_mut() {
            analysis.alone();
        }
    }

    /// Reads what the release before did until it had no requests any more, where it still stands:
    /// what is stable is held against that.
    pub(crate) async fn learn_of_before(&self, before: Option<&Standing>, until: Timestamp) {
        let Some(policy) = self.deployment.policy.analysis.as_ref() else { return };
        let Ok(mut analysis) = Analysis::new(policy, self.ports.clock.now()) else { return };
        let alone = |why: String| {
            self.waiting(format!("measures are compared with their own limits only: {why}"));
        };
        match before {
            None => alone("the previous release is not kept".to_owned()),
            Some(standing) => {
                let before = Subject {
                    slot: Some(standing.slot),
                    release: Some(standing.release),
                    backends: standing.backends.clone(),
                    public_url: None,
                };
                let questions = analysis.survey(&before, until);
                let answers = self.read_all(&questions).await;
                for (check, found) in analysis.learn(&questions, &answers) {
                    match found {
                        Ok(_) => {}
                        Err(Unmeasurable::Away(fault)) => {
                            alone(format!(
                                "check `{}`: the source is unavailable: {fault}",
                                check.name
                            ));
                        }
                        Err(Unmeasurable::Wrong(message)) => {
                            alone(format!("check `{}`: {message}", check.name));
                        }
                    }
                }
            }
        }
        *self.analysis.lock().await = Some(analysis);
    }

    /// Takes a look at the measures where one is due, and tells how they stand. A look that is
    /// dropped half-way counts for nothing. `fallback`: what was asked of the checks that stand
    /// in during an outage; none where nothing stands in.
    pub(crate) async fn look(
        &self,
        fallback: Option<&mut Option<Schedule>>,
    ) -> Result<Stand, Failure> {
        let mut analysis = self.analysis.lock().await;
        let Some(analysis) = analysis.as_mut() else { return Ok(Stand::default()) };
        let now = self.ports.clock.now();
        let questions = analysis.questions(&self.sides(), now, self.ports.clock.elapsed());
        if !questions.is_empty() {
            let answers = self.read_all(&questions).await;
            for (check, verdict) in
                analysis.take(&questions, &answers, now, self.ports.clock.elapsed())
            {
                self.tell(Progress::Checked { check, backend: None, verdict });
            }
        }
        if let Some((check, tally)) = analysis.failed() {
            let reason = tally.last.as_ref().map(|last| last.reason.clone()).unwrap_or_default();
            let message = format!("analysis `{}`: {reason}", check.name);
            return Err(Failure::Unknown { fault: Fault::new(FaultKind::Unhealthy, message) });
        }
        let open = fallback.as_deref().and_then(|asked| asked.as_ref()).map(Schedule::open);
        let stand = analysis.stand(open.as_deref());
        let Some(fallback) = fallback else { return Ok(stand) };
        if stand.fallback {
            let names = analysis.fallback();
            let checks = self.deployment.policy.checks.iter();
            let schedule = fallback.get_or_insert_with(|| {
                Schedule::of(checks.filter(|check| names.contains(&check.name)))
            });
            self.ask_due(schedule).await?;
        } else {
            *fallback = None;
        }
        Ok(stand)
    }

    /// Watches while the deployment is paused between two steps. Ends only with what takes it back;
    /// dropped when the pause is over.
    pub(crate) async fn look_while_paused(&self, every: std::time::Duration) -> Fault {
        loop {
            if let Err(failure) = self.look(None).await {
                return failure.fault().clone();
            }
            self.ports.clock.sleep(every).await;
        }
    }

    pub(crate) async fn read_all(&self, questions: &[Question]) -> Vec<Result<Reading, Fault>> {
        join_all(questions.iter().map(|question| self.read(question))).await
    }

    async fn read(&self, question: &Question) -> Result<Reading, Fault> {
        let Question { query, wanted, subject, from, to, .. } = question;
        let asked = self.ports.metrics.read(query, *wanted, subject, *from, *to);
        self.within(query.timeout, asked).await.unwrap_or_else(|| {
            let message =
                format!("`{}` did not answer within {}", query.plugin, span(query.timeout));
            Err(Fault::new(FaultKind::TimedOut, message).retryable())
        })
    }

    /// What stepping over an outage means for the outcome, since the last change of weight.
    pub(crate) async fn outages(&self) -> Vec<String> {
        let analysis = self.analysis.lock().await;
        analysis.as_ref().map(|analysis| analysis.outages().to_vec()).unwrap_or_default()
    }
}
