//! Servers for the tests: a real NGINX, and hand-written ones that misbehave as no real one lets
//! itself be told to.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A server that treats each connection as a function says, each in a thread of its own.
pub(crate) struct Crafted {
    pub(crate) address: String,
    connections: Arc<AtomicUsize>,
}

impl Crafted {
    /// Starts one on a free port. It ends with the test's process.
    pub(crate) fn start(treat: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let treat = Arc::new(treat);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counted.fetch_add(1, Ordering::SeqCst);
                let treat = Arc::clone(&treat);
                std::thread::spawn(move || treat(stream));
            }
        });
        Self { address, connections }
    }

    /// One that reads the request and then writes these bytes and ends the connection.
    pub(crate) fn writing(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::start(move |mut stream| {
            read_head(&mut stream);
            let _gone = stream.write_all(&bytes);
        })
    }

    /// How many connections it was asked for.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Reads a request's head and gives it as text.
pub(crate) fn read_head(stream: &mut TcpStream) -> String {
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

/// A real NGINX with one server; stopped when dropped.
pub(crate) struct Nginx {
    pub(crate) address: String,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Nginx {
    /// Starts it with these directives in its server and waits until it takes connections.
    pub(crate) fn start(directives: &str) -> Self {
        let program = Path::new("/usr/sbin/nginx");
        assert!(
            program.exists(),
            "these tests need NGINX at `/usr/sbin/nginx`: apt-get install nginx"
        );
        let folder = tempfile::tempdir().expect("a folder");
        let address = nobody();
        let root = folder.path().display();
        let text = format!(
            "daemon off; master_process off; pid {root}/pid; error_log {root}/error.log;
             events {{ worker_connections 64; }}
             http {{
               access_log off; client_body_temp_path {root}/b; proxy_temp_path {root}/p; \
             fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;
               server {{ listen {address}; {directives} }}
             }}"
        );
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, text).expect("a configuration");
        let child = Command::new(program)
            .arg("-c")
            .arg(&file)
            .stderr(Stdio::null())
            .spawn()
            .expect("NGINX starts");
        let mut nginx = Self { address, child, _folder: folder };
        let begun = Instant::now();
        while TcpStream::connect(&nginx.address).is_err() {
            assert!(nginx.child.try_wait().expect("a child").is_none(), "NGINX ended at once");
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "NGINX took no connection within 20 s"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
