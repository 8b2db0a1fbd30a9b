//! A service behind the scene's NGINX: its folder, its manifest, and the host's runs for it.

use super::{
    Answer, Ended, Nginx, Ports, Run, SmallDisk, Unprivileged, Unread, built, get, processes, run,
    shipped, wait_for,
};
use serde_json::Value;
use std::fmt::Write as _;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What a manifest says of one release and its policies.
#[derive(Debug, Clone)]
pub struct Setup {
    /// What the service calls itself in `X-Version`.
    pub version: String,
    /// Switches of the service.
    pub flags: Vec<String>,
    /// How many backends.
    pub instances: u16,
    /// How long they may take to stop.
    pub stop_grace: String,
    /// How long the stable release is watched before.
    pub baseline: String,
    /// How long the new one is watched after.
    pub bake: String,
    /// What becomes of the old side.
    pub keep_previous: String,
    /// How long it may drain.
    pub drain: String,
    /// Further lines of the drain's table, each after a comma.
    pub drain_more: String,
    /// How long backends may take to become healthy.
    pub healthy: String,
    /// How long a shift may take.
    pub shift: String,
    /// Whether the host asks the public URL.
    pub probe: bool,
    /// The engine and the image, where the release runs in containers.
    pub docker: Option<(PathBuf, String)>,
    /// Further lines of the strategy's table.
    pub strategy: String,
    /// Further tables.
    pub more: String,
}

impl Setup {
    /// A good release under this name, without baseline and bake.
    pub fn version(version: &str) -> Self {
        Self {
            version: version.to_owned(),
            flags: Vec::new(),
            instances: 1,
            stop_grace: "10s".to_owned(),
            baseline: "0s".to_owned(),
            bake: "0s".to_owned(),
            keep_previous: "\"until-next\"".to_owned(),
            drain: "30s".to_owned(),
            drain_more: String::new(),
            healthy: "20s".to_owned(),
            shift: "20s".to_owned(),
            probe: true,
            docker: None,
            strategy: String::new(),
            more: String::new(),
        }
    }

    /// The same with a switch of the service.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.extend(flag.split(' ').map(str::to_owned));
        self
    }
}

/// One service in one environment, with a store of its own.
pub struct Service {
    pub name: String,
    /// `default` where its manifest declares none.
    environment: String,
    /// Its public port.
    pub port: u16,
    folder: PathBuf,
    /// The host's state directory.
    pub state: PathBuf,
    by_hand: u16,
    backends: (u16, u16),
    section: String,
    file: PathBuf,
    user: Option<Unprivileged>,
    program: Option<PathBuf>,
}

impl Service {
    pub(super) fn new(
        name: &str,
        environment: &str,
        scene: &Path,
        ports: &Ports,
        number: usize,
        nginx: &Nginx,
    ) -> Self {
        let folder = scene.join(format!("{name}.{environment}"));
        std::fs::create_dir(&folder).expect("a folder");
        let file = nginx.path("agente").join(format!("agente-{name}.{environment}.conf"));
        Self {
            name: name.to_owned(),
            environment: environment.to_owned(),
            port: ports.public(number),
            state: folder.join("state"),
            folder,
            by_hand: ports.by_hand(number),
            backends: ports.backends(number),
            section: nginx.section(),
            file,
            user: None,
            program: None,
        }
    }

    /// Lets the host run as somebody else from now on.
    pub(super) fn run_as(&mut self, user: &Unprivileged) {
        user.give(&self.folder);
        self.user = Some(user.clone());
    }

    /// Lets another user run the host from now on; what the first one made stays the first one's.
    pub fn hand_to(&mut self, user: &Unprivileged) {
        self.user = Some(user.clone());
    }

    /// Puts the host's state on a small disk of its own, before there is any.
    pub fn on_small_disk(&self) -> SmallDisk {
        SmallDisk::at(&self.state)
    }

    /// Shares store and ports with another service, as two services of one machine do that were
    /// made by `init`.
    pub fn share_with(&mut self, other: &Service) {
        self.state.clone_from(&other.state);
        self.backends = other.backends;
    }

    /// Runs the host from a copy of its own, with the shipped plugins beside it, and gives the
    /// copy's path.
    pub fn with_own_program(&mut self) -> PathBuf {
        let folder = self.folder.join("bin");
        std::fs::create_dir_all(folder.join("plugins")).expect("a folder");
        for plugin in ["nginx-switch", "http-health"] {
            std::fs::copy(shipped(plugin), folder.join("plugins").join(format!("{plugin}.wasm")))
                .expect("a plugin is copied");
        }
        let program = folder.join("agente-host");
        std::fs::copy(run::program(), &program).expect("the program is copied");
        self.program = Some(program.clone());
        program
    }

