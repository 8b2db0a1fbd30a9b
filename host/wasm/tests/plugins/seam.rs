//! The seam: what a plugin does to the world and what the world answers are values, so that a call
//! can be recorded and run again without the world.

use crate::fixture::{SECRET, World, lock, nothing_new};
use agente_engine::names::OpId;
use agente_engine::ports::TrafficSwitcher as _;
use agente_wasm::{
    Answer, CallName, Effect, EffectError, Follow, Handle, OperationContext, Paths, Performer,
    Permit, Seam,
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// One thing that passed the seam.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Passed {
    Followed(PathBuf, Follow, Vec<PathBuf>),
    LookedUp(String, u16, Result<Vec<SocketAddr>, EffectError>),
    Done(Box<(Permit, Result<Answer, EffectError>)>),
}

#[derive(Clone, Default)]
struct Tape(Arc<Mutex<VecDeque<Passed>>>);

impl Tape {
    fn written(&self) -> String {
        serde_json::to_string(&*self.0.lock().unwrap()).unwrap()
    }

    fn read(text: &str) -> Self {
        Self(Arc::new(Mutex::new(serde_json::from_str(text).unwrap())))
    }

    fn push(&self, passed: Passed) {
        self.0.lock().unwrap().push_back(passed);
    }

    fn next(&self) -> Passed {
        self.0.lock().unwrap().pop_front().unwrap()
    }
}

/// Keeps what passes.
struct Recording(Tape);

impl Seam for Recording {
    fn performer(&self, _call: CallName, world: Arc<dyn Performer>) -> Arc<dyn Performer> {
        Arc::new(Recorder { tape: self.0.clone(), world })
    }
}

struct Recorder {
    tape: Tape,
    world: Arc<dyn Performer>,
}

impl Paths for Recorder {
    fn follow(&self, path: &Path, how: Follow) -> Vec<PathBuf> {
        let found = self.world.follow(path, how);
        self.tape.push(Passed::Followed(path.to_owned(), how, found.clone()));
        found
    }
}

#[async_trait]
impl Performer for Recorder {
    async fn look_up(
        &self,
        host: &str,
        port: u16,
        limit: Duration,
    ) -> Result<Vec<SocketAddr>, EffectError> {
        let found = self.world.look_up(host, port, limit).await;
        self.tape.push(Passed::LookedUp(host.to_owned(), port, found.clone()));
        found
    }

    async fn perform(&self, permit: &Permit) -> Result<Answer, EffectError> {
        let answer = self.world.perform(permit).await;
        self.tape.push(Passed::Done(Box::new((permit.clone(), answer.clone()))));
        answer
    }

    fn close(&self, handle: Handle) {
        self.world.close(handle);
    }
}

/// Answers from a tape, and never asks the world.
struct Replaying(Tape);

impl Seam for Replaying {
    fn performer(&self, _call: CallName, _world: Arc<dyn Performer>) -> Arc<dyn Performer> {
        Arc::new(Replay(self.0.clone()))
    }
}

struct Replay(Tape);

impl Paths for Replay {
    fn follow(&self, path: &Path, how: Follow) -> Vec<PathBuf> {
        match self.0.next() {
            Passed::Followed(before, then, found) if (&*before, then) == (path, how) => found,
            other => panic!("following {} {how:?}, and there was {other:?}", path.display()),
        }
    }
}

#[async_trait]
impl Performer for Replay {
    async fn look_up(
        &self,
        host: &str,
        port: u16,
        _limit: Duration,
    ) -> Result<Vec<SocketAddr>, EffectError> {
        match self.0.next() {
            Passed::LookedUp(before, at, found) if (before.as_str(), at) == (host, port) => found,
            other => panic!("looking `{host}` up, and there was {other:?}"),
        }
    }

    async fn perform(&self, permit: &Permit) -> Result<Answer, EffectError> {
        match self.0.next() {
            Passed::Done(done) if done.0 == *permit => done.1,
            other => panic!("{permit:?}, and there was {other:?}"),
        }
    }

    fn close(&self, _handle: Handle) {}
}

