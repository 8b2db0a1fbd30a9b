//! Whether somebody still waits for a call. What was begun for a call that was given up must not
//! land later, when somebody else has changed the same thing since.

use crate::answer::EffectError;
use agente_engine::fault::FaultKind;
use std::sync::{Arc, Mutex, PoisonError};

/// True until the call has ended or was given up.
#[derive(Debug, Clone)]
pub(crate) struct Wanted(Arc<Mutex<bool>>);

/// Held by who waits; dropping it says that nobody does any more.
#[derive(Debug)]
pub(crate) struct Waiting(Wanted);

impl Wanted {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(true)))
    }

    /// What makes the call unwanted when it is dropped.
    pub(crate) fn waiting(&self) -> Waiting {
        Waiting(self.clone())
    }

    /// Does the step that makes an effect visible, if the call is still wanted. It can't be given
    /// up in the middle: who gives it up waits for the end of `commit`, which must be short.
    pub(crate) fn commit<R>(
        &self,
        commit: impl FnOnce() -> Result<R, EffectError>,
    ) -> Result<R, EffectError> {
        let wanted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *wanted {
            commit()
        } else {
            Err(EffectError::new(FaultKind::Aborted, "the call was cancelled; nothing was changed"))
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }
}
