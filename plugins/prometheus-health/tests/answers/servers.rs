//! Servers for the tests: a real Prometheus with an exporter of the test's own, and a hand-written
//! server that says what a real one won't say on demand.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Until when a server must have done what is waited for, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// Waits until something is there.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what} did not come within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A server that treats each connection as a function says, each in a thread of its own. It ends
/// with the test's process.
pub(crate) struct Crafted {
    pub(crate) address: String,
    /// The heads of the requests so far.
    pub(crate) heads: Arc<Mutex<Vec<String>>>,
}

impl Crafted {
    /// Starts one that answers by the request's head.
    pub(crate) fn start(treat: impl Fn(TcpStream, &str) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (treat, seen) = (Arc::new(treat), Arc::clone(&heads));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (treat, seen) = (Arc::clone(&treat), Arc::clone(&seen));
                std::thread::spawn(move || {
                    let head = read_head(&mut stream);
                    seen.lock().expect("heads").push(head.clone());
                    treat(stream, &head);
                });
            }
        });
        Self { address, heads }
    }

    /// One that always gives the same status line, headers and body.
    pub(crate) fn answering(head: &str, body: &str) -> Self {
        let bytes = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        Self::start(move |mut stream, _| {
            let _gone = stream.write_all(bytes.as_bytes());
        })
    }
}

/// Reads a request's head and gives it as text.
fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// An address where nothing listens.
pub(crate) fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").to_string()
}

/// What Prometheus scrapes. A stopped one ends each connection without a word.
pub(crate) struct Exporter {
    /// Where it listens: the label `instance`.
    pub(crate) address: String,
    stopped: Arc<AtomicBool>,
}

impl Exporter {
    /// Starts one that tells its metrics by the milliseconds since its start.
    pub(crate) fn start(metrics: impl Fn(u128) -> String + Send + Sync + 'static) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let (begun, gone) = (Instant::now(), Arc::clone(&stopped));
        let server = Crafted::start(move |mut stream, _| {
            if !gone.load(Ordering::SeqCst) {
                let body = metrics(begun.elapsed().as_millis());
                let _gone = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\ncontent-type: text/plain; \
                     version=0.0.4\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        Self { address: server.address, stopped }
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }
}

/// A real Prometheus that scrapes one exporter four times a second; stopped when dropped.
pub(crate) struct Prometheus {
    /// Its base URL.
    pub(crate) url: String,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// Starts it and waits until it answers.
    pub(crate) fn start(exporter: &Exporter) -> Self {
        let program = Path::new("/usr/bin/prometheus");
        assert!(
            program.exists(),
            "these tests need Prometheus at `/usr/bin/prometheus`: apt-get install prometheus"
        );
        let folder = tempfile::tempdir().expect("a folder");
        let address = nobody();
        let file = folder.path().join("prometheus.yml");
        let text = format!(
            "global: {{ scrape_interval: 250ms, scrape_timeout: 250ms }}\nscrape_configs:\n- \
             job_name: shop\n  static_configs:\n  - targets: ['{}']\n",
            exporter.address
        );
        std::fs::write(&file, text).expect("a configuration");
        let child = Command::new(program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=error")
            .env("GOMAXPROCS", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Prometheus starts");
        let mut prometheus = Self { url: format!("http://{address}"), child, _folder: folder };
        until("an answer of Prometheus", || {
            assert!(
                prometheus.child.try_wait().expect("a child").is_none(),
                "Prometheus ended at once"
            );
            let mut stream = TcpStream::connect(&address).ok()?;
            write!(stream, "GET /-/ready HTTP/1.0\r\n\r\n").ok()?;
            read_head(&mut stream).starts_with("HTTP/1.0 200").then_some(())
        });
        prometheus
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