/// Answers one request in two parts, and one connection with plain words.
async fn serve(listener: tokio::net::TcpListener) -> Vec<String> {
    let mut heard = Vec::new();
    for _ in 0..2 {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = vec![0; 4096];
        let read = stream.read(&mut bytes).await.unwrap();
        let asked = String::from_utf8_lossy(&bytes[..read]).into_owned();
        if asked.starts_with("GET") {
            let begun = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            stream.write_all(begun.as_bytes()).await.unwrap();
            for part in ["5\r\nfirst\r\n", "7\r\n, then \r\n0\r\n\r\n"] {
                stream.write_all(part.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
            }
        } else {
            stream.write_all(b"pong").await.unwrap();
        }
        heard.push(asked);
    }
    heard
}

#[tokio::test]
async fn a_recorded_call_runs_again_without_the_world_and_answers_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, "before").unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(serve(listener));
    let origin = format!("http://127.0.0.1:{port}");
    let config = json!({
        "act": "survey", "path": path, "folder": folder.path(),
        "host": "127.0.0.1", "port": port, "send": "ping",
        "authority": format!("127.0.0.1:{port}"), "secret": "token",
        "headers": { "authorization": "Bearer {secret}" },
        "program": "/usr/bin/env", "args": [], "env": ["GREETING"],
        "key": "k", "text": "v",
        "may": {
            "write": format!("{}/*", folder.path().display()), "run": "/usr/bin/env",
            "connect": format!("127.0.0.1:{port}"), "ask": origin,
            "send": "token", "send_to": "127.0.0.1",
        },
    });
    let op = OpId("op-1".to_owned());
    let apply = async |world: World| {
        let plugin = world.load(config.clone()).await;
        plugin
            .switcher(OperationContext::default())
            .unwrap()
            .apply(&op, &nothing_new(), &lock())
            .await
    };

    let tape = Tape::default();
    let recorded = apply(World::behind(Arc::new(Recording(tape.clone())))).await.unwrap();
    assert_eq!(recorded.message, "before|file|pong|200 first, then |Some(0) GREETING=hello\n|v");
    let heard = server.await.unwrap();
    assert!(heard.iter().any(|asked| asked.contains(&format!("Bearer {SECRET}"))), "{heard:?}");
    let written = tape.written();
    assert!(!written.contains(SECRET), "{written}");

    // Nothing of the world is there any more, and nothing of it is touched.
    std::fs::remove_file(&path).unwrap();
    let tape = Tape::read(&written);
    let replayed = apply(World::behind(Arc::new(Replaying(tape.clone())))).await.unwrap();
    assert_eq!(replayed, recorded);
    assert!(tape.0.lock().unwrap().is_empty(), "the call did less than was recorded");
    assert!(!path.exists());
}

/// A world in which a file can't be written.
struct Refusing;

impl Seam for Refusing {
    fn performer(&self, call: CallName, world: Arc<dyn Performer>) -> Arc<dyn Performer> {
        assert_eq!(call.plugin.as_str(), "test-guest");
        Arc::new(Refuser(world))
    }
}

struct Refuser(Arc<dyn Performer>);

impl Paths for Refuser {
    fn follow(&self, path: &Path, how: Follow) -> Vec<PathBuf> {
        self.0.follow(path, how)
    }
}

#[async_trait]
impl Performer for Refuser {
    async fn look_up(
        &self,
        host: &str,
        port: u16,
        limit: Duration,
    ) -> Result<Vec<SocketAddr>, EffectError> {
        self.0.look_up(host, port, limit).await
    }

    async fn perform(&self, permit: &Permit) -> Result<Answer, EffectError> {
        match &permit.effect {
            // An answer to another question.
            Effect::ReplaceFile { .. } => Ok(Answer::Mark(7)),
            _ => self.0.perform(permit).await,
        }
    }

    fn close(&self, handle: Handle) {
        self.0.close(handle);
    }
}

#[tokio::test]
async fn an_answer_to_another_question_is_a_failure_and_not_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let config = json!({ "act": "replace", "path": path, "text": "x", "may": { "write": path } });
    let world = World::behind(Arc::new(Refusing));
    let failure = world.change(config).await.unwrap_err();
    assert!(failure.fault().message.contains("as if it were another one"), "{failure}");
    assert!(!path.exists());
}
