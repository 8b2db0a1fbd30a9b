//! A request with the manifest's values filled in.

use super::{PluginRequest, RequestError, readable};
use crate::capability::{
    Capabilities, ExecRule, FilesRule, LogRule, NetRule, ProcessRule, SecretRule, TcpRule,
};
use serde_json::Value;

impl PluginRequest {
    /// Fills in the values of the manifest.
    ///
    /// `config` is the plugin's section, `specs` the own tables of the checks that use the plugin.
    pub fn resolve(&self, config: &Value, specs: &[Value]) -> Result<Capabilities, RequestError> {
        let values = Values { config, specs };
        let asks = &self.asks;
        let mut resolved = Capabilities { limits: asks.limits.clone(), ..Capabilities::default() };
        for rule in &asks.files {
            for path in values.fill(&rule.path)? {
                absolute(&path)?;
                resolved.files.push(FilesRule { path, access: rule.access });
            }
        }
        for rule in &asks.exec {
            resolved.exec.extend(values.fill_exec(rule)?);
        }
        for rule in &asks.process {
            for of in values.fill(&rule.of)? {
                target(&of)?;
                resolved.process.push(ProcessRule { of, signals: rule.signals.clone() });
            }
        }
        for rule in &asks.logs {
            for path in values.fill(&rule.path)? {
                if !path.starts_with("container:") {
                    absolute(&path)?;
                }
                resolved.logs.push(LogRule { path });
            }
        }
        for rule in &asks.tcp {
            resolved.tcp.extend(
                values
                    .fill(&rule.address)?
                    .into_iter()
                    .map(|address| TcpRule { address, private: rule.private }),
            );
        }
        for rule in &asks.net {
            // A file that isn't configured is no reason not to ask for the server.
            let file = |text: &Option<String>| match text {
                Some(text) => Ok(values.fill(text)?.into_iter().next()),
                None => Ok::<_, RequestError>(None),
            };
            let (ca, client_certificate) = (file(&rule.ca)?, file(&rule.client_certificate)?);
            for origin in values.fill(&rule.origin)? {
                let origin = origin_of(&origin)?;
                let (methods, private) = (rule.methods.clone(), rule.private);
                resolved.net.push(NetRule {
                    origin,
                    methods,
                    private,
                    ca: ca.clone(),
                    client_certificate: client_certificate.clone(),
                });
            }
        }
        for rule in &asks.secrets {
            let Some(hosts) = values.fill_all(&rule.hosts)? else { continue };
            let hosts: Vec<String> = hosts.iter().map(|host| host_of(host)).collect();
            for name in values.fill(&rule.name)? {
                resolved.secrets.push(SecretRule {
                    name,
                    uses: rule.uses.clone(),
                    hosts: hosts.clone(),
                    variable: rule.variable.clone(),
                });
            }
        }
        Ok(resolved)
    }
}

fn absolute(path: &str) -> Result<(), RequestError> {
    if crate::paths::is_plain_absolute(path) {
        Ok(())
    } else {
        Err(RequestError::NotAbsolute { path: path.to_owned() })
    }
}

fn target(of: &str) -> Result<(), RequestError> {
    match of.split_once(':') {
        Some(("pid-file", path)) => absolute(path),
        Some(("container", name)) if !name.is_empty() => Ok(()),
        _ => Err(RequestError::Meaningless(format!(
            "`{of}` is neither `pid-file:<path>` nor `container:<name>`"
        ))),
    }
}

/// Keeps scheme, host and port of a URL, without a port that is the scheme's own.
fn origin_of(text: &str) -> Result<String, RequestError> {
    if text.starts_with('@') {
        return match text {
            "@backends" | "@public" => Ok(text.to_owned()),
            _ => Err(RequestError::Meaningless(format!(
                "`{text}` is neither `@backends` nor `@public`"
            ))),
        };
    }
    crate::address::Origin::parse(text).map(|origin| origin.to_string()).ok_or_else(|| {
        RequestError::Meaningless(format!(
            "`{text}` is not an origin such as `https://lb.internal:8443`"
        ))
    })
}

fn host_of(text: &str) -> String {
    crate::address::Origin::parse(text)
        .map_or_else(|| text.to_ascii_lowercase(), |origin| origin.host)
}

struct Values<'a> {
    config: &'a Value,
    specs: &'a [Value],
}

