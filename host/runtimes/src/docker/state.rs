//! What the engine says of a container, in the engine's of agente-host words. No calls here.

use agente_engine::names::Timestamp;
use agente_engine::ports::BackendState;
use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, HealthStatusEnum,
    RestartPolicyNameEnum,
};
use std::collections::HashMap;

/// A container as it stands.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) labels: HashMap<String, String>,
    /// The id of its image.
    pub(crate) image: String,
    pub(crate) phase: ContainerPhase,
    pub(crate) restarts: u32,
    pub(crate) policy: RestartPolicyNameEnum,
    /// Its variables, `NAME=value`.
    pub(crate) env: Vec<String>,
    /// The pid of its process 1, as the engine's machine sees it; 0 when it doesn't run.
    pub(crate) pid: u32,
    /// Its address on each of its networks.
    pub(crate) networks: HashMap<String, String>,
    memory_bytes: i64,
    state: ContainerState,
}

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContainerPhase {
    /// Made, and its start was never asked for, or has not been answered.
    Created,
    /// Made, and its start failed.
    StartFailed,
    Running,
    Paused,
    /// Between two runs: the engine waits before it starts it again.
    Restarting,
    Exited,
    /// The engine is taking it away.
    Removing,
    /// The engine failed to take it away.
    Dead,
}

impl Container {
    pub(crate) fn from_inspect(seen: ContainerInspectResponse) -> Self {
        let state = seen.state.unwrap_or_default();
        let config = seen.config.unwrap_or_default();
        let host = seen.host_config.unwrap_or_default();
        let networks =
            seen.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        Self {
            id: seen.id.unwrap_or_default(),
            name: seen.name.unwrap_or_default().trim_start_matches('/').to_owned(),
            labels: config.labels.unwrap_or_default(),
            image: seen.image.unwrap_or_default(),
            phase: phase_of(&state),
            restarts: seen.restart_count.and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
            policy: host
                .restart_policy
                .and_then(|policy| policy.name)
                .unwrap_or(RestartPolicyNameEnum::NO),
            env: config.env.unwrap_or_default(),
            pid: state.pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0),
            networks: networks
                .into_iter()
                .filter_map(|(name, endpoint)| {
                    endpoint
                        .ip_address
                        .filter(|address| !address.is_empty())
                        .map(|address| (name, address))
                })
                .collect(),
            memory_bytes: host.memory.unwrap_or(0),
            state,
        }
    }

    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }

    pub(crate) fn exit_code(&self) -> i64 {
        self.state.exit_code.unwrap_or(0)
    }

    /// Whether it ever ran.
    pub(crate) fn has_run(&self) -> bool {
        self.state.started_at.as_deref().is_some_and(|started| moment(started) != Timestamp(0))
    }

    pub(crate) fn was_out_of_memory(&self) -> bool {
        self.state.oom_killed.unwrap_or(false)
    }

    /// Why its start failed, as the engine tells it.
    pub(crate) fn start_error(&self) -> &str {
        self.state.error.as_deref().unwrap_or_default()
    }

    /// What the port `Runtime` answers for it.
    pub(crate) fn backend_state(&self) -> BackendState {
        match self.phase {
            ContainerPhase::Created => BackendState::Starting {
                detail: "created, not started yet".to_owned(),
                restarts: self.restarts,
            },
            ContainerPhase::StartFailed => BackendState::Ended {
                detail: format!(
                    "could not be started: {}",
                    super::call::one_line(self.start_error())
                ),
            },
            ContainerPhase::Running => BackendState::Running {
                since: self.state.started_at.as_deref().map_or(Timestamp(0), moment),
                restarts: self.restarts,
                healthy: self.healthy(),
            },
            ContainerPhase::Paused => BackendState::Starting {
                detail: format!("paused; `docker unpause {}` resumes it", self.name),
                restarts: self.restarts,
            },
            ContainerPhase::Restarting => BackendState::Starting {
                detail: format!("crashed, waiting to be restarted; last exit: {}", self.ending()),
                restarts: self.restarts,
            },
            ContainerPhase::Exited => BackendState::Ended { detail: self.ending() },
            ContainerPhase::Removing => {
                BackendState::Ended { detail: "is being removed".to_owned() }
            }
            ContainerPhase::Dead => BackendState::Ended {
                detail: "the engine failed to remove it; see the engine's log".to_owned(),
            },
        }
    }

    /// What its HEALTHCHECK says. None where it has none, which is not the same as healthy; not yet
    /// decided counts as not healthy.
    fn healthy(&self) -> Option<bool> {
        match self.state.health.as_ref()?.status? {
            HealthStatusEnum::EMPTY | HealthStatusEnum::NONE => None,
            HealthStatusEnum::HEALTHY => Some(true),
            HealthStatusEnum::STARTING | HealthStatusEnum::UNHEALTHY => Some(false),
        }
    }

    /// How its last run ended.
    pub(crate) fn ending(&self) -> String {
        let code = self.exit_code();
        if self.was_out_of_memory() {
            return match self.memory_bytes {
                0 => "killed: the machine was out of memory".to_owned(),
                limit => {
                    format!("killed: exceeded its memory limit of {} MiB", limit / (1024 * 1024))
                }
            };
        }
        match code {
            0 => "exited with code 0".to_owned(),
            137 => "killed (exit code 137)".to_owned(),
            129..=192 => format!("exit code {code}, as after signal {}", code - 128),
            _ => format!("exit code {code}"),
        }
    }
}

