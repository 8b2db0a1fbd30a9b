use super::*;
use crate::blob::Blob;
use crate::effect::HttpRequest;

fn name() -> PluginName {
    PluginName::new("x").unwrap()
}

fn rules(text: &str) -> Capabilities {
    toml::from_str(text).unwrap()
}

fn decide(text: &str, phase: Phase, effect: &Effect) -> Result<Allowed, Denied> {
    let circumstances = Circumstances {
        backends: vec!["10.0.0.5:8080".to_owned(), "[::1]:9000".to_owned()],
        public_url: Some("https://shop.example/x".to_owned()),
    };
    Broker::new(name(), rules(text), rules(text)).authorize(phase, &circumstances, effect, &Real)
}

/// The links of this machine.
struct Real;

impl Paths for Real {
    fn follow(&self, path: &Path, how: Follow) -> Vec<PathBuf> {
        crate::effects::links::follow(path, how)
    }
}

fn run(program: &str, args: &[&str]) -> Program {
    Program {
        program: program.to_owned(),
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        stdin: Blob::default(),
        env: Vec::new(),
        cwd: None,
        wall_ms: 1000,
        place: "host".to_owned(),
    }
}

fn connect(host: &str, port: u16) -> Effect {
    Effect::Connect { host: host.to_owned(), port, timeout_ms: 1000 }
}

fn replace(path: &str) -> Effect {
    Effect::ReplaceFile { path: path.to_owned(), bytes: Blob::default(), mode: 0o644 }
}

fn request(scheme: &str, host: &str, port: u16, method: &str) -> Effect {
    Effect::Request(Box::new(HttpRequest {
        scheme: scheme.to_owned(),
        host: host.to_owned(),
        port,
        method: method.to_owned(),
        target: "/".to_owned(),
        headers: Vec::new(),
        body: Blob::default(),
        connect_ms: 1000,
        answer_ms: 1000,
        idle_ms: 1000,
    }))
}

#[test]
fn nothing_is_allowed_without_a_rule_and_everything_is_denied_while_closed() {
    let effects = [
        Effect::ReadFile("/a".to_owned()),
        replace("/a"),
        Effect::Run(run("/bin/true", &[])),
        Effect::ListProcesses("container:a".to_owned()),
        Effect::Signal { of: "container:a".to_owned(), signal: "HUP".to_owned() },
        Effect::MarkLog("/a".to_owned()),
        connect("a", 1),
        request("https", "a", 443, "GET"),
        Effect::OpenSecret("a".to_owned()),
        Effect::RevealSecret("a".to_owned()),
        Effect::PassSecret("a".to_owned()),
    ];
    for effect in effects {
        let denied = decide("", Phase::Write, &effect).unwrap_err();
        assert_eq!(denied.because, DeniedBecause::NotRequested, "{effect}");
        // The line that is suggested is a rule that can be read.
        let rule = denied.rule.clone().unwrap();
        assert!(toml::from_str::<Capabilities>(&rule).is_ok(), "{rule}");
        assert!(denied.hint().unwrap().contains(&rule));
        assert_eq!(decide("", Phase::Closed, &effect).unwrap_err().because, DeniedBecause::Closed);
    }
    assert_eq!(
        decide("", Phase::Closed, &Effect::Recall("k".to_owned())).unwrap_err().because,
        DeniedBecause::Closed
    );
    assert!(decide("", Phase::Read, &Effect::Recall("k".to_owned())).is_ok());
}

