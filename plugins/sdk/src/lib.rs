//! What the author of a plugin in Rust depends on.
//!
//! A plugin is a type that implements [`Plugin`] and the trait of its kind ([`TrafficSwitcher`],
//! [`HealthCheck`], and [`MetricSource`] for a health check that gives numbers for analysis as
//! well), and one macro call that makes a component of it:
//!
//! ```text
//! struct MyCheck;
//! impl Plugin for MyCheck { … }
//! impl HealthCheck for MyCheck { … }
//!
//! #[cfg(target_arch = "wasm32")]
//! agente_plugin_sdk::export_health_check!(MyCheck);
//! ```
//!
//! Invariants:
//! - Logic sees the world through [`Host`] alone. In a component that is the WIT imports; with the
//!   feature `native` it is `native::NativeHost`, so the same logic is tested natively against real
//!   servers.
//! - `Host` is always a generic parameter, never a trait object: what a plugin does not call is not
//!   among its imports.
//! - Every operation runs in a fresh instance. Nothing may be kept in statics; what must outlive a
//!   call goes into the host's memory.
//!
//! Build a component with `cargo build -p <crate> --target wasm32-wasip2 --profile guest`. For the
//! same bytes on every machine add `RUSTFLAGS="--remap-path-prefix=$PWD=/src
//! --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo --remap-path-prefix=$(rustc --print
//! sysroot)=/rust"`.

pub mod config;
pub mod failure;
pub mod health;
pub mod host;
pub mod http;
pub mod metrics;
#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
pub mod native;
pub mod plugin;
pub mod traffic;

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod bindings;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod component;
#[cfg(target_arch = "wasm32")]
mod wit_host;

pub use agente_units as units;
pub use failure::{Code, Failure, Labels, label};
pub use health::{HealthCheck, Subject, Verdict};
pub use host::Host;
pub use metrics::{MetricSource, Reading, Series, Wanted, Window};
pub use plugin::{Description, Plugin, Problem};
pub use schemars;
pub use traffic::{
    Backend, Desired, Drained, Features, MatchRule, Observed, Route, TrafficSwitcher,
};
#[cfg(target_arch = "wasm32")]
pub use wit_host::WitHost;

/// Makes a component of kind `traffic-switcher` of a type that implements [`Plugin`] and
/// [`TrafficSwitcher`]. Once per crate.
#[cfg(target_arch = "wasm32")]
#[macro_export]
macro_rules! export_traffic_switcher {
    ($plugin:ty) => {
        type AgentePlugin = $crate::component::Meta<$plugin>;
        $crate::bindings::meta::export_meta!(AgentePlugin with_types_in $crate::bindings::meta);
        type AgenteTrafficSwitcher = $crate::component::Traffic<$plugin>;
        $crate::bindings::traffic::export_traffic!(
            AgenteTrafficSwitcher with_types_in $crate::bindings::traffic
        );
    };
}

/// Makes a component of kind `health-check` of a type that implements [`Plugin`] and
/// [`HealthCheck`]. Once per crate.
#[cfg(target_arch = "wasm32")]
#[macro_export]
macro_rules! export_health_check {
    ($plugin:ty) => {
        type AgentePlugin = $crate::component::Meta<$plugin>;
        $crate::bindings::meta::export_meta!(AgentePlugin with_types_in $crate::bindings::meta);
        type AgenteHealthCheck = $crate::component::Health<$plugin>;
        $crate::bindings::health::export_health!(
            AgenteHealthCheck with_types_in $crate::bindings::health
        );
    };
}

/// Makes a component of kind `health-check` that is a source of metrics as well of a type that
/// implements [`Plugin`], [`HealthCheck`] and [`MetricSource`]. Once per crate.
#[cfg(target_arch = "wasm32")]
#[macro_export]
macro_rules! export_metric_source {
    ($plugin:ty) => {
        $crate::export_health_check!($plugin);
        type AgenteMetricSource = $crate::component::Metrics<$plugin>;
        $crate::bindings::metrics::export_metrics!(
            AgenteMetricSource with_types_in $crate::bindings::metrics
        );
    };
}
