//! A real NGINX with a configuration of its own, such as an operator writes it.

use super::{Service, processes, wait_for};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Debian's NGINX.
pub(super) const PROGRAM: &str = "/usr/sbin/nginx";

struct Site {
    port: u16,
    slot: String,
    pass: String,
}

/// An NGINX; it ends with the scene.
pub struct Nginx {
    program: PathBuf,
    folder: PathBuf,
    marker: u16,
    sites: BTreeMap<String, Site>,
    /// Further lines of the `http` block, before the services' servers.
    pub http: String,
    /// Whether the folder of our files is included.
    pub includes: bool,
    master: Option<Child>,
}

impl Nginx {
    pub(super) fn new(program: &Path, folder: &Path, marker: u16) -> Self {
        assert!(
            program.is_file(),
            "`{}` is missing; `tests/bin/setup` installs it",
            program.display()
        );
        for path in [folder.to_owned(), folder.join("agente"), folder.join("tmp")] {
            std::fs::create_dir(&path).expect("a folder");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
                .expect("permissions");
        }
        Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            marker,
            sites: BTreeMap::new(),
            http: String::new(),
            includes: true,
            master: None,
        }
    }

    /// A file of this NGINX.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Where it tells what it has loaded.
    pub fn marker(&self) -> u16 {
        self.marker
    }

    /// The plugin's section of a manifest.
    pub(super) fn section(&self) -> String {
        let path = |name: &str| self.path(name).display().to_string();
        format!(
            "[plugins.nginx-switch.config]\nnginx = \"{}\"\ndirectory = \"{}\"\nconf = \
             \"{}\"\npid_file = \"{}\"\nerror_log = \"{}\"\nmarker = \"127.0.0.1:{}\"\n",
            self.program.display(),
            path("agente"),
            path("nginx.conf"),
            path("nginx.pid"),
            path("error.log"),
            self.marker
        )
    }

    /// Says where the requests to a service go: an address, or the variable of its pool. In force
    /// with the next start or reload.
    pub fn route(&mut self, service: &Service, pass: &str) {
        self.sites.insert(
            service.name.clone(),
            Site { port: service.port, slot: service.variable("slot"), pass: pass.to_owned() },
        );
        self.write();
    }

    /// Writes the configuration.
    pub fn write(&self) {
        let folder = self.folder.display();
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let mut text = format!(
            "daemon off;\n{user}\nworker_processes 2;\npid {folder}/nginx.pid;\nerror_log \
             {folder}/error.log notice;\nevents {{ worker_connections 1024; }}\nhttp \
             {{\naccess_log off;\nclient_body_temp_path {folder}/tmp; proxy_temp_path \
             {folder}/tmp; fastcgi_temp_path {folder}/tmp; uwsgi_temp_path {folder}/tmp; \
             scgi_temp_path {folder}/tmp;\n"
        );
        if self.includes {
            let _ = writeln!(text, "include {folder}/agente/*.conf;");
        }
        let _ = writeln!(text, "{}", self.http);
        for Site { port, slot, pass } in self.sites.values() {
            let header = if pass.starts_with('$') {
                format!("add_header X-Agente-Slot ${slot} always;")
            } else {
                String::new()
            };
            let _ = writeln!(
                text,
                "server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://{pass}; \
                 proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_buffering off; \
                 proxy_next_upstream off; proxy_read_timeout 600s; {header} }} }}"
            );
        }
        text.push_str("}\n");
        std::fs::write(self.path("nginx.conf"), text).expect("the configuration is written");
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        // Its workers hide their arguments; by this folder they are found.
        command
            .current_dir(&self.folder)
            .arg("-c")
            .arg(self.path("nginx.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Starts it and waits until it has said who it is.
    pub fn start(&mut self) {
        self.write();
        self.master = Some(self.command().spawn().expect("NGINX starts"));
        let pid = self.master.as_ref().map(Child::id).unwrap_or_default();
        let pid_file = self.path("nginx.pid");
        wait_for("NGINX's pid file", || {
            assert!(processes::runs(pid), "NGINX ended at once: {}", self.errors());
            std::fs::read_to_string(&pid_file).ok().filter(|text| text.trim() == pid.to_string())
        });
        for Site { port, .. } in self.sites.values() {
            wait_for("NGINX's answer", || std::net::TcpStream::connect(("127.0.0.1", *port)).ok());
        }
    }

    /// Whether it was started and not stopped.
    pub fn runs(&self) -> bool {
        self.master.is_some()
    }

    /// The master's number.
    pub fn master(&self) -> u32 {
        self.master.as_ref().map(Child::id).expect("NGINX runs")
    }

    /// Tells it to load its configuration.
    pub fn reload(&self) {
        let done = self.command().args(["-s", "reload"]).status().expect("NGINX is told to reload");
        assert!(done.success(), "NGINX refused to reload: {}", self.errors());
    }

    /// The same, and waits until no worker from before takes connections: until then some answers
    /// come from what was configured before.
    pub fn reload_and_settle(&self) {
        let before = self.accepting();
        self.reload();
        wait_for("the earlier workers to take no more connections", || {
            self.accepting().iter().all(|pid| !before.contains(pid)).then_some(())
        });
    }

    /// The workers that take connections.
    fn accepting(&self) -> Vec<u32> {
        let title =
            |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let accepts = |title: &str| {
            title.starts_with("nginx: worker process") && !title.contains("shutting down")
        };
        processes::under(&self.folder).into_iter().filter(|pid| accepts(&title(*pid))).collect()
    }

    /// Stops it at once.
    pub fn stop(&mut self) {
        let Some(mut master) = self.master.take() else { return };
        processes::kill(master.id(), Signal::TERM);
        let _ = master.wait();
    }

    /// What it wrote into its log.
    pub fn errors(&self) -> String {
        std::fs::read_to_string(self.path("error.log")).unwrap_or_default()
    }
}
