//! What processes and containers have in common: placeholders in commands, environment, ports.

use crate::judge::{Judge, secrets};
use crate::mistake::Complaint;
use crate::raw::RawEnvValue;
use crate::sections::ArtifactSource;
use crate::spelling::{listed, nearest};
use crate::tree::KeyPath;
use agente_engine::release::{EnvValue, PortRange, RuntimeSpec};
use std::collections::BTreeMap;

/// What is filled in at launch.
const PLACEHOLDERS: [&str; 4] = ["port", "slot", "release", "backend"];

/// What `[runtime]` says.
pub(crate) struct Runtime {
    pub(crate) artifact: ArtifactSource,
    pub(crate) spec: RuntimeSpec,
    /// The ports on this machine that backends may get.
    pub(crate) ports: Option<PortRange>,
}

/// Both slots may stand at once, so each instance needs two ports.
pub(super) fn wide_enough(
    judge: &mut Judge<'_, '_>,
    at: &KeyPath,
    ports: PortRange,
    instances: u16,
) {
    let held = u32::from(ports.last) - u32::from(ports.first) + 1;
    let needed = 2 * u32::from(instances);
    if held >= needed {
        return;
    }
    let last = u32::from(ports.first) + needed - 1;
    let fix = if u16::try_from(last).is_ok() {
        format!("write `{}-{last}` or a wider range", ports.first)
    } else {
        "start lower, or run fewer instances".to_owned()
    };
    let message = format!(
        "the port range `{}-{}` has room for {held}, but two slots of {instances} need {needed}",
        ports.first, ports.last
    );
    judge.object(at, Complaint::new(message, fix));
}

/// Judges the words in braces of a command.
pub(super) fn placeholders(judge: &mut Judge<'_, '_>, at: &KeyPath, arguments: &[String]) {
    for (index, argument) in arguments.iter().enumerate() {
        for word in words_in_braces(argument).filter(|word| !PLACEHOLDERS.contains(word)) {
            let fix = match nearest(word, PLACEHOLDERS) {
                Some(meant) => format!("write `{{{meant}}}`"),
                None => format!(
                    "use one of {}",
                    listed(
                        PLACEHOLDERS.map(|name| format!("{{{name}}}")).iter().map(String::as_str)
                    )
                ),
            };
            judge.object(
                &at.index(index),
                Complaint::new(format!("the placeholder `{{{word}}}` is unknown"), fix),
            );
        }
    }
}

/// The names between braces. Other text in braces, such as JSON, is not a name.
fn words_in_braces(text: &str) -> impl Iterator<Item = &str> {
    text.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(word, _)| word).filter(
        |word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
    )
}

pub(super) fn environment(
    judge: &mut Judge<'_, '_>,
    at: &KeyPath,
    raw: BTreeMap<String, RawEnvValue>,
) -> BTreeMap<String, EnvValue> {
    let mut env = BTreeMap::new();
    for (name, value) in raw {
        let at = at.key(&name);
        if let Err(complaint) = secrets::is_variable(&name) {
            judge.object_to_name(&at, complaint);
        }
        match value {
            RawEnvValue::Plain(text) => {
                if text.contains('\0') {
                    judge.object(
                        &at,
                        Complaint::new(
                            format!(
                                "the value of `{name}` contains a NUL, which an environment \
                            variable can't hold"
                            ),
                            "remove it",
                        ),
                    );
                }
                // A value may hold braces of its own, so only what was surely meant is corrected.
                let slip = words_in_braces(&text)
                    .filter(|word| !PLACEHOLDERS.contains(word))
                    .find_map(|word| nearest(word, PLACEHOLDERS).map(|meant| (word, meant)));
                if let Some((word, meant)) = slip {
                    let complaint = Complaint::new(
                        format!("the placeholder `{{{word}}}` is unknown"),
                        format!("write `{{{meant}}}`"),
                    );
                    judge.object(&at, complaint);
                }
                env.insert(name, EnvValue::Plain(text));
            }
            RawEnvValue::Secret(reference) => {
                let Some(secret) = reference.secret else { continue };
                let declared = secrets::is_declared(judge, &secret);
                if judge.accept(&at.key("secret"), declared).is_some() {
                    env.insert(name, EnvValue::Secret(secret));
                }
            }
        }
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_in_braces_are_placeholders() {
        let words = |text| words_in_braces(text).collect::<Vec<_>>();
        assert_eq!(words("127.0.0.1:{port}/{slot}"), ["port", "slot"]);
        assert_eq!(words("{\"a\": 1} {} { port } {Level}"), Vec::<&str>::new());
        assert_eq!(words("{{port}"), ["port"]);
    }
}
