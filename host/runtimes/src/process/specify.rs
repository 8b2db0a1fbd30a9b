//! From a release and a place to a specification: placeholders filled in, program found, everything
//! that can't work refused.

use crate::process::port;
use crate::process::program::{self, ProgramError};
use crate::process::record::{Spec, SpecIdentity};
use crate::process::runtime::ProcessRuntime;
use crate::process::tree::BACKEND_VARIABLE;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::ports::Launch;
use agente_engine::release::{Artifact, EnvValue, ProcessSpec, Release};
use agente_engine::route::{Backend, Slot};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What the placeholders of a manifest stand for.
pub(super) struct Placeholders {
    port: String,
    slot: String,
    release: String,
    backend: String,
}

impl Placeholders {
    pub(super) fn new(release: &Release, backend: &Backend, slot: &str) -> Self {
        Self {
            port: port::port_of(&backend.address).map(|port| port.to_string()).unwrap_or_default(),
            slot: slot.to_owned(),
            release: release.number.0.to_string(),
            backend: backend.id.0.clone(),
        }
    }

    /// Fills a text in, in one pass: a value that looks like a placeholder stays as it is, and so
    /// do other braces.
    pub(super) fn fill(&self, text: &str) -> String {
        let known = [
            ("{port}", &self.port),
            ("{slot}", &self.slot),
            ("{release}", &self.release),
            ("{backend}", &self.backend),
        ];
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find('{') {
            let (before, from) = rest.split_at(start);
            filled.push_str(before);
            if let Some((value, after)) = known
                .iter()
                .find_map(|(name, value)| from.strip_prefix(name).map(|after| (value, after)))
            {
                filled.push_str(value);
                rest = after;
            } else {
                filled.push('{');
                rest = from.get(1..).unwrap_or_default();
            }
        }
        filled + rest
    }
}

/// The first thing in a command or environment that no process can be given.
pub(super) fn unpassable(process: &ProcessSpec) -> Option<String> {
    if process.command.first().is_none_or(String::is_empty) {
        return Some("the command is empty".to_owned());
    }
    if process.command.iter().any(|word| word.contains('\0')) {
        return Some("the command contains a NUL character".to_owned());
    }
    process.env.iter().find_map(|(name, value)| {
        let text = match value {
            EnvValue::Plain(text) | EnvValue::Secret(text) => text,
        };
        if name.is_empty() || name.contains(['=', '\0']) {
            Some(format!("`{name}` can't be the name of an environment variable"))
        } else if text.contains('\0') {
            Some(format!("the value of `{name}` contains a NUL character"))
        } else {
            None
        }
    })
}

impl ProcessRuntime {
    /// Where the release's artifact is.
    pub(super) fn artifact(&self, release: &Release) -> Result<PathBuf, Fault> {
        match &release.artifact {
            Artifact::File { digest, name } => Ok((self.config.artifacts)(digest, name)),
            Artifact::Image { .. } | Artifact::Adopted => Err(Fault::new(
                FaultKind::InvalidConfig,
                format!(
                    "release {} of {} has no program file to run",
                    release.number, release.scope
                ),
            )
            .hint("set `artifact` in `[runtime.process]`")),
        }
    }

    /// The program of a release, judged.
    pub(super) fn program(
        &self,
        release: &Release,
        process: &ProcessSpec,
    ) -> Result<PathBuf, Fault> {
        let artifact = self.artifact(release)?;
        let folder = artifact.parent().unwrap_or(&artifact);
        let path = process.env.iter().find_map(|(name, value)| match value {
            EnvValue::Plain(path) if name == "PATH" => Some(path.as_str()),
            _ => None,
        });
        let name = process.command.first().map(String::as_str).unwrap_or_default();
        let found = program::find(name, folder, path)
            .and_then(|program| program::judge(&program).map(|()| program));
        found.map_err(|error: ProgramError| {
            Fault::new(
                FaultKind::InvalidConfig,
                format!("`{name}` of release {} of {} can't be run", release.number, release.scope),
            )
            .hint(error.hint())
            .because(&error)
        })
    }

    /// The whole specification of a backend.
    pub(super) fn specify(&self, launch: &Launch, process: &ProcessSpec) -> Result<Spec, Fault> {
        let Launch { backend, release, slot, deployment, store } = launch;
        if let Some(problem) = unpassable(process) {
            return Err(Fault::new(
                FaultKind::InvalidConfig,
                format!("backend `{}` can't be started: {problem}", backend.id),
            ));
        }
        if port::port_of(&backend.address).is_none() {
            return Err(Fault::new(
                FaultKind::InvalidConfig,
                format!(
                    "the address `{}` of backend `{}` has no port",
                    backend.address, backend.id
                ),
            ));
        }
        let Artifact::File { digest, name } = &release.artifact else {
            return Err(self.artifact(release).err().unwrap_or_else(|| {
                Fault::new(FaultKind::Internal, "an artifact is no file and has a path")
            }));
        };
        let artifact = (self.config.artifacts)(digest, name);
        let folder = artifact.parent().map(PathBuf::from).unwrap_or_default();
        let placeholders = Placeholders::new(release, backend, slot.as_str());
        let mut plain = BTreeMap::new();
        let mut secrets = BTreeMap::new();
        for (name, value) in &process.env {
            match value {
                EnvValue::Plain(text) => plain.insert(name.clone(), text.clone()),
                EnvValue::Secret(secret) => secrets.insert(name.clone(), secret.clone()),
            };
        }
        let mut env = conveniences(launch, *slot, &placeholders);
        env.extend(plain.iter().map(|(name, value)| (name.clone(), placeholders.fill(value))));
        // The one variable by which a backend's processes are found again.
        env.insert(BACKEND_VARIABLE.to_owned(), backend.id.0.clone());
        let identity = SpecIdentity {
            backend: backend.id.0.clone(),
            address: backend.address.clone(),
            scope: release.scope.clone(),
            store: store.clone(),
            slot: slot.as_str().to_owned(),
            release: release.number,
            artifact: digest.clone(),
            artifact_name: name.clone(),
            command: process.command.clone(),
            plain,
            secrets,
        };
        Ok(Spec {
            fingerprint: identity.fingerprint(),
            identity,
            deployment: deployment.0.clone(),
            program: self.program(release, process)?,
            folder,
            argv: process.command.iter().map(|word| placeholders.fill(word)).collect(),
            env,
            stop_grace: process.stop_grace,
            limits: self.config.limits.clone(),
        })
    }
}

/// What every backend is told about itself.
fn conveniences(
    launch: &Launch,
    slot: Slot,
    placeholders: &Placeholders,
) -> BTreeMap<String, String> {
    let scope = &launch.release.scope;
    [
        ("AGENTE_PORT", placeholders.port.clone()),
        ("AGENTE_SLOT", slot.as_str().to_owned()),
        ("AGENTE_RELEASE", placeholders.release.clone()),
        ("AGENTE_SERVICE", scope.service.to_string()),
        ("AGENTE_ENVIRONMENT", scope.environment.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_once_and_other_braces_are_left() {
        let placeholders = Placeholders {
            port: "18100".into(),
            slot: "{port}".into(),
            release: "7".into(),
            backend: "shop-1".into(),
        };
        assert_eq!(
            placeholders.fill("127.0.0.1:{port}/{release}/{backend}"),
            "127.0.0.1:18100/7/shop-1"
        );
        assert_eq!(
            placeholders.fill(r#"{"slot":"{slot}"}{unknown}{"#),
            r#"{"slot":"{port}"}{unknown}{"#
        );
        assert_eq!(placeholders.fill(""), "");
    }
}
