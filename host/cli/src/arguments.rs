//! What can be typed. Help texts are written here and nowhere else; the reference is generated from
//! them.

use agente_engine::policy::OnOpen;
use agente_units::{Misread, Span};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::path::PathBuf;
use std::time::Duration;

/// Deploys a new version of a service with no request lost, watches it, and takes it back by itself
/// when it is bad.
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
   1  failed or aborted, and the stable release serves
   2  usage or configuration; nothing was tried
   3  stuck: a person is needed
   4  refused: the lease is held, a grant is missing, or the state is foreign
   5  open, waiting for a person
  70  a bug of agente-host

Example:
  agente-host init                                           # then fill in agente.toml
  agente-host plugin add nginx-switch && agente-host plugin add http-health
  agente-host check && agente-host plan && agente-host deploy")]
pub(crate) struct Arguments {
    #[command(flatten, next_help_heading = "Options of every command")]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// The manifest
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
    /// The environment; needed when the manifest declares several
    #[arg(
        long,
        short = 'e',
        global = true,
        value_name = "NAME",
        env = "AGENTE_HOST_ENV",
        hide_env_values = true
    )]
    pub(crate) env: Option<String>,
    /// Where releases, journal and leases are kept [default: /var/lib/agente-host, or the user's
    /// state directory]
    #[arg(
        long,
        global = true,
        value_name = "FOLDER",
        env = "AGENTE_HOST_STATE",
        hide_env_values = true
    )]
    pub(crate) state: Option<PathBuf>,
    /// How results are written
    #[arg(long, short = 'o', global = true, value_enum, default_value_t = OutputKind::Human)]
    pub(crate) output: OutputKind,
    /// More detail on standard error; twice for even more
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
    /// For people: progress, and one line per decision
    Human,
    /// One JSON event a line, of a versioned schema
    Json,
    /// For people and logs: one line per decision, no colour, nothing redrawn
    Plain,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a first manifest
    #[command(
        after_help = "Example:\n  agente-host init --service shop --artifact target/release/shop --url http://127.0.0.1:8080/"
    )]
    Init(InitOptions),
    /// Take over what runs already, as release 1; it is never stopped by us
    #[command(after_help = "Examples:\n  agente-host adopt --backend 127.0.0.1:9000\n  \
                            agente-host adopt --force    # revert what was changed by hand at \
                            the target")]
    Adopt(AdoptOptions),
    /// Deploy a new release
    #[command(
        after_help = "Example:\n  agente-host deploy --env production --plugin nginx-switch.wasm"
    )]
    Deploy(DeployOptions),
    /// Show what a deployment would do, and change nothing
    #[command(after_help = "Example:\n  agente-host plan --env production")]
    Plan(PlanOptions),
    /// Show what is live; changes nothing
    #[command(after_help = "Example:\n  agente-host status --follow")]
    Status(StatusOptions),
    /// List earlier deployments
    #[command(after_help = "Example:\n  agente-host history --limit 5")]
    History(HistoryOptions),
    /// Show what the backends write
    #[command(after_help = "Example:\n  agente-host logs --lines 50 --follow")]
    Logs(LogsOptions),
    /// Print the numbers about deployments, in the text format of Prometheus
    #[command(after_help = "Examples:\n  agente-host metrics --env production\n  agente-host \
                            metrics --all --listen 127.0.0.1:9464    # for Prometheus to scrape")]
    Metrics(MetricsOptions),
    /// Go back to an earlier release; on an open deployment this is an abort
    #[command(after_help = "Example:\n  agente-host rollback\n  agente-host rollback --to 12")]
    Rollback(RollbackOptions),
    /// Stop the open deployment and unwind it
    #[command(after_help = "Example:\n  agente-host abort --reason 'checkout fails'")]
    Abort(DecideOptions),
    /// Begin no further step of the open deployment until `resume`
    #[command(after_help = "Example:\n  agente-host pause")]
    Pause(DecideOptions),
    /// Watch what is stable and take it back when it turns bad; yields to any deployment
    #[command(after_help = "Examples:\n  agente-host watch --for 30m\n  agente-host watch \
                            --listen 127.0.0.1:9464      # as a service, with metrics")]
    Watch(WatchOptions),
    /// Wait no longer at the weight that the open deployment has reached
    #[command(after_help = "Examples:\n  agente-host promote\n  agente-host promote --full \
                            --reason 'hotfix, watched by hand'")]
    Promote(PromoteOptions),
    /// Go on with a paused deployment, or with one whose host died
    #[command(after_help = "Example:\n  agente-host resume")]
    Resume(DecideOptions),
    /// Start what should stand, for boot
    #[command(after_help = "Example (systemd):\n  Type=oneshot\n  RemainAfterExit=yes\n  \
                            KillMode=process      # what was started stays when the unit stops\n  \
                            ExecStart=/usr/local/bin/agente-host up -f /srv/shop/agente.toml -e \
                            production")]
    Up(UpOptions),
    /// Judge manifest, plugins, grants and reachability; changes nothing
    #[command(after_help = "Example:\n  agente-host check --env production")]
    Check(CheckOptions),
    /// Look after plugins and what they are granted
    #[command(subcommand, arg_required_else_help = true)]
    Plugin(PluginCommand),
    /// Print the JSON Schema of the manifest
    #[command(after_help = "Example:\n  agente-host schema > agente.schema.json")]
    Schema,
    /// Print the generated reference of manifest or commands, as Markdown
    #[command(hide = true)]
    Reference(ReferenceOptions),
    /// Print a completion script
    #[command(after_help = "Example:\n  agente-host completions bash > \
                            /etc/bash_completion.d/agente-host")]
    Completions {
        /// For which shell
        shell: Shell,
    },
}

