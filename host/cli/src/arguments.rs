//! What can be typed. Help texts are written here and nowhere else; the reference is generated from
//! them.

use agente_engine::policy::OnOpen;
use agente_units::{Misread, Span};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::path::PathBuf;
use std::time::Duration;

/// Deploys a new version of a service without losing a request, watches it, and rolls it back
/// automatically when it is bad.
#[derive(Debug, Parser)]
#[command(
    name = "agente-host",
    version,
    propagate_version = true,
    max_term_width = 110,
    arg_required_else_help = true
)]
#[command(after_help = "\
Exit codes:
   0  done
   1  failed or aborted; the stable release is serving
   2  usage or configuration error; nothing was tried
   3  stuck: needs manual intervention
   4  refused: lease held, grant missing, or target not ours
   5  still open: waiting for a decision
  70  a bug in agente-host

Example:
  agente-host init                                           # then fill in agente.toml
  agente-host plugin add nginx-switch && agente-host plugin add http-health
  agente-host check && agente-host plan && agente-host deploy")]
pub(crate) struct Arguments {
    #[command(flatten, next_help_heading = "Global options")]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Path to the manifest
    #[arg(
        long,
        short = 'f',
        global = true,
        value_name = "FILE",
        default_value = "agente.toml",
        env = "AGENTE_HOST_MANIFEST",
        hide_env_values = true
    )]
    pub(crate) file: PathBuf,
    /// Environment; required when the manifest declares more than one
    #[arg(
        long,
        short = 'e',
        global = true,
        value_name = "NAME",
        env = "AGENTE_HOST_ENV",
        hide_env_values = true
    )]
    pub(crate) env: Option<String>,
    /// State directory: releases, journal and leases [default: /var/lib/agente-host, or the user's
    /// state directory]
    #[arg(
        long,
        global = true,
        value_name = "FOLDER",
        env = "AGENTE_HOST_STATE",
        hide_env_values = true
    )]
    pub(crate) state: Option<PathBuf>,
    /// Output format
    #[arg(long, short = 'o', global = true, value_enum, default_value_t = OutputKind::Human)]
    pub(crate) output: OutputKind,
    /// Log more to standard error; repeat for more detail
    #[arg(long, short = 'v', global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

impl Global {
    /// Whether colour may be used on standard error.
    pub(crate) fn color(&self) -> bool {
        use std::io::IsTerminal;
        self.output == OutputKind::Human
            && std::io::stderr().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
    }
}

/// The forms of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputKind {
    /// For terminals: live progress, and one line per decision
    Human,
    /// One JSON event per line, in a versioned schema
    Json,
    /// For logs: one line per decision, no colour, no redrawing
    Plain,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a starter manifest
    #[command(
        after_help = "Example:\n  agente-host init --service shop --artifact target/release/shop \
        --url http://127.0.0.1:8080/"
    )]
    Init(InitOptions),
    /// Bring a running service under management as release 1, without stopping it
    #[command(after_help = "Examples:\n  agente-host adopt --backend 127.0.0.1:9000\n  \
                            agente-host adopt --force    # restore a target that was changed by \
                            hand")]
    Adopt(AdoptOptions),
    /// Deploy a new release
    #[command(
        after_help = "Example:\n  agente-host deploy --env production --plugin nginx-switch.wasm"
    )]
    Deploy(DeployOptions),
    /// Show what a deployment would do, without changing anything
    #[command(after_help = "Example:\n  agente-host plan --env production")]
    Plan(PlanOptions),
    /// Show what is live
    #[command(after_help = "Example:\n  agente-host status --follow")]
    Status(StatusOptions),
    /// List past deployments
    #[command(after_help = "Example:\n  agente-host history --limit 5")]
    History(HistoryOptions),
    /// Show the backends' logs
    #[command(after_help = "Example:\n  agente-host logs --lines 50 --follow")]
    Logs(LogsOptions),
    /// Print deployment metrics in the Prometheus text format
    #[command(after_help = "Examples:\n  agente-host metrics --env production\n  agente-host \
                            metrics --all --listen 127.0.0.1:9464    # for Prometheus to scrape")]
    Metrics(MetricsOptions),
    /// Roll back to an earlier release; aborts a deployment that is still open
    #[command(after_help = "Example:\n  agente-host rollback\n  agente-host rollback --to 12")]
    Rollback(RollbackOptions),
    /// Stop the open deployment and unwind it
    #[command(after_help = "Example:\n  agente-host abort --reason 'checkout fails'")]
    Abort(DecideOptions),
    /// Pause the open deployment before its next step, until `resume`
    #[command(after_help = "Example:\n  agente-host pause")]
    Pause(DecideOptions),
    /// Watch the stable release and roll it back if it turns bad; yields to any deployment
    #[command(after_help = "Examples:\n  agente-host watch --for 30m\n  agente-host watch \
                            --listen 127.0.0.1:9464      # as a service, with metrics")]
    Watch(WatchOptions),
    /// Advance the open deployment past its current weight without waiting any longer
    #[command(after_help = "Examples:\n  agente-host promote\n  agente-host promote --full \
                            --reason 'hotfix, watched by hand'")]
    Promote(PromoteOptions),
    /// Continue a deployment that is paused or whose host died
    #[command(after_help = "Example:\n  agente-host resume")]
    Resume(DecideOptions),
    /// Start everything that should be running, for use at boot
    #[command(after_help = "Example (systemd):\n  Type=oneshot\n  RemainAfterExit=yes\n  \
                            KillMode=process      # keep what was started when the unit stops\n  \
                            ExecStart=/usr/local/bin/agente-host up -f /srv/shop/agente.toml -e \
                            production")]
    Up(UpOptions),
    /// Check manifest, plugins, grants and connectivity, without changing anything
    #[command(after_help = "Example:\n  agente-host check --env production")]
    Check(CheckOptions),
    /// Manage plugins and their grants
    #[command(subcommand, arg_required_else_help = true)]
    Plugin(PluginCommand),
    /// Print the JSON Schema of the manifest, or of the events of `--output json`
    #[command(after_help = "Examples:\n  agente-host schema > agente.schema.json\n  agente-host \
                            schema events > events.schema.json")]
    Schema(SchemaOptions),
    /// Print a generated page of the reference, as Markdown
    #[command(hide = true)]
    Reference(ReferenceOptions),
    /// Print a shell completion script
    #[command(after_help = "Example:\n  agente-host completions bash > \
                            /etc/bash_completion.d/agente-host")]
    Completions {
        /// Shell
        shell: Shell,
    },
}

