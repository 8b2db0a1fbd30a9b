//! TLS toward granted servers: the system's certificate authorities, and those that a rule names.

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::sync::{Arc, OnceLock};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Connects by TLS. The system's authorities are read when they are first needed.
#[derive(Clone, Default)]
pub(crate) struct Tls(Arc<OnceLock<Arc<ClientConfig>>>);

impl Tls {
    pub(crate) async fn connect(&self, stream: TcpStream, host: &str, ca: Option<&str>) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
        let config = match ca {
            None => Arc::clone(self.0.get_or_init(|| Arc::new(config(system_roots())))),
            Some(path) => {
                let mut roots = system_roots();
                let file = |error| std::io::Error::other(format!("the certificate authorities in `{path}` can't be read: {error}"));
                for certificate in CertificateDer::pem_file_iter(path).map_err(file)? {
                    roots.add(certificate.map_err(file)?).map_err(std::io::Error::other)?;
                }
                Arc::new(config(roots))
            }
        };
        TlsConnector::from(config).connect(name, stream).await
    }
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // One unreadable certificate of the system must not take all others away; without any, no server is trusted.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

#[expect(clippy::expect_used, reason = "the provider has the protocol versions it says it has")]
fn config(roots: RootCertStore) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}
