//! Canary: shifts with analysis between them.

use super::climb::Climb;
use super::sharing::{among, mixed, split};
use crate::policy::{SplitBy, Stage};
use crate::standing::Standing;
use crate::weight::Weight;

impl Climb<'_> {
    pub(super) fn by_stages(&mut self, stable: &Standing, stages: &[Stage], by: SplitBy) {
        // All of the candidate stands before its first request: capacity for a weight exists before
        // the weight is set.
        self.launch(self.backends);
        self.preview(stable);
        let candidate = (self.number, self.backends.to_vec());
        for stage in stages.iter().filter(|stage| stage.weight != Weight::FULL) {
            let routes = match by {
                SplitBy::Weight => split(stable, candidate.clone(), stage.weight),
                SplitBy::Instances => {
                    let some = among(stable.backends.len(), self.backends.len(), stage.weight);
                    mixed(stable, candidate.clone(), some)
                }
            };
            let routes = routes.with_overrides(self.overrides());
            if self.routes.as_ref() != Some(&routes) {
                self.shift(routes);
            }
            self.analyze(*stage);
        }
        self.take_all(Some((stable.release, stable.backends.clone())));
    }
}
