//! The kind `traffic-switcher`: sets and reads the weights of a target.

use crate::failure::{Failure, Labels};
use crate::host::Host;
use crate::plugin::Plugin;

/// One running instance: an address that takes requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Unique within the service and environment.
    pub id: String,
    /// `host:port`; an IPv6 host is in brackets.
    pub address: String,
    /// Anything else about it.
    pub labels: Labels,
}

/// One slot's share of the requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// `blue` or `green`.
    pub slot: String,
    /// The share in basis points: 0 to 10,000.
    pub weight: u32,
    /// Where the slot's requests go; may be empty only at weight 0.
    pub backends: Vec<Backend>,
    /// `release`: the number of the release that stands there.
    pub labels: Labels,
}

/// A rule that sends a request to one slot whatever the weights are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchRule {
    /// Where the request goes.
    pub slot: String,
    /// `header` or `cookie`.
    pub by: String,
    /// The name of the header or cookie.
    pub name: String,
    /// The value that must be equal.
    pub value: String,
    /// Anything else about it.
    pub labels: Labels,
}

/// Everything a target should hold for one service and environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// The fencing token of the lease; a target that holds a higher one refuses.
    pub fence: u64,
    /// One entry per slot, in a fixed order; the weights sum to 10,000.
    pub routes: Vec<Route>,
    /// Rules that are tried before the weights, in order.
    pub overrides: Vec<MatchRule>,
    /// `store`: the id of the store that owns the service. `adopt`: `force` where the operator
    /// takes a foreign target over.
    pub labels: Labels,
}

/// What the target can do now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Features {
    /// `weights`, `header`, `cookie`, `fence`, `drain`, `outside-identity` …
    pub names: Vec<String>,
    /// Names the target among all targets: two services with the same key take turns at changing
    /// it.
    pub lock_key: String,
    /// What the operator should know, one sentence each.
    pub warnings: Vec<String>,
    /// `version`, `public-identity-header`.
    pub labels: Labels,
}

/// The answers of an observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObservedState {
    /// In force is what was last applied.
    Converged,
    /// Not yet; ask again.
    Pending,
    /// The target is not as we left it.
    Drifted,
    /// Nothing of ours is there yet.
    Absent,
    /// It can't be told.
    Unsupported,
}

impl ObservedState {
    /// As the contract writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Converged => "converged",
            Self::Pending => "pending",
            Self::Drifted => "drifted",
            Self::Absent => "absent",
            Self::Unsupported => "unsupported",
        }
    }
}

/// What the running target was seen to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    pub state: ObservedState,
    /// The generation in force; empty where there is none.
    pub generation: String,
    /// The fencing token in force; 0 where there is none.
    pub fence: u64,
    /// The routes in force.
    pub routes: Vec<Route>,
    /// The overrides in force.
    pub overrides: Vec<MatchRule>,
    /// One sentence for people.
    pub message: String,
    /// `store`, `drift` …
    pub labels: Labels,
}

/// How far the last requests to some backends are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drained {
    /// Whether they have ended.
    pub done: bool,
    /// What is still open: connections or old workers.
    pub remaining: u32,
    /// How it is known: `workers-gone`, `no-connections` (weaker) …
    pub evidence: String,
    /// One sentence for people.
    pub message: String,
    /// Anything else about it.
    pub labels: Labels,
}

/// Sets and reads the weights of a target.
///
/// Every call takes the full desired state and may come twice. The host owns every wait: it polls
/// `observe` and `drain`.
pub trait TrafficSwitcher: Plugin {
    /// Says what the target can do now, and judges whether it can be used. Read phase.
    fn features<H: Host>(host: &H, config: &Self::Config) -> Result<Features, Failure>;

    /// The difference that `apply` would make; empty for none. Read phase.
    fn plan<H: Host>(host: &H, config: &Self::Config, wanted: &Desired) -> Result<String, Failure>;

    /// Starts the change and returns without waiting for it. After a failure the target must be as
    /// before the call. Write phase.
    fn apply<H: Host>(
        host: &H,
        config: &Self::Config,
        op_id: &str,
        wanted: &Desired,
    ) -> Result<Observed, Failure>;

    /// Looks at the running target. Read phase.
    fn observe<H: Host>(host: &H, config: &Self::Config) -> Result<Observed, Failure>;

    /// Says whether the last requests that were sent to these backends have ended: all that `slot`
    /// had, or a part of them while the others go on taking requests. While the routes in
    /// force, or an override, still lead to any of them, they have not. None given means all that
    /// the target knows of the slot. Read phase.
    fn drain<H: Host>(
        host: &H,
        config: &Self::Config,
        op_id: &str,
        slot: &str,
        backends: &[Backend],
    ) -> Result<Drained, Failure>;
}