/// Components that replace the manifest's for one run.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Components {
    /// Use this component in place of the plugin with the same name; may be repeated
    #[arg(long = "plugin", value_name = "FILE")]
    pub(crate) plugins: Vec<PathBuf>,
}

/// What replaces a part of the manifest for one run.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Replace {
    #[command(flatten)]
    pub(crate) components: Components,
    /// Image to deploy instead of the manifest's
    #[arg(long, value_name = "REFERENCE", conflicts_with = "artifact")]
    pub(crate) image: Option<String>,
    /// Program to deploy instead of the manifest's
    #[arg(long, value_name = "FILE")]
    pub(crate) artifact: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct InitOptions {
    /// Service name [default: the folder's name]
    #[arg(long)]
    pub(crate) service: Option<String>,
    /// Run containers instead of local processes
    #[arg(long)]
    pub(crate) docker: bool,
    /// Program file to run
    #[arg(long, conflicts_with = "docker")]
    pub(crate) artifact: Option<String>,
    /// Image to run
    #[arg(long, requires = "docker")]
    pub(crate) image: Option<String>,
    /// Public URL of the service
    #[arg(long)]
    pub(crate) url: Option<String>,
    /// Overwrite an existing manifest
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AdoptOptions {
    /// `host:port` of a running backend; may be repeated
    #[arg(long = "backend", value_name = "ADDRESS", required_unless_present = "force")]
    pub(crate) backends: Vec<String>,
    /// Take over a target that another store manages, or restore one that was changed by hand
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) components: Components,
    /// How long to wait for another deployment to finish
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) lock_wait: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct DeployOptions {
    #[command(flatten)]
    pub(crate) replace: Replace,
    /// Only show what would be done, like `plan`
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Cut connections still open when the drain times out, whatever the manifest says
    #[arg(long)]
    pub(crate) cut: bool,
    /// How long to wait for another deployment to finish
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) lock_wait: Option<Duration>,
    /// What to do if another deployment is in progress, whatever the manifest says
    #[arg(long, value_name = "WHAT")]
    pub(crate) on_open: Option<OnOpenOption>,
}

/// What `deploy` does about an open deployment.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum OnOpenOption {
    /// Leave it alone and refuse to start
    Refuse,
    /// Wait until it has finished
    Queue,
    /// Abort it, wait until it has unwound, then start
    Supersede,
}

