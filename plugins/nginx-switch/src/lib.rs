//! Switches traffic between the slots of a service behind open-source NGINX.
//!
//! The operator's configuration includes a folder; the plugin owns one file in it per service and
//! environment. That file defines upstreams, the variables `$agente_<service>_<environment>_pool`
//! and `…_slot` for the operator's `proxy_pass` and `add_header`, and a server on a loopback
//! address that tells which generation is loaded.
//!
//! Invariants:
//! - NGINX's word is never taken for the deed: a test and a reload that end well are followed by
//!   looking at what runs ([`observe`]).
//! - After a failure the file is as it was before ([`apply`]).
//! - No text reaches the file that was not checked against a grammar ([`snapshot::check`],
//!   [`config`]).
//! - Nothing is waited for: the host polls.

pub mod apply;
pub mod config;
pub mod difference;
pub mod drain;
pub mod dump;
pub mod features;
pub mod file;
pub mod guard;
pub mod leaving;
pub mod marker;
pub mod names;
pub mod nginx;
pub mod observe;
pub mod record;
pub mod refusal;
pub mod render;
pub mod snapshot;
pub mod target;
pub mod workers;

#[cfg(target_arch = "wasm32")]
mod component;

use agente_plugin_sdk::host::Host;
use agente_plugin_sdk::{
    Backend, Description, Desired, Drained, Failure, Features, Observed, Plugin, Problem,
    TrafficSwitcher,
};
use config::Config;
use std::borrow::Cow;
use target::Target;

/// The plugin.
#[derive(Debug)]
pub struct NginxSwitch;

impl Plugin for NginxSwitch {
    type Config = Config;

    fn describe() -> Description {
        Description::new::<Config>(
            "nginx-switch",
            env!("CARGO_PKG_VERSION"),
            "traffic-switcher",
            "Switches traffic between the slots of a service behind open-source NGINX, on the \
             host or in a container",
        )
    }

    fn description() -> Cow<'static, str> {
        include_str!("../description.json").into()
    }

    fn check_config(config: &Config) -> Vec<Problem> {
        config.problems()
    }
}

impl TrafficSwitcher for NginxSwitch {
    fn features<H: Host>(host: &H, config: &Config) -> Result<Features, Failure> {
        features::features(&Target::new(host, config)?)
    }

    fn plan<H: Host>(host: &H, config: &Config, wanted: &Desired) -> Result<String, Failure> {
        snapshot::check(wanted)?;
        let target = Target::new(host, config)?;
        let bytes = target.bytes()?.unwrap_or_default();
        let now = String::from_utf8_lossy(&bytes);
        let then = if wanted.routes.is_empty() {
            String::new()
        } else {
            render::render(config, &target.names, wanted).text
        };
        Ok(difference::unified(&target.path, &now, &then))
    }

    fn apply<H: Host>(
        host: &H,
        config: &Config,
        _op_id: &str,
        wanted: &Desired,
    ) -> Result<Observed, Failure> {
        apply::apply(&Target::new(host, config)?, wanted)
    }

    fn observe<H: Host>(host: &H, config: &Config) -> Result<Observed, Failure> {
        observe::observe(&Target::new(host, config)?)
    }

    fn drain<H: Host>(
        host: &H,
        config: &Config,
        _op_id: &str,
        slot: &str,
        backends: &[Backend],
    ) -> Result<Drained, Failure> {
        drain::drain(&Target::new(host, config)?, slot, backends)
    }
}
