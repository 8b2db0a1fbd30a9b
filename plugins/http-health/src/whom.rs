//! Whom a check asks: each backend, the public URL, or the check's own URL.

use crate::spec::Spec;
use crate::target::{Scheme, Target, is_authority, parse_url};
use agente_plugin_sdk::{Backend, Subject, label};

/// The places that a check asks: its own URL before the public one before the backends.
///
/// # Errors
///
/// A sentence that says why there is nothing to check.
pub fn targets(spec: &Spec, subject: &Subject) -> Result<Vec<Target>, String> {
    if let Some(url) = &spec.url {
        return Ok(vec![Target { label: format!("`{url}`"), ..parse_url(url)? }]);
    }
    if let Some(url) = label(&subject.labels, "url") {
        if let Some(host) = &spec.host {
            return Err(format!(
                "`host = \"{host}\"` is for backends, but this check uses the public URL, which \
                names its own host"
            ));
        }
        let public =
            parse_url(url).map_err(|message| format!("the service's public URL: {message}"))?;
        let path = spec.path.clone().unwrap_or_else(|| public.path.clone());
        let label = format!("`{}://{}{path}`", public.scheme.as_str(), public.authority);
        return Ok(vec![Target { label, path, ..public }]);
    }
    if subject.backends.is_empty() {
        return Err("there is nothing to check: no backend, no public URL, and no `url` in the \
        check's table"
            .to_owned());
    }
    subject.backends.iter().map(|asked| backend(spec, asked)).collect()
}

fn backend(spec: &Spec, asked: &Backend) -> Result<Target, String> {
    let Backend { id, address, .. } = asked;
    if !is_authority(address) {
        return Err(format!("the address `{address}` of the backend `{id}` is not `host:port`"));
    }
    let path = spec.path.clone().unwrap_or_else(|| "/".to_owned());
    Ok(Target {
        label: format!("`{id}` ({address})"),
        scheme: Scheme::Http,
        authority: address.clone(),
        path,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: &str) -> Spec {
        Spec::read(&serde_json::from_str(json).unwrap()).unwrap()
    }

    fn subject(url: Option<&str>) -> Subject {
        let backends = [("a", "127.0.0.1:1"), ("b", "[::1]:2")].map(|(id, address)| Backend {
            id: id.into(),
            address: address.into(),
            labels: Vec::new(),
        });
        Subject {
            slot: "blue".into(),
            release: 2,
            backends: backends.into(),
            labels: url.map(|url| ("url".to_owned(), url.to_owned())).into_iter().collect(),
        }
    }

    #[test]
    fn each_backend_is_asked_at_the_path() {
        let asked = targets(&spec(r#"{"path": "/readyz?full=1"}"#), &subject(None)).unwrap();
        let places: Vec<String> =
            asked.iter().map(|t| format!("{} {}{}", t.label, t.authority, t.path)).collect();
        assert_eq!(
            places,
            ["`a` (127.0.0.1:1) 127.0.0.1:1/readyz?full=1", "`b` ([::1]:2) [::1]:2/readyz?full=1"]
        );
    }

    #[test]
    fn the_public_url_is_asked_once_and_a_url_of_its_own_wins() {
        let public = subject(Some("https://shop.example:8443/start"));
        let own_path = targets(&spec("{}"), &public).unwrap();
        assert_eq!(own_path.iter().map(|t| t.path.as_str()).collect::<Vec<_>>(), ["/start"]);
        let with_path = targets(&spec(r#"{"path": "/healthz"}"#), &public).unwrap();
        assert_eq!(
            with_path.iter().map(|t| t.label.as_str()).collect::<Vec<_>>(),
            ["`https://shop.example:8443/healthz`"]
        );
        let other = targets(&spec(r#"{"url": "http://queue?deep=1"}"#), &public).unwrap();
        assert_eq!(
            other.iter().map(|t| (t.authority.as_str(), t.path.as_str())).collect::<Vec<_>>(),
            [("queue", "/?deep=1")]
        );
    }

    #[test]
    fn nobody_to_ask_is_said() {
        let error = targets(&spec("{}"), &Subject::default()).unwrap_err();
        assert!(error.contains("nothing to check"), "{error}");
    }
}
