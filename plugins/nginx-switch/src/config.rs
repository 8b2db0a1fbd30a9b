//! The plugin's section of the manifest.

use agente_plugin_sdk::Problem;
use agente_plugin_sdk::units::Span;
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;

/// Where NGINX is and how it is told to load its configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The folder for our files, one per service and environment. NGINX's own configuration has
    /// `include <directory>/*.conf;` in its `http` block.
    pub directory: String,
    /// The program, on the host or inside the container.
    #[serde(default = "default_nginx")]
    pub nginx: String,
    /// NGINX's main configuration file, as the master was started with it.
    #[serde(default = "default_conf")]
    pub conf: String,
    /// The prefix that the master was started with (`-p`), if any.
    #[serde(default)]
    pub prefix: Option<String>,
    /// The file that holds the master's pid. Not used for a container.
    #[serde(default = "default_pid_file")]
    pub pid_file: String,
    /// The error log of the `main` level. For a container its output is read instead.
    #[serde(default = "default_error_log")]
    pub error_log: String,
    /// The loopback address where NGINX tells which configuration it has loaded. One for all
    /// services of this NGINX.
    #[serde(default = "default_marker")]
    pub marker: String,
    /// The address that NGINX listens on for that, where it differs from the one that we connect
    /// to: a container with a published port.
    #[serde(default)]
    pub marker_listen: Option<String>,
    /// The container that NGINX runs in; `directory` is then the host's side of a bind mount of a
    /// whole folder.
    #[serde(default)]
    pub container: Option<String>,
    /// What `directory` is called inside the container.
    #[serde(default)]
    pub container_directory: Option<String>,
    /// How NGINX is told to load its configuration.
    #[serde(default)]
    pub reload: Reload,
    /// Whether a client stays in the slot that it was sent to while weights change.
    #[serde(default)]
    pub sticky: Sticky,
    /// How NGINX speaks with backends.
    #[serde(default)]
    pub upstream: Upstream,
    /// When a slot counts as drained.
    #[serde(default)]
    pub drain: Drain,
}

/// How NGINX is told to load its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reload {
    /// By `nginx -s reload`.
    #[default]
    Command,
    /// By the signal `HUP` to the master (or to the container's first process).
    Signal,
}

/// What decides a client's slot while both have weight.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Sticky {
    /// Chance, for each request.
    #[default]
    None,
    /// The client's address.
    Address,
    /// The value of the cookie of this name; without it address and user agent.
    Cookie(String),
}

/// How NGINX speaks with backends.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Upstream {
    /// Idle connections that each worker keeps open; 0 keeps none.
    pub keepalive: u32,
    /// How long an idle one is kept: less than the backend keeps its own, else requests are lost
    /// when the backend closes first.
    pub keepalive_timeout: String,
    /// After how many failures a backend is left out for ten seconds; 0 never leaves one out.
    pub max_fails: u32,
}

/// When a slot counts as drained.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    /// While old workers are kept alive by somebody else's long requests: for how long no
    /// connection to the slot's backends must have been seen.
    pub quiet: String,
}

fn default_nginx() -> String {
    "/usr/sbin/nginx".into()
}

fn default_conf() -> String {
    "/etc/nginx/nginx.conf".into()
}

fn default_pid_file() -> String {
    "/run/nginx.pid".into()
}

fn default_error_log() -> String {
    "/var/log/nginx/error.log".into()
}

fn default_marker() -> String {
    "127.0.0.1:18999".into()
}

impl Default for Upstream {
    fn default() -> Self {
        Self { keepalive: 32, keepalive_timeout: "4s".into(), max_fails: 0 }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self { quiet: "10s".into() }
    }
}

impl Config {
    /// Where programs run.
    pub fn place(&self) -> String {
        self.container.as_ref().map_or_else(|| "host".into(), |name| format!("container:{name}"))
    }

    /// The target, as the host's process functions name it.
    pub fn target(&self) -> String {
        self.container.as_ref().map_or_else(
            || format!("pid-file:{}", self.pid_file),
            |name| format!("container:{name}"),
        )
    }

    /// Where the master writes what it could not do.
    pub fn log(&self) -> String {
        self.container
            .as_ref()
            .map_or_else(|| self.error_log.clone(), |name| format!("container:{name}"))
    }

    /// The folder, as NGINX sees it.
    pub fn seen_directory(&self) -> &str {
        self.container_directory.as_deref().unwrap_or(&self.directory).trim_end_matches('/')
    }

    /// The address that NGINX listens on for the marker.
    pub fn listen(&self) -> &str {
        self.marker_listen.as_deref().unwrap_or(&self.marker)
    }

    /// How long an idle connection to a backend is kept, in seconds.
    pub fn keepalive_seconds(&self) -> u64 {
        seconds(&self.upstream.keepalive_timeout).unwrap_or(4)
    }

    /// How long a slot must be without connections.
    pub fn quiet(&self) -> Duration {
        seconds(&self.drain.quiet).map_or(Duration::from_secs(10), Duration::from_secs)
    }

    /// The first arguments of each call of the program.
    pub fn base_args(&self) -> Vec<String> {
        let mut args = Vec::new();
        if let Some(prefix) = &self.prefix {
            args.extend(["-p".to_owned(), prefix.clone()]);
        }
        args.extend(["-c".to_owned(), self.conf.clone()]);
        args
    }

