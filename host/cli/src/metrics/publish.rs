//! Where the numbers go at the end of a run: a file for `node_exporter`, a Pushgateway. What fails
//! here is a warning, never a failure of the run.

use crate::error::CliError;
use crate::metrics::exposition::text;
use crate::metrics::gateway::{self, GatewayError};
use crate::metrics::ledger::Ledger;
use agente_engine::names::Scope;
use agente_engine::ports::{Finding, FindingResult, Store};
use agente_manifest::MetricsSection;
use reqwest::Method;
use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// What the textfile collector, which runs as another user, must be able to read.
const MODE: u32 = 0o644;

/// The name under which a Pushgateway shows the numbers.
const JOB: &str = "agente-host";

/// Writes and pushes the numbers of one service as the manifest says.
pub(crate) async fn publish(section: &MetricsSection, store: &dyn Store, scope: &Scope) {
    if *section == MetricsSection::default() {
        return;
    }
    let numbers = match numbers(store, scope).await {
        Ok(numbers) => numbers,
        Err(error) => {
            return tracing::warn!(
                "can't collect the metrics of {scope}: {}",
                [vec![error.message], error.causes].concat().join(": ")
            );
        }
    };
    if let Some(path) = &section.textfile
        && let Err(error) = replace(path, &numbers)
    {
        tracing::warn!(
            "`{}` was not written: {error}; `agente-host check` tells how to fix it",
            path.display()
        );
    }
    if let Some(url) = &section.push
        && let Err(error) = gateway::ask(Method::PUT, &group(url, scope), numbers).await
    {
        tracing::warn!("the metrics were not pushed: {}", told(&error));
    }
}

async fn numbers(store: &dyn Store, scope: &Scope) -> Result<String, CliError> {
    text(&[Ledger::of_service(store, scope.clone()).await?])
}

/// The address of a scope's group: a later push replaces it as a whole. Names of services and
/// environments need no escape in a URL.
fn group(url: &str, scope: &Scope) -> String {
    format!("{url}/metrics/job/{JOB}/service/{}/environment/{}", scope.service, scope.environment)
}

/// Replaces a file as a whole: who reads it finds the old or the new one. The new one begins under
/// a name that no collector reads.
fn replace(path: &Path, numbers: &str) -> io::Result<()> {
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".agente-")
        .suffix(".new")
        .permissions(Permissions::from_mode(MODE))
        .tempfile_in(folder)?;
    file.write_all(numbers.as_bytes())?;
    // Whatever the user's mask takes away.
    file.as_file().set_permissions(Permissions::from_mode(MODE))?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

fn told(error: &GatewayError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Judges whether the numbers will get where the manifest wants them. Leaves nothing behind.
pub(crate) async fn check(section: &MetricsSection) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(path) = &section.textfile {
        findings.push(check_file(path));
    }
    if let Some(url) = &section.push {
        let finding =
            match gateway::ask(Method::GET, &format!("{url}/-/ready"), String::new()).await {
                Ok(()) => {
                    finding("metrics push", FindingResult::Good, format!("`{url}` is ready"), None)
                }
                Err(error) => {
                    let hint = "start it, or correct `[metrics] push`; deployments work without it"
                        .to_owned();
                    finding("metrics push", FindingResult::Warning, told(&error), Some(hint))
                }
            };
        findings.push(finding);
    }
    findings
}

fn check_file(path: &Path) -> Finding {
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (shown, said) = (path.display(), "metrics textfile");
    let bad =
        |message: String, hint: String| finding(said, FindingResult::Bad, message, Some(hint));
    if !folder.is_dir() {
        let hint = format!("run `mkdir -p {}`, or correct `[metrics] textfile`", folder.display());
        return bad(
            format!("`{shown}` can't be written: there is no directory `{}`", folder.display()),
            hint,
        );
    }
    if path.is_dir() {
        return bad(
            format!("`{shown}` is a directory"),
            "set `[metrics] textfile` to a file in it".to_owned(),
        );
    }
    // The file is replaced, so its folder is what has to be written to.
    match tempfile::Builder::new().prefix(".agente-").suffix(".check").tempfile_in(folder) {
        Ok(_) => finding(said, FindingResult::Good, format!("`{shown}` can be written"), None),
        Err(error) => bad(
            format!("`{shown}` can't be written: {error}"),
            format!("give this user write access to `{}`", folder.display()),
        ),
    }
}

fn finding(subject: &str, result: FindingResult, message: String, hint: Option<String>) -> Finding {
    Finding { subject: subject.to_owned(), result, message, hint }
}

#[cfg(test)]
mod tests;
