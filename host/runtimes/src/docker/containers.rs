//! The engine's calls on containers, each once, each within its time limit, with “not there” and
//! “already so” told apart from failures.

use super::call::{CallError, Engine};
use super::labels::{self, Owner};
use super::state::{Container, ContainerPhase};
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::names::BackendId;
use bollard::models::{
    ContainerCreateBody, ContainerSummary, ContainerUpdateBody, RestartPolicy,
    RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, KillContainerOptionsBuilder,
    ListContainersOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions,
    StopContainerOptionsBuilder,
};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How often a container that is on its way out is looked at again.
const REMOVAL_POLL: Duration = Duration::from_millis(50);

/// The containers of one backend.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The one that carries its name.
    pub(crate) standing: Option<Container>,
    /// The ids of others that carry its label: somebody renamed them.
    pub(crate) strays: Vec<String>,
}

impl Engine {
    /// All containers with these labels, those that don't run included.
    pub(crate) async fn list(&self, labels: &[String]) -> Result<Vec<ContainerSummary>, Fault> {
        let filters: HashMap<&str, Vec<String>> = HashMap::from([("label", labels.to_vec())]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        Ok(self.ask("list containers", self.client()?.list_containers(Some(options))).await?)
    }

    /// One container by name or id; none when it isn't there.
    pub(crate) async fn look_at(&self, name: &str) -> Result<Option<Container>, Fault> {
        match self
            .ask(
                &format!("inspect the container `{name}`"),
                self.client()?.inspect_container(name, None::<InspectContainerOptions>),
            )
            .await
        {
            Ok(seen) => Ok(Some(Container::from_inspect(seen))),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error.fault),
        }
    }

    /// The containers of a backend. Only ours: a foreign one of its name is a conflict.
    pub(crate) async fn find(&self, backend: &BackendId) -> Result<Found, Fault> {
        let store = &self.settings.store;
        let listed = self
            .list(&[format!("{}={store}", labels::STORE), format!("{}={backend}", labels::BACKEND)])
            .await?;
        let standing = self.look_at(&backend.0).await?;
        if let Some(standing) = &standing {
            match labels::owner(Some(&standing.labels), store) {
                Owner::Ours
                    if standing.label(labels::BACKEND) == Some(backend.0.as_str())
                        && labels::scope(&standing.labels)
                            .is_some_and(|scope| backend.is_of(&scope)) => {}
                Owner::Ours | Owner::Foreign => return Err(self.foreign(standing)),
                Owner::OtherStore(theirs) => {
                    return Err(Fault::new(
                        FaultKind::Conflict,
                        format!(
                            "the container `{backend}` belongs to another store, `{theirs}`; this \
                             one is `{store}`"
                        ),
                    )
                    .hint(
                        "run agente-host with that store's state directory, or take the service \
                        over with `agente-host adopt --force`",
                    ));
                }
            }
        }
        let present = standing.as_ref().map(|standing| standing.id.clone());
        let strays = listed
            .into_iter()
            .filter_map(|summary| summary.id)
            .filter(|id| Some(id) != present.as_ref())
            .collect();
        Ok(Found { standing, strays })
    }

    fn foreign(&self, standing: &Container) -> Fault {
        Fault::new(
            FaultKind::Conflict,
            format!(
                "a container named `{}` exists that agente-host did not create (id {}, image {})",
                standing.name,
                short(&standing.id),
                short(&standing.image)
            ),
        )
        .hint(format!(
            "rename or remove it: `docker --host {} rename {1} {1}-old`",
            self.settings.endpoint, standing.name
        ))
    }

    pub(crate) async fn create(
        &self,
        name: &str,
        body: ContainerCreateBody,
    ) -> Result<String, CallError> {
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let client = self.client().map_err(unanswered)?;
        let call = Box::pin(async move { client.create_container(Some(options), body).await });
        let what = format!("create the container `{name}`");
        let made = self.change(name, self.settings.start_timeout, &what, call).await?;
        for warning in &made.warnings {
            tracing::debug!(container = name, warning, "the Docker Engine warns");
        }
        Ok(made.id)
    }

    /// Starts a container. It must have been looked at before: on one that has ended this runs its
    /// program again.
    pub(crate) async fn start(&self, name: &str) -> Result<(), CallError> {
        let client = self.client().map_err(unanswered)?;
        let started = name.to_owned();
        let start = Box::pin(async move {
            client.start_container(&started, None::<StartContainerOptions>).await
        });
        let what = format!("start the container `{name}`");
        self.change(name, self.settings.start_timeout, &what, start).await
    }

    pub(crate) async fn unpause(&self, name: &str) -> Result<(), CallError> {
        self.ask(
            &format!("unpause the container `{name}`"),
            self.client().map_err(unanswered)?.unpause_container(name),
        )
        .await
    }

