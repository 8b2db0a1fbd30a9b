//! What preflight found.

use crate::context::StepContext;
use crate::fault::{Failure, Fault, FaultKind};
use crate::ports::{Finding, FindingResult, Progress};
use crate::step::StepOutput;

/// Collects findings and tells each, and remembers the kind and hint of the first bad one.
pub(super) struct Findings<'h, 'a> {
    pub(super) context: &'h StepContext<'a>,
    pub(super) all: Vec<Finding>,
    bad: Option<(FaultKind, Option<String>)>,
}

impl<'h, 'a> Findings<'h, 'a> {
    pub(super) fn new(context: &'h StepContext<'a>) -> Self {
        Self { context, all: Vec::new(), bad: None }
    }

    /// Adds a finding; where it is bad, a refusal is of this kind.
    pub(super) fn add(&mut self, finding: Finding, kind: FaultKind) {
        if finding.result == FindingResult::Bad && self.bad.is_none() {
            self.bad = Some((kind, finding.hint.clone()));
        }
        self.context.tell(Progress::Found { finding: finding.clone() });
        self.all.push(finding);
    }

    pub(super) fn line(
        &mut self,
        subject: &str,
        result: FindingResult,
        message: impl Into<String>,
    ) {
        self.add(
            Finding { subject: subject.to_owned(), result, message: message.into(), hint: None },
            FaultKind::Failed,
        );
    }

    pub(super) fn fault(&mut self, subject: &str, fault: Fault) {
        let message =
            std::iter::once(fault.message).chain(fault.causes).collect::<Vec<_>>().join(": ");
        self.add(
            Finding {
                subject: subject.to_owned(),
                result: FindingResult::Bad,
                message,
                hint: fault.hint,
            },
            fault.kind,
        );
    }

    /// A refusal if anything is bad; else the warnings.
    pub(super) fn judge(self) -> Result<StepOutput, Failure> {
        let of = |result: FindingResult| {
            self.all
                .iter()
                .filter(move |finding| finding.result == result)
                .map(|finding| format!("{}: {}", finding.subject, finding.message))
        };
        let Some((kind, hint)) = self.bad else {
            let mut notes = vec![format!("{} items checked", self.all.len())];
            notes.extend(of(FindingResult::Warning));
            return Ok(StepOutput { notes, ..StepOutput::default() });
        };
        let bad: Vec<String> = of(FindingResult::Bad).collect();
        let message = match bad.as_slice() {
            [only] => format!("preflight: {only}"),
            several => format!("preflight found {} problems", several.len()),
        };
        let causes = if bad.len() > 1 { bad } else { Vec::new() };
        Err(Failure::Refused { fault: Fault { kind, message, hint, causes, retryable: false } })
    }
}