fn phase_of(state: &ContainerState) -> ContainerPhase {
    use ContainerStateStatusEnum as Status;
    match state.status.unwrap_or(Status::EMPTY) {
        Status::CREATED | Status::EMPTY => {
            // A failed start leaves `created` behind, with an exit code or an error; a start that
            // was never asked for leaves neither.
            if state.exit_code.unwrap_or(0) != 0
                || state.error.as_deref().is_some_and(|error| !error.is_empty())
            {
                ContainerPhase::StartFailed
            } else {
                ContainerPhase::Created
            }
        }
        Status::RUNNING | Status::STOPPING => ContainerPhase::Running,
        Status::PAUSED => ContainerPhase::Paused,
        Status::RESTARTING => ContainerPhase::Restarting,
        Status::REMOVING => ContainerPhase::Removing,
        // An old container whose new start failed is `exited` with an error.
        Status::EXITED if state.error.as_deref().is_some_and(|error| !error.is_empty()) => {
            ContainerPhase::StartFailed
        }
        Status::EXITED => ContainerPhase::Exited,
        Status::DEAD => ContainerPhase::Dead,
    }
}

/// A moment as the engine writes it (RFC 3339); 0 for its “never”, and for what is not a moment.
pub(crate) fn moment(text: &str) -> Timestamp {
    Timestamp(u64::try_from(nanoseconds(text).unwrap_or(0) / 1_000_000).unwrap_or(0))
}

/// The same in nanoseconds since the epoch.
pub(crate) fn nanoseconds(text: &str) -> Option<i128> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_nanosecond)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::{Health, HostConfig};

    fn standing(status: ContainerStateStatusEnum, exit_code: i64, error: &str) -> Container {
        Container::from_inspect(ContainerInspectResponse {
            state: Some(ContainerState {
                status: Some(status),
                exit_code: Some(exit_code),
                error: Some(error.to_owned()),
                ..ContainerState::default()
            }),
            ..ContainerInspectResponse::default()
        })
    }

    #[test]
    fn a_container_that_was_only_made_differs_from_one_whose_start_failed() {
        assert_eq!(
            standing(ContainerStateStatusEnum::CREATED, 0, "").phase,
            ContainerPhase::Created
        );
        assert_eq!(
            standing(ContainerStateStatusEnum::CREATED, 127, "").phase,
            ContainerPhase::StartFailed
        );
        assert_eq!(
            standing(ContainerStateStatusEnum::CREATED, 0, "bind: address already in use").phase,
            ContainerPhase::StartFailed
        );
        assert_eq!(standing(ContainerStateStatusEnum::EXITED, 3, "").phase, ContainerPhase::Exited);
    }

    #[test]
    fn no_healthcheck_is_neither_healthy_nor_unhealthy() {
        let with = |status: Option<HealthStatusEnum>| {
            Container::from_inspect(ContainerInspectResponse {
                state: Some(ContainerState {
                    status: Some(ContainerStateStatusEnum::RUNNING),
                    started_at: Some("2026-11-22T20:20:58.452995566Z".to_owned()),
                    health: status
                        .map(|status| Health { status: Some(status), ..Health::default() }),
                    ..ContainerState::default()
                }),
                ..ContainerInspectResponse::default()
            })
            .backend_state()
        };
        let seen = |healthy| BackendState::Running {
            since: Timestamp(1_795_378_858_452),
            restarts: 0,
            healthy,
        };
        assert_eq!(with(None), seen(None));
        assert_eq!(with(Some(HealthStatusEnum::NONE)), seen(None));
        assert_eq!(with(Some(HealthStatusEnum::STARTING)), seen(Some(false)));
        assert_eq!(with(Some(HealthStatusEnum::UNHEALTHY)), seen(Some(false)));
        assert_eq!(with(Some(HealthStatusEnum::HEALTHY)), seen(Some(true)));
    }

    #[test]
    fn an_ending_for_want_of_memory_names_the_limit() {
        let seen = Container::from_inspect(ContainerInspectResponse {
            state: Some(ContainerState {
                status: Some(ContainerStateStatusEnum::EXITED),
                exit_code: Some(137),
                oom_killed: Some(true),
                ..ContainerState::default()
            }),
            host_config: Some(HostConfig {
                memory: Some(20 * 1024 * 1024),
                ..HostConfig::default()
            }),
            ..ContainerInspectResponse::default()
        });
        assert_eq!(
            seen.backend_state(),
            BackendState::Ended {
                detail: "killed: exceeded its memory limit of 20 MiB".to_owned()
            }
        );
    }

    #[test]
    fn the_engines_never_is_zero() {
        assert_eq!(moment("0001-01-01T00:00:00Z"), Timestamp(0));
    }
}
