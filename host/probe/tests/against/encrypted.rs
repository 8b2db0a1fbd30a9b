//! Over TLS, with an authority of our own.

use std::sync::Arc;

use agente_engine::ports::Prober;
use agente_probe::HttpProber;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

use crate::server::{Act, Seen, Server, policy, until};

/// A server for `shop.example`, and the file of the authority that vouches for it.
async fn start(
    script: impl Fn(usize, &Seen) -> Act + Send + Sync + 'static,
) -> (Server, TempDir, String) {
    let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().expect("a key"))
        .expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(vec!["shop.example".to_owned()])
        .expect("parameters")
        .signed_by(&key, &authority)
        .expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .expect("a server's configuration");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let server = Server::start_over(script, move |stream| {
        let acceptor = acceptor.clone();
        Box::pin(async move { acceptor.accept(stream).await.ok() })
    })
    .await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, authority.pem()).expect("a file");
    let file = file.to_str().expect("a path").to_owned();
    (server, folder, file)
}

#[tokio::test]
async fn a_server_that_the_authority_vouches_for_is_probed_on_fresh_and_reused_connections() {
    let (server, _folder, ca) =
        start(
            |number, seen| {
                if seen.nth > 0 && number < 40 { Act::Reset } else { Act::Answer(200, "blue") }
            },
        )
        .await;
    let mut policy = policy("https://shop.example/probe");
    policy.connect = Some(server.address.to_string());
    policy.ca = Some(ca);
    policy.rate = 40.0; // a handshake takes its time without optimisation
    let prober = HttpProber::new(&policy).expect("a fit policy");
    prober.start().await.expect("it starts");
    let report = until(&prober, "answered", |report| {
        report.succeeded >= 80
            && report.succeeded + report.idle_resets + report.failed_total() == report.sent
    })
    .await;
    assert_eq!(report.failed_total(), 0, "{report:?}");
    assert_eq!(report.idle_resets, server.did(Act::Reset, true), "{report:?}");
    assert!(report.idle_resets > 0 && server.seen().iter().any(|seen| seen.nth > 2));
    assert_eq!(prober.identities(2).await.expect("answers"), ["blue", "blue"]);
}

#[tokio::test]
async fn what_the_authority_does_not_vouch_for_is_counted_as_tls() {
    let (server, _folder, ca) = start(|_, _| Act::Answer(200, "blue")).await;
    let (_other, _other_folder, other_ca) = start(|_, _| Act::Silence).await;
    let (plain, connect) = (Server::start(|_, _| Act::Garbage).await, server.address.to_string());
    // Another name, another authority, no TLS at all.
    let plain_address = plain.address.to_string();
    for (host, ca, connect) in [
        ("other.example", &ca, &connect),
        ("shop.example", &other_ca, &connect),
        ("shop.example", &ca, &plain_address),
    ] {
        let mut policy = policy("https://shop.example/probe");
        policy.connect = Some(connect.clone());
        policy.ca = Some(ca.clone());
        policy.host = Some(host.to_owned());
        policy.rate = 40.0;
        policy.timeout = std::time::Duration::from_secs(2);
        let prober = HttpProber::new(&policy).expect("a fit policy");
        prober.start().await.expect("it starts");
        let report = until(&prober, "refused", |report| report.failed_total() >= 10).await;
        assert_eq!(
            report.failed.keys().collect::<Vec<_>>(),
            ["tls"],
            "{host} at {connect}: {report:?}"
        );
        assert_eq!(report.succeeded, 0);
    }
}

#[tokio::test]
async fn a_file_without_authorities_is_refused_before_anything_is_sent() {
    let (_server, folder, _) = start(|_, _| Act::Silence).await;
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "nothing here\n").expect("a file");
    let mut policy = policy("https://shop.example/probe");
    policy.ca = Some(empty.to_str().expect("a path").to_owned());
    let fault = HttpProber::new(&policy).err().expect("a fault");
    assert!(
        fault.message.contains("contains no certificate") && fault.message.contains("empty.pem"),
        "{fault:?}"
    );
}
