//! Images: a reference is resolved to an id once, at plan time; from then on the id is what is run,
//! compared and kept.
//!
//! Invariants: a tag is never asked again after that, so a tag that moves changes nothing. A pull
//! that replaces an absent image is by digest, and what it brings must have the recorded id. Only
//! images that our release records name are ever removed, never by force, and never one that a
//! container uses or that carries a tag beyond the recorded one.

use super::call::{CallError, Engine, one_line};
use super::credentials;
use super::reference::Reference;
use super::runtime::DockerRuntime;
use super::specification::image_part;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::names::Digest;
use agente_engine::release::Artifact;
use bollard::auth::DockerCredentials;
use bollard::models::ImageInspect;
use bollard::query_parameters::{CreateImageOptionsBuilder, RemoveImageOptionsBuilder};
use futures_util::StreamExt;
use std::collections::BTreeSet;
use tokio::time::Instant;

/// When a registry is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pull {
    /// Only where the engine doesn't have the image.
    IfAbsent,
    /// Always: for a tag that is expected to move.
    Always,
    Never,
}

/// What became of an image that need not be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pruned {
    /// It was removed.
    Removed(Digest),
    /// It was left, for this reason.
    Left(Digest, String),
}

impl DockerRuntime {
    /// Resolves a reference to the image that a release will run. `progress` is told about a pull,
    /// a line at a time.
    ///
    /// # Errors
    ///
    /// [`FaultKind::InvalidConfig`]: not a reference · [`FaultKind::Denied`]: the registry wants other credentials · [`FaultKind::Rejected`]: no such
    /// image · [`FaultKind::Unavailable`]: the registry can't be reached · [`FaultKind::Failed`]:
    /// the engine's disk is full, or anything else.
    pub async fn resolve_image(
        &self,
        reference: &str,
        pull: Pull,
        progress: &(dyn Fn(&str) + Sync),
    ) -> Result<Artifact, Fault> {
        let parsed = Reference::parse(reference)?;
        let present = self.engine.inspect_image(reference).await?;
        let image = match (present, pull) {
            (Some(image), Pull::IfAbsent | Pull::Never) => image,
            (None, Pull::Never) => {
                return Err(Fault::new(
                    FaultKind::Rejected,
                    format!("the engine has no image `{reference}`"),
                )
                .hint(format!("docker pull {reference}")));
            }
            (_, Pull::Always) | (None, Pull::IfAbsent) => {
                if parsed.is_id() {
                    return Err(Fault::new(
                        FaultKind::Rejected,
                        format!(
                            "the engine has no image `{reference}`, and an image id can't be \
                        pulled"
                        ),
                    )
                    .hint("write the image as repository and digest: `name@sha256:…`"));
                }
                self.engine.pull(&parsed, progress).await?;
                self.engine.inspect_image(reference).await?.ok_or_else(|| {
                    Fault::new(
                        FaultKind::Failed,
                        format!("the image `{reference}` was pulled, but is not on the engine"),
                    )
                })?
            }
        };
        let id = image_id(&image, reference)?;
        let repository_digest = image
            .repo_digests
            .unwrap_or_default()
            .into_iter()
            .find(|digest| parsed.is_repository_of(digest));
        Ok(Artifact::Image { reference: reference.to_owned(), id, repository_digest })
    }

    /// Removes the images of `recorded` releases whose ids are not in `keep`. Foreign images are
    /// never looked at.
    pub async fn prune_images(
        &self,
        recorded: &[Artifact],
        keep: &[Digest],
    ) -> Result<Vec<Pruned>, Fault> {
        let mut seen = BTreeSet::new();
        let mut pruned = Vec::new();
        for artifact in recorded {
            let Artifact::Image { reference, id, .. } = artifact else {
                continue;
            };
            if keep.contains(id) || !seen.insert(id.clone()) {
                continue;
            }
            let Some(image) = self.engine.inspect_image(id.as_str()).await? else {
                continue;
            };
            let references: Vec<&str> = recorded
                .iter()
                .filter_map(|other| {
                    if let Artifact::Image { reference, id: of, .. } = other {
                        (of == id).then_some(reference.as_str())
                    } else {
                        None
                    }
                })
                .collect();
            let tags = image.repo_tags.unwrap_or_default();
            if let Some(other) = tags.iter().find(|tag| {
                !references.iter().any(|reference| {
                    Reference::parse(reference).is_ok_and(|parsed| parsed.is_tag(tag))
                })
            }) {
                pruned.push(Pruned::Left(id.clone(), format!("it is `{other}` too")));
                continue;
            }
            pruned.push(self.engine.remove_image(id, &tags, reference).await?);
        }
        Ok(pruned)
    }
}

