//! The first manifest that `agente-host init` writes: commented, and right as soon as its paths
//! exist.

use crate::written::{key_literal, text_literal, toml_literal};
use serde_json::{Map, Value as Json};
use std::path::Path;

/// How the service of a first manifest runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemplateKind {
    /// As local processes.
    Process,
    /// As containers.
    Docker,
}

/// What a first manifest is filled with.
#[derive(Debug, Clone, PartialEq)]
pub struct Answers {
    /// The service's name.
    pub service: String,
    /// The program file (processes).
    pub artifact: String,
    /// Program and arguments (processes); empty: the artifact and `127.0.0.1:{port}`.
    pub command: Vec<String>,
    /// The image (containers).
    pub image: String,
    /// The port within the container (containers).
    pub container_port: u16,
    /// Where backends get their ports.
    pub ports: String,
    /// How many backends a slot has.
    pub instances: u16,
    /// The health endpoints; may be empty.
    pub health: Vec<String>,
    /// The public URL; without it there is no probe.
    pub url: Option<String>,
    /// Where to connect instead of the URL's own host.
    pub connect: Option<String>,
    /// The plugin that switches.
    pub switcher: String,
    /// Its configuration.
    pub switch_config: Map<String, Json>,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            service: "shop".to_owned(),
            artifact: "target/release/shop".to_owned(),
            command: Vec::new(),
            image: "shop:1".to_owned(),
            container_port: 8080,
            ports: "18100-18199".to_owned(),
            instances: 1,
            health: vec!["/healthz".to_owned()],
            url: Some("http://127.0.0.1:8080/".to_owned()),
            connect: None,
            switcher: "nginx-switch".to_owned(),
            switch_config: [("directory".to_owned(), Json::from("/etc/nginx/agente"))]
                .into_iter()
                .collect(),
        }
    }
}

/// Writes a first manifest with comments that say what else there is.
pub fn template(kind: TemplateKind, answers: &Answers) -> String {
    let mut text = String::new();
    let mut line = |written: &str| {
        text.push_str(written);
        text.push('\n');
    };
    line(
        "# What to deploy and how. All keys: docs/reference/manifest.md, or `agente-host schema` \
         for editors.",
    );
    line(
        "# `agente-host check` validates this file, `agente-host plan` shows what a deployment \
         would do.",
    );
    line("");
    line(&format!("service = {}", text_literal(&answers.service)));
    line("");
    runtime(&mut line, kind, answers);
    line("");
    line(
        "# Secrets stay where they are; this file only names them. Use one with `env = { \
         DATABASE_URL = { secret = \"db\" } }`.",
    );
    line("# [secrets]");
    line("# db = { env = \"DATABASE_URL\" }    # or { file = \"…\" } or { command = [\"…\"] }");
    line("");
    line("# The plugin that shifts traffic; `agente-host plugin inspect` lists its settings.");
    line("[switch]");
    line(&format!("plugin = {}", text_literal(&answers.switcher)));
    line("");
    if answers.switch_config.is_empty() {
        line(&format!("# [plugins.{}.config]", key_literal(&answers.switcher)));
    } else {
        line(&format!("[plugins.{}.config]", key_literal(&answers.switcher)));
        for (key, value) in &answers.switch_config {
            line(&format!("{} = {}", key_literal(key), toml_literal(value)));
        }
    }
    line("");
    health(&mut line, answers);
    line("");
    line("# Anything else that must be healthy before a deployment starts:");
    line("# [[checks]]");
    line("# name = \"redis\"");
    line("# plugin = \"tcp-health\"");
    line("# of = \"dependency\"");
    line("# spec = { address = \"127.0.0.1:6379\", send = \"PING\\r\\n\", expect = \"+PONG\" }");
    line("");
    probe(&mut line, answers);
    line("");
    line("# [strategy]");
    line("# bake = \"30s\"                    # how long to watch after promote");
    line(
        "# keep_previous = \"until-next\"    # keeps the old side for a fast rollback; or \"1h\", \
         or \"none\"",
    );
    line("# drain = { timeout = \"30s\", on_timeout = \"keep\" }");
    line("");
    line("# What differs by environment; `--env` selects one.");
    line("# [environments.production.strategy]");
    line("# bake = \"10m\"");
    text
}

/// Writes the same without comments: the shortest manifest that does it all.
pub(crate) fn shortest(kind: TemplateKind, answers: &Answers) -> String {
    let full = template(kind, answers);
    let mut lines: Vec<&str> = full
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split("  #").next().unwrap_or("").trim_end())
        .collect();
    lines.dedup_by(|a, b| a.is_empty() && b.is_empty());
    format!("{}\n", lines.join("\n").trim())
}

fn runtime(line: &mut impl FnMut(&str), kind: TemplateKind, answers: &Answers) {
    match kind {
        TemplateKind::Process => {
            let file_name = Path::new(&answers.artifact).file_name().map_or_else(
                || answers.artifact.clone(),
                |name| name.to_string_lossy().into_owned(),
            );
            let default = vec![format!("./{file_name}"), "127.0.0.1:{port}".to_owned()];
            let command = if answers.command.is_empty() { &default } else { &answers.command };
            line("# Local processes, each kept running by a supervisor.");
            line("[runtime.process]");
            line(&format!("artifact = {}", text_literal(&answers.artifact)));
            line(&format!("command = {}", toml_literal(&Json::from(command.clone()))));
        }
        TemplateKind::Docker => {
            line("# Containers of a Docker Engine.");
            line("[runtime.docker]");
            line(&format!("image = {}", text_literal(&answers.image)));
            line(&format!("container_port = {}", answers.container_port));
        }
    }
    line(&format!("instances = {}", answers.instances));
    line(&format!(
        "{:<36}# at least two per instance: old and new run side by side",
        format!("ports = {} ", text_literal(&answers.ports))
    ));
    line("# env = { MODE = \"production\" }    # the complete environment; nothing is inherited");
    line("# stop_grace = \"10s\"              # from SIGTERM to SIGKILL");
}

