//! Where requests go: a URL, and what overrides parts of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use agente_engine::fault::{Fault, FaultKind};
use agente_engine::policy::ProbePolicy;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderName, HeaderValue};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use url::{Host, Url};

/// Why a target can't be used. Found before anything is sent.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Not a URL.
    #[error("the probe's URL `{url}` can't be read")]
    Url {
        /// As it was given.
        url: String,
        #[source]
        source: url::ParseError,
    },
    /// A URL of a kind that can't be asked.
    #[error("the probe's URL `{url}` {problem}")]
    UnfitUrl {
        /// As it was given, without a password.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// `connect` is not `host:port`.
    #[error("the probe's `connect` is `{connect}`, which is not `host:port`")]
    Connect {
        /// As it was given.
        connect: String,
    },
    /// `host` can't be a `Host` header.
    #[error("the probe's `host` is `{host}`, which is not a host name with an optional port")]
    Host {
        /// As it was given.
        host: String,
    },
    /// A path that does not begin with `/`, or has characters that a request line can't carry.
    #[error("`{path}` is not a request path")]
    Path {
        /// As it was given.
        path: String,
    },
    /// Not the name of a header.
    #[error("`{name}` is not a header name")]
    HeaderName {
        /// As it was given.
        name: String,
    },
    /// The file of certificate authorities can't be used.
    #[error("the certificate authorities in `{}` can't be read", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file of certificate authorities has none.
    #[error("`{}` contains no certificate", path.display())]
    NoAuthority {
        /// The file.
        path: PathBuf,
    },
    /// The system has no certificate authorities.
    #[error("this machine has no trusted certificate authorities to verify `{url}` with")]
    NoSystemAuthorities { url: String },
    /// TLS can't be set up.
    #[error("TLS can't be set up")]
    Tls(#[source] rustls::Error),
}

impl From<TargetError> for Fault {
    fn from(error: TargetError) -> Self {
        let hint = match &error {
            TargetError::Url { .. } | TargetError::UnfitUrl { .. } => {
                "set for example `url = \"http://127.0.0.1:8080/api/items\"` in `[probe]`"
            }
            TargetError::Connect { .. } => {
                "set for example `connect = \"127.0.0.1:8443\"` in `[probe]`"
            }
            TargetError::Host { .. } => "set for example `host = \"shop.example\"` in `[probe]`",
            TargetError::Path { .. } => "set for example `post_path = \"/api/echo\"` in `[probe]`",
            TargetError::HeaderName { .. } => {
                "set for example `identity = { header = \"X-Agente-Slot\" }` in `[probe]`"
            }
            TargetError::Authorities { .. } | TargetError::NoAuthority { .. } => {
                "set `ca` in `[probe]` to a file with PEM certificates"
            }
            TargetError::NoSystemAuthorities { .. } => {
                "install `ca-certificates`, or name a file with `ca` in `[probe]`"
            }
            TargetError::Tls(_) => "check `ca` in `[probe]`",
        };
        let mut fault = Fault::new(FaultKind::InvalidConfig, error.to_string()).hint(hint);
        if let Some(cause) = std::error::Error::source(&error) {
            fault = fault.because(cause);
        }
        fault
    }
}

/// A server to send requests to, parsed and ready.
#[derive(Clone)]
pub struct Target {
    url: String,
    path: PathAndQuery,
    connect: String,
    host: HeaderValue,
    identity: Option<HeaderName>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Target {
    /// The target of a probe.
    ///
    /// # Errors
    ///
    /// Returns [`TargetError`] when the URL, an override of it, the header's name or the file of
    /// certificate authorities can't be used.
    pub fn from_policy(policy: &ProbePolicy) -> Result<Self, TargetError> {
        Self::new(
            &policy.url,
            policy.connect.as_deref(),
            policy.host.as_deref(),
            policy.ca.as_deref().map(Path::new),
            policy.identity_header.as_deref(),
        )
    }

    /// A target: where it is, `host:port` to connect to instead, the `Host` header and TLS name
    /// instead, a PEM file of authorities instead of the system's, and the header that names
    /// who answered. Reads the file now.
    ///
    /// # Errors
    ///
    /// Returns [`TargetError`] when any of them can't be used.
    pub fn new(
        url: &str,
        connect: Option<&str>,
        host: Option<&str>,
        ca: Option<&Path>,
        identity: Option<&str>,
    ) -> Result<Self, TargetError> {
        let parsed =
            Url::parse(url).map_err(|source| TargetError::Url { url: url.to_owned(), source })?;
        let unfit = |problem| {
            let mut shown = parsed.clone();
            let _ = shown.set_password(None);
            TargetError::UnfitUrl { url: shown.to_string(), problem }
        };
        let encrypted = match parsed.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(unfit("starts with neither `http://` nor `https://`")),
        };
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(unfit("contains a user name"));
        }
        let (Some(url_host), Some(port)) = (parsed.host(), parsed.port_or_known_default()) else {
            return Err(unfit("names no host"));
        };
        let path = match parsed.query() {
            Some(query) => format!("{}?{query}", parsed.path()),
            None => parsed.path().to_owned(),
        };
        let connect = match connect {
            Some(connect) => host_and_port(connect)?,
            None => format!("{url_host}:{port}"),
        };
        let host = match host {
            Some(host) => host.to_owned(),
            None => parsed
                .port()
                .map_or_else(|| url_host.to_string(), |port| format!("{url_host}:{port}")),
        };
        let bad_host = || TargetError::Host { host: host.clone() };
        let authority: Authority = host.parse().map_err(|_| bad_host())?;
        if host.contains('@') || authority.host().is_empty() {
            return Err(bad_host());
        }
        let tls = if encrypted {
            let name = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
            let name = ServerName::try_from(name).map_err(|_| bad_host())?;
            Some((connector(url, ca)?, name))
        } else {
            None
        };
        let identity = match identity {
            Some(name) => {
                Some(name.parse().map_err(|_| TargetError::HeaderName { name: name.to_owned() })?)
            }
            None => None,
        };
        Ok(Self {
            url: url.to_owned(),
            path: parse_path(&path)?,
            connect,
            host: HeaderValue::from_str(&host)
                .map_err(|_| TargetError::Host { host: host.clone() })?,
            identity,
            tls,
        })
    }

    /// The URL, as it was given.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The path and query of the URL.
    pub fn path(&self) -> &PathAndQuery {
        &self.path
    }

    /// `host:port` that connections are opened to.
    pub fn connect(&self) -> &str {
        &self.connect
    }

    pub(crate) fn host(&self) -> &HeaderValue {
        &self.host
    }

    pub(crate) fn identity(&self) -> Option<&HeaderName> {
        self.identity.as_ref()
    }

    pub(crate) fn tls(&self) -> Option<&(TlsConnector, ServerName<'static>)> {
        self.tls.as_ref()
    }

    /// Another path on the same server.
    ///
    /// # Errors
    ///
    /// Returns [`TargetError::Path`] when it is none.
    pub fn parse_path(path: &str) -> Result<PathAndQuery, TargetError> {
        parse_path(path)
    }
}

