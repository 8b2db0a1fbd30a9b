//! The HTTP API of Prometheus: one question, one answer, and what each of its ways to fail means.

mod answer;

pub use answer::{Answer, Data, Label, Point, Sampled};

use crate::config::Config;
use agente_plugin_sdk::http::{HttpError, Request, Response};
use agente_plugin_sdk::{Code, Failure, Host, label};
use serde::de::DeserializeOwned;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// How much of an answer is read: about 100,000 samples.
pub const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

/// The longest path and query of a request: what servers and proxies take. The read phase has no
/// POST.
pub const MAX_URL_BYTES: usize = 8 * 1024;

/// How much of the operation's time is kept back, so that an answer leaves before the host's own
/// limit.
const KEPT_BACK: Duration = Duration::from_millis(50);

/// Characters of a foreign text that are shown.
const QUOTED_CHARACTERS: usize = 300;

/// A server and the time that is left for asking it.
pub struct Api<'h, H> {
    host: &'h H,
    config: &'h Config,
    headers: Vec<(String, String)>,
    until: Instant,
}

impl<'h, H: Host> Api<'h, H> {
    /// For one operation, within the time that the host leaves.
    pub fn new(host: &'h H, config: &'h Config) -> Result<Self, Failure> {
        Self::within(host, config, host.context().remaining.saturating_sub(KEPT_BACK))
    }

    /// For one operation, within a limit that all its questions share.
    pub fn within(host: &'h H, config: &'h Config, limit: Duration) -> Result<Self, Failure> {
        let until = Instant::now()
            .checked_add(limit.min(Duration::from_hours(1)))
            .unwrap_or_else(Instant::now);
        Ok(Self { host, config, headers: config.headers(host)?, until })
    }

