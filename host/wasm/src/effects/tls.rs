//! TLS toward granted servers: the system's certificate authorities, those that a rule names, and
//! the certificate that a rule lets us show.

use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use std::sync::{Arc, OnceLock};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Connects by TLS. The system's authorities are read when they are first needed.
#[derive(Clone, Default)]
pub(crate) struct Tls(Arc<OnceLock<Arc<ClientConfig>>>);

impl Tls {
    /// `ca` and `client_certificate` are PEM files; they are read for each connection, so that a
    /// renewed certificate is used at once.
    pub(crate) async fn connect(
        &self,
        stream: TcpStream,
        host: &str,
        ca: Option<&str>,
        client_certificate: Option<&str>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
        let config = match (ca, client_certificate) {
            (None, None) => Arc::clone(
                self.0
                    .get_or_init(|| Arc::new(spoken(config(system_roots()).with_no_client_auth()))),
            ),
            (ca, own) => {
                let mut roots = system_roots();
                for certificate in ca.map(certificates).transpose()?.unwrap_or_default() {
                    roots.add(certificate).map_err(std::io::Error::other)?;
                }
                let builder = config(roots);
                let config = match own {
                    None => builder.with_no_client_auth(),
                    Some(path) => {
                        let key = PrivateKeyDer::from_pem_file(path)
                            .map_err(|error| unreadable(path, &error))?;
                        builder
                            .with_client_auth_cert(certificates(path)?, key)
                            .map_err(std::io::Error::other)?
                    }
                };
                Arc::new(spoken(config))
            }
        };
        TlsConnector::from(config).connect(name, stream).await
    }
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // One unreadable certificate of the system must not take all others away; without any, no
    // server is trusted.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// The certificates of a PEM file.
fn certificates(path: &str) -> std::io::Result<Vec<CertificateDer<'static>>> {
    let all = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(path, &error))?;
    all.map(|one| one.map_err(|error| unreadable(path, &error))).collect()
}

fn unreadable(path: &str, error: &rustls::pki_types::pem::Error) -> std::io::Error {
    std::io::Error::other(format!("`{path}` can't be read as PEM: {error}"))
}

#[expect(clippy::expect_used, reason = "the provider has the protocol versions it says it has")]
fn config(roots: RootCertStore) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has the default versions")
        .with_root_certificates(roots)
}

/// The same for HTTP/1.1.
fn spoken(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}
