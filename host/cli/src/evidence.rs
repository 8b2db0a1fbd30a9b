//! Whether the store is to be believed: what it says, against what is live by the evidence. That is
//! what the target tells of itself, and which backends run, by what they carry themselves.
//!
//! Nothing here changes anything. The world is looked at before the journal is read: an entry is
//! durable before its effect, so an honest journal is never behind what was seen.

use crate::error::{CliError, Exit};
use crate::open;
use crate::output::{Doubt, Doubtful, routes_line, say};
use crate::session::{Base, only_switcher};
use crate::times;
use agente_engine::journal::ChainState;
use agente_engine::names::ReleaseNumber;
use agente_engine::placement::Placement;
use agente_engine::ports::{Observed, TrafficSwitcher};
use agente_engine::route::Routes;
use agente_runtimes::{Running, RunningBy};
use agente_wasm::WasmSwitcher;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// How long one look at the running world may take.
pub(crate) const LOOK: Duration = Duration::from_secs(5);

/// Where the guide says how to restore a store.
const GUIDE: &str = "docs/guide/restore.md";

/// What was seen of the running world.
pub(crate) struct Evidence {
    /// The state directory that is asked about.
    root: PathBuf,
    /// What the target says, or why it can't be asked.
    target: Result<Observed, String>,
    running: Vec<Running>,
    /// Engines that can't be asked for containers, and why.
    unasked: Vec<String>,
}

/// A store that is not believed, and the evidence.
#[derive(Clone)]
pub(crate) struct Doubted {
    pub(crate) doubt: Doubt,
    error: CliError,
}

impl Doubted {
    /// As an error that stops a command.
    pub(crate) fn into_error(self) -> CliError {
        self.error
    }

    /// In a few words, for a command that goes on all the same.
    pub(crate) fn tell(&self) {
        let hint = self.error.hint.as_deref().unwrap_or_default();
        say(&format!("warning: {}; {hint}", self.error.message));
    }

    /// For programs.
    pub(crate) fn told(&self) -> Doubtful<'_> {
        Doubtful {
            doubt: self.doubt,
            message: &self.error.message,
            evidence: &self.error.causes,
            hint: self.error.hint.as_deref(),
        }
    }
}

/// Stops what goes forward unless the store is believed. A service of another store is left to
/// preflight, which says so and is overruled by `adopt --force`.
pub(crate) async fn forward(base: &Base, switcher: &WasmSwitcher) -> Result<(), CliError> {
    match doubt(base, Some(switcher)).await? {
        None | Some(Doubted { doubt: Doubt::Foreign, .. }) => Ok(()),
        Some(doubted) => Err(doubted.into_error()),
    }
}

/// Stops a way back where what it would go back from is not what is live. A journal that was
/// changed is told and stops nothing: see decision 0015.
pub(crate) async fn backward(base: &Base, switcher: &WasmSwitcher) -> Result<(), CliError> {
    match doubt(base, Some(switcher)).await? {
        None | Some(Doubted { doubt: Doubt::Foreign, .. }) => Ok(()),
        Some(doubted) if doubted.doubt == Doubt::Changed => {
            doubted.tell();
            Ok(())
        }
        Some(doubted) => Err(doubted.into_error()),
    }
}

/// Why the store of a base is not believed; none where nothing speaks against it. Without a
/// switcher, that of the manifest is loaded.
pub(crate) async fn doubt(
    base: &Base,
    switcher: Option<&WasmSwitcher>,
) -> Result<Option<Doubted>, CliError> {
    if let Some(error) = &base.unusable {
        let evidence = Box::pin(Evidence::gather(base, switcher)).await;
        return Ok(Some(unusable(base, error.clone(), &evidence)));
    }
    if is_unknown(base).await? {
        let evidence = Box::pin(Evidence::gather(base, switcher)).await;
        // It may have been deployed for the first time since.
        let unknown = evidence.is_live() && is_unknown(base).await?;
        return Ok(unknown.then(|| nothing_known(base, &evidence)));
    }
    let evidence = Box::pin(Evidence::gather(base, switcher)).await;
    match of_known(base, &evidence).await? {
        Some(doubted) => Ok(Some(doubted)),
        None => changed(base).await,
    }
}

