//! A socket before the engine's that can lose connections: the way to die at each single call, and
//! to break a stream in the middle.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

/// At which changing call the connection is lost.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Loss {
    /// The engine never hears of it.
    Before(usize),
    /// The engine has done it, the caller never learns.
    After(usize),
    /// It is held until the gate is opened, and reaches the engine then, whoever has left.
    Held(usize),
    Never,
}

pub(crate) struct Proxy {
    pub(crate) socket: PathBuf,
    changes: Arc<AtomicUsize>,
    cut: Arc<Notify>,
    gate: Gate,
    task: tokio::task::JoinHandle<()>,
    _folder: TempDir,
}

/// Where a call is held. Each is told once.
#[derive(Debug, Clone, Default)]
struct Gate {
    reached: Arc<Notify>,
    opened: Arc<Notify>,
    answered: Arc<Notify>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    pub(crate) fn before(engine: PathBuf, loss: Loss) -> Proxy {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("s");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let (changes, cut) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let gate = Gate::default();
        let task = tokio::spawn(accept(
            listener,
            engine,
            loss,
            Arc::clone(&changes),
            Arc::clone(&cut),
            gate.clone(),
        ));
        Proxy { socket, changes, cut, gate, task, _folder: folder }
    }

    /// How many changing calls came.
    pub(crate) fn changes(&self) -> usize {
        self.changes.load(Ordering::SeqCst)
    }

    /// Waits until a call is held.
    pub(crate) async fn holds(&self) {
        self.gate.reached.notified().await;
    }

    /// Lets the held call through, and waits until the engine has answered it.
    pub(crate) async fn open(&self) {
        self.gate.opened.notify_one();
        self.gate.answered.notified().await;
    }

    /// Breaks all connections of now.
    pub(crate) fn cut_all(&self) {
        self.cut.notify_waiters();
    }
}

async fn accept(
    listener: UnixListener,
    engine: PathBuf,
    loss: Loss,
    changes: Arc<AtomicUsize>,
    cut: Arc<Notify>,
    gate: Gate,
) {
    loop {
        let Ok((client, _)) = listener.accept().await else { return };
        let (engine, changes, cut) = (engine.clone(), Arc::clone(&changes), Arc::clone(&cut));
        let gate = gate.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = cut.notified() => {}
                () = forward(client, engine, loss, changes, gate) => {}
            }
        });
    }
}

async fn forward(
    mut client: UnixStream,
    engine: PathBuf,
    loss: Loss,
    changes: Arc<AtomicUsize>,
    gate: Gate,
) {
    let Ok(mut server) = UnixStream::connect(engine).await else { return };
    let mut head = Vec::new();
    let mut chunk = vec![0; 64 * 1024];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        match client.read(&mut chunk).await {
            Ok(read) if read > 0 => head.extend_from_slice(&chunk[..read]),
            _ => return,
        }
    }
    let number = if head.starts_with(b"POST ") || head.starts_with(b"DELETE ") {
        changes.fetch_add(1, Ordering::SeqCst)
    } else {
        usize::MAX
    };
    if matches!(loss, Loss::Before(at) if at == number) {
        return;
    }
    if matches!(loss, Loss::Held(at) if at == number) {
        held(client, server, head, gate).await;
        return;
    }
    if server.write_all(&head).await.is_err() {
        return;
    }
    if matches!(loss, Loss::After(at) if at == number) {
        // The body may not have come with the head: both ways stay open until the engine answers.
        let (mut of_server, mut to_server) = server.split();
        let mut answer = [0; 1];
        tokio::select! {
            _ = tokio::io::copy(&mut client, &mut to_server) => {}
            _ = of_server.read(&mut answer) => {}
        }
        return;
    }
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}

/// Takes the whole call, which the caller may leave then; the engine gets it once the gate is open.
async fn held(mut client: UnixStream, mut server: UnixStream, mut call: Vec<u8>, gate: Gate) {
    let body_at = call.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or_default() + 4;
    let head = String::from_utf8_lossy(&call[..body_at]).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|length| length.trim().parse::<usize>().ok())
        .unwrap_or_default();
    let mut chunk = vec![0; 64 * 1024];
    while call.len() < body_at + length {
        match client.read(&mut chunk).await {
            Ok(read) if read > 0 => call.extend_from_slice(&chunk[..read]),
            _ => return,
        }
    }
    gate.reached.notify_one();
    gate.opened.notified().await;
    if server.write_all(&call).await.is_err() {
        return;
    }
    let read = server.read(&mut chunk).await.unwrap_or_default();
    let _left = client.write_all(&chunk[..read]).await;
    gate.answered.notify_one();
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}
