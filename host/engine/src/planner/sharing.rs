//! Routes in which both sides have requests.

use crate::names::ReleaseNumber;
use crate::route::{Backend, Route, Routes};
use crate::standing::Standing;
use crate::weight::Weight;

/// `weight` to the candidate, the rest to what is stable.
pub(super) fn split(
    stable: &Standing,
    (release, backends): (ReleaseNumber, Vec<Backend>),
    weight: Weight,
) -> Routes {
    Routes::of(
        Route::to(stable.slot, weight.rest(), stable.release, stable.backends.clone()),
        Route::to(stable.slot.other(), weight, release, backends),
    )
}

/// All requests to the stable side's pool, in which some of the candidate's backends stand: a split
/// by number.
pub(super) fn mixed(
    stable: &Standing,
    (release, backends): (ReleaseNumber, Vec<Backend>),
    some: usize,
) -> Routes {
    let pool = stable.backends.iter().chain(backends.iter().take(some)).cloned().collect();
    Routes::of(
        Route::to(stable.slot, Weight::FULL, stable.release, pool),
        Route::to(stable.slot.other(), Weight::ZERO, release, backends),
    )
}

/// How many of the candidate's backends stand beside the stable side's for at least this share; one
/// at least.
pub(super) fn among(stable: usize, candidate: usize, weight: Weight) -> usize {
    (1..=candidate).find(|&some| share(some, stable) >= weight).unwrap_or(candidate)
}

/// The share of `some` among `some + others`.
pub(super) fn share(some: usize, others: usize) -> Weight {
    let points = some.saturating_mul(10_000).checked_div(some + others).unwrap_or_default();
    u32::try_from(points)
        .ok()
        .and_then(|points| Weight::from_basis_points(points).ok())
        .unwrap_or(Weight::FULL)
}