/// Components that replace the manifest's for one run.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Components {
    /// Use this component for the plugin of its name; may be given several times
    #[arg(long = "plugin", value_name = "FILE")]
    pub(crate) plugins: Vec<PathBuf>,
}

/// What replaces a part of the manifest for one run.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Replace {
    #[command(flatten)]
    pub(crate) components: Components,
    /// The image instead of the manifest's
    #[arg(long, value_name = "REFERENCE", conflicts_with = "artifact")]
    pub(crate) image: Option<String>,
    /// The program file instead of the manifest's
    #[arg(long, value_name = "FILE")]
    pub(crate) artifact: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct InitOptions {
    /// The service's name [default: the folder's]
    #[arg(long)]
    pub(crate) service: Option<String>,
    /// Run containers instead of local processes
    #[arg(long)]
    pub(crate) docker: bool,
    /// The program file
    #[arg(long, conflicts_with = "docker")]
    pub(crate) artifact: Option<String>,
    /// The image
    #[arg(long, requires = "docker")]
    pub(crate) image: Option<String>,
    /// The service's public URL
    #[arg(long)]
    pub(crate) url: Option<String>,
    /// Write over an existing manifest
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AdoptOptions {
    /// `host:port` of a backend that runs now; may be given several times
    #[arg(long = "backend", value_name = "ADDRESS", required_unless_present = "force")]
    pub(crate) backends: Vec<String>,
    /// Take over a target that another store manages, or put back what was changed there by hand
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) components: Components,
    /// Wait so long for another deployment to end
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) lock_wait: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct DeployOptions {
    #[command(flatten)]
    pub(crate) replace: Replace,
    /// Only show what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Cut what has not ended when a drain's limit is over, whatever the manifest says
    #[arg(long)]
    pub(crate) cut: bool,
    /// Wait so long for another deployment to end
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) lock_wait: Option<Duration>,
    /// What to do about a deployment that somebody else runs, whatever the manifest says
    #[arg(long, value_name = "WHAT")]
    pub(crate) on_open: Option<OnOpenOption>,
}

