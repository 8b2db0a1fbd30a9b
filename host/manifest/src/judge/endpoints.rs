//! The endpoints of `[health]`, as questions to `http-health`.

use super::{Judge, probe};
use crate::mistake::Complaint;
use crate::raw::{RawEndpointTable, RawMethod, RawOneStatus, RawStatus};
use crate::spelling::listed;
use crate::tree::KeyPath;
use serde_json::{Map, Value as Json, json};

/// The name of the check of an endpoint: `health-` and the path; numbered where that name is taken.
pub(super) fn name(path: &str, taken: impl Fn(&str) -> bool) -> String {
    let plain: String = path
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let parts: Vec<&str> = plain.split('-').filter(|part| !part.is_empty()).collect();
    let base: String = if parts.is_empty() {
        "health-root".to_owned()
    } else {
        format!("health-{}", parts.join("-"))
    }
    .chars()
    .take(58)
    .collect();
    let numbered = (2_u32..).map(|number| format!("{base}-{number}"));
    std::iter::once(base.clone()).chain(numbered).find(|name| !taken(name)).unwrap_or(base)
}

/// What `http-health` is asked; none where something in it can't be.
pub(super) fn spec(judge: &mut Judge<'_, '_>, at: &KeyPath, raw: RawEndpointTable) -> Option<Json> {
    let mut spec = Map::new();
    spec.insert("path".to_owned(), Json::from(raw.path?));
    let method = raw.method.unwrap_or(RawMethod::Get);
    spec.insert("method".to_owned(), json!(method));
    let status = raw.status.unwrap_or(RawStatus::Range("200-299".to_owned()));
    let status = status_spec(judge, &at.key("status"), status);
    let mut sound = status.is_some();
    spec.insert("status".to_owned(), status.unwrap_or_default());
    for name in raw.headers.keys() {
        sound &= judge.accept(&at.key("headers").key(name), probe::token("header", name)).is_some();
    }
    if !raw.headers.is_empty() {
        spec.insert("headers".to_owned(), json!(raw.headers));
    }
    for pointer in raw.json.keys() {
        sound &= judge.accept(&at.key("json").key(pointer), is_pointer(pointer)).is_some();
    }
    if method == RawMethod::Head && (!raw.json.is_empty() || raw.body_contains.is_some()) {
        judge.object(
            &at.key("method"),
            Complaint::new(
                "the answer to `HEAD` has no body to search",
                "set `method = \"GET\"`, or omit it",
            ),
        );
        sound = false;
    }
    if !raw.json.is_empty() {
        spec.insert("json".to_owned(), json!(raw.json));
    }
    if let Some(text) = raw.body_contains {
        if text.is_empty() {
            judge.object(
                &at.key("body_contains"),
                Complaint::new(
                    "an empty string is in every body",
                    "set what the body must contain, or omit it",
                ),
            );
        }
        spec.insert("body_contains".to_owned(), Json::from(text));
    }
    if let Some(host) = raw.host {
        sound &= judge.accept(&at.key("host"), probe::host_header(&host)).is_some();
        spec.insert("host".to_owned(), Json::from(host));
    }
    if let Some(name) = raw.release_header {
        sound &= judge.accept(&at.key("release_header"), probe::token("header", &name)).is_some();
        spec.insert("release_header".to_owned(), Json::from(name));
    }
    if let Some(latency) = raw.max_latency {
        judge.longer_than_nothing(
            &at.key("max_latency"),
            latency.duration(),
            "use a duration such as `max_latency = \"500ms\"`",
        );
        spec.insert("max_latency".to_owned(), Json::from(latency.to_string()));
    }
    sound.then_some(Json::Object(spec))
}

fn status_spec(judge: &mut Judge<'_, '_>, at: &KeyPath, raw: RawStatus) -> Option<Json> {
    match raw {
        RawStatus::One(status) => Some(json!([status])),
        RawStatus::Range(text) => judge.accept(at, status_range(&text)).map(Json::from),
        RawStatus::Several(statuses) => {
            let judged = statuses.into_iter().enumerate().map(|(index, status)| match status {
                RawOneStatus::One(status) => Some(Json::from(status)),
                RawOneStatus::Range(text) => {
                    judge.accept(&at.index(index), status_range(&text)).map(Json::from)
                }
            });
            // All of them are judged before the first that can't be ends it.
            let judged: Vec<Option<Json>> = judged.collect();
            judged.into_iter().collect::<Option<Vec<Json>>>().map(Json::Array)
        }
    }
}

fn status_range(text: &str) -> Result<String, Complaint> {
    let wrong = |why: &str| {
        let fix = "write a status such as `200`, a range such as `\"200-299\"`, or a list of those";
        Complaint::new(format!("`{text}` is not a status range: {why}"), fix)
    };
    let (first, last) = text.split_once('-').ok_or_else(|| wrong("it has no `-`"))?;
    let status = |part: &str| {
        part.trim()
            .parse::<u16>()
            .ok()
            .filter(|status| (100..600).contains(status))
            .ok_or_else(|| wrong("statuses range from 100 to 599"))
    };
    let (first, last) = (status(first)?, status(last)?);
    if last < first {
        return Err(wrong("it is reversed"));
    }
    Ok(format!("{first}-{last}"))
}

fn is_pointer(pointer: &str) -> Result<(), Complaint> {
    if pointer.starts_with('/') {
        return Ok(());
    }
    let fix = format!("write {}", listed([format!("/{}", pointer.replace('.', "/")).as_str()]));
    Err(Complaint::new(format!("`{pointer}` is not a JSON Pointer: it must start with `/`"), fix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::checks::is_check_name;
    use std::collections::BTreeSet;

    #[test]
    fn endpoints_are_named_after_their_paths() {
        let mut taken = BTreeSet::new();
        for (path, wanted) in [
            ("/healthz", "health-healthz"),
            ("/", "health-root"),
            ("/api/v1/Ready?full=1", "health-api-v1-ready-full-1"),
            ("/healthz/", "health-healthz-2"),
        ] {
            assert_eq!(name(path, |name| taken.contains(name)), wanted);
            taken.insert(wanted);
        }
        assert!(is_check_name(&name(&"/a".repeat(90), |_| false)).is_ok());
    }
}
