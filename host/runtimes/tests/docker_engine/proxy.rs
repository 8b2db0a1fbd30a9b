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
    Never,
}

pub(crate) struct Proxy {
    pub(crate) socket: PathBuf,
    changes: Arc<AtomicUsize>,
    cut: Arc<Notify>,
    task: tokio::task::JoinHandle<()>,
    _folder: TempDir,
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
        let task =
            tokio::spawn(accept(listener, engine, loss, Arc::clone(&changes), Arc::clone(&cut)));
        Proxy { socket, changes, cut, task, _folder: folder }
    }

    /// How many changing calls came.
    pub(crate) fn changes(&self) -> usize {
        self.changes.load(Ordering::SeqCst)
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
) {
    loop {
        let Ok((client, _)) = listener.accept().await else { return };
        let (engine, changes, cut) = (engine.clone(), Arc::clone(&changes), Arc::clone(&cut));
        tokio::spawn(async move {
            tokio::select! {
                () = cut.notified() => {}
                () = forward(client, engine, loss, changes) => {}
            }
        });
    }
}

async fn forward(mut client: UnixStream, engine: PathBuf, loss: Loss, changes: Arc<AtomicUsize>) {
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