impl From<OnOpenOption> for OnOpen {
    fn from(option: OnOpenOption) -> Self {
        match option {
            OnOpenOption::Refuse => OnOpen::Refuse,
            OnOpenOption::Queue => OnOpen::Queue,
            OnOpenOption::Supersede => OnOpen::Supersede,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct PlanOptions {
    #[command(flatten)]
    pub(crate) replace: Replace,
}

#[derive(Debug, Args)]
pub(crate) struct StatusOptions {
    /// Follow the open deployment until it ends
    #[arg(long)]
    pub(crate) follow: bool,
    /// Only read the journal; don't query the target or the backends
    #[arg(long)]
    pub(crate) offline: bool,
    /// Verify the journal's hash chain
    #[arg(long)]
    pub(crate) verify: bool,
    #[command(flatten)]
    pub(crate) components: Components,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryOptions {
    /// How many deployments to list
    #[arg(long, short = 'n', default_value_t = 20)]
    pub(crate) limit: u32,
    /// Show every journal entry of one deployment
    #[arg(long, value_name = "ID")]
    pub(crate) deployment: Option<String>,
    /// Show what plugins did in that deployment instead of its entries
    #[arg(long, requires = "deployment")]
    pub(crate) effects: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LogsOptions {
    /// How many lines to show per backend
    #[arg(long, short = 'n', default_value_t = 20)]
    pub(crate) lines: usize,
    /// Keep showing new lines
    #[arg(long)]
    pub(crate) follow: bool,
    /// Only show this side's backends [default: all]
    #[arg(long, value_name = "SIDE")]
    pub(crate) of: Option<Side>,
}

#[derive(Debug, Args)]
pub(crate) struct MetricsOptions {
    /// Include every service and environment in the state directory, not only the manifest's
    #[arg(long)]
    pub(crate) all: bool,
    /// Serve `/metrics` and `/healthz` on this address; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<std::net::SocketAddr>,
}

/// Which backends are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Side {
    Stable,
    Kept,
    Candidate,
}

#[derive(Debug, Args)]
pub(crate) struct RollbackOptions {
    /// Release to roll back to [default: the previous one]
    #[arg(long, value_name = "NUMBER", value_parser = release_number)]
    pub(crate) to: Option<u64>,
    /// Reason to record in the journal
    #[arg(long)]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) components: Components,
    /// Cut connections still open when the drain times out, whatever the manifest says
    #[arg(long)]
    pub(crate) cut: bool,
    /// How long to wait for another deployment to finish
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) lock_wait: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct DecideOptions {
    /// Reason to record in the journal
    #[arg(long)]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) components: Components,
}

#[derive(Debug, Args)]
pub(crate) struct WatchOptions {
    /// Stop after this time [default: watch until stopped]
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub(crate) duration: Option<Duration>,
    /// How long after promotion a bad release is still rolled back automatically; later it is only
    /// reported
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30m")]
    pub(crate) window: Duration,
    /// Also serve `/metrics` and `/healthz` on this address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<std::net::SocketAddr>,
    #[command(flatten)]
    pub(crate) components: Components,
}

#[derive(Debug, Args)]
pub(crate) struct PromoteOptions {
    /// Skip the remaining weights and go straight to 100 %
    #[arg(long)]
    pub(crate) full: bool,
    #[command(flatten)]
    pub(crate) decide: DecideOptions,
}

#[derive(Debug, Args)]
pub(crate) struct UpOptions {}

#[derive(Debug, Args)]
pub(crate) struct CheckOptions {
    #[command(flatten)]
    pub(crate) replace: Replace,
}

/// Plugins.
#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Show what a plugin requests, and grant it in `agente.lock`
    #[command(after_help = "Example:\n  agente-host plugin add plugins/nginx-switch.wasm --env \
                            production")]
    Add {
        /// Component file, or the name of a bundled plugin
        plugin: String,
        /// Grant without asking for confirmation
        #[arg(long)]
        yes: bool,
        /// Command to prefix to every program the plugin runs, such as `sudo -n`; granted by its
        /// absolute path
        #[arg(long, value_name = "COMMAND")]
        exec_prefix: Option<String>,
    },
    /// List plugins, and whether their grants are up to date
    #[command(after_help = "Example:\n  agente-host plugin list")]
    List,
    /// Show a plugin's identity, requests, settings and imports, without granting anything
    #[command(after_help = "Example:\n  agente-host plugin inspect nginx-switch")]
    Inspect {
        /// Component file, or the name of a bundled plugin
        plugin: String,
    },
    /// Embed a request (plugin.toml) in a component
    #[command(after_help = "Example:\n  agente-host plugin pack \
                            target/wasm32-wasip2/guest/shop_switch.wasm --request plugin.toml \
                            --to shop-switch.wasm")]
    Pack {
        /// Component file
        component: PathBuf,
        /// Request to embed
        #[arg(long, value_name = "FILE", default_value = "plugin.toml")]
        request: PathBuf,
        /// Where to write the packed plugin
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Revoke a plugin's grant
    #[command(after_help = "Example:\n  agente-host plugin remove nginx-switch --env staging")]
    Remove {
        /// Plugin name
        plugin: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SchemaOptions {
    /// Which one
    #[arg(value_enum, default_value_t = SchemaOf::Manifest)]
    pub(crate) of: SchemaOf,
}

/// What a schema is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemaOf {
    Manifest,
    Events,
}

#[derive(Debug, Args)]
pub(crate) struct ReferenceOptions {
    /// Which one
    #[arg(value_enum)]
    pub(crate) of: ReferenceOf,
}

/// What a reference is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReferenceOf {
    Manifest,
    Cli,
    Events,
}

/// Reads a release's number, also as it is shown: `12` or `r12`.
fn release_number(text: &str) -> Result<u64, String> {
    let number = text.strip_prefix('r').unwrap_or(text).parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| {
        "write a release number such as `12`; `agente-host history` lists them".to_owned()
    })
}

/// Reads a time as the manifest writes it.
fn duration(text: &str) -> Result<Duration, Misread> {
    text.parse().map(Span::duration)
}
