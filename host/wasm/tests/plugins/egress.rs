//! The way out: names, addresses, methods, redirects, secrets, TLS.

use crate::fixture::{SECRET, World, words};
use agente_engine::fault::FaultKind;
use agente_wasm::OperationContext;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A server that keeps what it was sent and answers each connection alike.
struct Server {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answer: &'static str) -> Self {
        Self::start_with(answer, None).await
    }

    async fn start_with(answer: &'static str, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, kept) = (tls.clone(), Arc::clone(&kept));
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, answer, kept).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, answer, kept).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, requests }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    answer: &'static str,
    kept: Arc<Mutex<Vec<String>>>,
) {
    let mut request = Vec::new();
    let mut part = [0; 4096];
    loop {
        let Ok(read) = stream.read(&mut part).await else { return };
        request.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&request).to_lowercase();
        let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map(|length| length.parse::<usize>().unwrap());
            if head.contains("transfer-encoding: chunked") {
                body.ends_with("0\r\n\r\n")
            } else {
                body.len() >= length.unwrap_or(0)
            }
        });
        if whole || read == 0 {
            break;
        }
    }
    kept.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";

#[tokio::test]
async fn a_loopback_address_is_reached_only_if_it_was_written_down() {
    let server = Server::start("hi").await;
    let connect = |host: &str, may: serde_json::Value| {
        let port = server.port;
        json!({ "act": "connect", "host": host, "port": port, "send": "\r\n\r\n", "may": may })
    };
    let world = World::default();
    let fault = world.look(connect("127.0.0.1", json!({}))).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Denied);
    assert!(
        words(&fault).contains(&format!("tcp = [{{ address = \"127.0.0.1:{}\" }}]", server.port)),
        "{}",
        words(&fault)
    );

    // A name that stands for a loopback address needs `private`.
    let fault = world
        .look(connect("localhost", json!({ "connect": format!("localhost:{}", server.port) })))
        .await
        .unwrap_err();
    assert_eq!(fault.kind, FaultKind::Denied);
    assert!(fault.message.contains("a loopback address"), "{}", fault.message);
    assert!(words(&fault).contains("private = true"), "{}", words(&fault));
    assert!(server.requests().is_empty(), "a connection was made");

    assert_eq!(
        world
            .look(connect(
                "localhost",
                json!({ "connect_privately": format!("localhost:{}", server.port) })
            ))
            .await
            .unwrap(),
        "hi"
    );
    assert_eq!(
        world
            .look(connect("127.0.0.1", json!({ "connect": format!("127.0.0.1:{}", server.port) })))
            .await
            .unwrap(),
        "hi"
    );
    // Another way to write it is another address.
    let mapped = world
        .look(connect(
            "::ffff:127.0.0.1",
            json!({ "connect": format!("127.0.0.1:{}", server.port) }),
        ))
        .await
        .unwrap_err();
    assert_eq!(mapped.kind, FaultKind::Denied);
}

#[tokio::test]
async fn the_backends_of_the_deployment_are_reached_and_no_other_port() {
    let server = Server::start("hi").await;
    let other = Server::start("no").await;
    let context = OperationContext {
        backends: vec![format!("127.0.0.1:{}", server.port)],
        ..OperationContext::default()
    };
    let connect = |port: u16| json!({ "act": "connect", "host": "127.0.0.1", "port": port, "send": "\r\n\r\n" });
    assert_eq!(
        World::default().look_with(connect(server.port), context.clone()).await.unwrap(),
        "hi"
    );
    assert_eq!(
        World::default().look_with(connect(other.port), context).await.unwrap_err().kind,
        FaultKind::Denied
    );
    assert!(other.requests().is_empty());
}

#[tokio::test]
async fn the_metadata_service_is_not_private_but_forbidden() {
    for host in ["169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254"] {
        let fault = World::default()
            .look(json!({ "act": "connect", "host": host, "port": 80, "send": "", "may": { "connect_privately": "metadata.example:80" } }))
            .await
            .unwrap_err();
        assert_eq!(fault.kind, FaultKind::Denied, "{host}");
    }
}

