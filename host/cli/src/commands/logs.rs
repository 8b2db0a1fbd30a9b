//! `logs`: what the backends write.

use crate::arguments::{Components, Global, LogsOptions, OutputKind, Side};
use crate::error::{CliError, Exit};
use crate::open;
use crate::output::{OutputEvent, data_as_it_is, emit};
use crate::session::{About, Base};
use agente_engine::route::Backend;
use futures_util::StreamExt;
use std::process::ExitCode;
use std::sync::Arc;

pub(crate) async fn run(global: &Global, options: &LogsOptions) -> Result<ExitCode, CliError> {
    let base = Arc::new(Base::look(global, About::Standing(&Components::default())).await?);
    let backends = chosen(&base, options.of).await?;
    if backends.is_empty() {
        return Err(CliError::refused(format!("{} has no backends", base.scope()))
            .hint("`agente-host status` shows what is live"));
    }
    let printer = Printer { json: global.output == OutputKind::Json, prefix: backends.len() > 1 };
    if !options.follow {
        for backend in &backends {
            for line in base.runtime.newest(backend, options.lines).await? {
                printer.print(backend, &line);
            }
        }
        return Ok(Exit::Done.into());
    }
    let mut following = tokio::task::JoinSet::new();
    for backend in backends {
        let (base, lines) = (Arc::clone(&base), options.lines);
        following.spawn(async move { follow(&base, &backend, lines, printer).await });
    }
    while let Some(ended) = following.join_next().await {
        if let Ok(Err(error)) = ended {
            return Err(error);
        }
    }
    Ok(Exit::Done.into())
}

async fn chosen(base: &Base, of: Option<Side>) -> Result<Vec<Backend>, CliError> {
    let state = base.store().state(base.scope()).await?;
    let candidate = open::attempt(base.store(), base.scope())
        .await?
        .map(|(_, attempt)| attempt.plan.deployment.backends)
        .unwrap_or_default();
    let stable = state.stable.map(|standing| standing.backends).unwrap_or_default();
    let kept = state.kept.map(|kept| kept.standing.backends).unwrap_or_default();
    let mut all: Vec<Backend> = match of {
        Some(Side::Stable) => stable,
        Some(Side::Kept) => kept,
        Some(Side::Candidate) => candidate,
        None => stable.into_iter().chain(kept).chain(candidate).collect(),
    };
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|backend| seen.insert(backend.id.clone()));
    Ok(all)
}

/// How lines are written.
#[derive(Clone, Copy)]
struct Printer {
    json: bool,
    /// Whether each is told with its backend.
    prefix: bool,
}

impl Printer {
    fn print(self, backend: &Backend, line: &str) {
        if self.json {
            emit(&OutputEvent::Log { backend: &backend.id, line });
        } else if self.prefix {
            data_as_it_is(&format!("{}: {line}", backend.id));
        } else {
            data_as_it_is(line);
        }
    }
}

async fn follow(
    base: &Base,
    backend: &Backend,
    lines: usize,
    printer: Printer,
) -> Result<(), CliError> {
    let mut stream = base.runtime.follow(backend, lines).await?;
    while let Some(line) = stream.next().await {
        printer.print(backend, &line?);
    }
    Ok(())
}
