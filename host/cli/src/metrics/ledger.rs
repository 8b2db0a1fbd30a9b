//! Reads the numbers from the store. A deployment that has ended never changes, so it is folded
//! once.

use crate::error::CliError;
use crate::metrics::figures::Figures;
use crate::store;
use agente_engine::names::{DeploymentId, Scope};
use agente_engine::ports::{RunRow, Store};
use agente_engine::state::ServiceState;
use agente_store::StateDirectory;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Whose numbers are wanted.
#[derive(Debug, Clone)]
pub(crate) enum Of {
    /// Those of one service in one environment.
    One(Scope),
    /// Those of everything in the store.
    All,
}

/// All there is to tell about one service in one environment.
#[derive(Debug, Clone)]
pub(crate) struct ServiceNumbers {
    pub(crate) scope: Scope,
    /// What is live.
    pub(crate) state: ServiceState,
    /// Its deployments, newest first.
    pub(crate) deployments: Vec<(DeploymentId, Arc<Figures>)>,
    /// What their runs kept.
    pub(crate) runs: Vec<RunRow>,
}

/// The numbers of a store, also of one that is yet to be made.
pub(crate) struct Ledger {
    directory: StateDirectory,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    store: Option<Arc<dyn Store>>,
    ended: BTreeMap<DeploymentId, Arc<Figures>>,
}

impl Ledger {
    /// The numbers of the store that is, or will be, in a folder.
    pub(crate) fn new(directory: StateDirectory) -> Self {
        Self { directory, inner: Mutex::default() }
    }

    /// The numbers of one service in an open store.
    pub(crate) async fn of_service(
        store: &dyn Store,
        scope: Scope,
    ) -> Result<ServiceNumbers, CliError> {
        Inner::default().service(store, scope).await
    }

    /// Reads the numbers. Those who ask at the same time take turns. Makes no store.
    pub(crate) async fn read(&self, of: &Of) -> Result<Vec<ServiceNumbers>, CliError> {
        let mut inner = self.inner.lock().await;
        if inner.store.is_none() {
            let opened = store::open_existing(self.directory.clone()).await?;
            inner.store = opened.map(|opened| opened.store);
        }
        let Some(store) = inner.store.clone() else {
            let never = |scope: &Scope| ServiceNumbers {
                scope: scope.clone(),
                state: ServiceState::default(),
                deployments: Vec::new(),
                runs: Vec::new(),
            };
            return Ok(match of {
                Of::One(scope) => vec![never(scope)],
                Of::All => Vec::new(),
            });
        };
        let scopes = match of {
            Of::One(scope) => vec![scope.clone()],
            Of::All => store.scopes().await?,
        };
        let mut all = Vec::with_capacity(scopes.len());
        for scope in scopes {
            all.push(inner.service(&*store, scope).await?);
        }
        Ok(all)
    }
}

impl Inner {
    async fn service(
        &mut self,
        store: &dyn Store,
        scope: Scope,
    ) -> Result<ServiceNumbers, CliError> {
        let mut deployments = Vec::new();
        for row in store.history(&scope, u32::MAX).await? {
            let known = self.ended.get(&row.id).cloned();
            let figures = match known {
                Some(figures) => figures,
                None => match Figures::fold(&store.entries(&row.id).await?) {
                    Some(figures) => Arc::new(figures),
                    None => continue,
                },
            };
            if figures.end.is_some() {
                self.ended.insert(row.id.clone(), Arc::clone(&figures));
            }
            deployments.push((row.id, figures));
        }
        let (state, runs) = (store.state(&scope).await?, store.figures(&scope).await?);
        Ok(ServiceNumbers { scope, state, deployments, runs })
    }
}
