//! Credentials for registries, from a file in the form of Docker's own `config.json`.

use agente_engine::fault::{Fault, FaultKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::auth::DockerCredentials;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ConfigFile {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

/// The credentials for a registry (`host[:port]`); none where the file has none. A missing file is
/// none too, as `docker login` was never run.
///
/// # Errors
///
/// [`FaultKind::InvalidConfig`] where the file can't be read or understood, or keeps its
/// credentials in a helper program.
pub(crate) fn for_registry(
    path: &Path,
    registry: &str,
) -> Result<Option<DockerCredentials>, Fault> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(Fault::new(
                FaultKind::InvalidConfig,
                format!("`{}` can't be read", path.display()),
            )
            .because(&error));
        }
    };
    // The error of the parser would quote the file.
    let Ok(file) = serde_json::from_slice::<ConfigFile>(&text) else {
        return Err(Fault::new(
            FaultKind::InvalidConfig,
            format!("`{}` is not a Docker configuration in JSON", path.display()),
        )
        .hint("write it anew with `docker login`"));
    };
    let wanted = host_of(registry);
    let Some((name, entry)) = file.auths.into_iter().find(|(name, _)| host_of(name) == wanted)
    else {
        let helper = file
            .cred_helpers
            .iter()
            .find(|(name, _)| host_of(name) == wanted)
            .map(|(_, helper)| helper)
            .or(file.creds_store.as_ref());
        return match helper {
            Some(helper) => Err(helped(path, registry, helper)),
            None => Ok(None),
        };
    };
    let mut credentials = DockerCredentials {
        serveraddress: Some(name),
        identitytoken: entry.identitytoken.filter(|token| !token.is_empty()),
        ..DockerCredentials::default()
    };
    if let Some(auth) = entry.auth.filter(|auth| !auth.is_empty()) {
        let decoded =
            STANDARD.decode(auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let Some((username, password)) = decoded.as_deref().and_then(|pair| pair.split_once(':'))
        else {
            return Err(Fault::new(
                FaultKind::InvalidConfig,
                format!("`{}` holds no user and password for `{registry}`", path.display()),
            )
            .hint(format!("docker login {registry}")));
        };
        credentials.username = Some(username.to_owned());
        credentials.password = Some(password.trim_end_matches('\0').to_owned());
    } else {
        credentials.username = entry.username;
        credentials.password = entry.password;
    }
    if credentials.username.is_none() && credentials.identitytoken.is_none() {
        // `docker login` leaves an empty entry where a helper keeps the credentials.
        return match file.creds_store {
            Some(helper) => Err(helped(path, registry, &helper)),
            None => Ok(None),
        };
    }
    Ok(Some(credentials))
}

fn helped(path: &Path, registry: &str, helper: &str) -> Fault {
    Fault::new(
        FaultKind::InvalidConfig,
        format!(
            "`{}` keeps the credentials for `{registry}` in the program \
             `docker-credential-{helper}`, which is not asked here",
            path.display()
        ),
    )
    .hint(
        "pull the image beforehand with `docker pull`: an image that the engine has is not pulled \
         again",
    )
}

/// The host of an entry: `https://index.docker.io/v1/` stands for `docker.io`.
fn host_of(name: &str) -> &str {
    let bare = name.trim_start_matches("https://").trim_start_matches("http://");
    match bare.split('/').next().unwrap_or(bare) {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str, registry: &str) -> Result<Option<DockerCredentials>, Fault> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, json).unwrap();
        for_registry(&path, registry)
    }

    #[test]
    fn user_and_password_are_found_by_the_registrys_host() {
        let json = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"bWU6cGE6c3M="},"127.0.0.1:5000":{"identitytoken":"t"}}}"#;
        let found = read(json, "docker.io").unwrap().unwrap();
        assert_eq!(
            (found.username.as_deref(), found.password.as_deref()),
            (Some("me"), Some("pa:ss"))
        );
        assert_eq!(
            read(json, "127.0.0.1:5000").unwrap().unwrap().identitytoken.as_deref(),
            Some("t")
        );
        assert_eq!(read(json, "127.0.0.1:5001").unwrap(), None);
    }

    #[test]
    fn a_broken_file_is_named_and_never_quoted() {
        let fault = read(r#"{"auths": {"r": {"auth": "c2VjcmV0" oops"#, "r").unwrap_err();
        assert_eq!(fault.kind, FaultKind::InvalidConfig);
        assert!(!format!("{fault:?}").contains("c2VjcmV0"));
    }

    #[test]
    fn a_helper_program_is_named_with_the_way_around() {
        let fault = read(r#"{"credsStore":"pass","auths":{"r.local":{}}}"#, "r.local").unwrap_err();
        assert!(
            fault.message.contains("docker-credential-pass")
                && fault.hint.unwrap().contains("docker pull")
        );
    }

    #[test]
    fn a_file_that_is_not_there_has_no_credentials() {
        assert_eq!(for_registry(Path::new("/nowhere/config.json"), "r").unwrap(), None);
    }
}
