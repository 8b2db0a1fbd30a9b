//! What can be judged before a backend is launched, each line of it told.

use crate::findings::{bad, from_fault, good, warning};
use crate::process::port;
use crate::process::proven::digest_of;
use crate::process::runtime::ProcessRuntime;
use crate::process::specify::unpassable;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::names::Digest;
use agente_engine::ports::{BackendState, Finding};
use agente_engine::release::{Artifact, EnvValue, ProcessSpec, Release};
use agente_engine::route::Backend;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;

/// Below this a disk is as good as full: no log, no journal.
const DISK_FULL_BYTES: u64 = 64 * 1024 * 1024;

/// Below this the operator should know.
const DISK_LOW_BYTES: u64 = 512 * 1024 * 1024;

impl ProcessRuntime {
    /// Compares the artifact's bytes with its digest, unless this run has done so and the file is
    /// the same.
    pub(super) async fn prove_artifact(&self, release: &Release) -> Result<(), Fault> {
        let Artifact::File { digest, .. } = &release.artifact else {
            return self.artifact(release).map(drop);
        };
        let path = self.artifact(release)?;
        let missing = |error: &io::Error| {
            Fault::new(
                FaultKind::InvalidConfig,
                format!(
                    "the artifact of release {} can't be read at `{}`",
                    release.number,
                    path.display()
                ),
            )
            .hint("deploy the original file again; the copy in the state directory is gone")
            .because(error)
        };
        let about = std::fs::metadata(&path).map_err(|error| missing(&error))?;
        if self.proven.has(&path, &about) {
            return Ok(());
        }
        let file = path.clone();
        let found = tokio::task::spawn_blocking(move || digest_of(&file))
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|error| missing(&error))?;
        if found != digest.as_str() {
            return Err(altered(release, digest, &path, &found));
        }
        self.proven.add(&path, &about);
        Ok(())
    }

    pub(super) async fn preflight_process(
        &self,
        release: &Release,
        process: &ProcessSpec,
        backends: &[Backend],
    ) -> Vec<Finding> {
        let mut findings =
            vec![self.artifact_finding(release).await, self.command_finding(release, process)];
        findings.extend(port_is_told(process));
        let owners = self.owned_ports();
        for backend in backends {
            let owner = owners.get(&port::port_of(&backend.address).unwrap_or_default());
            let stands = matches!(
                self.inspect_backend(backend),
                Ok(BackendState::Running { .. } | BackendState::Starting { .. })
            );
            findings.push(port_finding(backend, owner, stands));
        }
        let names: BTreeSet<&String> = process
            .env
            .values()
            .filter_map(|value| if let EnvValue::Secret(name) = value { Some(name) } else { None })
            .collect();
        for name in names {
            let subject = format!("secret {name}");
            findings.push(match self.config.secrets.value(name).await {
                Ok(_) => good(&subject, "can be read"),
                Err(fault) => from_fault(&subject, fault),
            });
        }
        let supervisor = &self.config.supervisor.program;
        if let Err(error) = crate::process::program::judge(supervisor) {
            findings.push(bad(
                "supervisor",
                error.to_string(),
                Some("install `agente-host` again".to_owned()),
            ));
        }
        findings.extend(self.disk_finding());
        findings
    }

    async fn artifact_finding(&self, release: &Release) -> Finding {
        let subject = format!("artifact {}", release.artifact.describe());
        match self.prove_artifact(release).await {
            Ok(()) => good(&subject, "is in the state directory and matches its digest"),
            Err(fault) => from_fault(&subject, fault),
        }
    }

    fn command_finding(&self, release: &Release, process: &ProcessSpec) -> Finding {
        let subject = format!("command {}", process.command.first().map_or("", String::as_str));
        if let Some(problem) = unpassable(process) {
            return bad(
                &subject,
                problem,
                Some("correct `command` and `env` in the manifest".to_owned()),
            );
        }
        match self.program(release, process) {
            Ok(program) => good(&subject, format!("is the program `{}`", program.display())),
            Err(fault) => from_fault(&subject, fault),
        }
    }

    fn disk_finding(&self) -> Option<Finding> {
        let state = &self.config.state;
        let disk = rustix::fs::statvfs(state).ok()?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let message =
            format!("{} MiB are free for logs in `{}`", free / 1024 / 1024, state.display());
        Some(if free < DISK_FULL_BYTES {
            bad("disk", message, Some("free some space on that disk".to_owned()))
        } else if free < DISK_LOW_BYTES {
            warning("disk", message, "free some space on that disk")
        } else {
            good("disk", message)
        })
    }
}

fn altered(release: &Release, digest: &Digest, path: &Path, found: &str) -> Fault {
    let message = format!(
        "the artifact of release {} at `{}` was modified: its digest is `{found}`, not `{digest}`",
        release.number,
        path.display()
    );
    Fault::new(FaultKind::Conflict, message).hint("deploy the original file again")
}

/// A program that is never told its port would listen somewhere else.
fn port_is_told(process: &ProcessSpec) -> Option<Finding> {
    let told = |text: &String| text.contains("{port}");
    let in_env =
        process.env.values().any(|value| matches!(value, EnvValue::Plain(text) if told(text)));
    (!in_env && !process.command.iter().any(told)).then(|| {
        warning(
            "command",
            "neither `command` nor `env` contains `{port}`",
            "pass `{port}` to the program, or have it listen on `AGENTE_PORT`",
        )
    })
}

fn port_finding(backend: &Backend, owner: Option<&String>, stands: bool) -> Finding {
    let Some(number) = port::port_of(&backend.address) else {
        return bad(format!("address {}", backend.address), "has no port", None);
    };
    let subject = format!("port {number}");
    match owner {
        Some(owner) if *owner != backend.id.0 => bad(
            &subject,
            format!("belongs to `{owner}`"),
            Some("run the command again to get another port".to_owned()),
        ),
        // An earlier attempt has started it already.
        Some(owner) if stands => good(&subject, format!("already belongs to `{owner}`")),
        Some(_) | None if port::is_free(number) => good(&subject, "is free"),
        Some(_) | None => bad(
            &subject,
            format!("is in use by {}", port::holder(number)),
            Some("stop it, or run the command again to get another port".to_owned()),
        ),
    }
}
