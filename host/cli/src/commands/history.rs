//! `history`: earlier deployments, or every entry of one.

use crate::arguments::{Components, Global, HistoryOptions, OutputKind};
use crate::error::{CliError, Exit};
use crate::output::{self, OutputEvent, data, emit, event_line, table};
use crate::session::{About, Base};
use crate::times;
use agente_engine::deployment::DeploymentKind;
use agente_engine::journal::Outcome;
use agente_engine::names::DeploymentId;
use agente_engine::ports::PluginEffects;
use std::process::ExitCode;

pub(crate) async fn run(global: &Global, options: &HistoryOptions) -> Result<ExitCode, CliError> {
    let base = Base::look(global, About::Standing(&Components::default())).await?;
    let absent = |id: &str| {
        CliError::usage(format!("there is no deployment `{id}`"))
            .hint("`agente-host history` lists them")
    };
    let store = base.store();
    if let Some(id) = &options.deployment {
        let entries = store.entries(&DeploymentId(id.clone())).await?;
        if entries.is_empty() {
            return Err(absent(id));
        }
        if options.effects {
            show_effects(global, &store.effects(&DeploymentId(id.clone())).await?);
            return Ok(Exit::Done.into());
        }
        for entry in entries {
            match global.output {
                OutputKind::Json => emit(&OutputEvent::Entry { entry: &entry }),
                OutputKind::Human | OutputKind::Plain => {
                    data(&format!("{}  {}", times::local(entry.at), event_line(&entry.event)));
                }
            }
        }
        return Ok(Exit::Done.into());
    }
    let rows = store.history(base.scope(), options.limit).await?;
    if base.is_scratch() {
        output::say(&format!("{} has never been deployed from this state directory", base.scope()));
        return Ok(Exit::Done.into());
    }
    if global.output == OutputKind::Json {
        for row in &rows {
            emit(&OutputEvent::Deployment { deployment: row });
        }
        return Ok(Exit::Done.into());
    }
    let heading = ["DEPLOYMENT", "WHAT", "RELEASE", "ARTIFACT", "BY", "BEGAN", "TOOK", "OUTCOME"];
    let mut cells = Vec::new();
    for row in rows {
        let kind = match row.kind {
            DeploymentKind::Deploy => "deploy",
            DeploymentKind::Adopt => "adopt",
            DeploymentKind::Rollback { .. } => "rollback",
        };
        let outcome = match &row.outcome {
            None => "open".to_owned(),
            Some(Outcome::Promoted { .. }) => "promoted".to_owned(),
            Some(Outcome::Unwound { fault, .. }) => format!("rolled back: {}", fault.message),
            Some(Outcome::Refused { fault }) => format!("refused: {}", fault.message),
            Some(Outcome::Stuck { fault, .. }) => format!("stuck: {}", fault.message),
        };
        let took = row
            .closed
            .map_or_else(|| "-".to_owned(), |closed| times::span(closed.since(row.opened)));
        cells.push(vec![
            row.id.0,
            kind.to_owned(),
            row.release.to_string(),
            row.artifact,
            row.by,
            times::local(row.opened),
            took,
            outcome,
        ]);
    }
    for line in table(&heading, cells) {
        data(&line);
    }
    Ok(Exit::Done.into())
}

/// What plugins did in a deployment, one line each.
fn show_effects(global: &Global, effects: &PluginEffects) {
    if global.output == OutputKind::Json {
        for effect in &effects.kept {
            emit(&OutputEvent::Effect { effect });
        }
        if effects.lost > 0 {
            emit(&OutputEvent::EffectsLost { count: effects.lost });
        }
        return;
    }
    for effect in &effects.kept {
        let denied = match &effect.denied {
            Some(why) => format!("  denied: {why}"),
            None => String::new(),
        };
        data(&format!(
            "{}  {} {}  {}  {}{denied}",
            times::local(effect.at),
            effect.plugin,
            effect.version,
            effect.operation,
            effect.effect
        ));
    }
    if effects.lost > 0 {
        data(&format!("{} more effects could not be recorded", effects.lost));
    }
}