impl Values<'_> {
    /// Fills in one text. Nothing for a value that isn't set, several texts for a list.
    fn fill(&self, text: &str) -> Result<Vec<String>, RequestError> {
        let mut filled = vec![String::new()];
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            let (before, reference) = rest.split_at(start);
            let bad = || RequestError::BadReference { text: text.to_owned() };
            let (reference, after) =
                reference.get(2..).unwrap_or_default().split_once('}').ok_or_else(bad)?;
            let (path, default) = reference
                .split_once(":-")
                .map_or((reference, None), |(path, default)| (path, Some(default)));
            let mut values = self.look_up(path, text).ok_or_else(bad)??;
            if values.is_empty() {
                values.extend(default.map(str::to_owned));
            }
            filled = filled
                .iter()
                .flat_map(|so_far| {
                    values.iter().map(move |value| format!("{so_far}{before}{value}"))
                })
                .collect();
            rest = after;
        }
        for text in &mut filled {
            text.push_str(rest);
            readable(text)?;
        }
        filled.dedup();
        Ok(filled)
    }

    /// Fills in a list; nothing if one of its texts has no value.
    fn fill_all(&self, texts: &[String]) -> Result<Option<Vec<String>>, RequestError> {
        let mut all = Vec::with_capacity(texts.len());
        for text in texts {
            let values = self.fill(text)?;
            if values.is_empty() {
                return Ok(None);
            }
            all.extend(values);
        }
        Ok(Some(all))
    }

    fn fill_exec(&self, rule: &ExecRule) -> Result<Vec<ExecRule>, RequestError> {
        if !rule.prefix.is_empty() {
            return Err(RequestError::Meaningless(
                "`prefix` of `exec` can be set only by the operator, in `agente.lock`".to_owned(),
            ));
        }
        let (Some(args), Some(env)) = (self.fill_all(&rule.args)?, self.fill_all(&rule.env)?)
        else {
            return Ok(Vec::new());
        };
        let cwd = match &rule.cwd {
            None => None,
            Some(cwd) => match self.fill(cwd)?.into_iter().next() {
                None => return Ok(Vec::new()),
                some => some,
            },
        };
        let mut rules = Vec::new();
        for place in self.fill(&rule.place)? {
            if !matches!(place.as_str(), "host" | "release")
                && place.strip_prefix("container:").is_none_or(str::is_empty)
            {
                return Err(RequestError::Meaningless(format!(
                    "`{place}` is not a place to run a program; write `host`, `release` or \
                    `container:<name>`"
                )));
            }
            for program in self.fill(&rule.program)? {
                absolute(&program)?;
                rules.push(ExecRule {
                    program,
                    args: args.clone(),
                    phase: rule.phase,
                    place: place.clone(),
                    env: env.clone(),
                    cwd: cwd.clone(),
                    prefix: Vec::new(),
                });
            }
        }
        Ok(rules)
    }

    fn look_up(&self, path: &str, text: &str) -> Option<Result<Vec<String>, RequestError>> {
        let (root, path) = path.split_once('.')?;
        let roots = match root {
            "config" => std::slice::from_ref(self.config),
            "spec" => self.specs,
            _ => return None,
        };
        let mut texts = Vec::new();
        for value in roots {
            let found = path.split('.').try_fold(value, |value, key| value.get(key));
            match texts_of(found) {
                Some(values) => texts.extend(values),
                None => {
                    return Some(Err(RequestError::NotAText {
                        text: text.to_owned(),
                        path: path.to_owned(),
                    }));
                }
            }
        }
        Some(Ok(texts))
    }
}

fn texts_of(value: Option<&Value>) -> Option<Vec<String>> {
    match value {
        None | Some(Value::Null) => Some(Vec::new()),
        // An empty text names nothing: it must not turn `${config.folder}/*` into `/*`.
        Some(Value::String(text)) if text.is_empty() => Some(Vec::new()),
        Some(Value::String(text)) => Some(vec![text.clone()]),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Some(vec![value.to_string()]),
        Some(Value::Array(values)) => values
            .iter()
            .map(|value| texts_of(Some(value)).filter(|texts| texts.len() == 1))
            .collect::<Option<Vec<_>>>()
            .map(|v| v.concat()),
        Some(Value::Object(_)) => None,
    }
}