    /// Sets whether the engine starts it again. Done before a stop, or a stopped container may come
    /// back with the engine.
    pub(crate) async fn set_policy(
        &self,
        standing: &Container,
        policy: RestartPolicyNameEnum,
    ) -> Result<(), CallError> {
        let (name, id) = (&standing.name, standing.id.clone());
        let body = ContainerUpdateBody {
            restart_policy: Some(restart_policy(policy)),
            ..ContainerUpdateBody::default()
        };
        let client = self.client().map_err(unanswered)?;
        let what = format!("set the restart policy of the container `{name}` to `{policy}`");
        let call = Box::pin(async move { client.update_container(&id, body).await });
        self.change(name, self.settings.call_timeout, &what, call).await
    }

    /// Sends the stop signal and kills after `grace`, whole seconds rounded up.
    pub(crate) async fn stop(&self, name: &str, grace: Duration) -> Result<(), CallError> {
        let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
        let options = StopContainerOptionsBuilder::default()
            .t(i32::try_from(seconds).unwrap_or(i32::MAX))
            .build();
        // The answer comes when the container has ended: our limit must be beyond its grace.
        let limit = grace + Duration::from_secs(1) + self.settings.start_timeout;
        let client = self.client().map_err(unanswered)?;
        self.within(
            limit,
            &format!("stop the container `{name}`"),
            client.stop_container(name, Some(options)),
        )
        .await
    }

    pub(crate) async fn kill(&self, name: &str, signal: &str) -> Result<(), CallError> {
        let options = KillContainerOptionsBuilder::default().signal(signal).build();
        let client = self.client().map_err(unanswered)?;
        self.ask(
            &format!("send {signal} to the container `{name}`"),
            client.kill_container(name, Some(options)),
        )
        .await
    }

    /// Removes a container, and waits until it is gone. Its volumes stay. Absent is success.
    pub(crate) async fn remove(&self, name: &str, force: bool) -> Result<(), Fault> {
        let deadline = Instant::now() + self.settings.start_timeout;
        loop {
            let options = RemoveContainerOptionsBuilder::default().force(force).build();
            let removal = self
                .within(
                    self.settings.start_timeout,
                    &format!("remove the container `{name}`"),
                    self.client()?.remove_container(name, Some(options)),
                )
                .await;
            match removal {
                Ok(()) => {}
                Err(error) if error.is_absent() => return Ok(()),
                // Somebody's removal of it is under way.
                Err(error) if error.is_conflict() && error.said.contains("already in progress") => {
                }
                Err(error) => return Err(error.fault),
            }
            match self.look_at(name).await? {
                None => return Ok(()),
                Some(standing) if Instant::now() >= deadline => {
                    return Err(Fault::new(
                        FaultKind::TimedOut,
                        format!(
                            "the container `{name}` still exists after its removal ({:?})",
                            standing.phase
                        ),
                    )
                    .retryable());
                }
                Some(_) => tokio::time::sleep(REMOVAL_POLL).await,
            }
        }
    }

    /// Stops a container for good: it won't come back with the engine, and it ends within `grace`.
    /// Says whether it had to be killed.
    pub(crate) async fn stop_for_good(
        &self,
        standing: &Container,
        grace: Duration,
    ) -> Result<bool, Fault> {
        let name = standing.id.as_str();
        match standing.phase {
            ContainerPhase::Created
            | ContainerPhase::StartFailed
            | ContainerPhase::Exited
            | ContainerPhase::Removing
            | ContainerPhase::Dead => {
                return Ok(false);
            }
            ContainerPhase::Running | ContainerPhase::Paused | ContainerPhase::Restarting => {}
        }
        accept_absent(self.set_policy(standing, RestartPolicyNameEnum::NO).await)?;
        if standing.phase == ContainerPhase::Paused {
            // A paused program can't heed its stop signal.
            let _not_paused_any_more = self.unpause(name).await;
        }
        let asked = Instant::now();
        accept_absent(self.stop(name, grace).await)?;
        let took = asked.elapsed();
        let Some(after) = self.look_at(name).await? else {
            return Ok(false);
        };
        Ok(after.exit_code() == 137
            && !after.was_out_of_memory()
            && took >= grace
            && standing.phase != ContainerPhase::Restarting)
    }
}

fn accept_absent(answer: Result<(), CallError>) -> Result<(), Fault> {
    match answer {
        Err(error) if !error.is_absent() => Err(error.fault),
        _ => Ok(()),
    }
}

/// A call that was never sent.
pub(crate) fn unanswered(fault: Fault) -> CallError {
    CallError { status: None, said: String::new(), fault }
}

pub(crate) fn restart_policy(name: RestartPolicyNameEnum) -> RestartPolicy {
    RestartPolicy { name: Some(name), maximum_retry_count: None }
}

/// The first digits of an id, for people.
pub(crate) fn short(id: &str) -> &str {
    let id = id.strip_prefix("sha256:").unwrap_or(id);
    id.get(..12).unwrap_or(id)
}

/// Whether a text can be the name or id of a container; anything else must not become part of a
/// path of the engine's API.
pub(crate) fn is_container_name(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|c| c.is_ascii_alphanumeric())
        && characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}
