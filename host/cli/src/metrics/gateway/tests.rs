#![allow(clippy::unwrap_used, reason = "a test")]

use super::*;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Reads a request to the end of its body, and answers it.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str) -> String {
    let mut seen = String::new();
    while !seen.ends_with("numbers") {
        let mut part = [0; 1024];
        let count = stream.read(&mut part).await.unwrap();
        assert!(count > 0, "the request ended early: {seen}");
        seen.push_str(std::str::from_utf8(part.get(..count).unwrap()).unwrap());
    }
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    seen
}

async fn put(url: &str) -> Result<(), GatewayError> {
    ask(Method::PUT, url, "numbers".to_owned()).await
}

#[tokio::test]
async fn numbers_are_put_where_the_url_says() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/metrics/job/a", listener.local_addr().unwrap());
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").await
    };
    let (seen, asked) = tokio::join!(server, put(&url));
    asked.unwrap();
    assert!(seen.starts_with("PUT /metrics/job/a HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains(&format!("content-type: {TEXT_FORMAT}\r\n")), "{seen}");
}

#[tokio::test]
async fn an_answer_that_is_no_success_is_told_and_not_followed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    for (status, told) in [("302 Found\r\nlocation: /login", "302 Found"), ("400 No", "400 Bad")] {
        let server = async {
            let (stream, _) = listener.accept().await.unwrap();
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            serve(stream, &answer).await
        };
        let (_, asked) = tokio::join!(server, put(&url));
        let said = asked.unwrap_err().to_string();
        assert!(said.starts_with(&format!("`{url}` answered {told}")), "{said}");
    }
}

#[tokio::test]
async fn a_gateway_that_is_away_is_told_with_the_reason() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let said = put(&url).await.unwrap_err().to_string();
    assert_eq!(said, format!("`{url}` did not answer: Connection refused (os error 111)"));
}

#[tokio::test]
async fn a_gateway_that_keeps_silent_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let said = put(&url).await.unwrap_err().to_string();
    assert_eq!(said, format!("`{url}` did not answer within 3 s"));
}

#[tokio::test]
async fn a_gateway_behind_tls_must_be_vouched_for() {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![cert.der().clone()],
            PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let asked = |authorities: Vec<CertificateDer<'static>>| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(authorities);
        ask_trusting(roots, Method::PUT, &url, "numbers".to_owned())
    };
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        let stream = acceptor.accept(stream).await.unwrap();
        serve(stream, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await
    };
    let (_, trusted) = tokio::join!(server, asked(vec![cert.der().clone()]));
    trusted.unwrap();
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        acceptor.accept(stream).await.map(drop)
    };
    let (_, stranger) = tokio::join!(server, asked(Vec::new()));
    let said = stranger.unwrap_err().to_string();
    assert!(said.contains("invalid peer certificate"), "{said}");
}