    /// The host behind it.
    pub fn host(&self) -> &'h H {
        self.host
    }

    /// An expression's value, or a range selector's samples, at a moment.
    pub fn query(&self, expression: &str, at_ms: Option<u64>) -> Result<Answer<Data>, Failure> {
        let mut parameters = vec![("query", expression.to_owned())];
        if let Some(at) = at_ms {
            parameters.push(("time", format!("{}.{:03}", at / 1000, at % 1000)));
        }
        parameters.push(("timeout", crate::placeholder::duration(self.left())));
        self.ask("query", &parameters)
    }

    /// Judges an expression without evaluating it; false where the server has no way to do that.
    pub fn judge(&self, expression: &str) -> Result<bool, Failure> {
        match self.ask::<String>("format_query", &[("query", expression.to_owned())]) {
            Ok(_) => Ok(true),
            // Only a complaint in Prometheus' own form is one about the expression: other servers
            // don't know the question.
            Err(failure)
                if failure.code == Code::InvalidConfig
                    && label(&failure.labels, "error-type").is_none() =>
            {
                Ok(false)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Those of some metrics' names that the server knows.
    pub fn known(&self, names: &[String]) -> Result<Vec<String>, Failure> {
        let selectors: Vec<(&str, String)> = names
            .iter()
            .map(|name| {
                ("match[]", format!("{{__name__=\"{}\"}}", crate::placeholder::escaped(name)))
            })
            .collect();
        Ok(self.ask::<Vec<String>>("label/__name__/values", &selectors)?.data)
    }

    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    fn ask<T: DeserializeOwned>(
        &self,
        endpoint: &str,
        parameters: &[(&str, String)],
    ) -> Result<Answer<T>, Failure> {
        let base = self.config.url.trim_end_matches('/');
        let mut url = format!("{base}/api/v1/{endpoint}");
        for (index, (name, value)) in parameters.iter().enumerate() {
            url.push(if index == 0 { '?' } else { '&' });
            url.push_str(&encoded(name));
            url.push('=');
            url.push_str(&encoded(value));
        }
        if url.len() > MAX_URL_BYTES {
            let message = format!(
                "the request to `{base}` would be {} bytes long; servers and proxies accept at \
                most {MAX_URL_BYTES}",
                url.len()
            );
            return Err(Failure::invalid_config(message)
                .hint("shorten the query, for example with a recording rule in Prometheus"));
        }
        let limit = self.left();
        if limit.is_zero() {
            return Err(Failure::unavailable(format!("no time was left to query `{base}`"))
                .hint("give the check or query a longer `timeout`"));
        }
        let mut request = Request::get(&url)
            .map_err(|error| Failure::invalid_config(error.to_string()))?
            .timeouts(limit, limit);
        request.max_body_bytes = MAX_BODY_BYTES;
        request.headers.clone_from(&self.headers);
        let response = self.host.http(&request).map_err(|error| unanswered(&error))?;
        self.read(base, &response)
    }

    fn read<T: DeserializeOwned>(
        &self,
        base: &str,
        response: &Response,
    ) -> Result<Answer<T>, Failure> {
        let status = response.status;
        if status == 200 && response.truncated {
            let message = format!(
                "the answer of `{base}` is larger than {} MiB",
                MAX_BODY_BYTES / 1024 / 1024
            );
            return Err(Failure::failed(message)
                .hint("narrow the query: select fewer series, or use a shorter window"));
        }
        let parsed = answer::read::<T>(&response.body);
        if let (200, Ok(answer)) = (status, &parsed)
            && answer.is_success()
        {
            return parsed.map_err(|error| Failure::failed(error.to_string())).and_then(|answer| {
                answer.complete().ok_or_else(|| {
                    Failure::failed(format!("`{base}` answered `success`, but without data"))
                })
            });
        }
        let (said, error_type) = match answer::read::<serde::de::IgnoredAny>(&response.body) {
            Ok(answer) if !answer.is_success() => {
                (answer.complaint(), answer.error_type().filter(|_| matches!(status, 400 | 422)))
            }
            _ => (quoted(&response.text()), None),
        };
        let told = |what: &str| format!("`{base}` {what} with status {status}: {said}");
        let failure = match status {
            200 => match parsed {
                Err(error) if response.body.trim_ascii_start().starts_with(b"{") => {
                    Failure::failed(format!(
                        "`{base}` answered in an unknown format ({error}): {said}"
                    ))
                }
                Err(_) => Failure::failed(format!(
                    "`{base}` did not answer with JSON: \
                {said}"
                ))
                .hint(
                    "check that `url` leads to Prometheus, and not to a login page or another \
                     server",
                ),
                Ok(_) => Failure::failed(told("rejected the query")),
            },
            301..=308 => Failure::invalid_config(format!(
                "`{base}` redirects to `{}`; redirects are not followed",
                quoted(response.header("location").unwrap_or_default()).trim_matches('`')
            ))
            .hint(
                "set `url` to the address it redirects to; a login page there means that \
                credentials are missing",
            ),
            400 | 422 => Failure::invalid_config(told("rejected the query")),
            401 | 403 => Failure::new(Code::Denied, told("rejected the credentials")).hint(match (
                &self.config.bearer,
                &self.config.basic,
            ) {
                (None, None) => "set `bearer` or `basic` in the plugin's section to the name \
                    of a secret"
                    .to_owned(),
                (Some(secret), _) => {
                    format!("check that the secret `{secret}` is still valid there")
                }
                (None, Some(basic)) => format!(
                    "check that the secret `{}` is the password of `{}`",
                    basic.password, basic.user
                ),
            }),
            404 | 405 => Failure::invalid_config(told("does not have the API of Prometheus"))
                .hint("check whether `url` lacks a path prefix, or has one too many"),
            408 | 429 | 500..=599 => Failure::unavailable(told("could not answer")),
            _ => Failure::failed(told("answered")),
        }
        .label("status", status.to_string());
        Err(match error_type {
            Some(error_type) => failure.label("error-type", error_type),
            None => failure,
        })
    }
}

fn unanswered(error: &HttpError) -> Failure {
    match error {
        HttpError::BadUrl { .. } => Failure::invalid_config(error.to_string()),
        HttpError::Denied { .. } => Failure::new(Code::Denied, error.to_string()),
        HttpError::Connect { .. } | HttpError::Timeout { .. } | HttpError::Ended { .. } => {
            Failure::unavailable(error.to_string())
        }
        HttpError::Protocol { .. } => Failure::failed(error.to_string())
            .hint("check that `url` has the right scheme and port"),
    }
}

/// A foreign text, cut and without control characters.
pub fn quoted(text: &str) -> String {
    let text = text.trim();
    let mut shown: String = text
        .chars()
        .take(QUOTED_CHARACTERS)
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect();
    if text.chars().nth(QUOTED_CHARACTERS).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// A text as it stands in the query of a URL.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _never = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn nothing_of_a_query_can_end_its_parameter() {
        assert_eq!(encoded("a b+c&d=\"ü\"#"), "a%20b%2Bc%26d%3D%22%C3%BC%22%23");
    }
}
