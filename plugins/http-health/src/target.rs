//! A place that can be asked over HTTP.

use crate::grammar::is_path;

/// How a target is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain: all backends, and URLs that say so.
    Http,
    /// Over TLS, which the host does.
    Https,
}

impl Scheme {
    /// As it stands in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// One place to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What people call it.
    pub label: String,
    /// How it is spoken to.
    pub scheme: Scheme,
    /// `host:port`, or `host` alone.
    pub authority: String,
    /// Path and query.
    pub path: String,
}

impl Target {
    /// Host (without brackets) and port of the authority.
    pub fn host_and_port(&self) -> (&str, u16) {
        let default = match self.scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        };
        match self.authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
            Some((host, port)) => (host.trim_matches(['[', ']']), port.parse().unwrap_or(default)),
            None => (self.authority.trim_matches(['[', ']']), default),
        }
    }
}

/// Reads an `http` or `https` URL without user, password and fragment.
///
/// # Errors
///
/// A sentence that says what is wrong with it.
pub fn parse_url(url: &str) -> Result<Target, String> {
    let (scheme, rest) = match url.split_once("://") {
        Some(("http", rest)) => (Scheme::Http, rest),
        Some(("https", rest)) => (Scheme::Https, rest),
        _ => {
            return Err(format!(
                "`{url}` is not a URL for a check; it must start with `http://` or `https://`"
            ));
        }
    };
    let (authority, path) = match rest.find(['/', '?']) {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let path = if path.starts_with('?') { format!("/{path}") } else { path.to_owned() };
    if authority.contains('@') {
        return Err(format!(
            "`{}://…@…` contains a user name or password; put them in a header in the plugin's \
            section, as a secret",
            scheme.as_str()
        ));
    }
    if !is_authority(authority) {
        return Err(format!("`{authority}` in `{url}` is not `host` or `host:port`"));
    }
    if !is_path(&path) {
        return Err(format!(
            "`{path}` in `{url}` is not a valid path; it must not contain spaces, `#` or \
            non-ASCII characters"
        ));
    }
    Ok(Target { label: String::new(), scheme, authority: authority.to_owned(), path })
}

/// Whether a text is `host`, `host:port`, `[v6]` or `[v6]:port`.
pub(crate) fn is_authority(authority: &str) -> bool {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, port)) => match port.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None => return false,
            },
            None => return false,
        },
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let host_is_good = if authority.starts_with('[') {
        host.parse::<std::net::Ipv6Addr>().is_ok()
    } else {
        !host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    host_is_good && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_taken_apart() {
        let parts = |url: &str| {
            parse_url(url)
                .map(|target| (target.host_and_port().0.to_owned(), target.host_and_port().1))
        };
        assert_eq!(parts("http://[::1]:8080/"), Ok(("::1".to_owned(), 8080)));
        assert_eq!(parts("http://[::1]/"), Ok(("::1".to_owned(), 80)));
        assert_eq!(parts("https://shop.example"), Ok(("shop.example".to_owned(), 443)));
    }

    #[test]
    fn a_wrong_url_is_refused_and_a_password_never_shown() {
        for bad in [
            "shop.example",
            "ftp://shop",
            "http://",
            "http://a b/",
            "http://shop:0/",
            "http://shop:70000",
            "http://[::1",
            "http://shop/a b",
            "http://shop/#top",
        ] {
            assert!(parse_url(bad).is_err(), "`{bad}` was taken");
        }
        let error = parse_url("http://admin:hunter2@shop/").unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