fn http(server: &Server, more: &serde_json::Value) -> serde_json::Value {
    let mut config = json!({ "act": "http", "authority": format!("127.0.0.1:{}", server.port), "may": { "ask": format!("http://127.0.0.1:{}", server.port) } });
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

#[tokio::test]
async fn a_granted_server_is_asked_and_only_by_granted_methods() {
    let server = Server::start(GOOD).await;
    let world = World::default();
    assert_eq!(
        world.look(http(&server, &json!({ "target": "/healthz?x=1" }))).await.unwrap(),
        "200 hello"
    );
    let request = server.requests().remove(0);
    assert!(request.starts_with("GET /healthz?x=1 HTTP/1.1\r\n"), "{request}");
    assert!(
        request.to_lowercase().contains(&format!("host: 127.0.0.1:{}\r\n", server.port)),
        "{request}"
    );
    assert!(request.contains("(test-guest)"), "{request}");

    let fault =
        world.look(http(&server, &json!({ "method": "POST", "body": "x" }))).await.unwrap_err();
    assert!(words(&fault).contains("the operation is read-only"), "{}", words(&fault));
    assert_eq!(
        world.change(http(&server, &json!({ "method": "POST", "body": "x" }))).await.unwrap(),
        "200 hello"
    );
    let failure = world.change(http(&server, &json!({ "method": "PURGE" }))).await.unwrap_err();
    assert!(words(failure.fault()).contains("methods = [\"PURGE\"]"), "{}", words(failure.fault()));
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_server_that_was_not_granted_is_denied_and_the_fault_says_why() {
    let server = Server::start(GOOD).await;
    let fault = World::default().look(http(&server, &json!({ "may": {} }))).await.unwrap_err();
    let line =
        format!("net = [{{ origin = \"http://127.0.0.1:{}\", methods = [\"GET\"] }}]", server.port);
    assert!(words(&fault).contains(&line), "{}", words(&fault));
    // The same host by another scheme is another origin.
    let fault =
        World::default().look(http(&server, &json!({ "scheme": "https" }))).await.unwrap_err();
    assert!(words(&fault).contains("its request does not include that"), "{}", words(&fault));
    // A name that stands for a loopback address.
    let localhost = json!({ "act": "http", "authority": format!("localhost:{}", server.port), "may": { "ask": format!("http://localhost:{}", server.port) } });
    let fault = World::default().look(localhost).await.unwrap_err();
    assert!(words(&fault).contains("a loopback address"), "{}", words(&fault));
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let target = Server::start(GOOD).await;
    let answer: &'static str = Box::leak(
        format!(
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{}/\r\nContent-Length: \
             0\r\nConnection: close\r\n\r\n",
            target.port
        )
        .into_boxed_str(),
    );
    let server = Server::start(answer).await;
    assert_eq!(World::default().look(http(&server, &json!({}))).await.unwrap(), "302 ");
    assert!(target.requests().is_empty());
}

#[tokio::test]
async fn a_secret_is_swapped_on_the_way_out_to_its_host_and_to_no_other() {
    let server = Server::start(GOOD).await;
    let world = World::default();
    let may = json!({ "ask": format!("http://127.0.0.1:{}", server.port), "send": "token", "send_to": "127.0.0.1" });
    let more = json!({ "method": "POST", "secret": "token", "headers": { "authorization": "Bearer {secret}" }, "body": "token={secret}&x=1", "may": may });
    assert_eq!(world.change(http(&server, &more)).await.unwrap(), "200 hello");
    let request = server.requests().remove(0);
    assert!(request.contains(&format!("authorization: Bearer {SECRET}\r\n")), "{request}");
    assert!(request.ends_with(&format!("token={SECRET}&x=1")), "{request}");
    assert!(!format!("{:?}{:?}", world.recorded(), world.messages()).contains(SECRET));

    let basic = json!({ "secret": "token", "headers": { "authorization": "basic:user:{secret}" }, "may": may });
    assert_eq!(world.look(http(&server, &basic)).await.unwrap(), "200 hello");
    let expected = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        format!("user:{SECRET}"),
    );
    assert!(
        server.requests()[1].contains(&format!("authorization: Basic {expected}\r\n")),
        "{}",
        server.requests()[1]
    );

    let elsewhere = json!({ "ask": format!("http://127.0.0.1:{}", server.port), "send": "token", "send_to": "lb.internal" });
    let fault = world
        .look(http(
            &server,
            &json!({ "secret": "token", "headers": { "x-token": "{secret}" }, "may": elsewhere }),
        ))
        .await
        .unwrap_err();
    assert!(
        words(&fault).contains("send the secret `token` in headers to `127.0.0.1`"),
        "{}",
        words(&fault)
    );
    assert_eq!(server.requests().len(), 2, "the request went out");
}

#[tokio::test]
async fn a_secret_that_was_not_granted_is_not_opened() {
    let server = Server::start(GOOD).await;
    let fault =
        World::default().look(http(&server, &json!({ "secret": "token" }))).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Denied);
    assert!(words(&fault).contains("use the secret `token`"), "{}", words(&fault));
}

#[tokio::test]
async fn wasi_itself_is_empty() {
    let server = Server::start("hi").await;
    let config = json!({ "act": "look-around", "address": format!("127.0.0.1:{}", server.port), "may": { "read": "/etc/hostname", "connect": format!("127.0.0.1:{}", server.port) } });
    assert_eq!(World::default().look(config).await.unwrap(), "0 0 false false");
    assert!(server.requests().is_empty());
}

