//! The numbers about deployments where nothing was deployed yet, and the server that tells them.

use crate::sandbox::Sandbox;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};

const MANIFEST: &str = r#"service = "shop"
[runtime.process]
artifact = "shop"
command = ["./shop", "127.0.0.1:{port}"]
ports = "18100-18199"
[switch]
plugin = "nginx-switch"
"#;

/// A server of numbers on a port of its own.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(sandbox: &Sandbox, arguments: &[&str]) -> Self {
        let mut command =
            sandbox.command(&[&["metrics", "--listen", "127.0.0.1:0"], arguments].concat());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut said).unwrap();
        let port = said
            .trim()
            .strip_suffix("/metrics")
            .and_then(|url| url.rsplit(':').next()?.parse().ok());
        Self { child, port: port.unwrap_or_else(|| panic!("{said}")) }
    }

    /// Asks once; the status line, the rest of the head, and the body.
    fn ask(&self, method: &str, path: &str) -> (String, String, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let (status, head) = head.split_once("\r\n").unwrap();
        (status.to_owned(), head.to_ascii_lowercase(), body.to_owned())
    }

    /// Asks it to stop; how it ended.
    fn stop(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn where_nothing_was_deployed_the_numbers_are_zero_and_nothing_is_made() {
    let sandbox = Sandbox::with(MANIFEST);
    let before = sandbox.files();
    let run = sandbox.expect(0, &["metrics"]);
    let zero = r#"agente_deployments_total{environment="default",kind="deploy",outcome="promoted",service="shop"} 0"#;
    assert!(run.stdout.lines().any(|line| line == zero), "{}", run.stdout);
    assert!(run.stderr.is_empty(), "{}", run.stderr);
    assert_eq!(
        sandbox.expect(0, &["metrics", "--all"]).stdout,
        "",
        "there is no service in the store"
    );
    assert_eq!(sandbox.files(), before);
}

#[test]
fn a_server_answers_for_the_numbers_and_for_itself_until_it_is_asked_to_stop() {
    let sandbox = Sandbox::with(MANIFEST);
    let printed = sandbox.expect(0, &["metrics"]).stdout;
    let server = Server::start(&sandbox, &[]);
    let (status, head, body) = server.ask("GET", "/metrics");
    assert_eq!((status.as_str(), body), ("HTTP/1.1 200 OK", printed));
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert_eq!(server.ask("GET", "/healthz").2, "ok\n");
    let (status, head, body) = server.ask("HEAD", "/metrics");
    assert!(
        status.contains("200") && head.contains("content-length: ") && body.is_empty(),
        "{status} {head} {body}"
    );
    assert!(server.ask("GET", "/").0.contains("404"));
    let (status, head, _) = server.ask("POST", "/metrics");
    assert!(status.contains("405") && head.contains("allow: get, head"), "{status} {head}");
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_store_that_can_not_be_read_makes_the_server_unwell_and_not_wrong() {
    let sandbox = Sandbox::with(MANIFEST);
    let server = Server::start(&sandbox, &["--all"]);
    assert!(server.ask("GET", "/healthz").0.contains("200"));
    std::fs::create_dir_all(sandbox.state()).unwrap();
    std::fs::write(
        sandbox.state().join("store.db"),
        "no database at all, but long enough to be looked at ".repeat(50),
    )
    .unwrap();
    for path in ["/healthz", "/metrics"] {
        let (status, _, body) = server.ask("GET", path);
        assert!(status.contains("503") && body.contains("damaged"), "{path}: {status} {body}");
    }
}

#[test]
fn an_address_in_use_is_a_mistake_with_a_fix() {
    let sandbox = Sandbox::with(MANIFEST);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let run = sandbox.expect(2, &["metrics", "--listen", &address]);
    assert!(
        run.stderr.contains(&format!("can't listen on `{address}`"))
            && run.stderr.contains("--listen"),
        "{}",
        run.stderr
    );
    assert!(sandbox.expect(2, &["metrics", "--listen", "9464"]).stderr.contains("--listen"));
}