#[test]
fn the_line_that_is_suggested_would_allow_the_effect() {
    let effects = [
        Effect::ReadFile("/a b/c".to_owned()),
        Effect::ListFolder("/a".to_owned()),
        Effect::RemoveFile("/a".to_owned()),
        Effect::Run(Program {
            env: vec!["E".to_owned()],
            place: "container:c".to_owned(),
            ..run("/bin/x", &["a \"b\""])
        }),
        Effect::Signal { of: "container:a".to_owned(), signal: "HUP".to_owned() },
        connect("::1", 1),
        request("http", "fd12::1", 8080, "PUT"),
        Effect::PassSecret("a".to_owned()),
        Effect::SendSecret { name: "a".to_owned(), way: SecretUse::Body, host: "h".to_owned() },
    ];
    for effect in effects {
        let rule = decide("", Phase::Write, &effect).unwrap_err().rule.unwrap();
        assert!(decide(&rule, Phase::Write, &effect).is_ok(), "{effect}: {rule}");
    }
}

#[test]
fn backends_and_the_public_url_are_filled_in() {
    let rule = "tcp = [{ address = \"@backends\" }]\nnet = [{ origin = \"@backends\" }, { origin \
                = \"@public\" }]";
    let named = Ok(Allowed::Egress { reach: Reach::Named, ca: None, client_certificate: None });
    assert_eq!(decide(rule, Phase::Read, &connect("10.0.0.5", 8080)), named);
    assert_eq!(decide(rule, Phase::Read, &connect("::1", 9000)), named);
    assert!(decide(rule, Phase::Read, &connect("10.0.0.5", 8081)).is_err());
    assert_eq!(decide(rule, Phase::Read, &request("http", "10.0.0.5", 8080, "GET")), named);
    assert_eq!(decide(rule, Phase::Read, &request("https", "shop.example", 443, "HEAD")), named);
    assert!(decide(rule, Phase::Read, &request("http", "shop.example", 80, "GET")).is_err());
    assert!(decide(rule, Phase::Write, &request("https", "shop.example", 443, "POST")).is_err());
}

#[test]
fn the_reach_is_the_smaller_one_of_request_and_grant() {
    let (wide, narrow) = (
        rules("tcp = [{ address = \"a:1\", private = true }]"),
        rules("tcp = [{ address = \"a:1\" }]"),
    );
    let effect = connect("a", 1);
    for (requested, granted) in [(&wide, &narrow), (&narrow, &wide)] {
        let broker = Broker::new(name(), requested.clone(), granted.clone());
        let allowed =
            broker.authorize(Phase::Read, &Circumstances::default(), &effect, &Real).unwrap();
        assert_eq!(
            allowed,
            Allowed::Egress { reach: Reach::Public, ca: None, client_certificate: None }
        );
        assert!(broker.judge_address(Reach::Public, &effect, "10.0.0.1".parse().unwrap()).is_err());
    }
}

#[test]
fn only_a_literal_address_reaches_the_metadata_service() {
    let metadata = "169.254.169.254".parse().unwrap();
    let broker = Broker::new(name(), Capabilities::default(), Capabilities::default());
    let effect = connect("x", 80);
    for reach in [Reach::Public, Reach::Private, Reach::Named] {
        assert!(broker.judge_address(reach, &effect, metadata).is_err(), "{reach:?}");
    }
    assert!(broker.judge_address(Reach::Literal, &effect, metadata).is_ok());
}

#[test]
fn a_program_for_the_write_phase_does_not_run_in_the_read_phase() {
    let rule = r#"exec = [{ program = "/usr/sbin/nginx", args = ["-s", "reload"], phase = "write" }, { program = "/usr/sbin/nginx", args = ["-t"], phase = "read" }]"#;
    let run = |args: &[&str]| Effect::Run(run("/usr/sbin/nginx", args));
    assert!(decide(rule, Phase::Read, &run(&["-t"])).is_ok());
    assert_eq!(
        decide(rule, Phase::Read, &run(&["-s", "reload"])).unwrap_err().because,
        DeniedBecause::ReadPhase
    );
    assert!(decide(rule, Phase::Write, &run(&["-s", "reload"])).is_ok());
}

