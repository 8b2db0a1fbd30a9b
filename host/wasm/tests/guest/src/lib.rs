//! A plugin for tests: it does what `act` in its configuration says, in every operation alike.

mod bindings {
    wit_bindgen::generate!({
        path: ["../../../../wit/types", "../../../../wit/plugin", "../../../../wit/host", "../../../../wit/traffic", "../../../../wit/health"],
        inline: "
            package agente:test;
            world guest {
                import agente:host/log@0.1.0;
                import agente:host/context@0.1.0;
                import agente:host/config@0.1.0;
                import agente:host/memory@0.1.0;
                import agente:host/files@0.1.0;
                import agente:host/tcp@0.1.0;
                import agente:host/secrets@0.1.0;
                import agente:host/reveal@0.1.0;
                import agente:host/exec@0.1.0;
                import agente:host/process@0.1.0;
                export agente:plugin/meta@0.1.0;
                export agente:traffic/switcher@0.1.0;
                export agente:health/checker@0.1.0;
            }
        ",
        world: "agente:test/guest",
        generate_all,
    });
}

mod http;
#[cfg(feature = "metrics")]
mod metrics;

use bindings::agente::host::{config, context, exec, files, log, memory, process, secrets, tcp};
use bindings::agente::types::types::{Backend, Desired, Failure, Route};
use bindings::exports::agente::health::checker::{self, Subject, Verdict};
use bindings::exports::agente::plugin::meta::{self, Problem};
use bindings::exports::agente::traffic::switcher::{self, Abilities, Drained, Observed};
use serde_json::Value;

struct Guest;

fn settings() -> Value {
    serde_json::from_str(&config::get()).unwrap_or_default()
}

fn text<'a>(settings: &'a Value, key: &str) -> &'a str {
    settings[key].as_str().unwrap_or_default()
}

fn number(settings: &Value, key: &str, default: u64) -> u64 {
    settings[key].as_u64().unwrap_or(default)
}

fn texts(settings: &Value, key: &str) -> Vec<String> {
    settings[key]
        .as_array()
        .map(|all| all.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect())
        .unwrap_or_default()
}

fn failed(message: impl Into<String>) -> Failure {
    Failure {
        code: "failed".into(),
        retryable: false,
        message: message.into(),
        hint: None,
        labels: Vec::new(),
    }
}

fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