/// The same without a look at the running world.
pub(crate) async fn offline(base: &Base) -> Result<Option<Doubted>, CliError> {
    match &base.unusable {
        Some(error) => Ok(Some(Doubted { doubt: Doubt::Unusable, error: error.clone() })),
        None => changed(base).await,
    }
}

/// Whether nothing of the service was ever deployed, by this store.
pub(crate) async fn is_unknown(base: &Base) -> Result<bool, CliError> {
    Ok(base.store().history(base.scope(), 1).await?.is_empty())
}

/// The journal, where its chain is broken.
pub(crate) async fn changed(base: &Base) -> Result<Option<Doubted>, CliError> {
    let found = base.store().verify_chain(base.scope()).await?;
    Ok(broken(base, found))
}

/// The same of a chain that was walked along.
pub(crate) fn broken(base: &Base, found: ChainState) -> Option<Doubted> {
    let ChainState::Broken { position, deployment, message } = found else { return None };
    let of = deployment.map(|id| format!(" of deployment {id}")).unwrap_or_default();
    let scope = base.scope();
    let message = format!("the journal of {scope} was changed at entry {position}{of}: {message}");
    let hint = format!(
        "find out who wrote to the state directory, then restore it from a backup: {GUIDE}"
    );
    let error = CliError::new(Exit::Stuck, message).hint(hint);
    Some(Doubted { doubt: Doubt::Changed, error })
}

impl Evidence {
    /// Looks at the target and at what runs.
    async fn gather(base: &Base, switcher: Option<&WasmSwitcher>) -> Self {
        let target = async {
            let loaded;
            let switcher = if let Some(switcher) = switcher {
                switcher
            } else {
                loaded = only_switcher(base).await.map_err(|error| error.message)?;
                &loaded
            };
            look(switcher.observe()).await
        };
        let (target, (mut running, unasked)) = tokio::join!(target, containers(base));
        running.extend(base.runtime.process.running(base.scope()));
        Self { root: base.root.clone(), target, running, unasked }
    }

    /// The routes that the target has in force.
    fn routes(&self) -> Option<Routes> {
        self.target.as_ref().ok().and_then(|observed| observed.clone().in_force())
    }

    /// Whether something that a store of ours made is live for certain. A target without its mark
    /// was set up by somebody else, and a supervisor of another state directory alone says nothing:
    /// that may be another service of the same name.
    fn is_live(&self) -> bool {
        let marked = self.target.as_ref().is_ok_and(|observed| observed.store.is_some());
        (marked && self.routes().is_some()) || self.running.iter().any(|one| self.is_certain(one))
    }

    /// The addresses that have the requests; where the target can't tell, those of what runs.
    fn addresses(&self) -> BTreeSet<String> {
        if let Some(routes) = self.routes() {
            let all = routes.routes.iter().flat_map(|route| &route.backends);
            let reached = all.filter(|to| routes.reaches_address(&to.address));
            reached.map(|to| to.address.clone()).collect()
        } else {
            let certain = self.running.iter().filter(|one| self.is_certain(one));
            certain.filter_map(|one| one.address.clone()).collect()
        }
    }

    /// What was seen, a line each.
    fn lines(&self, base: &Base) -> Vec<String> {
        let mut lines = vec![match &self.target {
            Err(error) => {
                let error = error.lines().next().unwrap_or_default();
                format!("the target can't be inspected: {error}")
            }
            Ok(observed) => target_line(base, observed, self.routes()),
        }];
        let is_told = |one: &&Running| self.is_certain(one) || self.is_of_target(one);
        lines.extend(self.running.iter().filter(is_told).map(running_line));
        lines.extend(self.unasked.iter().cloned());
        lines
    }

    /// The state directory that belongs to what is live, where that is another one.
    fn elsewhere(&self) -> Option<String> {
        self.running.iter().filter(|one| self.is_of_target(one)).find_map(|one| match &one.by {
            RunningBy::Supervisor { state, .. } if *state != self.root => {
                Some(state.display().to_string())
            }
            _ => None,
        })
    }

