//! `[metrics]`: where the numbers about deployments go when a run ends.
//!
//! Whether the folder is there and the gateway answers is asked by `agente-host check` alone: a way
//! back must not fail because of a number.

use super::Judge;
use crate::mistake::Complaint;
use crate::raw::RawMetrics;
use crate::sections::MetricsSection;
use crate::tree::KeyPath;
use std::path::Path;
use url::Url;

/// Judges the table.
pub(super) fn judge(judge: &mut Judge<'_, '_>, raw: RawMetrics) -> MetricsSection {
    let at = KeyPath::of("metrics");
    let textfile = raw.textfile.and_then(|written| {
        judge.accept(&at.key("textfile"), textfile(&written)).map(|()| judge.resolve(&written))
    });
    let push = raw.push.and_then(|url| judge.accept(&at.key("push"), gateway(&url)));
    MetricsSection { textfile, push }
}

fn textfile(written: &str) -> Result<(), Complaint> {
    if Path::new(written).extension().is_some_and(|end| end == "prom") && !written.ends_with('/') {
        return Ok(());
    }
    let fix = "write a name such as `textfile = \"/var/lib/node_exporter/agente-shop.prom\"`";
    Err(Complaint::new(
        format!("`{written}` does not end in `.prom`, and `node_exporter` reads no other files"),
        fix,
    ))
}

/// Gives the URL without a `/` at its end.
fn gateway(text: &str) -> Result<String, Complaint> {
    let usual = "write a URL such as `http://127.0.0.1:9091`";
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
            format!("`{text}` has the scheme `{}`, not `http` or `https`", url.scheme()),
            usual,
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Complaint::new(
            format!("`{text}` has a part after `?` or `#`, which is not sent to a gateway"),
            "remove it",
        ));
    }
    if url.port() == Some(0) {
        return Err(Complaint::new(
            format!("`{text}` has port 0, which can't be connected to"),
            usual,
        ));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn textfiles_have_a_name_that_node_exporter_reads() {
        for good in ["/var/lib/node_exporter/shop.prom", "shop.prom"] {
            assert!(textfile(good).is_ok(), "{good}");
        }
        for bad in ["", "/", "shop", "shop.prom/", ".prom", "shop.txt"] {
            assert!(textfile(bad).is_err(), "`{bad}` was taken");
        }
    }

    #[test]
    fn gateways_are_plain_urls() {
        assert_eq!(gateway("http://push.internal:9091/").unwrap(), "http://push.internal:9091");
        assert_eq!(gateway("http://push.internal/prefix/").unwrap(), "http://push.internal/prefix");
        assert_eq!(gateway("https://push.internal").unwrap(), "https://push.internal");
        for bad in [
            "",
            "127.0.0.1:9091",
            "ftp://push.internal",
            "http://me:secret@push.internal",
            "http://a:0",
            "http://a/?b",
            "http://a/#b",
        ] {
            assert!(gateway(bad).is_err(), "`{bad}` was taken");
        }
    }
}
