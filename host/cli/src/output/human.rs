//! Lines for people: one per decision, with the measured value and its limit; the running step is
//! redrawn on a terminal.

use super::report::ProbeSummary;
use super::terminal::Terminal;
use super::{say_after, shown};
use crate::adapters::now;
use crate::times::span;
use agente_engine::journal::{DecisionKind, Event, Outcome};
use agente_engine::names::Timestamp;
use agente_engine::plan::Plan;
use agente_engine::ports::{FindingResult, Progress};
use agente_engine::step::StepEvent;
use agente_engine::steps::Facts;
use agente_engine::verdict::VerdictKind;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// As often as a person can see.
const FRAMES_A_SECOND: u8 = 20;

/// Draws a deployment.
pub(crate) struct Human {
    live: bool,
    color: bool,
    plan: Option<Plan>,
    running: Option<ProgressBar>,
    /// What the running step waits for, and what our own requests saw; both are shown.
    waits: String,
    outside: String,
    step: usize,
    step_began: Timestamp,
    began: Timestamp,
    switched: Option<Duration>,
}

impl Human {
    pub(crate) fn new(live: bool, color: bool) -> Self {
        Self {
            live,
            color,
            plan: None,
            running: None,
            waits: String::new(),
            outside: String::new(),
            step: 0,
            step_began: Timestamp(0),
            began: Timestamp(0),
            switched: None,
        }
    }