    /// Whether a backend was made by the store that the target belongs to.
    fn is_of_target(&self, running: &Running) -> bool {
        let owner = self.target.as_ref().ok().and_then(|observed| observed.store.as_ref());
        owner.is_some() && owner == running.store.as_ref()
    }

    /// Whether a backend belongs to this service for certain.
    fn is_certain(&self, running: &Running) -> bool {
        match &running.by {
            RunningBy::Records { .. } | RunningBy::Container { .. } => true,
            RunningBy::Supervisor { state, .. } => *state == self.root,
        }
    }
}

/// Waits for a look at the target, within limits.
pub(crate) async fn look<T>(
    looking: impl Future<Output = Result<T, agente_engine::fault::Fault>>,
) -> Result<T, String> {
    match tokio::time::timeout(LOOK, looking).await {
        Ok(seen) => seen.map_err(|fault| fault.message),
        Err(_) => Err(format!("no answer within {} s", LOOK.as_secs())),
    }
}

/// The containers of the service on every engine that it is known to use, and what could not be
/// asked.
async fn containers(base: &Base) -> (Vec<Running>, Vec<String>) {
    let mut engines = BTreeSet::new();
    if base.runtime.preferred
        && let Ok(engine) = &base.runtime.engine
    {
        engines.insert(engine.to_string());
    }
    // What can't be read here is told by whoever asks the store for more.
    if let Ok(state) = base.store().state(base.scope()).await {
        let kept = state.kept.iter().map(|kept| &kept.standing);
        for backend in state.stable.iter().chain(kept).flat_map(|standing| &standing.backends) {
            if let Placement::Docker { engine, .. } = &backend.placement {
                engines.insert(engine.clone());
            }
        }
    }
    let (mut running, mut unasked) = (Vec::new(), Vec::new());
    for engine in engines {
        let asked = async { base.runtime.docker_at(&engine)?.running(base.scope()).await };
        match look(asked).await {
            Ok(found) => running.extend(found),
            Err(error) => unasked.push(format!("containers can't be inspected: {error}")),
        }
    }
    (running, unasked)
}

fn target_line(base: &Base, observed: &Observed, routes: Option<Routes>) -> String {
    let plugin = &base.manifest.switcher;
    let Some(routes) = routes else {
        return format!("the target (`{plugin}`) serves nothing of the service");
    };
    let owner = match &observed.store {
        Some(store) => format!("it belongs to the store {store}, token {}", observed.fence.0),
        None => "it names no store".to_owned(),
    };
    format!("the target (`{plugin}`) serves {}; {owner}", routes_line(&routes))
}

fn running_line(running: &Running) -> String {
    let Running { backend, address, release, store, since, by } = running;
    let at = address.as_ref().map(|address| format!(" ({address})")).unwrap_or_default();
    let of = release.map(|release| format!(", release {}", release.0)).unwrap_or_default();
    let since = since.map(|at| format!(" since {}", times::local(at))).unwrap_or_default();
    let store = store.as_ref().map(|store| format!(", of the store {store}")).unwrap_or_default();
    format!("`{backend}`{at}{of} runs{since}: {by}{store}")
}

/// What to type: the right state directory where it is known, else `otherwise`; and how to begin
/// anew with what is live, `after` something else where that is needed.
fn restore(evidence: &Evidence, otherwise: &str, after: &str) -> String {
    let first = match evidence.elsewhere() {
        Some(state) => format!("use the state directory of what is live: `--state {state}`"),
        None => otherwise.to_owned(),
    };
    let addresses = evidence
        .addresses()
        .iter()
        .flat_map(|address| [" --backend ", address])
        .collect::<String>();
    let anew = if addresses.is_empty() {
        String::new()
    } else {
        format!(", or {after}begin anew with what is live: `agente-host adopt --force{addresses}`")
    };
    format!("{first}{anew}; {GUIDE} says how")
}