fn parse_path(path: &str) -> Result<PathAndQuery, TargetError> {
    let wrong = || TargetError::Path { path: path.to_owned() };
    if path.starts_with('/') { path.parse().map_err(|_| wrong()) } else { Err(wrong()) }
}

fn host_and_port(connect: &str) -> Result<String, TargetError> {
    let wrong = || TargetError::Connect { connect: connect.to_owned() };
    let (host, port) = connect.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    let host = Host::parse(host).map_err(|_| wrong())?;
    Ok(format!("{host}:{port}"))
}

fn connector(url: &str, ca: Option<&Path>) -> Result<TlsConnector, TargetError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| TargetError::Authorities {
            path: path.to_owned(),
            source,
        };
        for certificate in
            CertificateDer::pem_file_iter(path).map_err(|error| failed(error.into()))?
        {
            roots
                .add(certificate.map_err(|error| failed(error.into()))?)
                .map_err(|error| failed(error.into()))?;
        }
        if roots.is_empty() {
            return Err(TargetError::NoAuthority { path: path.to_owned() });
        }
    } else {
        // Single broken certificates of a system are common, and no reason to trust none.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(TargetError::NoSystemAuthorities { url: url.to_owned() });
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TargetError::Tls)?;
    let mut config = versions.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str, connect: Option<&str>, host: Option<&str>) -> Result<Target, TargetError> {
        Target::new(url, connect, host, None, None)
    }

    #[test]
    fn the_url_alone_says_where_to_connect_and_what_to_ask() {
        let plain = target("http://127.0.0.1:8080/a?b=c", None, None).unwrap();
        assert_eq!(
            (plain.connect(), plain.host().to_str().unwrap(), plain.path().as_str()),
            ("127.0.0.1:8080", "127.0.0.1:8080", "/a?b=c")
        );
        let named = target("http://shop.example", None, None).unwrap();
        assert_eq!(
            (named.connect(), named.host().to_str().unwrap(), named.path().as_str()),
            ("shop.example:80", "shop.example", "/")
        );
        let six = target("http://[::1]:81/", None, None).unwrap();
        assert_eq!((six.connect(), six.host().to_str().unwrap()), ("[::1]:81", "[::1]:81"));
    }

    #[test]
    fn connect_and_host_override_the_url() {
        let target =
            target("http://shop.example/x", Some("127.0.0.1:99"), Some("other.example:8080"))
                .unwrap();
        assert_eq!(
            (target.connect(), target.host().to_str().unwrap()),
            ("127.0.0.1:99", "other.example:8080")
        );
    }

    #[test]
    fn what_can_not_be_asked_is_refused_with_the_place_and_a_hint() {
        let cases = [
            (target("nonsense", None, None), "can't be read"),
            (target("ftp://shop.example/", None, None), "neither `http://` nor `https://`"),
            (target("http://me:pw@shop.example/", None, None), "contains a user name"),
            (target("http://a/", Some("127.0.0.1"), None), "not `host:port`"),
            (target("http://a/", Some("127.0.0.1:99999"), None), "not `host:port`"),
            (target("http://a/", None, Some("a b")), "not a host name"),
            (Target::new("http://a/", None, None, None, Some("X Slot")), "not a header name"),
            (
                Target::new("https://a/", None, None, Some(Path::new("/nowhere/ca.pem")), None),
                "can't be read",
            ),
        ];
        for (result, words) in cases {
            let fault = Fault::from(result.err().unwrap());
            assert!(fault.message.contains(words), "{} does not say {words}", fault.message);
            assert!(!fault.message.contains("pw@"), "a password is shown: {}", fault.message);
            assert!(fault.hint.is_some() && fault.kind == FaultKind::InvalidConfig);
        }
    }

    #[test]
    fn a_path_begins_with_a_slash() {
        assert!(Target::parse_path("/api/items?x=1").is_ok());
        assert!(Target::parse_path("api").is_err());
        assert!(Target::parse_path("/a b").is_err());
    }
}
