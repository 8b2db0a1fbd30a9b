//! A server on a free port that does to each request what a script says, and remembers what it saw.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agente_engine::policy::{FailingBaseline, ProbePolicy};
use agente_engine::ports::ProbeReport;
use agente_engine::ports::Prober as _;
use agente_probe::HttpProber;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// Long enough for anything that should happen on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// A whole answer with this status and identity.
    Answer(u16, &'static str),
    /// A whole answer after this time.
    Late(Duration),
    /// A whole answer, and then the connection ends without having said so.
    AnswerThenEnd,
    /// A whole answer that says `Connection: close`.
    AnswerClose,
    /// An answer that goes on until the connection ends.
    UntilEnd,
    /// The connection ends in order, without an answer.
    End,
    /// The connection is reset, without an answer.
    Reset,
    /// The connection ends within the header.
    HalfHeader,
    /// The body is shorter than declared.
    ShortBody,
    /// The body ends between two chunks.
    CutChunks,
    /// The connection is reset within the body.
    ResetBody,
    /// A chunk without a length.
    BadChunk,
    /// Something that is not HTTP.
    Garbage,
    /// The header, and then nothing.
    HeaderThenSilence,
    /// Nothing at all.
    Silence,
    /// Sends the client elsewhere.
    Redirect,
}

/// One request as the server saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) connection: usize,
    /// How many came before it on its connection.
    pub(crate) nth: usize,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    pub(crate) fn is_post(&self) -> bool {
        self.head.starts_with("POST ")
    }
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) seen: Mutex<Vec<Seen>>,
    pub(crate) acts: Mutex<Vec<(Act, usize)>>,
    pub(crate) open: AtomicUsize,
    pub(crate) accepted: AtomicUsize,
    pub(crate) most_open: AtomicUsize,
}

/// Runs until it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<State>,
    _serving: JoinSet<()>,
}

type Script = dyn Fn(usize, &Seen) -> Act + Send + Sync;
type Accepted<S> = Pin<Box<dyn Future<Output = Option<S>> + Send>>;

impl Server {
    /// Serves plain HTTP. The script gets how many requests came before, and the request.
    pub(crate) async fn start(
        script: impl Fn(usize, &Seen) -> Act + Send + Sync + 'static,
    ) -> Self {
        Self::start_over(script, |stream| Box::pin(async { Some(stream) })).await
    }

    /// Serves over what `wrap` makes of each connection.
    pub(crate) async fn start_over<S>(
        script: impl Fn(usize, &Seen) -> Act + Send + Sync + 'static,
        wrap: impl Fn(TcpStream) -> Accepted<S> + Send + Sync + 'static,
    ) -> Self
    where
        S: Connection,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (state, script) = (Arc::new(State::default()), Arc::new(script));
        let mut serving = JoinSet::new();
        let shared = Arc::clone(&state);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let number = shared.accepted.fetch_add(1, Ordering::SeqCst);
                let (state, script, stream) =
                    (Arc::clone(&shared), Arc::clone(&script), wrap(stream));
                connections.spawn(async move {
                    let open = state.open.fetch_add(1, Ordering::SeqCst) + 1;
                    state.most_open.fetch_max(open, Ordering::SeqCst);
                    if let Some(stream) = stream.await {
                        converse(stream, number, &state, script.as_ref()).await;
                    }
                    state.open.fetch_sub(1, Ordering::SeqCst);
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, state, _serving: serving }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/probe", self.address)
    }

    pub(crate) fn policy(&self) -> ProbePolicy {
        policy(&self.url())
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().expect("a list").clone()
    }

    /// How often the server did this to a request that was (or was not) the first on its
    /// connection.
    pub(crate) fn did(&self, act: Act, reused: bool) -> u64 {
        self.state
            .acts
            .lock()
            .expect("a list")
            .iter()
            .filter(|(done, nth)| *done == act && (*nth > 0) == reused)
            .count() as u64
    }
}

