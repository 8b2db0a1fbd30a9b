//! Starts the service on a free port and talks to it over bare sockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Long enough for anything that should happen on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(5);

/// A running service, killed when dropped.
pub(crate) struct Service {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) log: BufReader<std::process::ChildStdout>,
}

/// One whole answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

impl Service {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[])
    }

    pub(crate) fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_agente-api"))
            .arg("127.0.0.1:0")
            .args(arguments)
            .env_clear()
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the service starts");
        let mut log = BufReader::new(child.stdout.take().expect("its output is piped"));
        let mut line = String::new();
        log.read_line(&mut line).expect("the service prints its address");
        let address = line
            .trim()
            .rsplit(' ')
            .next()
            .expect("an address")
            .parse()
            .expect("an address at the end of the first line");
        Self { child, address, log }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("the service accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, b"")
    }

    pub(crate) fn ask(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        let mut stream = self.connect();
        send(&mut stream, method, path, body, "close");
        receive_to_end(&mut stream)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the service can be signalled");
    }

    /// Waits for the process to end by itself.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("the service can be waited for") {
                return status;
            }
            assert!(Instant::now() < deadline, "the service did not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the service can be waited for").is_none()
    }

    /// Asks again and again until an answer has this status.
    pub(crate) fn wait_for(&self, path: &str, status: u16) -> Answer {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.get(path);
            if answer.status == status {
                return answer;
            }
            assert!(Instant::now() < deadline, "{path} still answers {}", answer.status);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn send(
    stream: &mut TcpStream,
    method: &str,
    path: &str,
    body: &[u8],
    connection: &str,
) {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: {connection}\r\nContent-Length: \
         {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("the request is sent");
    stream.write_all(body).expect("the body is sent");
}

/// Reads one answer with `Content-Length` and leaves the connection open.
pub(crate) fn receive(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("a whole header");
        bytes.push(byte[0]);
    }
    let mut answer = parse(&bytes);
    let mut body =
        vec![0; answer.header("content-length").expect("a length").parse().expect("a length")];
    stream.read_exact(&mut body).expect("a whole body");
    answer.body = String::from_utf8(body).expect("text");
    answer
}

/// Reads until the service closes the connection.
pub(crate) fn receive_to_end(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer and an orderly end");
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Answer {
    let text = String::from_utf8(bytes.to_vec()).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a whole header");
    let status = head.split(' ').nth(1).expect("a status").parse().expect("a status");
    Answer { status, head: head.replace("\r\n", "\n"), body: body.to_owned() }
}
