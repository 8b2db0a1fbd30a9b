//! What people and programs see of a deployment while it runs.

mod describe;
mod events;
mod human;
mod report;
mod shown;
mod status;
mod table;
mod terminal;
mod writer;

pub(crate) use describe::{plan_lines, routes_line};
pub(crate) use events::{
    Change, Component, Doubt, Doubtful, GrantState, ListedPlugin, OutputEvent, SeenBackend,
    SeenTarget, Status, emit, schema,
};
pub(crate) use human::event_line;
pub(crate) use shown::shown;
pub(crate) use status::status_lines;
pub(crate) use table::table;
pub(crate) use writer::{finish, stderr};

use crate::arguments::OutputKind;
use agente_engine::journal::{Entry, Event, Outcome};
use agente_engine::plan::Plan;
use agente_engine::ports::{JournalObserver, Observer, Progress};
use agente_probe::HttpProber;
use agente_store::ReservationTurn;
use human::Human;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use tracing_subscriber::EnvFilter;

/// Sends the log to standard error.
pub(crate) fn start_logging(verbose: u8) {
    let default = match verbose {
        // A slow disk is not the user's business unless they ask.
        0 => "warn,sqlx=error",
        1 => "info,agente=debug,sqlx=warn",
        _ => "debug",
    };
    let filter =
        EnvFilter::try_from_env("AGENTE_HOST_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .without_time()
        .with_ansi(false);
    let log = log.with_writer(|| shown::Shown(writer::stderr()));
    // Told by `eprintln!`, which panics where standard error is closed.
    let _ = log.log_internal_errors(false).try_init();
}

/// Writes a line of data to standard output. A reader that went away is not an error.
pub(crate) fn data(line: &str) {
    data_as_it_is(&shown(line));
}

/// Writes a line that is the user's own, such as one of the service's log.
pub(crate) fn data_as_it_is(line: &str) {
    let _ = writeln!(writer::stdout(), "{line}");
}

/// Writes a line for people to standard error.
pub(crate) fn say(line: &str) {
    say_after("", line);
}

/// The same after what is painted already: the only codes for the terminal that get through are our
/// own.
pub(crate) fn say_after(painted: &str, line: &str) {
    let _ = writeln!(writer::stderr(), "{}", shown::after(painted, line));
}

/// Takes the progress of a deployment.
pub(crate) struct Output {
    kind: OutputKind,
    human: Mutex<Human>,
    /// Passed on once the plan is journaled, where others see what it reserves.
    turn: Mutex<Option<ReservationTurn>>,
}

impl Output {
    /// For a form of output. From here on nobody who writes waits for whoever reads.
    pub(crate) fn new(kind: OutputKind) -> Self {
        writer::start();
        let live = kind == OutputKind::Human && std::io::stderr().is_terminal();
        let color = live && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { kind, human: Mutex::new(Human::new(live, color)), turn: Mutex::default() }
    }

    /// Keeps the turn to choose addresses until the plan that names them is in the journal.
    pub(crate) fn keep_turn(&self, turn: ReservationTurn) {
        *self.turn.lock().unwrap_or_else(PoisonError::into_inner) = Some(turn);
    }

    fn human(&self, with: impl FnOnce(&mut Human)) {
        with(&mut self.human.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// A deployment begins, or is taken up again.
    pub(crate) fn begin(&self, plan: &Plan, taken_up: bool) {
        match self.kind {
            OutputKind::Json => {
                let (deployment, release) = (&plan.id, plan.release.number);
                emit(&if taken_up {
                    OutputEvent::TakenUp { deployment, release }
                } else {
                    OutputEvent::Begins { deployment, release }
                });
            }
            OutputKind::Human | OutputKind::Plain => {
                self.human(|human| human.begin(plan, taken_up));
            }
        }
    }

    /// A deployment ended.
    pub(crate) fn outcome(&self, plan: &Plan, outcome: &Outcome, prober: Option<&HttpProber>) {
        let report = prober.map(|prober| report::ProbeSummary::of(plan, prober));
        match self.kind {
            OutputKind::Json => emit(&OutputEvent::Outcome {
                deployment: &plan.id,
                result: outcome,
                probe: report.as_ref(),
            }),
            OutputKind::Human | OutputKind::Plain => {
                self.human(|human| human.outcome(plan, outcome, report.as_ref()));
            }
        }
    }

    /// Ends what is redrawn, before an error is written.
    pub(crate) fn end_lines(&self) {
        self.human(Human::end_lines);
    }
}

/// Whether the next of its kind says as much: what is found is told once.
fn is_passing(progress: &Progress) -> bool {
    match progress {
        Progress::Waiting { .. } | Progress::Probe { .. } | Progress::Checked { .. } => true,
        Progress::Found { .. } => false,
    }
}

impl Observer for Output {
    fn tell(&self, progress: Progress) {
        if is_passing(&progress) && writer::is_behind() {
            return;
        }
        match self.kind {
            OutputKind::Json => emit(&OutputEvent::Progress { progress: &progress }),
            OutputKind::Human | OutputKind::Plain => self.human(|human| human.tell(&progress)),
        }
    }
}

impl JournalObserver for Output {
    fn journaled(&self, entry: Entry) {
        if matches!(entry.event, Event::Opened { .. }) {
            self.turn.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        match self.kind {
            OutputKind::Json => emit(&OutputEvent::Entry { entry: &entry }),
            OutputKind::Human | OutputKind::Plain => {
                self.human(|human| human.journaled(&entry.event));
            }
        }
    }
}
