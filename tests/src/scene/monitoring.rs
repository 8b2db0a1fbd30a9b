//! A real Prometheus and a real Pushgateway, in the scene's folder, ended with it.

use super::{free_port, wait_for};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// How long one answer may take.
const LIMIT: Duration = Duration::from_secs(30);

/// A server of monitoring that listens on a port of its own.
pub struct Monitor {
    pub port: u16,
    child: Child,
}

impl Monitor {
    /// Starts a Prometheus with a configuration file, which is in the scene's folder.
    pub fn prometheus(configuration: &Path) -> Self {
        Self::prometheus_on(free_port(), configuration)
    }

    /// The same on a port of the caller's choice: one that was stopped comes back with what it
    /// knew.
    pub fn prometheus_on(port: u16, configuration: &Path) -> Self {
        let folder = configuration.parent().expect("a folder");
        let mut command = Command::new("/usr/bin/prometheus");
        command
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
        command
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--log.level=warn")
            .current_dir(folder);
        Self::start(command, port, "prometheus")
    }

    /// Starts a Pushgateway that remembers nothing.
    pub fn pushgateway(folder: &Path) -> Self {
        let port = free_port();
        let mut command = Command::new("/usr/bin/prometheus-pushgateway");
        command
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--log.level=warn")
            .current_dir(folder);
        Self::start(command, port, "prometheus-pushgateway")
    }

    fn start(mut command: Command, port: u16, package: &str) -> Self {
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.unwrap_or_else(|error| {
            panic!("Debian's package `{package}` is missing ({error}); `make setup` installs it")
        });
        let monitor = Self { port, child };
        wait_for(&format!("`{package}` to be ready"), || {
            (monitor.get("/-/ready").ok()?.0 == 200).then_some(())
        });
        monitor
    }

    /// Asks once; status and body.
    ///
    /// # Errors
    ///
    /// What went wrong on the connection.
    pub fn get(&self, path: &str) -> std::io::Result<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(LIMIT))?;
        // By 1.0, so that the body comes in one piece.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (head, body) = text
            .split_once("\r\n\r\n")
            .ok_or_else(|| std::io::Error::other("the answer ended within its head"))?;
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| std::io::Error::other("no status line"))?;
        Ok((status, body.to_owned()))
    }

    /// Asks the HTTP API of Prometheus and demands an answer without error.
    #[track_caller]
    pub fn api(&self, path: &str) -> Value {
        let (status, body) = self.get(&format!("/api/v1/{path}")).expect("an answer of Prometheus");
        let answer: Value =
            serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
        assert!(
            status == 200 && answer["status"] == "success",
            "`{path}` was answered {status}: {body}"
        );
        answer["data"].clone()
    }

    /// The samples of an expression now.
    #[track_caller]
    pub fn query(&self, expression: &str) -> Vec<Value> {
        let data = self.api(&format!("query?query={}", encoded(expression)));
        match data["resultType"].as_str() {
            Some("scalar") => vec![data["result"].clone()],
            _ => data["result"].as_array().cloned().unwrap_or_default(),
        }
    }

    /// The values of a label of the series that a selector finds.
    #[track_caller]
    pub fn label_values(&self, selector: &str, label: &str) -> Vec<Value> {
        self.api(&format!("label/{label}/values?match[]={}", encoded(selector)))
            .as_array()
            .cloned()
            .unwrap_or_default()
    }

    /// Ends it.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.end();
    }
}

/// Runs `promtool` with something on its standard input.
pub fn promtool(arguments: &[&str], folder: &Path, input: &str) -> Output {
    let mut command = Command::new("/usr/bin/promtool");
    command
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| {
        panic!("Debian's package `prometheus` is missing ({error}); `make setup` installs it")
    });
    child.stdin.take().expect("its input").write_all(input.as_bytes()).expect("promtool reads");
    child.wait_with_output().expect("promtool ends")
}

/// A text as a part of a URL's query.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut url, byte| {
        if byte.is_ascii_alphanumeric() {
            url.push(char::from(byte));
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
        url
    })
}
