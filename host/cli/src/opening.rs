//! How commands come to what they work with: what each of them makes, and how far it believes the
//! store.

use crate::arguments::Global;
use crate::error::CliError;
use crate::evidence;
use crate::session::{About, Base, Session};

impl Base {
    /// Wires manifest, store and runtimes. Where nothing was ever deployed, the store is an empty
    /// one for the moment: nothing is made. A store that can't be used, or knows nothing of a
    /// service that is live, is an error.
    pub(crate) async fn look(global: &Global, about: About<'_>) -> Result<Self, CliError> {
        let base = Box::pin(Self::look_unjudged(global, about)).await?;
        if base.unusable.is_none() && !Box::pin(evidence::is_unknown(&base)).await? {
            return Ok(base);
        }
        match Box::pin(evidence::doubt(&base, None)).await? {
            Some(doubted) => Err(doubted.into_error()),
            None => Ok(base),
        }
    }
}

impl Session {
    /// Wires everything, for a command that makes nothing.
    pub(crate) async fn look(global: &Global, about: About<'_>) -> Result<Self, CliError> {
        Self::load(Box::pin(Base::look(global, about)).await?).await
    }

    /// The same, and stops where the store is not to be believed.
    pub(crate) async fn look_forward(global: &Global, about: About<'_>) -> Result<Self, CliError> {
        let session = Self::look(global, about).await?;
        if !session.base.is_scratch() {
            let switcher = session.switcher(session.context(None, &[], None))?;
            Box::pin(evidence::forward(&session.base, &switcher)).await?;
        }
        Ok(session)
    }

    /// Wires everything, and makes the store on first use: after manifest, plugins and grants were
    /// judged, and what the store says, so that a mistake leaves nothing behind.
    pub(crate) async fn open(global: &Global, about: About<'_>) -> Result<Self, CliError> {
        Box::pin(Self::look_forward(global, about)).await?.made(global).await
    }

    /// The same whatever speaks against the store: the operator takes the service over. A database
    /// that is lost is made anew.
    pub(crate) async fn open_by_force(global: &Global, about: About<'_>) -> Result<Self, CliError> {
        Self::load(Base::look_unjudged(global, about).await?).await?.made(global).await
    }
}
