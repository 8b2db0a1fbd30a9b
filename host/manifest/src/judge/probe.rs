//! `[probe]`: our own requests from outside.

use super::Judge;
use crate::files;
use crate::mistake::Complaint;
use crate::raw::{RawIdentity, RawProbe};
use crate::tree::KeyPath;
use agente_engine::policy::ProbePolicy;
use agente_engine::release::PortRange;
use std::time::Duration;
use url::{Host, Url};

/// Less tells nothing about a release that fails now and then.
const SHORTEST_BASELINE: Duration = Duration::from_secs(5);

/// Judges the table; `ports` are those on this machine that backends may get.
pub(super) fn judge(
    judge: &mut Judge<'_, '_>,
    raw: RawProbe,
    ports: Option<PortRange>,
) -> Option<ProbePolicy> {
    let at = KeyPath::of("probe");
    let url = raw
        .url
        .and_then(|url| judge.accept(&at.key("url"), public_url(&url)).map(|parsed| (url, parsed)));
    let connect = raw.connect.and_then(|address| {
        judge.accept(&at.key("connect"), host_and_port(&address)).map(|parsed| (address, parsed))
    });
    let host =
        raw.host.and_then(|host| judge.accept(&at.key("host"), host_header(&host)).map(|()| host));
    if let Some(ports) = ports {
        apart_from_backends(
            judge,
            &at,
            url.as_ref().map(|(_, parsed)| parsed),
            connect.as_ref().map(|(_, parsed)| parsed),
            ports,
        );
    }
    let ca = raw.ca.and_then(|written| {
        let path = judge.resolve(&written);
        let judged = files::holds_certificates("the CA file", &written, &path);
        judge.accept(&at.key("ca"), judged).map(|()| path.to_string_lossy().into_owned())
    });
    if let (Some(_), Some((_, parsed))) = (&ca, &url)
        && parsed.scheme() == "http"
    {
        judge.object(
            &at.key("ca"),
            Complaint::new(
                "`ca` has no effect with an `http` URL",
                "remove it, or use `https` in `url`",
            ),
        );
    }
    judge.longer_than_nothing(
        &at.key("timeout"),
        raw.timeout.duration(),
        "use a duration such as `timeout = \"5s\"`",
    );
    let baseline = raw.baseline.duration();
    if !baseline.is_zero() && baseline < SHORTEST_BASELINE {
        let message = format!(
            "a baseline of {} is too short to tell whether the stable release is failing",
            agente_units::Span::from(baseline)
        );
        judge.object(
            &at.key("baseline"),
            Complaint::new(message, "write at least `5s`, or `0s` for none"),
        );
    }
    let post_path = raw
        .post_path
        .and_then(|path| judge.accept(&at.key("post_path"), url_path(&path)).map(|()| path));
    let (identity_header, identity_value) = match raw.identity {
        Some(raw) => identity(judge, &at.key("identity"), raw),
        None => (None, RawIdentity::default().value),
    };
    let (url, _) = url?;
    Some(ProbePolicy {
        url,
        connect: connect.map(|(address, _)| address),
        host,
        ca,
        rate: raw.rate,
        timeout: raw.timeout.duration(),
        post_path,
        baseline,
        budget: raw.budget,
        count_idle_resets: raw.count_idle_resets,
        identity_header,
        identity_value,
        on_failing_baseline: raw.on_failing_baseline.into(),
    })
}

fn public_url(text: &str) -> Result<Url, Complaint> {
    let usual = "write a URL such as `https://shop.example/`";
    let url = Url::parse(text)
        .map_err(|error| Complaint::new(format!("`{text}` is not a URL: {error}"), usual))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Complaint::new(
            "the URL contains a user name or a password",
            "remove them: a manifest must not contain secrets",
        )
        .concealed());
    }
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Complaint::new(
            format!(
                "`{text}` has the scheme `{}`; the prober supports `http` and `https`",
                url.scheme()
            ),
            usual,
        ));
    }
    if url.fragment().is_some() {
        return Err(Complaint::new(
            format!("`{text}` has a part after `#`, which is never sent to a server"),
            "remove it",
        ));
    }
    if url.port() == Some(0) {
        return Err(Complaint::new(
            format!("`{text}` has port 0, which can't be connected to"),
            usual,
        ));
    }
    Ok(url)
}

