//! A real NGINX with its own configuration, pid file, logs and ports; real backends; a real client.
//! Everything ends with the rig.

use agente_plugin_sdk::host::{Host, Process};
use agente_plugin_sdk::native::NativeHost;
use agente_plugin_sdk::traffic::ObservedState;
use agente_plugin_sdk::{
    Backend, Desired, Drained, Failure, Features, MatchRule, Observed, Route, TrafficSwitcher,
};
use nginx_switch::NginxSwitch;
use nginx_switch::config::Config;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A test that waits longer than this has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A port that nobody listens on now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until something is so.
#[track_caller]
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "gave up waiting for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A gate that requests wait at until it is opened.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    waiting: AtomicUsize,
    opened: Condvar,
}

/// A backend that answers its name; what asks for `/hold`, or for `/hold/` and its name, waits for
/// [`App::release`].
pub struct App {
    pub name: String,
    pub port: u16,
    requests: Arc<AtomicUsize>,
    stopped: Arc<AtomicBool>,
    gate: Arc<Gate>,
}

impl App {
    pub fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (requests, stopped, gate) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
            Arc::new(Gate::default()),
        );
        let app = Self {
            name: name.into(),
            port,
            requests: requests.clone(),
            stopped: stopped.clone(),
            gate: gate.clone(),
        };
        let name = name.to_owned();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (name, requests, gate) = (name.clone(), requests.clone(), gate.clone());
                thread::spawn(move || serve(stream.unwrap(), &name, &requests, &gate));
            }
        });
        app
    }

    /// Lets the requests that wait have their answers.
    pub fn release(&self) {
        *self.gate.open.lock().unwrap() = true;
        self.gate.opened.notify_all();
    }

    /// How many requests have come.
    pub fn seen(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// How many requests wait for [`App::release`].
    pub fn holding(&self) -> usize {
        self.gate.waiting.load(Ordering::SeqCst)
    }

    pub fn backend(&self) -> Backend {
        Backend {
            id: format!("{}-1", self.name),
            address: format!("127.0.0.1:{}", self.port),
            labels: Vec::new(),
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _wakes_it = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(stream: TcpStream, name: &str, requests: &AtomicUsize, gate: &Gate) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let (mut line, mut first, mut length) = (String::new(), String::new(), 0_usize);
        loop {
            line.clear();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let text = line.trim_end();
            if text.is_empty() {
                break;
            }
            if first.is_empty() {
                text.clone_into(&mut first);
            }
            if let Some(value) = text.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        requests.fetch_add(1, Ordering::SeqCst);
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let path = first.split(' ').nth(1).unwrap_or("/");
        if path == "/hold" || path.strip_prefix("/hold/") == Some(name) {
            let open = gate.open.lock().unwrap();
            gate.waiting.fetch_add(1, Ordering::SeqCst);
            drop(gate.opened.wait_timeout_while(open, PATIENCE * 2, |open| !*open).unwrap());
            gate.waiting.fetch_sub(1, Ordering::SeqCst);
        }
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// A running NGINX.
pub struct Nginx {
    pub folder: TempDir,
    pub port: u16,
    pub marker: u16,
    child: Child,
}

/// Which NGINX the tests run.
pub fn program() -> String {
    let program = std::env::var("AGENTE_TEST_NGINX").unwrap_or_else(|_| "/usr/sbin/nginx".into());
    assert!(
        PathBuf::from(&program).exists(),
        "`{program}` is needed: `apt-get install nginx`, or name another by AGENTE_TEST_NGINX"
    );
    program
}

impl Nginx {
    /// Starts one that only serves a page of its own.
    pub fn start() -> Self {
        Self::start_with("", &["shop/production"])
    }

    /// Starts one with further text in the `http` block.
    pub fn start_with(http: &str, scopes: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("nginx-switch-").tempdir().unwrap();
        let (port, marker) = (free_port(), free_port());
        std::fs::create_dir(folder.path().join("agente")).unwrap();
        let nginx = Self { child: Command::new("true").spawn().unwrap(), folder, port, marker };
        nginx.configure(http, scopes, false);
        let mut nginx = nginx;
        nginx.launch();
        nginx
    }

    /// Writes the operator's configuration; `routed` sends requests to the pools.
    pub fn configure(&self, http: &str, scopes: &[&str], routed: bool) {
        let folder = self.folder.path().display();
        let mut servers = String::new();
        for scope in scopes {
            let base = format!("agente_{}", scope.replace('-', "__").replace('/', "_"));
            let pass = if routed {
                format!(
                    "proxy_pass http://${base}_pool; proxy_http_version 1.1; proxy_set_header \
                     Connection \"\"; add_header X-Agente-Slot ${base}_slot always;"
                )
            } else {
                "return 200 plain;".into()
            };
            let host = scope.replace('/', ".");
            let server = format!(
                "server {{ listen 127.0.0.1:{}; server_name {host}; location / {{ {pass} }} }}\n",
                self.port
            );
            servers.push_str(&server);
        }
        let text = format!(
            "worker_processes 2;\nuser root;\npid {folder}/nginx.pid;\nerror_log \
             {folder}/error.log notice;\nevents {{ worker_connections 512; }}\nhttp \
             {{\naccess_log off;\nclient_body_temp_path {folder}/body; proxy_temp_path \
             {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;\nuwsgi_temp_path {folder}/uwsgi; \
             scgi_temp_path {folder}/scgi;\ninclude {folder}/agente/*.conf;\n{http}\n{servers}}}\n"
        );
        std::fs::write(self.conf(), text).unwrap();
    }

    pub fn launch(&mut self) {
        self.child = Command::new(program())
            .args([
                "-p",
                &self.folder.path().display().to_string(),
                "-c",
                &self.conf(),
                "-g",
                "daemon off;",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for("NGINX to listen", || TcpStream::connect(("127.0.0.1", self.port)).ok());
        wait_for("the pid file", || {
            std::fs::read_to_string(self.path("nginx.pid"))
                .ok()
                .filter(|text| text.trim().parse::<u32>().is_ok())
        });
        // The pid file is there a moment before the process is called what it is.
        let title = format!("/proc/{}/cmdline", self.child.id());
        wait_for("the master's title", || {
            std::fs::read_to_string(&title)
                .ok()
                .filter(|title| title.starts_with("nginx: master process"))
        });
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    pub fn conf(&self) -> String {
        self.path("nginx.conf")
    }

    pub fn master(&self) -> u32 {
        self.child.id()
    }

    /// Loads what is on the disk, as an operator would, and waits until it is loaded.
    pub fn reload(&self, host: &NativeHost) {
        let workers: Vec<u32> = self.workers(host).iter().map(|worker| worker.pid).collect();
        let done = Command::new(program())
            .args(["-p", &self.path(""), "-c", &self.conf(), "-s", "reload"])
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        wait_for("new workers", || {
            let now = self.workers(host);
            let accepting = now.iter().filter(|worker| !worker.title.contains("shutting down"));
            (now.len() > 1
                && accepting.clone().count() > 1
                && accepting.clone().all(|worker| !workers.contains(&worker.pid)))
            .then_some(())
        });
    }

    pub fn workers(&self, host: &NativeHost) -> Vec<Process> {
        let tree =
            host.process_tree(&format!("pid-file:{}", self.path("nginx.pid"))).unwrap_or_default();
        tree.into_iter().filter(|process| process.title.starts_with("nginx: worker")).collect()
    }

    /// The workers that take new connections.
    pub fn accepting(&self, host: &NativeHost) -> Vec<Process> {
        self.workers(host)
            .into_iter()
            .filter(|worker| !worker.title.contains("shutting down"))
            .collect()
    }

    /// Stops it; the pid file goes with it.
    pub fn stop(&mut self) {
        signal(self.child.id(), "TERM");
        self.child.wait().unwrap();
    }

    /// Ends the master alone, as the kernel would for want of memory.
    pub fn kill_master(&mut self) {
        signal(self.child.id(), "KILL");
        self.child.wait().unwrap();
    }
}

pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap();
    assert!(sent.success(), "kill -{name} {pid}");
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _gone = Command::new("kill").arg(self.child.id().to_string()).status();
            let _ended = self.child.wait();
        }
    }
}

/// The plugin at work for one service, as the host drives it.
pub struct Switch {
    pub host: NativeHost,
    pub config: Config,
    pub fence: u64,
    pub store: String,
}

impl Switch {
    pub fn new(nginx: &Nginx, scope: &str) -> Self {
        Self::with(nginx, scope, "{}")
    }

    /// With further keys of the plugin's section.
    pub fn with(nginx: &Nginx, scope: &str, more: &str) -> Self {
        let mut section = serde_json::json!({
            "directory": nginx.path("agente"), "nginx": program(), "conf": nginx.conf(), "prefix": nginx.path(""),
            "pid_file": nginx.path("nginx.pid"), "error_log": nginx.path("error.log"), "marker": format!("127.0.0.1:{}", nginx.marker),
        });
        let more: serde_json::Value = serde_json::from_str(more).unwrap();
        section.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Self::from_section(&section.to_string(), scope)
    }

    pub fn from_section(section: &str, scope: &str) -> Self {
        let (service, environment) = scope.split_once('/').unwrap();
        assert_eq!(agente_plugin_sdk::config::check::<NginxSwitch>(section), []);
        let config: Config = agente_plugin_sdk::config::load::<NginxSwitch>(section).unwrap();
        let host = NativeHost::new(service, environment)
            .with_config(section)
            .with_label("store", "store-1");
        Self { host, config, fence: 1, store: "store-1".into() }
    }

    pub fn file(&self) -> String {
        let context = self.host.context();
        format!("{}/agente-{}.{}.conf", self.config.directory, context.service, context.environment)
    }

    pub fn bytes(&self) -> Option<String> {
        std::fs::read_to_string(self.file()).ok()
    }

    pub fn desired(&self, blue: Option<(u32, &App)>, green: Option<(u32, &App)>) -> Desired {
        let route = |slot: &str, side: Option<(u32, &App)>, release: &str| Route {
            slot: slot.into(),
            weight: side.map_or(0, |(weight, _)| weight),
            backends: side.map(|(_, app)| vec![app.backend()]).unwrap_or_default(),
            labels: side
                .map(|_| vec![("release".to_owned(), release.to_owned())])
                .unwrap_or_default(),
        };
        Desired {
            fence: self.fence,
            routes: vec![route("blue", blue, "1"), route("green", green, "2")],
            overrides: Vec::new(),
            labels: vec![("store".into(), self.store.clone())],
        }
    }

    pub fn apply(&self, wanted: &Desired) -> Result<Observed, Failure> {
        self.host.writing(|host| NginxSwitch::apply(host, &self.config, "op", wanted))
    }

    pub fn observe(&self) -> Result<Observed, Failure> {
        NginxSwitch::observe(&self.host, &self.config)
    }

    pub fn features(&self) -> Result<Features, Failure> {
        NginxSwitch::features(&self.host, &self.config)
    }

    pub fn plan(&self, wanted: &Desired) -> String {
        NginxSwitch::plan(&self.host, &self.config, wanted).unwrap()
    }

    /// Asks about a slot whose only backend is of the same name.
    pub fn drain(&self, app: &App) -> Drained {
        self.drain_of(&app.name, &[app])
    }

    pub fn drain_of(&self, slot: &str, apps: &[&App]) -> Drained {
        let backends: Vec<Backend> = apps.iter().map(|app| app.backend()).collect();
        NginxSwitch::drain(&self.host, &self.config, "op", slot, &backends).unwrap()
    }

    /// Polls as the host does, until the answer is not `pending`.
    #[track_caller]
    pub fn settle(&self) -> Observed {
        wait_for("an answer other than pending", || {
            Some(self.observe().unwrap()).filter(|seen| seen.state != ObservedState::Pending)
        })
    }

    /// Applies and waits until it is in force.
    #[track_caller]
    pub fn switch(&self, wanted: &Desired) -> Observed {
        self.apply(wanted).unwrap();
        let seen = self.settle();
        assert_eq!(seen.state, ObservedState::Converged, "{}", seen.message);
        seen
    }
}

pub fn rule(slot: &str, by: &str, name: &str, value: &str) -> MatchRule {
    MatchRule {
        slot: slot.into(),
        by: by.into(),
        name: name.into(),
        value: value.into(),
        labels: Vec::new(),
    }
}