impl Engine {
    pub(crate) async fn inspect_image(&self, name: &str) -> Result<Option<ImageInspect>, Fault> {
        match self
            .ask(&format!("inspect the image `{name}`"), self.client()?.inspect_image(name))
            .await
        {
            Ok(image) => Ok(Some(image)),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error.fault),
        }
    }

    /// Whether the engine has the image with this id.
    pub(crate) async fn image_by_id(&self, id: &Digest) -> Result<bool, Fault> {
        Ok(self
            .inspect_image(id.as_str())
            .await?
            .is_some_and(|image| image.id.as_deref() == Some(id.as_str())))
    }

    /// Brings the image of a release back, by digest alone.
    pub(crate) async fn restore_image(&self, artifact: &Artifact) -> Result<(), Fault> {
        let (id, reference, digest) = image_part(artifact)?;
        let Some(digest) = digest else {
            return Err(Fault::new(
                FaultKind::Rejected,
                format!(
                    "the image of `{reference}` ({}) is not on the engine, and no registry is \
                    known to have it",
                    id.short()
                ),
            )
            .hint("deploy a new release from an image that is there"));
        };
        self.pull(&Reference::parse(digest)?, &|line| {
            tracing::debug!(image = digest, line, "pulling");
        })
        .await?;
        if self.image_by_id(id).await? {
            return Ok(());
        }
        Err(Fault::new(
            FaultKind::Conflict,
            format!(
                "`{digest}` was pulled, but is not the image {} that the release was created from",
                id.short()
            ),
        ))
    }

    /// Pulls one image; ends within the settings' limits even where the engine or the registry
    /// falls silent.
    pub(crate) async fn pull(
        &self,
        reference: &Reference,
        progress: &(dyn Fn(&str) + Sync),
    ) -> Result<(), Fault> {
        let what = format!("pull `{reference}`");
        let credentials: Option<DockerCredentials> = match &self.settings.credentials {
            Some(path) => {
                credentials::for_registry(path, reference.registry(), self.settings.start_timeout)
                    .await?
            }
            None => None,
        };
        let had_credentials = credentials.is_some();
        // bollard writes the header in plain base64; the engine reads the form for URLs.
        let client = self.client()?.with_request_modifier(|mut request| {
            if let Some(value) =
                request.headers().get("X-Registry-Auth").and_then(|value| value.to_str().ok())
            {
                let url_safe = value.replace('+', "-").replace('/', "_");
                if let Ok(value) = url_safe.parse() {
                    request.headers_mut().insert("X-Registry-Auth", value);
                }
            }
            request
        });
        let options = CreateImageOptionsBuilder::default()
            .from_image(reference.repository())
            .tag(reference.version())
            .build();
        let mut lines = Box::pin(client.create_image(Some(options), None, credentials));
        let end = Instant::now() + self.settings.pull_timeout;
        loop {
            let limit = end.min(Instant::now() + self.settings.pull_stall);
            match tokio::time::timeout_at(limit, lines.next()).await {
                Err(_) if Instant::now() >= end => {
                    return Err(self.silent(&what, self.settings.pull_timeout));
                }
                Err(_) => {
                    return Err(Fault::new(
                        FaultKind::TimedOut,
                        format!(
                            "the pull of `{reference}` made no progress for {:?}",
                            self.settings.pull_stall
                        ),
                    )
                    .hint(format!("try it by hand: `docker pull {reference}`"))
                    .retryable());
                }
                Ok(None) => return Ok(()),
                Ok(Some(Ok(line))) => {
                    if let Some(status) = line.status {
                        progress(
                            &line.id.map_or_else(|| status.clone(), |id| format!("{id}: {status}")),
                        );
                    }
                }
                Ok(Some(Err(error))) => {
                    return Err(pull_fault(reference, had_credentials, self.explain(&what, error)));
                }
            }
        }
    }

    async fn remove_image(
        &self,
        id: &Digest,
        tags: &[String],
        reference: &str,
    ) -> Result<Pruned, Fault> {
        let what = format!("remove the image `{reference}`");
        // By name where it has one: by id the engine refuses an image with several names. The last
        // name takes the image with it.
        let names: Vec<&str> = if tags.is_empty() {
            vec![id.as_str()]
        } else {
            tags.iter().map(String::as_str).collect()
        };
        for name in names {
            let options = RemoveImageOptionsBuilder::default().force(false).build();
            match self
                .within(
                    self.settings.start_timeout,
                    &what,
                    self.client()?.remove_image(name, Some(options), None),
                )
                .await
            {
                Ok(_) => {}
                Err(error) if error.is_absent() => {}
                Err(error) if error.is_conflict() => {
                    return Ok(Pruned::Left(id.clone(), one_line(&error.said)));
                }
                Err(error) => return Err(error.fault),
            }
        }
        if self.image_by_id(id).await? {
            return Ok(Pruned::Left(
                id.clone(),
                "it has another name or is used by a container".to_owned(),
            ));
        }
        Ok(Pruned::Removed(id.clone()))
    }
}