    /// The name of a step's kind.
    /// What holds for a step of the plan.
    fn facts(&self, step: usize) -> Option<Facts> {
        self.plan.as_ref()?.steps.get(step).map(|step| step.kind.facts())
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn line(&self, text: &str) {
        self.marked("", text);
    }

    /// A line after what was painted; the rest may be words of others.
    fn marked(&self, painted: &str, text: &str) {
        match &self.running {
            Some(bar) => bar.suspend(|| say_after(painted, text)),
            None => say_after(painted, text),
        }
    }

    pub(crate) fn begin(&mut self, plan: &Plan, taken_up: bool) {
        self.plan = Some(plan.clone());
        self.began = now();
        let verb = if taken_up { "taking up" } else { "deployment" };
        self.marked(
            &self.paint("1", verb),
            &format!(
                " {} · release {} of {} · {}",
                plan.id,
                plan.release.number,
                plan.scope,
                plan.release.artifact.describe()
            ),
        );
        if !taken_up {
            for warning in &plan.warnings {
                self.marked(&format!("  {}", self.paint("33", "!")), &format!(" {warning}"));
            }
        }
    }

    fn start(&mut self, step: usize, verb: &str) {
        self.step = step;
        self.step_began = now();
        self.end_lines();
        let Some(kind) =
            self.plan.as_ref().and_then(|plan| plan.steps.get(step)).map(|step| step.kind.clone())
        else {
            return;
        };
        let count = self.plan.as_ref().map_or(0, |plan| plan.steps.len());
        self.waits.clear();
        if self.live {
            let bar = ProgressBar::new_spinner().with_prefix(format!(
                "{verb}[{}/{count}] {}",
                step + 1,
                kind.name()
            ));
            bar.set_draw_target(ProgressDrawTarget::term_like_with_hz(
                Box::new(Terminal::new()),
                FRAMES_A_SECOND,
            ));
            // What speaks for and against a candidate is read as a whole.
            let message = if self.by_lines(Some(step)) { "{msg}" } else { "{wide_msg}" };
            if let Ok(style) = ProgressStyle::with_template(&format!(
                "{{spinner}} {{prefix:<24}} {{elapsed:>4}} {message}"
            )) {
                bar.set_style(style);
            }
            bar.set_message(shown(&kind.words()).into_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            self.running = Some(bar);
        }
    }

    pub(crate) fn end_lines(&mut self) {
        if let Some(bar) = self.running.take() {
            bar.finish_and_clear();
        }
    }

    fn step_end(&mut self, step: usize, mark: &str, words: &str) {
        let took = now().since(self.step_began);
        self.end_lines();
        let (name, count) = self.plan.as_ref().map_or(("", 0), |plan| {
            (plan.steps.get(step).map_or("", |step| step.kind.name()), plan.steps.len())
        });
        self.marked(
            mark,
            &format!(" [{}/{count}] {name:<14} {:>8}  {words}", step + 1, span(took)),
        );
    }

    pub(crate) fn tell(&mut self, progress: &Progress) {
        match progress {
            Progress::Found { finding } => {
                let mark = match finding.result {
                    FindingResult::Good => self.paint("32", "✓"),
                    FindingResult::Warning => self.paint("33", "!"),
                    FindingResult::Bad => self.paint("31", "✗"),
                };
                self.marked(
                    &format!("    {mark}"),
                    &format!(" {}: {}", finding.subject, finding.message),
                );
                if let Some(hint) =
                    finding.hint.as_ref().filter(|_| finding.result == FindingResult::Bad)
                {
                    self.line(&format!("      fix: {hint}"));
                }
            }
            Progress::Checked { check, backend, verdict } => {
                if verdict.kind != VerdictKind::Healthy {
                    let of = backend
                        .as_ref()
                        .map(|backend| format!(" of {backend}"))
                        .unwrap_or_default();
                    tracing::info!("check `{check}`{of} is {}: {}", verdict.kind, verdict.reason);
                }
            }
            Progress::Waiting { step, message } => match &self.running {
                Some(bar) => {
                    self.waits = if self.by_lines(*step) {
                        message.replace("; ", "\n      ")
                    } else {
                        message.clone()
                    };
                    bar.set_message(self.now(*step));
                }
                None => self.line(&format!("    … {message}")),
            },
            Progress::Probe { report } => {
                self.outside = format!(
                    "from outside: {} requests, {} failed",
                    report.sent,
                    report.failed_total()
                );
                if let Some(bar) = &self.running {
                    bar.set_message(self.now(Some(self.step)));
                }
            }
        }
    }

    /// The message of the running step.
    fn now(&self, step: Option<usize>) -> String {
        let between = if self.by_lines(step) { "\n      " } else { " · " };
        let parts = [self.waits.as_str(), self.outside.as_str()];
        shown(&parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(between))
            .into_owned()
    }

    /// Whether what a step waits for is shown line by line.
    fn by_lines(&self, step: Option<usize>) -> bool {
        step.and_then(|step| self.facts(step)).is_some_and(|facts| facts.awaits_decision)
    }

    pub(crate) fn journaled(&mut self, event: &Event) {
        match event {
            Event::Step { step, event } => match event {
                StepEvent::Started => self.start(*step, ""),
                StepEvent::Succeeded { output } => {
                    let words = output.notes.first().cloned().unwrap_or_default();
                    let mark = self.paint("32", "✓");
                    self.step_end(*step, &mark, &words);
                    // What preflight found was told line by line; the single answers of checks are
                    // in the journal.
                    let facts = self.facts(*step);
                    let told = facts.is_some_and(|facts| facts.told_as_it_goes);
                    for note in output.notes.iter().skip(1).filter(|_| !told) {
                        self.line(&format!("      {note}"));
                    }
                    if facts.is_some_and(|facts| facts.moves_requests) {
                        self.switched = Some(now().since(self.step_began));
                    }
                }
                StepEvent::Refused { fault } | StepEvent::Lost { fault } => {
                    let mark = self.paint("31", "✗");
                    // What preflight found bad stands right above it, and once more at the end.
                    let told = matches!(event, StepEvent::Refused { .. })
                        && self.facts(*step).is_some_and(|facts| facts.told_as_it_goes);
                    let words = if told { "not passed" } else { &fault.message };
                    self.step_end(*step, &mark, words);
                }
                StepEvent::UndoStarted => self.start(*step, "undo "),
                StepEvent::Undone { output } => {
                    let mark = self.paint("33", "↩");
                    let words = if output.notes.is_empty() {
                        "undone".to_owned()
                    } else {
                        format!("undone: {}", output.notes.join("; "))
                    };
                    self.step_end(*step, &mark, &words);
                }
                StepEvent::Failed { fault } => {
                    let mark = self.paint("31", "✗");
                    self.step_end(*step, &mark, &fault.message);
                }
                StepEvent::UndoFailed { fault } => {
                    let mark = self.paint("31", "✗");
                    self.step_end(*step, &mark, &format!("undo failed: {}", fault.message));
                }
            },
            // The step that failed has just said why, and the end says it again.
            Event::TurnedBack { .. } => self.marked(&self.paint("33", "↩"), " unwinding"),
            Event::Opened { .. } | Event::Closed { .. } => {}
            other => {
                self.marked(&self.paint("36", "·"), &format!(" {}", event_line(other)));
            }
        }
    }

    pub(crate) fn outcome(
        &mut self,
        plan: &Plan,
        outcome: &Outcome,
        report: Option<&ProbeSummary>,
    ) {
        self.end_lines();
        let took = span(now().since(self.began));
        let release = plan.release.number;
        match outcome {
            Outcome::Promoted { .. } => self.marked(
                &self.paint("1;32", "done:"),
                &format!(" release {release} is stable on {} after {took}", plan.slot),
            ),
            Outcome::Unwound { fault, stable, notes } => {
                let serving = stable.map_or_else(
                    || "nothing was serving before, and nothing is serving now".to_owned(),
                    |stable| format!("release {stable} is serving"),
                );
                self.marked(
                    &self.paint("1;31", "failed:"),
                    &format!(" release {release} was rolled back after {took}; {serving}"),
                );
                self.fault(fault);
                for note in notes {
                    self.line(&format!("  {note}"));
                }
            }
            Outcome::Refused { fault } => {
                let serving = plan.stable.as_ref().map_or_else(
                    || "nothing was changed".to_owned(),
                    |stable| format!("nothing was changed, release {} is serving", stable.release),
                );
                self.marked(&self.paint("1;31", "refused:"), &format!(" {serving}"));
                self.fault(fault);
            }
            Outcome::Stuck { cause, fault, instructions } => {
                self.marked(&self.paint("1;31", "stuck: needs manual intervention"), "");
                if let Some(cause) = cause {
                    self.line(&format!("  reason for unwinding: {}", cause.message));
                }
                self.fault(fault);
                for instruction in instructions {
                    self.line(&format!("  → {instruction}"));
                }
            }
        }
        for line in report.map(ProbeSummary::lines).unwrap_or_default() {
            self.line(&format!("  {line}"));
        }
        if let Some(switched) = self.switched {
            self.line(&format!("  the switch took {} from command to verified", span(switched)));
        }
    }

    fn fault(&self, fault: &agente_engine::fault::Fault) {
        self.line(&format!("  {}", fault.message));
        for cause in &fault.causes {
            self.line(&format!("    {cause}"));
        }
        if let Some(hint) = &fault.hint {
            self.marked(&format!("  {}", self.paint("1;36", "Hint:")), &format!(" {hint}"));
        }
    }
}

/// An entry of the journal in one line.
pub(crate) fn event_line(event: &Event) -> String {
    match event {
        Event::Opened { plan } => format!(
            "opened by {}: release {}, {} steps",
            plan.by,
            plan.release.number,
            plan.steps.len()
        ),
        Event::Step { step, event } => {
            let words = match event {
                StepEvent::Started => "started".to_owned(),
                StepEvent::Succeeded { output } => format!("done: {}", output.notes.join("; ")),
                StepEvent::Refused { fault } => format!("refused: {fault}"),
                StepEvent::Lost { fault } => format!("failed: {fault}"),
                StepEvent::Failed { fault } => format!(
                    "failed past the point of no return: \
                {fault}"
                ),
                StepEvent::UndoStarted => "undoing".to_owned(),
                StepEvent::Undone { output } => format!("undone {}", output.notes.join("; ")),
                StepEvent::UndoFailed { fault } => format!("could not be undone: {fault}"),
            };
            format!("step {}: {words}", step + 1)
        }
        Event::Decided(decision) => {
            let what = match decision.decision {
                DecisionKind::Abort => "abort",
                DecisionKind::Pause => "pause",
                DecisionKind::Resume => "resume",
                DecisionKind::Promote { full: false } => "promote",
                DecisionKind::Promote { full: true } => "promote to 100 %",
            };
            let reason =
                decision.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("{what} by {}{reason}", decision.by)
        }
        Event::TurnedBack { fault } => format!("unwinding: {fault}"),
        Event::Resumed { by } => format!("resumed by {by}"),
        Event::Closed { outcome } => match outcome {
            Outcome::Promoted { .. } => "closed: promoted".to_owned(),
            Outcome::Unwound { fault, .. } => format!("closed: rolled back: {fault}"),
            Outcome::Refused { fault } => format!("closed: refused: {fault}"),
            Outcome::Stuck { fault, .. } => format!("closed: stuck: {fault}"),
        },
    }
}
