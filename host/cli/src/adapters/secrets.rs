//! Secrets from where the manifest says they are: a variable, a file, a command. Nothing is kept.

use agente_engine::fault::{Fault, FaultKind};
use agente_engine::ports::{SecretValue, Secrets};
use agente_manifest::SecretSource;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

/// How long a secret's command may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// The secrets of one manifest.
pub(crate) struct ManifestSecrets {
    pub(crate) sources: BTreeMap<String, SecretSource>,
    pub(crate) directory: PathBuf,
}

#[async_trait]
impl Secrets for ManifestSecrets {
    async fn value(&self, name: &str) -> Result<SecretValue, Fault> {
        let Some(source) = self.sources.get(name) else {
            return Err(Fault::new(
                FaultKind::InvalidConfig,
                format!("the secret `{name}` is not declared"),
            )
            .hint(format!("declare it in `[secrets]`: {name} = {{ env = \"…\" }}")));
        };
        match source {
            SecretSource::Env(variable) => {
                std::env::var(variable).map(SecretValue::new).map_err(|_| {
                    Fault::new(
                        FaultKind::Unavailable,
                        format!(
                            "the secret `{name}` comes from the environment variable \
                            `{variable}`, which is unset or not valid UTF-8"
                        ),
                    )
                    .hint(format!("set `{variable}` for this command"))
                })
            }
            SecretSource::File(path) => match tokio::fs::read_to_string(path).await {
                Ok(mut text) => {
                    let kept = text.trim_end_matches(['\n', '\r']).len();
                    text.truncate(kept);
                    Ok(SecretValue::new(text))
                }
                Err(error) => Err(Fault::new(
                    FaultKind::Unavailable,
                    format!("the secret `{name}` can't be read from `{}`", path.display()),
                )
                .because(&error)),
            },
            SecretSource::Command(argv) => self.of_command(name, argv).await,
        }
    }
}

impl ManifestSecrets {
    async fn of_command(&self, name: &str, argv: &[String]) -> Result<SecretValue, Fault> {
        let shown = argv.first().cloned().unwrap_or_default();
        let failed = |message: String| {
            Fault::new(
                FaultKind::Unavailable,
                format!("the secret `{name}` can't be read from the command `{shown}`: {message}"),
            )
        };
        let Some((program, arguments)) = argv.split_first() else {
            return Err(failed("the command is empty".to_owned()));
        };
        let mut command = tokio::process::Command::new(program);
        command
            .args(arguments)
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let output = tokio::time::timeout(COMMAND_LIMIT, command.output()).await;
        let output = output
            .map_err(|_| failed(format!("it did not finish within {} s", COMMAND_LIMIT.as_secs())))?
            .map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            // What it wrote to standard output may be the secret, or a part of it; it stays here.
            let words: String = String::from_utf8_lossy(&output.stderr)
                .lines()
                .last()
                .unwrap_or_default()
                .chars()
                .take(300)
                .collect();
            return Err(failed(format!("{} {words}", output.status)));
        }
        let text = String::from_utf8(output.stdout)
            .map_err(|_| failed("its output is not valid UTF-8".to_owned()))?;
        Ok(SecretValue::new(text.trim_end_matches(['\n', '\r']).to_owned()))
    }
}