    /// Adds a line to the switcher's section, in force with the next manifest that is written.
    pub fn switch_setting(&mut self, line: &str) {
        self.section.push_str(line);
        self.section.push('\n');
    }

    /// The sample service's program, where the user of the host can reach it.
    fn api(&self) -> PathBuf {
        let api = built("agente-api", "cargo build -p agente-api");
        self.user.as_ref().map_or(api, |user| user.programs.join("agente-api"))
    }

    /// The name of an NGINX variable of this service, without its `$`.
    pub fn variable(&self, what: &str) -> String {
        let word = |name: &str| name.replace('-', "__");
        format!("agente_{}_{}_{what}", word(&self.name), word(&self.environment))
    }

    /// A public URL.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// A file beside the manifest.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes the manifest.
    pub fn write(&self, setup: &Setup) {
        let mut text = format!("service = \"{}\"\n\n", self.name);
        let mut command = match &setup.docker {
            None => {
                let _ =
                    writeln!(text, "[runtime.process]\nartifact = \"{}\"", self.api().display());
                vec!["./agente-api".to_owned(), "127.0.0.1:{port}".to_owned()]
            }
            Some((socket, image)) => {
                let _ = writeln!(
                    text,
                    "[runtime.docker]\nimage = \"{image}\"\ncontainer_port = 8080\nsocket = \"{}\"",
                    socket.display()
                );
                vec!["/agente-api".to_owned(), "0.0.0.0:8080".to_owned()]
            }
        };
        command.extend(setup.flags.iter().cloned());
        let (first, last) = self.backends;
        let _ = writeln!(
            text,
            "command = {command:?}\ninstances = {}\nports = \"{first}-{last}\"\nstop_grace = \
             \"{}\"",
            setup.instances, setup.stop_grace
        );
        let _ = writeln!(
            text,
            "env = {{ AGENTE_API_VERSION_NAME = \"{}\" }}\n\n[switch]\nplugin = \"nginx-switch\"\n",
            setup.version
        );
        let _ = writeln!(
            text,
            "{}\n[health]\nendpoints = [\"/healthz\", \"/readyz\"]\ninterval = \"100ms\"\n",
            self.section
        );
        if setup.probe {
            let _ = writeln!(
                text,
                "[probe]\nurl = \"{}\"\nrate = 20\nbaseline = \"{}\"\n",
                self.url("/api/items"),
                setup.baseline
            );
        }
        let _ = writeln!(
            text,
            "[strategy]\n{}bake = \"{}\"\nkeep_previous = {}",
            setup.strategy, setup.bake, setup.keep_previous
        );
        let _ = writeln!(text, "drain = {{ timeout = \"{}\"{} }}\n", setup.drain, setup.drain_more);
        let _ = writeln!(
            text,
            "[timeouts]\nhealthy = \"{}\"\nshift = \"{}\"\n\n{}",
            setup.healthy, setup.shift, setup.more
        );
        if self.environment != "default" {
            let _ = writeln!(text, "\n[environments.{}]", self.environment);
        }
        std::fs::write(self.path("agente.toml"), text).expect("the manifest is written");
    }

    /// Grants the plugins what they ask for.
    pub fn grant(&self) {
        for plugin in ["nginx-switch", "http-health"] {
            shipped(plugin);
            self.host(&["plugin", "add", plugin, "--yes"]).expect_code(0);
        }
    }

    fn command(&self, state: &Path, args: &[&str]) -> Command {
        let program = self
            .user
            .as_ref()
            .map(|user| user.programs.join("agente-host"))
            .or_else(|| self.program.clone());
        let mut command = Command::new(program.unwrap_or_else(run::program));
        if let Some(user) = &self.user {
            command
                .uid(user.uid)
                .gid(user.gid)
                .env("HOME", &user.home)
                .env_remove("XDG_CACHE_HOME")
                .current_dir("/");
        }
        command
            .arg("-f")
            .arg(self.path("agente.toml"))
            .arg("--state")
            .arg(state)
            .args(["--output", "json"])
            .args(args);
        command
            .env_remove("AGENTE_HOST_ENV")
            .env_remove("AGENTE_HOST_STATE")
            .env_remove("AGENTE_HOST_PLUGINS");
        command
    }

    /// Runs the host to its end.
    pub fn host(&self, args: &[&str]) -> Ended {
        self.begin(args).wait()
    }

    /// Starts a run of the host.
    pub fn begin(&self, args: &[&str]) -> Run {
        Run::start(self.command(&self.state, args), format!("agente-host {}", args.join(" ")))
    }

    /// Starts a run of the host whose output nobody reads: its pipes are full from the beginning.
    pub fn begin_unread(&self, args: &[&str]) -> Unread {
        Unread::start(self.command(&self.state, args))
    }