fn host_and_port(address: &str) -> Result<(String, u16), Complaint> {
    let wrong = |why: &str| {
        Complaint::new(
            format!("`{address}` is not `host:port`: {why}"),
            "write an address such as `127.0.0.1:8080` or `[::1]:8080`",
        )
    };
    let (host, port) = address.rsplit_once(':').ok_or_else(|| wrong("it has no port"))?;
    let port = if port.bytes().all(|byte| byte.is_ascii_digit()) {
        port.parse::<u16>().ok()
    } else {
        None
    };
    let port = port
        .filter(|&port| port > 0)
        .ok_or_else(|| wrong("the port must be a number from 1 to 65535"))?;
    if host.is_empty() || (host.contains(':') && !host.starts_with('[')) || host.contains('/') {
        return Err(wrong("the host is missing, or is an IPv6 address without brackets"));
    }
    let host = Host::parse(host).map_err(|error| wrong(&error.to_string()))?;
    Ok((host.to_string(), port))
}

/// Judges a `Host` header.
pub(super) fn host_header(host: &str) -> Result<(), Complaint> {
    let name = host
        .rsplit_once(':')
        .filter(|(_, port)| port.parse::<u16>().is_ok())
        .map_or(host, |(name, _)| name);
    let good =
        !name.is_empty() && !name.contains(['/', ' ', '@', '*']) && Host::parse(name).is_ok();
    if good {
        Ok(())
    } else {
        Err(Complaint::new(
            format!("`{host}` can't be a `Host` header"),
            "write a name such as `shop.example`",
        ))
    }
}

/// Judges the path of a URL.
pub(super) fn url_path(path: &str) -> Result<(), Complaint> {
    if !path.starts_with('/') {
        return Err(Complaint::new(
            format!("the path `{path}` does not start with `/`"),
            format!("write `/{path}`"),
        ));
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) || path.contains('#') {
        return Err(Complaint::new(
            format!("the path `{path}` contains a space, a `#` or a character not allowed in URLs"),
            "write it percent-encoded",
        ));
    }
    Ok(())
}

/// Judges the name of a header, and likewise of a cookie.
pub(super) fn token(what: &str, name: &str) -> Result<(), Complaint> {
    let good = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if !name.is_empty() && name.chars().all(good) {
        return Ok(());
    }
    Err(Complaint::new(
        format!("`{name}` can't be the name of a {what}"),
        "use letters, digits and `-`, such as `X-Release`",
    ))
}

/// The public side must not listen where a backend may be started.
fn apart_from_backends(
    judge: &mut Judge<'_, '_>,
    at: &KeyPath,
    url: Option<&Url>,
    connect: Option<&(String, u16)>,
    ports: PortRange,
) {
    let from_url =
        url.and_then(|url| Some((url.host_str()?.to_owned(), url.port_or_known_default()?)));
    let (key, address) = match connect {
        Some(address) => ("connect", Some(address.clone())),
        None => ("url", from_url),
    };
    let Some((host, port)) = address else { return };
    let local = host == "localhost" || host == "[::1]" || host.starts_with("127.");
    if local && (ports.first..=ports.last).contains(&port) {
        let message = format!(
            "the public side at `{host}:{port}` is in the range `{}-{}` from which backends get \
            their ports",
            ports.first, ports.last
        );
        judge.object(&at.key(key), Complaint::new(message, "move one of the two"));
    }
}

fn identity(judge: &mut Judge<'_, '_>, at: &KeyPath, raw: RawIdentity) -> (Option<String>, String) {
    let header = raw
        .header
        .and_then(|name| judge.accept(&at.key("header"), token("header", &name)).map(|()| name));
    let rest = raw.value.replace("{slot}", "").replace("{release}", "");
    let wrong = if rest.len() == raw.value.len() {
        Some(format!("`{}` is the same for every release, so it identifies nothing", raw.value))
    } else if rest.contains(['{', '}']) {
        Some(format!("`{}` contains an unknown placeholder in braces", raw.value))
    } else {
        None
    };
    if let Some(message) = wrong {
        judge.object(
            &at.key("value"),
            Complaint::new(message, "use `{slot}` or `{release}`, such as `value = \"{slot}\"`"),
        );
    }
    (header, raw.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_to_connect_to_have_a_host_and_a_port() {
        for good in ["127.0.0.1:80", "[::1]:8080", "balancer.internal:443", "localhost:1"] {
            assert!(host_and_port(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "127.0.0.1",
            ":80",
            "::1:80",
            "host:0",
            "host:70000",
            "host:+80",
            "http://host:80",
            "a b:80",
        ] {
            assert!(host_and_port(bad).is_err(), "`{bad}` was taken");
        }
    }

    #[test]
    fn header_names_are_tokens() {
        assert!(token("header", "X-Release").is_ok());
        for bad in ["", "X Release", "X-Release:", "größe"] {
            assert!(token("header", bad).is_err(), "`{bad}` was taken");
        }
    }
}