fn image_id(image: &ImageInspect, reference: &str) -> Result<Digest, Fault> {
    let id = image.id.clone().unwrap_or_default();
    Digest::new(id).map_err(|error| {
        Fault::new(
            FaultKind::Failed,
            format!("the engine gives the image `{reference}` an id that is not a digest"),
        )
        .because(&error)
    })
}

/// Why a pull failed: the engine answers most causes with the same status, so its words decide.
fn pull_fault(reference: &Reference, had_credentials: bool, error: CallError) -> Fault {
    let said = error.said.to_lowercase();
    let has = |texts: &[&str]| texts.iter().any(|text| said.contains(text));
    let registry = reference.registry();
    let fault = if has(&["no space left on device"]) {
        return error.fault;
    } else if has(&["pull access denied", "repository does not exist or may require"]) {
        Fault::new(
            FaultKind::Denied,
            format!("`{reference}` does not exist on `{registry}`, or needs credentials"),
        )
        .hint(format!("check the name; then `docker login {registry}`"))
    } else if has(&[
        "no basic auth credentials",
        "unauthorized",
        "authentication required",
        "incorrect username or password",
        "access denied",
        "denied:",
    ]) {
        let why = if had_credentials { "rejected the credentials" } else { "wants credentials" };
        Fault::new(FaultKind::Denied, format!("the registry `{registry}` {why} for `{reference}`"))
            .hint(format!("docker login {registry}"))
    } else if has(&[
        "connection refused",
        "no such host",
        "i/o timeout",
        "dial tcp",
        "tls handshake",
        "network is unreachable",
        "eof",
        "connection reset",
        "client.timeout",
        "502",
        "503",
        "504",
    ]) {
        Fault::new(
            FaultKind::Unavailable,
            format!("the registry `{registry}` can't be reached for `{reference}`"),
        )
        .hint(format!("curl -v https://{registry}/v2/"))
        .retryable()
    } else if error.is_absent() || has(&["manifest unknown", "not found", "name unknown"]) {
        Fault::new(
            FaultKind::Rejected,
            format!("the registry `{registry}` has no image `{reference}`"),
        )
        .hint("check the tag or digest, and that the image was pushed")
    } else {
        return error.fault;
    };
    let mut fault = fault;
    fault.causes.push(one_line(&error.said));
    fault
}
