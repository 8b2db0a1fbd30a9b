//! Credentials for registries, from a file in the form of Docker's own `config.json`, or from the
//! helper program that it names.

use agente_engine::fault::{Fault, FaultKind};
use bollard::auth::DockerCredentials;
use docker_credential::{CredentialRetrievalError as Failed, DockerCredential};
use std::path::Path;
use std::time::Duration;

/// What Docker's own registry is called in that file, and to helper programs.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// The credentials for a registry (`host[:port]`); none where the file has none. A missing file is
/// none too, as `docker login` was never run. A helper program is given up on after `limit`.
///
/// # Errors
///
/// [`FaultKind::InvalidConfig`] where the file can't be read or understood, or its helper program
/// fails.
pub(crate) async fn for_registry(
    path: &Path,
    registry: &str,
    limit: Duration,
) -> Result<Option<DockerCredentials>, Fault> {
    let (file, server) = (path.to_owned(), server_of(registry));
    let asked = server.clone();
    // A helper program may unlock a key chain, or ask a cloud.
    let asking = tokio::task::spawn_blocking(move || {
        let text = match std::fs::File::open(&file) {
            Ok(text) => std::io::BufReader::new(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(&file).because(&error)),
        };
        match docker_credential::get_credential_from_reader(text, &asked) {
            Ok(credential) => Ok(Some(credential)),
            Err(Failed::NoCredentialConfigured) => Ok(None),
            // Docker's own words for a key chain that does not have it.
            Err(Failed::HelperFailure { stdout, .. }) if stdout.contains("not found") => Ok(None),
            Err(failed) => Err(refused(&file, &asked, &failed)),
        }
    });
    let Ok(Ok(found)) = tokio::time::timeout(limit, asking).await else {
        let message = format!(
            "the credential helper named in `{}` did not return the credentials for `{registry}` \
            within {} s",
            path.display(),
            limit.as_secs()
        );
        return Err(Fault::new(FaultKind::TimedOut, message)
            .hint(format!("check that `docker pull` from `{registry}` works")));
    };
    Ok(found?.map(|credential| {
        let known = DockerCredentials { serveraddress: Some(server), ..Default::default() };
        match credential {
            DockerCredential::IdentityToken(token) => {
                DockerCredentials { identitytoken: Some(token), ..known }
            }
            DockerCredential::UsernamePassword(username, password) => {
                DockerCredentials { username: Some(username), password: Some(password), ..known }
            }
        }
    }))
}

fn server_of(registry: &str) -> String {
    match registry {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB.to_owned(),
        other => other.to_owned(),
    }
}

fn unreadable(path: &Path) -> Fault {
    Fault::new(FaultKind::InvalidConfig, format!("`{}` can't be read", path.display()))
}

/// Says what is wrong without quoting the file, or what a helper program printed.
fn refused(path: &Path, server: &str, failed: &Failed) -> Fault {
    let path = path.display();
    let message = match failed {
        Failed::ConfigNotFound | Failed::ConfigReadError => {
            return Fault::new(
                FaultKind::InvalidConfig,
                format!("`{path}` is not a Docker configuration in JSON"),
            )
            .hint("recreate it with `docker login`");
        }
        Failed::HelperFailure { helper, stderr, .. } => {
            let message = format!(
                "the credential helper `{helper}` named in `{path}` can't return the credentials \
                for `{server}`"
            );
            let mut fault = Fault::new(FaultKind::InvalidConfig, message);
            fault.causes.extend(stderr.lines().next().map(str::to_owned));
            return fault.hint(format!("try it: `echo {server} | {helper} get`"));
        }
        Failed::HelperCommunicationError => {
            format!("the credential helper named in `{path}` for `{server}` can't be run")
        }
        Failed::MalformedHelperResponse => {
            format!("the credential helper named in `{path}` for `{server}` does not return JSON")
        }
        Failed::CredentialDecodingError
        | Failed::CredentialMismatchError
        | Failed::NoCredentialConfigured => {
            format!("`{path}` contains no user name and password for `{server}`")
        }
    };
    Fault::new(FaultKind::InvalidConfig, message).hint(format!("docker login {server}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    const LIMIT: Duration = Duration::from_secs(20);

    async fn read(json: &str, registry: &str) -> Result<Option<DockerCredentials>, Fault> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, json).unwrap();
        for_registry(&path, registry, LIMIT).await
    }

    #[tokio::test]
    async fn user_and_password_are_found_by_the_registrys_host() {
        let json = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"bWU6cGE6c3M="},"127.0.0.1:5000":{"identitytoken":"t"}}}"#;
        let found = read(json, "docker.io").await.unwrap().unwrap();
        assert_eq!(
            (found.username.as_deref(), found.password.as_deref()),
            (Some("me"), Some("pa:ss"))
        );
        let found = read(json, "127.0.0.1:5000").await.unwrap().unwrap();
        assert_eq!(found.identitytoken.as_deref(), Some("t"));
        assert_eq!(read(json, "127.0.0.1:5001").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_broken_file_is_named_and_never_quoted() {
        for broken in [
            r#"{"auths": {"r": {"auth": "c2VjcmV0" oops"#,
            r#"{"auths": {"r": {"auth": "c2VjcmV0"}}}"#,
        ] {
            let fault = read(broken, "r").await.unwrap_err();
            assert_eq!(fault.kind, FaultKind::InvalidConfig);
            let shown = format!("{fault:?}");
            assert!(!shown.contains("c2VjcmV0") && !shown.contains("secret"), "{shown}");
        }
    }

    #[tokio::test]
    async fn a_helper_program_that_is_not_there_is_told() {
        let json = r#"{"credsStore":"agente-nobody","auths":{"r.local":{}}}"#;
        let fault = read(json, "r.local").await.unwrap_err();
        assert!(fault.message.contains("can't be run"), "{fault}");
    }

    #[tokio::test]
    async fn a_file_that_is_not_there_has_no_credentials() {
        let nowhere = Path::new("/nowhere/config.json");
        assert_eq!(for_registry(nowhere, "r", LIMIT).await.unwrap(), None);
    }

    /// Where the configuration is, in a process of the test's own: helper programs are looked for
    /// in `PATH`.
    const INNER: &str = "AGENTE_TEST_CREDENTIALS";

    #[tokio::test]
    async fn the_helper_program_of_a_registry_is_asked() {
        if let Some(path) = std::env::var_os(INNER) {
            let found = |registry| for_registry(Path::new(&path), registry, LIMIT);
            let known = found("r.local:5000").await.unwrap().unwrap();
            assert_eq!(
                (known.username.as_deref(), known.password.as_deref()),
                (Some("ann"), Some("for r.local:5000"))
            );
            assert_eq!(found("other.local").await.unwrap(), None);
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let helper = folder.path().join("docker-credential-test");
        let script = "#!/bin/sh\nread server\ncase $server in\nr.local:5000) \
                      printf '{\"Username\":\"ann\",\"Secret\":\"for %s\"}' $server ;;\n\
                      *) echo 'credentials not found in native keychain'; exit 1 ;;\nesac\n";
        std::fs::write(&helper, script).unwrap();
        std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
        let config = folder.path().join("config.json");
        std::fs::write(&config, r#"{"credsStore":"test","auths":{}}"#).unwrap();
        let path = std::env::var("PATH").unwrap();
        let inner = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "docker::credentials::tests::the_helper_program_of_a_registry_is_asked",
            ])
            .env(INNER, &config)
            .env("PATH", format!("{}:{path}", folder.path().display()))
            .output()
            .unwrap();
        assert!(inner.status.success(), "{}", String::from_utf8_lossy(&inner.stdout));
    }
}