fn health(line: &mut impl FnMut(&str), answers: &Answers) {
    line("# Checked on every new backend before it takes requests, and again after the shift.");
    if answers.health.is_empty() {
        line("# [health]");
        line(
            "# endpoints = [\"/healthz\", { path = \"/readyz\", json = { \"/database\" = \"up\" } \
             }]",
        );
    } else {
        line("[health]");
        line(&format!("endpoints = {}", toml_literal(&Json::from(answers.health.clone()))));
    }
}

fn probe(line: &mut impl FnMut(&str), answers: &Answers) {
    line(
        "# Requests that agente-host itself sends during a deployment, to prove that none is lost.",
    );
    let Some(url) = &answers.url else {
        line("# [probe]");
        line("# url = \"https://shop.example/healthz\"");
        return;
    };
    line("[probe]");
    line(&format!("url = {}", text_literal(url)));
    match &answers.connect {
        Some(connect) => line(&format!("connect = {}", text_literal(connect))),
        None => {
            line("# connect = \"127.0.0.1:8080\"      # connect here instead of to the URL's host");
        }
    }
    line("# rate = 20                       # requests per second");
    line("# budget = 0                      # failed requests to tolerate");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Manifest, Overrides};
    use proptest::prelude::*;
    use std::os::unix::fs::PermissionsExt;

    fn load(
        kind: TemplateKind,
        answers: &Answers,
        write: fn(TemplateKind, &Answers) -> String,
    ) -> Manifest {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join(&answers.artifact);
        std::fs::create_dir_all(program.parent().unwrap()).unwrap();
        std::fs::write(&program, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let text = write(kind, answers);
        Manifest::from_bytes(
            &folder.path().join("agente.toml"),
            text.into_bytes(),
            &Overrides::default(),
        )
        .unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_first_manifest_is_right_as_soon_as_its_paths_exist() {
        for kind in [TemplateKind::Process, TemplateKind::Docker] {
            let manifest = load(kind, &Answers::default(), template);
            assert_eq!(manifest.scope.to_string(), "shop/default");
            assert_eq!(
                manifest.policy.checks.iter().map(|check| check.name.as_str()).collect::<Vec<_>>(),
                ["health-healthz"]
            );
            assert!(manifest.policy.probe.is_some());
        }
        let bare = Answers { health: Vec::new(), url: None, ..Answers::default() };
        assert_eq!(load(TemplateKind::Process, &bare, template).policy.checks, []);
    }

    #[test]
    fn the_common_case_fits_in_twenty_lines() {
        let answers = Answers::default();
        let text = shortest(TemplateKind::Process, &answers);
        assert!(text.lines().count() <= 20, "{text}");
        assert!(!text.contains('#'), "{text}");
        load(TemplateKind::Process, &answers, shortest);
    }

    /// A comment that looks like TOML is TOML: `# key = …` and `# [table]`.
    fn uncommented(line: &str) -> &str {
        let is_key = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        line.strip_prefix("# ")
            .filter(|rest| {
                rest.starts_with('[') || rest.split_once(" = ").is_some_and(|(key, _)| is_key(key))
            })
            .unwrap_or(line)
    }

    #[test]
    fn what_is_commented_out_is_right_too() {
        let bare = Answers { health: Vec::new(), url: None, ..Answers::default() };
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("shop");
        std::fs::write(&program, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let text =
            template(TemplateKind::Process, &Answers { artifact: "shop".to_owned(), ..bare });
        let all: Vec<&str> = text.lines().map(uncommented).collect();
        let text = all.join("\n");
        let manifest = Manifest::from_bytes(
            &folder.path().join("agente.toml"),
            text.clone().into_bytes(),
            &Overrides::default(),
        );
        let manifest = manifest.unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(manifest.scope.environment.as_str(), "production");
        assert_eq!(manifest.secrets.len(), 1);
        assert_eq!(manifest.policy.checks.len(), 3);
        assert_eq!(manifest.policy.bake, std::time::Duration::from_mins(10));
    }

    proptest! {
        #[test]
        fn answers_are_quoted_whatever_they_hold(
            url in "\\PC{0,20}",
            image in "\\PC{0,20}",
            key in "\\PC{1,10}",
            value in any::<String>(),
        ) {
            let config = [(key.clone(), Json::from(value.clone()))];
            let answers = Answers {
                url: Some(url.clone()),
                image: image.clone(),
                switch_config: config.into_iter().collect(),
                ..Answers::default()
            };
            let read: toml::Table = template(TemplateKind::Docker, &answers).parse().unwrap();
            prop_assert_eq!(read["probe"]["url"].as_str(), Some(url.as_str()));
            prop_assert_eq!(read["runtime"]["docker"]["image"].as_str(), Some(image.as_str()));
            let config = &read["plugins"]["nginx-switch"]["config"];
            prop_assert_eq!(config[&key].as_str(), Some(value.as_str()));
        }
    }
}