fn act(settings: &Value) -> Result<String, Failure> {
    let path = text(settings, "path");
    match text(settings, "act") {
        "trap" => panic!("out of luck"),
        "spin" => loop {
            std::hint::black_box(0);
        },
        "compute" => {
            let sum = (0..number(settings, "count", 0))
                .fold(0_u64, |sum, part| std::hint::black_box(sum ^ part));
            Ok(format!("computed {sum}"))
        }
        "hog" => {
            let mut all = Vec::new();
            loop {
                all.push(vec![1_u8; 1024 * 1024]);
                std::hint::black_box(&all);
            }
        }
        "shout" => {
            log::log("info", &"x".repeat(number(settings, "bytes", 0) as usize), &[]);
            Ok("shouted".into())
        }
        "hoard" => {
            let mut all = Vec::new();
            loop {
                all.push(secrets::open(text(settings, "secret"))?);
            }
        }
        "fail" => Err(Failure {
            code: text(settings, "code").into(),
            hint: Some("try harder".into()),
            ..failed("the target said no")
        }),
        "replace-and-fail" => {
            files::replace(path, text(settings, "text").as_bytes(), 0o644)?;
            Err(Failure { code: "rejected".into(), ..failed("the target said no") })
        }
        "read" => Ok(files::read(path)?.map_or_else(|| "(absent)".into(), lossy)),
        "stat" => Ok(files::stat(path)?.map_or_else(
            || "(absent)".into(),
            |entry| {
                format!(
                    "{} {} {:?} {:?}",
                    entry.name,
                    entry.kind,
                    entry.labels.first(),
                    entry.labels.last()
                )
            },
        )),
        "list" => {
            Ok(files::list(path)?.into_iter().map(|entry| entry.name).collect::<Vec<_>>().join(","))
        }
        "replace" => files::replace(
            path,
            text(settings, "text").as_bytes(),
            number(settings, "mode", 0o644) as u32,
        )
        .map(|()| "replaced".into()),
        "read-often-and-replace" => {
            for _ in 0..number(settings, "count", 0) {
                let _ = files::read(text(settings, "other"));
            }
            files::replace(path, text(settings, "text").as_bytes(), 0o644)
                .map(|()| "replaced".into())
        }
        "remove" => Ok(files::remove(path)?.to_string()),
        "run" => {
            let command = exec::Command {
                program: text(settings, "program").into(),
                args: texts(settings, "args"),
                stdin: Vec::new(),
                env: texts(settings, "env"),
                cwd: None,
                wall_ms: 5000,
                place: settings["place"].as_str().unwrap_or("host").into(),
                labels: Vec::new(),
            };
            let output = exec::run(&command)?;
            Ok(format!("{:?} {}", output.status, lossy(output.stdout)))
        }
        "tree" => Ok(process::tree(text(settings, "of"))?
            .iter()
            .map(|info| info.pid.to_string())
            .collect::<Vec<_>>()
            .join(",")),
        "signal" => {
            process::signal(text(settings, "of"), text(settings, "signal")).map(|()| "sent".into())
        }
        "log-since" => {
            let mark = process::log_mark(path)?;
            Ok(lossy(process::log_since(path, mark, 1000)?))
        }
        "connect" => {
            let connection =
                tcp::connect(text(settings, "host"), number(settings, "port", 0) as u16, 60_000)?;
            connection.write(text(settings, "send").as_bytes(), 60_000)?;
            Ok(lossy(connection.read(1000, 60_000)?))
        }
        "connect-often" => {
            let mut all = Vec::new();
            for _ in 0..number(settings, "count", 0) {
                all.push(tcp::connect(
                    text(settings, "host"),
                    number(settings, "port", 0) as u16,
                    1000,
                )?);
            }
            Ok("connected".into())
        }
        "http" => {
            let placeholder = match settings["secret"].as_str() {
                Some(name) => Some(secrets::open(name)?.placeholder()),
                None => None,
            };
            let answer = http::request(settings, placeholder.as_deref()).map_err(failed)?;
            if settings["then"].is_object() { act(&settings["then"]) } else { Ok(answer) }
        }
        "survey" => {
            let mut seen = act(&serde_json::json!({ "act": "read", "path": path }))?;
            for act_name in ["list", "connect", "http", "run", "remember"] {
                let mut part = settings.clone();
                part["act"] = act_name.into();
                if act_name == "list" {
                    part["path"] = settings["folder"].clone();
                }
                seen = format!("{seen}|{}", act(&part)?);
            }
            files::replace(path, seen.as_bytes(), 0o644)?;
            Ok(seen)
        }
        "remember" => {
            memory::set(text(settings, "key"), Some(text(settings, "text").as_bytes()))?;
            Ok(memory::get(text(settings, "key"))?.map_or_else(|| "(absent)".into(), lossy))
        }
        #[cfg(feature = "reveal")]
        "reveal" => {
            let value =
                bindings::agente::host::reveal::reveal(&secrets::open(text(settings, "secret"))?)?;
            log::log("info", &format!("the value is {value}"), &[]);
            Ok(format!("{} characters, {value}", value.len()))
        }
        "context" => {
            let info = context::get();
            Ok(format!(
                "{} {} {} {} {:?} {}",
                info.deployment,
                info.service,
                info.environment,
                info.phase,
                info.labels,
                context::cancelled()
            ))
        }
        "until-cancelled" => {
            log::log("info", "waiting", &[]);
            while !context::cancelled() {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            log::log("info", "stopped early", &[]);
            Ok("stopped early".into())
        }
        "speak" => {
            log::log("warn", "something is odd", &[("where".into(), "here".into())]);
            println!("a line");
            eprint!("an unfinished line");
            Ok("spoken".into())
        }
        "look-around" => {
            let env = std::env::vars().count();
            let args = std::env::args().count();
            let file = std::fs::read_to_string("/etc/hostname").is_ok();
            let socket = std::net::TcpStream::connect(text(settings, "address")).is_ok();
            Ok(format!("{env} {args} {file} {socket}"))
        }
        _ => Ok("done".into()),
    }
}

fn observed(message: String, settings: &Value, routes: Vec<Route>) -> Observed {
    Observed {
        state: settings["state"].as_str().unwrap_or("converged").into(),
        generation: "g1".into(),
        fence: 7,
        routes,
        overrides: Vec::new(),
        message,
        labels: vec![("store".into(), "store-1".into())],
    }
}

impl meta::Guest for Guest {
    fn describe() -> String {
        // A real plugin answers always the same; this one stands for both kinds.
        let kind = settings()["kind"].as_str().unwrap_or("traffic-switcher").to_owned();
        serde_json::json!({ "name": "test-guest", "version": "0.1.0", "kind": kind, "summary": "for tests", "config": {} }).to_string()
    }

    fn check_config(config_json: String) -> Vec<Problem> {
        let settings: Value = serde_json::from_str(&config_json).unwrap_or_default();
        match text(&settings, "admission") {
            "refuse" => vec![Problem {
                path: "upstream.keepalive".into(),
                message: "must be a number".into(),
            }],
            "read" => match files::read("/etc/hostname") {
                Ok(_) => Vec::new(),
                Err(failure) => vec![Problem { path: String::new(), message: failure.message }],
            },
            "trap" => panic!("not even admitted"),
            "spin" => loop {
                std::hint::black_box(0);
            },
            _ => Vec::new(),
        }
    }
}

/// Acts, unless that is for another operation only.
fn act_in(operation: &str, settings: &Value) -> Result<String, Failure> {
    match settings["only"].as_str() {
        Some(only) if only != operation => Ok("done".into()),
        _ => act(settings),
    }
}

impl switcher::Guest for Guest {
    fn features() -> Result<Abilities, Failure> {
        let message = act_in("features", &settings())?;
        let labels = vec![("public-identity-header".into(), "x-slot".into())];
        Ok(Abilities {
            names: vec!["weights".into()],
            lock_key: "test".into(),
            warnings: vec![message],
            labels,
        })
    }

    fn plan(_wanted: Desired) -> Result<String, Failure> {
        act(&settings())
    }

    fn apply(_op_id: String, wanted: Desired) -> Result<Observed, Failure> {
        let settings = settings();
        Ok(observed(act_in("apply", &settings)?, &settings, wanted.routes))
    }

    fn observe() -> Result<Observed, Failure> {
        let settings = settings();
        let message = act_in("observe", &settings)?;
        let slot = settings["slot"].as_str().unwrap_or("blue").to_owned();
        let weight = number(&settings, "weight", 10_000) as u32;
        Ok(observed(
            message,
            &settings,
            vec![Route {
                slot,
                weight,
                backends: Vec::new(),
                labels: vec![("release".into(), "3".into())],
            }],
        ))
    }

    fn drain(_op_id: String, slot: String, backends: Vec<Backend>) -> Result<Drained, Failure> {
        let settings = settings();
        let state = settings["state"].as_str().unwrap_or("drained").to_owned();
        let asked: Vec<String> = backends
            .into_iter()
            .map(|backend| format!("{} {}", backend.id, backend.address))
            .collect();
        let message = format!("{}: {slot} [{}]", act(&settings)?, asked.join(", "));
        Ok(Drained {
            state,
            remaining: u32::try_from(asked.len()).unwrap_or(u32::MAX),
            evidence: "workers-gone".into(),
            message,
            labels: Vec::new(),
        })
    }
}

impl checker::Guest for Guest {
    fn check(_subject: Subject, _spec_json: String) -> Result<Verdict, Failure> {
        let settings = settings();
        let reason = act(&settings)?;
        let outcome = settings["outcome"].as_str().unwrap_or("healthy").to_owned();
        Ok(Verdict { outcome, value: Some(1.0), reason, labels: Vec::new() })
    }

    fn check_spec(spec_json: String) -> Vec<(String, String)> {
        if spec_json == "{}" { vec![("path".into(), "is missing".into())] } else { Vec::new() }
    }
}

bindings::export!(Guest with_types_in bindings);