/// What a policy says unless a test wants otherwise.
pub(crate) fn policy(url: &str) -> ProbePolicy {
    ProbePolicy {
        url: url.to_owned(),
        connect: None,
        host: None,
        ca: None,
        rate: 200.0,
        timeout: Duration::from_secs(20),
        post_path: None,
        baseline: Duration::from_secs(5),
        budget: 0,
        count_idle_resets: false,
        identity_header: Some("X-Slot".to_owned()),
        identity_value: "{slot}".to_owned(),
        on_failing_baseline: FailingBaseline::Refuse,
    }
}

/// Waits until the report is as wanted.
pub(crate) async fn until(
    prober: &HttpProber,
    what: &str,
    wanted: impl Fn(&ProbeReport) -> bool,
) -> ProbeReport {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let report = prober.report();
        if wanted(&report) {
            return report;
        }
        assert!(Instant::now() < deadline, "never {what}: {report:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// What the server can do with a connection besides reading and writing.
pub(crate) trait Connection: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// Ends it with a reset.
    fn reset(self);
}

impl Connection for TcpStream {
    fn reset(self) {
        self.set_zero_linger().expect("the connection can be reset");
    }
}

impl Connection for tokio_rustls::server::TlsStream<TcpStream> {
    fn reset(self) {
        self.get_ref().0.set_zero_linger().expect("the connection can be reset");
    }
}

async fn converse(mut stream: impl Connection, connection: usize, state: &State, script: &Script) {
    for nth in 0.. {
        let Some(seen) = receive(&mut stream, connection, nth).await else { return };
        let act = {
            let mut all = state.seen.lock().expect("a list");
            let act = script(all.len(), &seen);
            all.push(seen);
            state.acts.lock().expect("a list").push((act, nth));
            act
        };
        let whole = |status: u16, slot: &str, extra: &str| {
            format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\nX-Slot: {slot}\r\n{extra}\r\nok")
        };
        let (text, goes_on) = match act {
            Act::Answer(status, slot) => (whole(status, slot, ""), true),
            Act::Late(time) => {
                sleep(time).await;
                (whole(200, "late", ""), true)
            }
            Act::AnswerThenEnd => (whole(200, "blue", ""), false),
            Act::AnswerClose => (whole(200, "blue", "Connection: close\r\n"), false),
            Act::UntilEnd => {
                ("HTTP/1.1 200 OK\r\nX-Slot: blue\r\n\r\nall there is".to_owned(), false)
            }
            Act::End => (String::new(), false),
            Act::Reset => return stream.reset(),
            Act::HalfHeader => ("HTTP/1.1 200 OK\r\nContent-Le".to_owned(), false),
            Act::ShortBody => {
                ("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nonly this".to_owned(), false)
            }
            Act::CutChunks => (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n".to_owned(),
                false,
            ),
            Act::ResetBody => {
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nonly this")
                    .await;
                // A reset overtakes what is still on its way; the client has read it all once it
                // says nothing more for a moment.
                let _ =
                    tokio::time::timeout(Duration::from_millis(200), stream.read(&mut [0])).await;
                return stream.reset();
            }
            Act::BadChunk => (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nsome\r\nmore".to_owned(),
                false,
            ),
            Act::Garbage => ("SSH-2.0-OpenSSH\r\n\r\n".to_owned(), false),
            Act::HeaderThenSilence => {
                ("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nonly this".to_owned(), true)
            }
            Act::Silence => (String::new(), true),
            Act::Redirect => (
                "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
                    .to_owned(),
                true,
            ),
        };
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
        let _ = stream.flush().await;
        if !goes_on {
            let _ = stream.shutdown().await;
            return;
        }
    }
}

async fn receive(stream: &mut impl Connection, connection: usize, nth: usize) -> Option<Seen> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(bytes).expect("a header").replace("\r\n", "\n");
    let mut seen = Seen { connection, nth, head, body: Vec::new() };
    if let Some(length) = seen.header("content-length") {
        let mut body = vec![0; length.parse().expect("a length")];
        stream.read_exact(&mut body).await.ok()?;
        seen.body = body;
    }
    Some(seen)
}