/// A server's side of TLS for 127.0.0.1, and the certificate of the authority that vouches for it.
fn encrypted() -> (TlsAcceptor, String) {
    let (server, authority, _) = encrypted_for(false);
    (server, authority)
}

/// The same, for clients that show a certificate of the same authority where that is asked for; and
/// such a certificate with its key.
fn encrypted_for(known_clients: bool) -> (TlsAcceptor, String, String) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let client_key = KeyPair::generate().unwrap();
    let client = CertificateParams::new(vec!["client.test".to_owned()])
        .unwrap()
        .signed_by(&client_key, &authority)
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = if known_clients {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let verifier =
            rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .unwrap();
        config.with_client_cert_verifier(verifier)
    } else {
        config.with_no_client_auth()
    };
    let config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    (
        TlsAcceptor::from(Arc::new(config)),
        authority.pem(),
        format!("{}{}", client.pem(), client_key.serialize_pem()),
    )
}

#[tokio::test]
async fn a_granted_certificate_is_shown_to_the_server_and_no_other_is() {
    let (tls, authority, client) = encrypted_for(true);
    let server = Server::start_with(GOOD, Some(tls)).await;
    let folder = tempfile::tempdir().unwrap();
    let [trusted, own, foreign] =
        ["ca.pem", "own.pem", "foreign.pem"].map(|name| folder.path().join(name));
    std::fs::write(&trusted, authority).unwrap();
    std::fs::write(&own, client).unwrap();
    std::fs::write(&foreign, encrypted_for(true).2).unwrap();
    let origin = format!("https://127.0.0.1:{}", server.port);
    let ask = |may: serde_json::Value| json!({ "act": "http", "scheme": "https", "authority": format!("127.0.0.1:{}", server.port), "may": may });
    let world = World::default();
    assert_eq!(
        world.look(ask(json!({ "ask": origin, "trust": trusted, "show": own }))).await.unwrap(),
        "200 hello"
    );
    for may in [
        json!({ "ask": origin, "trust": trusted }),
        json!({ "ask": origin, "trust": trusted, "show": foreign }),
        json!({ "ask": origin, "trust": trusted, "show": folder.path().join("none.pem") }),
        json!({ "ask": origin, "trust": trusted, "show": trusted }),
    ] {
        assert!(world.look(ask(may.clone())).await.is_err(), "{may}");
    }
    assert_eq!(server.requests().len(), 1, "a client that is not known was answered");
}

#[tokio::test]
async fn a_server_is_trusted_by_a_granted_authority_and_by_no_other() {
    let (tls, authority) = encrypted();
    let server = Server::start_with(GOOD, Some(tls)).await;
    let folder = tempfile::tempdir().unwrap();
    let trusted = folder.path().join("ca.pem");
    std::fs::write(&trusted, authority).unwrap();
    let origin = format!("https://127.0.0.1:{}", server.port);
    let ask = |may: serde_json::Value| json!({ "act": "http", "scheme": "https", "authority": format!("127.0.0.1:{}", server.port), "may": may });
    let world = World::default();
    assert_eq!(
        world.look(ask(json!({ "ask": origin, "trust": trusted }))).await.unwrap(),
        "200 hello"
    );

    let other = folder.path().join("other.pem");
    std::fs::write(&other, encrypted().1).unwrap();
    for may in [
        json!({ "ask": origin }),
        json!({ "ask": origin, "trust": other }),
        json!({ "ask": origin, "trust": folder.path().join("none.pem") }),
    ] {
        let fault = world.look(ask(may)).await.unwrap_err();
        assert!(fault.message.to_lowercase().contains("tls"), "{}", words(&fault));
        assert!(
            fault.causes[0]
                .contains(&format!("GET https://127.0.0.1:{} failed: TLS error", server.port)),
            "{}",
            words(&fault)
        );
    }
    assert_eq!(server.requests().len(), 1, "a server that is not trusted was sent a request");
}

#[tokio::test]
async fn a_secret_in_what_was_denied_is_masked_in_the_fault() {
    let server = Server::start(GOOD).await;
    let world = World::default();
    let may = json!({
        "ask": ["http://localhost:1", format!("http://127.0.0.1:{}", server.port)],
        "send": "place", "send_to": "127.0.0.1",
    });
    // The value is known from the first request on; the second one names it.
    let more = json!({
        "headers": { "x": "{secret}" }, "secret": "place", "may": may,
        "then": { "act": "http", "authority": "localhost:1" },
    });
    let config = http(&server, &more);
    let fault = world.look(config).await.unwrap_err();
    assert!(
        words(&fault).contains("a loopback address") && words(&fault).contains("private = true"),
        "{}",
        words(&fault)
    );
    assert!(
        words(&fault).contains("[redacted]") && !words(&fault).contains("localhost"),
        "{}",
        words(&fault)
    );
}
