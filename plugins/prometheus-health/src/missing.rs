//! Which metrics of a question the server has never seen: mostly a mistyped name, which otherwise
//! looks like a quiet service.

use crate::api::Api;
use crate::placeholder::Values;
use crate::query::Question;
use agente_plugin_sdk::{Code, Failure, Host};

/// The names of metrics in a question that the server has never seen. The server judges the
/// expression first, where it can.
pub fn missing<H: Host>(api: &Api<'_, H>, question: &Question) -> Result<Vec<String>, Failure> {
    // Functions and types are the server's to judge; values of the right shape stand for the
    // placeholders.
    let text = Values::made_up().fill(
        &question.text,
        &question.expression.holes,
        0..question.text.len(),
    )?;
    api.judge(&text)?;
    Ok(never_seen(api, question)?.unwrap_or_default())
}

/// The same without the judgement; none where the server does not say.
pub(crate) fn never_seen<H: Host>(
    api: &Api<'_, H>,
    question: &Question,
) -> Result<Option<Vec<String>>, Failure> {
    let mut names: Vec<String> = Vec::new();
    for selector in &question.expression.selectors {
        // A name made of a placeholder is known only when it is asked.
        let name =
            selector.metric.as_ref().filter(|name| !name.contains("{{") && !names.contains(name));
        names.extend(name.cloned());
    }
    if names.is_empty() {
        return Ok(Some(names));
    }
    match api.known(&names) {
        Ok(known) => {
            names.retain(|name| !known.contains(name));
            Ok(Some(names))
        }
        // The query itself was answered: a server without this endpoint is not a reason to fail.
        Err(failure) if matches!(failure.code, Code::InvalidConfig | Code::Failed) => Ok(None),
        Err(failure) => Err(failure),
    }
}