/// What `deploy` does about an open deployment.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum OnOpenOption {
    /// Leave it alone and be refused
    Refuse,
    /// Wait until it has ended
    Queue,
    /// Abort it, wait until it is unwound, then begin
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
    /// Stay, and show what the open deployment does until it ends
    #[arg(long)]
    pub(crate) follow: bool,
    /// Look at the journal alone, not at the running target and backends
    #[arg(long)]
    pub(crate) offline: bool,
    /// Verify the journal's chain of hashes
    #[arg(long)]
    pub(crate) verify: bool,
    #[command(flatten)]
    pub(crate) components: Components,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryOptions {
    /// How many
    #[arg(long, short = 'n', default_value_t = 20)]
    pub(crate) limit: u32,
    /// Every entry of one deployment
    #[arg(long, value_name = "ID")]
    pub(crate) deployment: Option<String>,
    /// What plugins did in that deployment, instead of its entries
    #[arg(long, requires = "deployment")]
    pub(crate) effects: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LogsOptions {
    /// How many lines of each backend
    #[arg(long, short = 'n', default_value_t = 20)]
    pub(crate) lines: usize,
    /// Stay, and show what is written from now on
    #[arg(long)]
    pub(crate) follow: bool,
    /// `stable`, `kept` or `candidate` [default: all that stand]
    #[arg(long, value_name = "SIDE")]
    pub(crate) of: Option<Side>,
}

#[derive(Debug, Args)]
pub(crate) struct MetricsOptions {
    /// Of every service and environment in the store, not only of the manifest's
    #[arg(long)]
    pub(crate) all: bool,
    /// Stay, and answer `/metrics` and `/healthz` on this address; port 0 takes a free one
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
    /// The release's number [default: the one before]
    #[arg(long, value_name = "NUMBER", value_parser = release_number)]
    pub(crate) to: Option<u64>,
    /// Why, for the journal
    #[arg(long)]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) components: Components,
    /// Cut what has not ended when a drain's limit is over, whatever the manifest says
    #[arg(long)]
    pub(crate) cut: bool,
    /// Wait so long for another deployment to end
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) lock_wait: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct DecideOptions {
    /// Why, for the journal
    #[arg(long)]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) components: Components,
}

#[derive(Debug, Args)]
pub(crate) struct WatchOptions {
    /// End after this time; without it, watch until asked to stop
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub(crate) duration: Option<Duration>,
    /// How long after its promotion a release that turns bad is taken back by itself; later it is
    /// only reported
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30m")]
    pub(crate) window: Duration,
    /// Serve the numbers about deployments for Prometheus here meanwhile
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<std::net::SocketAddr>,
    #[command(flatten)]
    pub(crate) components: Components,
}

#[derive(Debug, Args)]
pub(crate) struct PromoteOptions {
    /// Pass all further weights and analyses over: 100 % at once
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
    /// Show what a plugin asks for, and grant it in `agente.lock`
    #[command(after_help = "Example:\n  agente-host plugin add plugins/nginx-switch.wasm --env \
                            production")]
    Add {
        /// The component, or the name of a shipped plugin
        plugin: String,
        /// Grant it without asking
        #[arg(long)]
        yes: bool,
        /// Put this program before every program that the plugin runs: `sudo -n`. It is granted by
        /// its absolute path
        #[arg(long, value_name = "COMMAND")]
        exec_prefix: Option<String>,
    },
    /// List grants, and whether they fit what is there
    #[command(after_help = "Example:\n  agente-host plugin list")]
    List,
    /// Show what a plugin is, asks for, understands and imports; nothing is granted by that
    #[command(after_help = "Example:\n  agente-host plugin inspect nginx-switch")]
    Inspect {
        /// The component, or the name of a shipped plugin
        plugin: String,
    },
    /// Put a request (plugin.toml) into a component
    #[command(after_help = "Example:\n  agente-host plugin pack \
                            target/wasm32-wasip2/guest/shop_switch.wasm --request plugin.toml \
                            --to shop-switch.wasm")]
    Pack {
        /// The component
        component: PathBuf,
        /// The request
        #[arg(long, value_name = "FILE", default_value = "plugin.toml")]
        request: PathBuf,
        /// Where to write the plugin
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Take a grant back
    #[command(after_help = "Example:\n  agente-host plugin remove nginx-switch --env staging")]
    Remove {
        /// The plugin's name
        plugin: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ReferenceOptions {
    /// Of what
    #[arg(value_enum)]
    pub(crate) of: ReferenceOf,
}

/// What a reference is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReferenceOf {
    Manifest,
    Cli,
}

/// Reads a release's number, also as it is shown: `12` or `r12`.
fn release_number(text: &str) -> Result<u64, String> {
    let number = text.strip_prefix('r').unwrap_or(text).parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| {
        "write a release's number, such as `12`; `agente-host history` lists them".to_owned()
    })
}

/// Reads a time as the manifest writes it.
fn duration(text: &str) -> Result<Duration, Misread> {
    text.parse().map(Span::duration)
}