#[test]
fn a_file_that_the_plugin_may_write_is_no_program_and_no_pid_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().canonicalize().unwrap().join(name).display().to_string();
    for name in ["own", "other"] {
        std::fs::create_dir(path(name)).unwrap();
    }
    for name in ["own/file", "other/file"] {
        std::fs::write(path(name), "").unwrap();
    }
    std::os::unix::fs::symlink(path("own/file"), path("other/to-own")).unwrap();
    // Through a link that the plugin could put a file in the place of.
    std::os::unix::fs::symlink(path("other/file"), path("own/to-other")).unwrap();
    std::os::unix::fs::symlink("../own/to-other", path("other/through-own")).unwrap();
    std::os::unix::fs::symlink(path("own"), path("folder")).unwrap();
    std::os::unix::fs::symlink(path("other/file"), path("other/to-other")).unwrap();
    let effects = |file: &str| {
        let of = format!("pid-file:{}", path(file));
        let run = Effect::Run(run(&path(file), &[]));
        [run, Effect::ListProcesses(of.clone()), Effect::Signal { of, signal: "HUP".to_owned() }]
    };
    let allowing = |file: &str, files: &str, prefix: &str| {
        rules(&format!(
            "files = [{files}]\nexec = [{{ program = \"{0}\", phase = \"read\"{prefix} \
             }}]\nprocess = [{{ of = \"pid-file:{0}\", signals = [\"HUP\"] }}]",
            path(file)
        ))
    };
    let write = format!("{{ path = \"{}/*\", access = \"write\" }}", path("own"));
    let decide = |requested: Capabilities, granted: Capabilities, effect: &Effect| {
        Broker::new(name(), requested, granted).authorize(
            Phase::Write,
            &Circumstances::default(),
            effect,
            &Real,
        )
    };
    for file in
        ["own/file", "own/not-there-yet", "other/to-own", "other/through-own", "folder/file"]
    {
        for effect in effects(file) {
            let set = allowing(file, &write, "");
            let denied = decide(set.clone(), set, &effect).unwrap_err();
            assert!(
                matches!(&denied.because, DeniedBecause::OwnFile(own) if own.starts_with(&path("own"))),
                "{denied}"
            );
            assert!(denied.hint().unwrap().contains("agente.lock"), "{denied}");
        }
    }
    for (file, files) in [
        ("other/file", write.as_str()),
        ("other/to-other", &write),
        ("own/file", &write.replace("write", "read")),
    ] {
        for effect in effects(file) {
            let set = allowing(file, files, "");
            assert!(decide(set.clone(), set, &effect).is_ok(), "{effect}");
        }
    }
    // Only what is granted, too, may be written.
    let [run, ..] = effects("own/file");
    assert!(decide(allowing("own/file", &write, ""), allowing("own/file", "", ""), &run).is_ok());
    // The operator's prefix is a program like any other.
    let [run, ..] = effects("other/file");
    let prefix = format!(", prefix = [\"{}\"]", path("own/file"));
    assert!(
        decide(allowing("other/file", &write, ""), allowing("other/file", &write, &prefix), &run)
            .is_err()
    );
}

#[test]
fn nginx_switch_keeps_its_pid_file_beside_the_folder_that_it_writes() {
    let request = crate::request::PluginRequest::parse(include_str!(
        "../../../../plugins/nginx-switch/plugin.toml"
    ))
    .unwrap();
    let signal = |pid_file: &str| {
        let config = serde_json::json!({ "directory": "/srv/shop/agente", "nginx": "/srv/shop/bin/nginx", "pid_file": pid_file });
        let asks = request.resolve(&config, &[]).unwrap();
        let effect =
            Effect::Signal { of: format!("pid-file:{pid_file}"), signal: "HUP".to_owned() };
        Broker::new(name(), asks.clone(), asks).authorize(
            Phase::Write,
            &Circumstances::default(),
            &effect,
            &Real,
        )
    };
    assert!(signal("/srv/shop/nginx.pid").is_ok());
    assert!(signal("/srv/shop/agente/nginx.pid").is_err());
}