fn nothing_known(base: &Base, evidence: &Evidence) -> Doubted {
    let root = base.root.display();
    let scope = base.scope();
    let message = format!("the state directory `{root}` knows nothing of {scope}, which is live");
    let mut error = CliError::new(Exit::Stuck, message).hint(restore(
        evidence,
        "restore a backup of the state directory",
        "",
    ));
    error.causes = evidence.lines(base);
    error.causes.push(if base.is_scratch() {
        format!("no store is in `{root}`")
    } else {
        format!("the store in `{root}` is {}", base.store().id())
    });
    Doubted { doubt: Doubt::Unknown, error }
}

fn unusable(base: &Base, mut error: CliError, evidence: &Evidence) -> Doubted {
    if evidence.is_live() {
        error.exit = Exit::Stuck;
    }
    error.causes.extend(evidence.lines(base));
    let hint = error.hint.take().unwrap_or_default();
    error.hint = Some(restore(evidence, &hint, "move it away and "));
    Doubted { doubt: Doubt::Unusable, error }
}

/// Whether the target holds what a host may put back without an entry, while the disk is full: what
/// was acknowledged last, or what was in force before the open deployment.
async fn was_put_back(base: &Base, seen: &Observed) -> Result<bool, CliError> {
    let Some((_, attempt)) = open::attempt(base.store(), base.scope()).await? else {
        return Ok(false);
    };
    let acknowledged = base.store().state(base.scope()).await?.routes;
    let is_seen = |routes: &Option<Routes>| match (routes, seen.clone().in_force()) {
        (Some(routes), _) => routes.same_traffic(&seen.routes),
        (None, in_force) => in_force.is_none(),
    };
    Ok(is_seen(&acknowledged) || is_seen(&attempt.plan.routes_before))
}

/// The doubts about a store that knows the service.
async fn of_known(base: &Base, evidence: &Evidence) -> Result<Option<Doubted>, CliError> {
    let (ours, scope, root) = (base.store().id(), base.scope(), base.root.display());
    let doubted = |doubt, message: String, hint: String| {
        let mut error = CliError::new(Exit::Stuck, message).hint(hint);
        error.causes = evidence.lines(base);
        Some(Doubted { doubt, error })
    };
    let observed = evidence.target.as_ref().ok();
    let owner = observed.and_then(|observed| observed.store.as_ref());
    if let Some(theirs) = owner.filter(|owner| *owner != ours) {
        let message = format!(
            "{scope} belongs to another store by what the target says: {theirs}; the one in \
             `{root}` is {ours}"
        );
        return Ok(doubted(
            Doubt::Foreign,
            message,
            restore(evidence, "restore a backup of the state directory", ""),
        ));
    }
    let fence = base.store().newest_fence(scope).await?.map_or(0, |fence| fence.0);
    let newest = base.store().releases(scope, 1).await?;
    let newest = newest.first().map_or(ReleaseNumber(0), |release| release.number);
    let ahead = match observed {
        Some(seen) if owner.is_some() && seen.fence.0 > fence => {
            // It may have been written down since.
            !was_put_back(base, seen).await?
                && base.store().newest_fence(scope).await? < Some(seen.fence)
        }
        _ => false,
    };
    let later = evidence
        .running
        .iter()
        .any(|one| one.store.as_deref() == Some(ours) && one.release.is_some_and(|it| it > newest));
    if !ahead && !later {
        return Ok(None);
    }
    let message = format!("the store in `{root}` is older than what is live for {scope}");
    let stable = base.store().state(scope).await?.stable;
    let stable = stable.map_or_else(
        || "nothing is stable".to_owned(),
        |stable| format!("release {} is stable", stable.release.0),
    );
    let says = format!(
        "by the store, {stable}, the newest release is {}, and the newest token is {fence}",
        newest.0
    );
    let mut found = doubted(
        Doubt::Behind,
        message,
        restore(
            evidence,
            "restore a newer backup of the state directory",
            "in another state directory (`--state`) ",
        ),
    );
    if let Some(found) = &mut found {
        found.error.causes.push(says);
    }
    Ok(found)
}
