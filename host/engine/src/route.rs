//! Slots, backends, and how requests are split between them.

use crate::names::{BackendId, ReleaseNumber, Scope};
use crate::placement::Placement;
use crate::release::Release;
use crate::weight::Weight;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One of the two places where a release can stand.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Slot {
    Blue,
    Green,
}

impl Slot {
    /// Both, in the order in which routes are always written.
    pub const BOTH: [Slot; 2] = [Slot::Blue, Slot::Green];

    /// The other one.
    #[must_use]
    pub fn other(self) -> Slot {
        match self {
            Slot::Blue => Slot::Green,
            Slot::Green => Slot::Blue,
        }
    }

    /// `blue` or `green`.
    pub fn as_str(self) -> &'static str {
        match self {
            Slot::Blue => "blue",
            Slot::Green => "green",
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl BackendId {
    /// The id of a release's backend: the same whoever makes it, and nobody else's. Names hold no
    /// dot, so what is between dots can't be read in two ways. It is a container's name too, and
    /// one of the domain name system: its last label is never a number, which URLs would read as an
    /// address.
    pub fn of(release: &Release, slot: Slot, index: usize) -> Self {
        let Scope { service, environment } = &release.scope;
        Self(format!("{service}.{environment}.{slot}-{}-{index}", release.number))
    }

    /// Whether it is the id of a backend of this service in this environment.
    pub fn is_of(&self, scope: &Scope) -> bool {
        let Scope { service, environment } = scope;
        self.0.starts_with(&format!("{service}.{environment}."))
    }
}

/// One running instance: an address that takes requests.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Backend {
    /// Unique within the scope.
    pub id: BackendId,
    /// `host:port`.
    pub address: String,
    pub placement: Placement,
}

/// Where a route's requests go: what a target knows of a backend.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Destination {
    pub id: BackendId,
    /// `host:port`.
    pub address: String,
}

impl From<Backend> for Destination {
    fn from(backend: Backend) -> Self {
        Self { id: backend.id, address: backend.address }
    }
}

/// A rule that sends a request to one slot whatever the weights are.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Override {
    /// Where the request goes.
    pub slot: Slot,
    /// What is looked at.
    pub by: OverrideBy,
    /// The header's or cookie's name.
    pub name: String,
    /// The value that must be equal.
    pub value: String,
}

/// What an override looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OverrideBy {
    /// A request header.
    Header,
    Cookie,
}

/// One slot's share, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Route {
    pub slot: Slot,
    /// Its share.
    pub weight: Weight,
    /// The release that stands there, if any.
    pub release: Option<ReleaseNumber>,
    /// Where its requests go. Empty only at weight 0.
    pub backends: Vec<Destination>,
}

impl Route {
    /// A route to these backends.
    pub(crate) fn to(
        slot: Slot,
        weight: Weight,
        release: ReleaseNumber,
        backends: Vec<Backend>,
    ) -> Self {
        let backends = backends.into_iter().map(Destination::from).collect();
        Self { slot, weight, release: Some(release), backends }
    }
}

/// The complete desired state of a target for one scope.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Routes {
    /// Blue, then green; the weights sum to 100 %.
    pub routes: Vec<Route>,
    /// Tried before the weights, in order.
    #[serde(default)]
    pub overrides: Vec<Override>,
}

impl Routes {
    /// Of a service that the target does not know.
    pub fn none() -> Routes {
        Routes { routes: Vec::new(), overrides: Vec::new() }
    }

    /// All requests to one slot; `other` may stand beside it at weight 0.
    pub fn all_to(
        slot: Slot,
        release: ReleaseNumber,
        backends: Vec<Backend>,
        other: Option<(ReleaseNumber, Vec<Backend>)>,
    ) -> Routes {
        let other = other.map_or_else(
            || Route {
                slot: slot.other(),
                weight: Weight::ZERO,
                release: None,
                backends: Vec::new(),
            },
            |(release, backends)| Route::to(slot.other(), Weight::ZERO, release, backends),
        );
        Self::of(Route::to(slot, Weight::FULL, release, backends), other)
    }

    /// Of both slots' routes.
    pub(crate) fn of(one: Route, other: Route) -> Routes {
        let mut routes = vec![one, other];
        routes.sort_by_key(|route| route.slot);
        Routes { routes, overrides: Vec::new() }
    }

    /// The same with rules that are tried before the weights.
    #[must_use]
    pub fn with_overrides(self, overrides: Vec<Override>) -> Routes {
        Routes { overrides, ..self }
    }

    /// Whether any request may reach this backend.
    pub fn reaches(&self, backend: &BackendId) -> bool {
        let has = |route: &Route| route.backends.iter().any(|one| one.id == *backend);
        self.routes
            .iter()
            .any(|route| has(route) && (!route.weight.is_zero() || self.leads_to(route.slot)))
    }

    /// The share of a slot; zero where it has no route.
    pub fn weight(&self, slot: Slot) -> Weight {
        self.route(slot).map_or(Weight::ZERO, |route| route.weight)
    }

    /// The route of a slot.
    pub fn route(&self, slot: Slot) -> Option<&Route> {
        self.routes.iter().find(|route| route.slot == slot)
    }

    /// Whether two states split requests alike: same rules, same weights, and the same addresses
    /// wherever requests can go.
    pub fn same_traffic(&self, seen: &Routes) -> bool {
        Slot::BOTH.iter().all(|&slot| {
            let addresses = |routes: &Routes| {
                let mut all: Vec<String> = routes
                    .route(slot)
                    .map(|r| r.backends.iter().map(|b| b.address.clone()).collect())
                    .unwrap_or_default();
                all.sort();
                all
            };
            let unused = self.weight(slot).is_zero() && !self.leads_to(slot);
            self.weight(slot) == seen.weight(slot) && (unused || addresses(self) == addresses(seen))
        }) && self.overrides == seen.overrides
    }

    /// Whether a rule sends requests to a slot whatever its weight is.
    fn leads_to(&self, slot: Slot) -> bool {
        self.overrides.iter().any(|rule| rule.slot == slot)
    }

    /// Whether any request may reach this address, whatever the backend there is called.
    pub fn reaches_address(&self, address: &str) -> bool {
        let used =
            self.routes.iter().filter(|route| !route.weight.is_zero() || self.leads_to(route.slot));
        used.flat_map(|route| &route.backends).any(|backend| backend.address == address)
    }
}