    /// Runs the host with another store to its end.
    pub fn host_with(&self, state: &Path, args: &[&str]) -> Ended {
        Run::start(
            self.command(state, args),
            format!("agente-host {} (another store)", args.join(" ")),
        )
        .wait()
    }

    /// Types a command into a shell that knows the host's program and this service's state.
    pub fn type_in(&self, command: &str) -> Output {
        let mut folders =
            run::program().parent().map(Path::to_owned).unwrap_or_default().into_os_string();
        folders.push(":/usr/bin:/bin");
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", command])
            .env("PATH", folders)
            .env("AGENTE_HOST_STATE", &self.state)
            .stdin(Stdio::null())
            .current_dir("/");
        shell.output().expect("a shell")
    }

    /// Deploys a setup to its end.
    pub fn deploy(&self, setup: &Setup) -> Ended {
        self.write(setup);
        self.host(&["deploy"])
    }

    /// Starts the deployment of a setup.
    pub fn begin_deploy(&self, setup: &Setup) -> Run {
        self.write(setup);
        self.begin(&["deploy"])
    }

    /// What the host says is live.
    pub fn status(&self) -> Value {
        let ended = self.host(&["status"]);
        ended.events.into_iter().next().expect("a status")
    }

    /// Every entry of a deployment's journal.
    pub fn journal(&self, id: &str) -> Vec<Value> {
        let ended = self.host(&["history", "--deployment", id]).expect_code(0);
        ended.events.into_iter().map(|event| event["entry"].clone()).collect()
    }

    /// Asks the public server.
    pub fn ask(&self, path: &str) -> Answer {
        get(self.port, path).expect("an answer of the public server")
    }

    /// Who answers, on several fresh connections: one name, or all that were seen.
    pub fn serving(&self) -> String {
        let mut seen: Vec<String> =
            (0..8).map(|_| self.ask("/api/items").header("x-version").to_owned()).collect();
        seen.sort();
        seen.dedup();
        seen.join(" and ")
    }

    /// Waits until every answer names its slot.
    pub(super) fn wait_slot_named(&self) {
        wait_for("answers that name their slot", || {
            (0..8)
                .all(|_| {
                    get(self.port, "/healthz")
                        .is_ok_and(|answer| !answer.header("x-agente-slot").is_empty())
                })
                .then_some(())
        });
    }

    /// The bytes of our file for NGINX; none where there is no file.
    pub fn nginx_file(&self) -> Option<Vec<u8>> {
        std::fs::read(&self.file).ok()
    }

    /// The path of our file for NGINX.
    pub fn nginx_path(&self) -> &Path {
        &self.file
    }

    /// First and last port of the backends.
    pub fn backend_ports(&self) -> (u16, u16) {
        self.backends
    }

    /// Starts the service by hand, as it ran before anybody managed it; gives its address.
    pub fn start_by_hand(&self, version: &str) -> String {
        // From a folder of the scene, so that it ends with it.
        let program = self.path("agente-api");
        std::fs::copy(built("agente-api", "cargo build -p agente-api"), &program)
            .expect("the program is copied");
        let address = format!("127.0.0.1:{}", self.by_hand);
        let mut command = Command::new(program);
        command
            .arg(&address)
            .args(["--version-name", version])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn().expect("the service starts");
        wait_for("the service by hand", || get(self.by_hand, "/readyz").ok());
        std::thread::spawn(move || child.wait());
        address
    }

    /// Asks the service that was started by hand, past NGINX.
    pub fn by_hand(&self) -> Answer {
        get(self.by_hand, "/healthz").expect("an answer of the service that was started by hand")
    }

    /// The processes that the host left running for this service: supervisors and backends.
    pub fn processes(&self) -> Vec<u32> {
        processes::under(&self.state)
    }

    /// The backends' own processes, by what their supervisors wrote down, with the addresses they
    /// have.
    pub fn backends(&self) -> Vec<(String, u32)> {
        let Ok(folders) = std::fs::read_dir(self.state.join("backends")) else { return Vec::new() };
        let read = |path: PathBuf| {
            std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
        };
        let mut found: Vec<(String, u32)> = folders
            .flatten()
            .filter_map(|folder| {
                let address =
                    read(folder.path().join("spec.json"))?["address"].as_str()?.to_owned();
                let pid = u32::try_from(
                    read(folder.path().join("status.json"))?["process"]["pid"].as_u64()?,
                )
                .ok()?;
                processes::runs(pid).then_some((address, pid))
            })
            .collect();
        found.sort();
        found
    }

    /// Ends every supervisor and backend at once, as when the machine loses its power.
    pub fn lose_power(&self) {
        processes::end_all(&self.state);
    }
}
