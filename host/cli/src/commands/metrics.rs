//! `metrics`: the numbers about deployments, printed once or served.

use crate::arguments::{Components, Global, MetricsOptions};
use crate::error::{CliError, Exit};
use crate::metrics::{Ledger, Of, serve_metrics, text};
use crate::output::data;
use crate::session::{self, About};
use crate::signals::asked_to_stop;
use crate::store;
use std::process::ExitCode;
use std::sync::Arc;

pub(crate) async fn run(global: &Global, options: &MetricsOptions) -> Result<ExitCode, CliError> {
    let of = if options.all {
        Of::All
    } else {
        Of::One(session::manifest(global, About::Standing(&Components::default()))?.scope)
    };
    let ledger = Ledger::new(store::state_directory(global)?);
    if let Some(address) = options.listen {
        serve_metrics(address, Arc::new(ledger), of, asked_to_stop()).await?;
        return Ok(Exit::Done.into());
    }
    let numbers = text(&ledger.read(&of).await?)?;
    if !numbers.is_empty() {
        data(numbers.trim_end());
    }
    Ok(Exit::Done.into())
}
