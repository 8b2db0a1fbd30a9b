//! `logs`: what the backends write.

use crate::arguments::{Components, Global, LogsOptions, Side};
use crate::clock;
use crate::error::{CliError, Exit};
use crate::open;
use crate::output::data_as_it_is;
use crate::session::{About, Base};
use agente_engine::ports::Runtime;
use agente_engine::route::Backend;
use futures_util::StreamExt;
use std::process::ExitCode;
use std::sync::Arc;

pub(crate) async fn run(global: &Global, options: &LogsOptions) -> Result<ExitCode, CliError> {
    let base = Arc::new(Base::look(global, About::Standing(&Components::default())).await?);
    let backends = chosen(&base, options.of).await?;
    if backends.is_empty() {
        return Err(CliError::refused(format!("nothing of {} stands", base.scope())).hint("`agente-host status` shows what is live"));
    }
    let prefix = backends.len() > 1;
    if !options.follow {
        for backend in &backends {
            for line in base.runtime.log_tail(backend, options.lines).await? {
                print(prefix, backend, &line);
            }
        }
        return Ok(Exit::Done.into());
    }
    let mut following = tokio::task::JoinSet::new();
    for backend in backends {
        let (base, lines) = (Arc::clone(&base), options.lines);
        following.spawn(async move { follow(&base, &backend, lines, prefix).await });
    }
    while let Some(ended) = following.join_next().await {
        if let Ok(Err(error)) = ended {
            return Err(error);
        }
    }
    Ok(Exit::Done.into())
}

async fn chosen(base: &Base, of: Option<Side>) -> Result<Vec<Backend>, CliError> {
    let state = base.store.state(base.scope()).await?;
    let candidate = open::attempt(&base.store, base.scope()).await?.map(|(_, attempt)| attempt.plan.backends).unwrap_or_default();
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

fn print(prefix: bool, backend: &Backend, line: &str) {
    data_as_it_is(&if prefix { format!("{}: {line}", backend.id) } else { line.to_owned() });
}

async fn follow(base: &Base, backend: &Backend, lines: usize, prefix: bool) -> Result<(), CliError> {
    if base.runtime.prefers_docker && !base.runtime.process.knows(backend) {
        for line in base.runtime.log_tail(backend, lines).await? {
            print(prefix, backend, &line);
        }
        let mut stream = base.runtime.docker.follow(backend, clock::now());
        while let Some(line) = stream.recv().await {
            print(prefix, backend, &line?.text);
        }
        return Ok(());
    }
    let mut stream = base.runtime.process.logs(backend, lines, true).await?;
    while let Some(line) = stream.next().await {
        print(prefix, backend, &line?);
    }
    Ok(())
}
