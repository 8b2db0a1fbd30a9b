//! `[secrets]`: where values come from. No value is read here.

use super::Judge;
use crate::files;
use crate::mistake::Complaint;
use crate::raw::RawSecret;
use crate::sections::SecretSource;
use crate::spelling::{listed, nearest};
use crate::tree::{KeyPath, Node};
use std::collections::BTreeMap;

/// Judges the table; sources that can't be are left out.
pub(super) fn judge(
    judge: &mut Judge<'_, '_>,
    raw: BTreeMap<String, RawSecret>,
) -> BTreeMap<String, SecretSource> {
    let mut sources = BTreeMap::new();
    for (name, secret) in raw {
        let at = KeyPath::root().key("secrets").key(&name);
        if !is_secret_name(&name) {
            let message = format!(
                "the secret name `{name}` must start with a letter and contain only letters, \
                digits, `-` and `_`"
            );
            judge.object_to_name(
                &at,
                Complaint::new(message, "rename it, for instance to `db_url`"),
            );
        }
        if let Some(source) = source(judge, &at, secret) {
            sources.insert(name, source);
        }
    }
    sources
}

fn is_secret_name(name: &str) -> bool {
    name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

fn source(judge: &mut Judge<'_, '_>, at: &KeyPath, raw: RawSecret) -> Option<SecretSource> {
    if let Some(variable) = raw.env {
        let judged = is_variable(&variable);
        return judge.accept(&at.key("env"), judged).map(|()| SecretSource::Env(variable));
    }
    if let Some(written) = raw.file {
        let path = judge.resolve(&written);
        let judged = files::is_readable(
            "the secret's file",
            &written,
            &path,
            "put the file there, or correct the path",
        );
        return judge.accept(&at.key("file"), judged).map(|()| SecretSource::File(path));
    }
    let mut argv = raw.command?;
    let at = at.key("command");
    let Some(program) = argv.first().cloned() else {
        judge.object(
            &at,
            Complaint::new(
                format!("`{at}` is empty"),
                "write the program and its arguments, such as `[\"pass\", \"show\", \"db\"]`",
            ),
        );
        return None;
    };
    if program.is_empty() {
        judge.object(
            &at.index(0),
            Complaint::new(format!("`{at}` names no program"), "start it with the program"),
        );
        return None;
    }
    // A bare name is looked up by whoever runs it; a path is looked at now.
    if program.contains('/') {
        let path = judge.resolve(&program);
        judge.accept(
            &at.index(0),
            files::is_program("the program", &program, &path, "correct the path"),
        )?;
        if let Some(first) = argv.first_mut() {
            *first = path.to_string_lossy().into_owned();
        }
    }
    Some(SecretSource::Command(argv))
}

/// Judges the name of an environment variable.
pub(super) fn is_variable(name: &str) -> Result<(), Complaint> {
    let good = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if good {
        return Ok(());
    }
    Err(Complaint::new(
        format!("`{name}` can't be the name of an environment variable"),
        "use letters, digits and `_`, not starting with a digit",
    ))
}

/// Whether a secret is declared, with what to do where it isn't.
pub(super) fn is_declared(judge: &Judge<'_, '_>, name: &str) -> Result<(), Complaint> {
    let declared = judge.document.at(&KeyPath::of("secrets")).and_then(Node::table);
    if declared.is_some_and(|secrets| secrets.contains_key(name))
        || judge.taken_out.contains(&KeyPath::of("secrets").key(name).to_string())
    {
        return Ok(());
    }
    let names: Vec<&str> = declared.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let message = if names.is_empty() {
        format!("the secret `{name}` is not declared: there are no `[secrets]`")
    } else {
        format!(
            "the secret `{name}` is not declared; declared are {}",
            listed(names.iter().copied())
        )
    };
    let fix = match nearest(name, names) {
        Some(meant) => format!("write `{meant}`"),
        None => format!(
            "add `{name} = {{ env = \"{}\" }}` to `[secrets]`",
            name.to_uppercase().replace('-', "_")
        ),
    };
    Err(Complaint::new(message, fix))
}