    /// Everything that is wrong with the values.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |path: &str, message: String| problems.push(Problem::new(path, message));
        let paths = [
            ("directory", Some(&self.directory)),
            ("nginx", Some(&self.nginx)),
            ("conf", Some(&self.conf)),
            ("prefix", self.prefix.as_ref()),
            ("pid_file", Some(&self.pid_file)),
            ("error_log", Some(&self.error_log)),
            ("container_directory", self.container_directory.as_ref()),
        ];
        for (key, path) in paths {
            if let Some(path) = path.filter(|path| !is_plain_path(path)) {
                wrong(
                    key,
                    format!(
                        "`{}` is not an absolute path of letters, digits and `/ . _ - + @`, \
                        without `..`",
                        path.escape_debug()
                    ),
                );
            }
        }
        for (key, address) in
            [("marker", Some(&self.marker)), ("marker_listen", self.marker_listen.as_ref())]
        {
            if let Some(address) = address.filter(|address| !is_address(address)) {
                wrong(
                    key,
                    format!(
                        "`{}` is not `host:port`, such as `127.0.0.1:18999`",
                        address.escape_debug()
                    ),
                );
            }
        }
        if let Some(name) = &self.container {
            if !is_word(name, "_.-", 128) {
                wrong(
                    "container",
                    format!("`{}` is not the name of a container", name.escape_debug()),
                );
            }
            if self.container_directory.is_none() {
                wrong(
                    "container_directory",
                    "is required with `container`: the path of `directory` inside the container"
                        .into(),
                );
            }
        } else if self.container_directory.is_some() {
            wrong("container_directory", "has no effect without `container`".into());
        }
        if let Sticky::Cookie(name) = &self.sticky
            && !is_word(name, "_", 64)
        {
            wrong(
                "sticky.cookie",
                format!(
                    "`{}` is not a valid name in NGINX: use letters, digits and `_`",
                    name.escape_debug()
                ),
            );
        }
        if self.upstream.keepalive > 10_000 {
            wrong(
                "upstream.keepalive",
                format!(
                    "{} idle connections per worker is too many; the maximum is 10000",
                    self.upstream.keepalive
                ),
            );
        }
        for (key, span) in [
            ("upstream.keepalive_timeout", &self.upstream.keepalive_timeout),
            ("drain.quiet", &self.drain.quiet),
        ] {
            if seconds(span).is_none() {
                wrong(
                    key,
                    format!(
                        "`{}` is not a duration of one second or more, such as `4s` or `1m`",
                        span.escape_debug()
                    ),
                );
            }
        }
        problems
    }
}

/// `4s` or `1m30s` as seconds.
pub(crate) fn seconds(text: &str) -> Option<u64> {
    text.parse().ok().map(|span: Span| span.duration().as_secs()).filter(|seconds| *seconds > 0)
}

/// Letters, digits and the given further characters.
pub(crate) fn is_word(text: &str, further: &str, max_length: usize) -> bool {
    !text.is_empty()
        && text.len() <= max_length
        && text
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || further.contains(character))
}

fn is_plain_path(path: &str) -> bool {
    path.starts_with('/')
        && is_word(path, "/._-+@", 1024)
        && !path.split('/').any(|part| part == "..")
}

/// `host:port`, the host a name, an IPv4 address or an IPv6 address in brackets.
pub(crate) fn is_address(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let port_fits = !port.is_empty()
        && port.len() <= 5
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|port| port > 0);
    let host_fits = match host.strip_prefix('[') {
        Some(rest) => {
            rest.strip_suffix(']').is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok())
        }
        // A name in figures that is no address, such as `127.0.0.300`, would be looked up by name.
        None if host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => {
            host.parse::<std::net::Ipv4Addr>().is_ok()
        }
        None => is_word(host, ".-_", 253) && !host.starts_with(['.', '-']),
    };
    port_fits && host_fits
}

#[cfg(test)]
mod tests {
    use super::*;
    use agente_plugin_sdk::config::parse;

    fn config(json: &str) -> Config {
        parse(json).unwrap()
    }

    #[test]
    fn a_directory_is_enough() {
        let config = config(r#"{ "directory": "/etc/nginx/agente" }"#);
        assert_eq!(config.problems(), []);
        assert_eq!(config.base_args(), ["-c", "/etc/nginx/nginx.conf"]);
        assert_eq!(config.target(), "pid-file:/run/nginx.pid");
    }

    #[test]
    fn each_wrong_value_is_named_by_its_path() {
        let config = config(
            r#"{ "directory": "agente", "conf": "/etc/nginx/$x.conf", "marker": "127.0.0.300:18999", "container": "a b", "sticky": { "cookie": "u-id" },
                 "upstream": { "keepalive_timeout": "4" }, "drain": { "quiet": "0s" } }"#,
        );
        let paths: Vec<String> =
            config.problems().into_iter().map(|problem| problem.path).collect();
        assert_eq!(
            paths,
            [
                "directory",
                "conf",
                "marker",
                "container",
                "container_directory",
                "sticky.cookie",
                "upstream.keepalive_timeout",
                "drain.quiet"
            ]
        );
    }

    #[test]
    fn an_unknown_key_is_turned_down_with_its_name() {
        let problem =
            parse::<Config>(r#"{ "directory": "/a", "upstream": { "keep": 1 } }"#).unwrap_err();
        assert!(problem.path.starts_with("upstream"), "{problem:?}");
        assert!(problem.message.contains("`keep`"), "{problem:?}");
    }

    #[test]
    fn addresses_have_a_grammar() {
        for good in
            ["127.0.0.1:1", "[::1]:8080", "shop-blue:80", "localhost:65535", "db.internal:443"]
        {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "127.0.0.1",
            "127.0.0.1:0",
            "127.0.0.1:65536",
            "::1:80",
            "[::1]",
            "a b:80",
            "x;y:80",
            "1.2.3:80",
            "-x:80",
            "x:+80",
            "x:",
            ":80",
            "$x:80",
        ] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
