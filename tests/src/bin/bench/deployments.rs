//! Whole deployments of a service that nobody asks anything: where their time goes, and what a
//! switch costs beside a bare reload.

use crate::programs::{built, host, peak_bytes, quiet};
use crate::table::{Aim, Table, median, show};
use agente_tests::scene::{Scene, Service, Setup, free_port, get};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const DEPLOYMENTS: usize = 15;
const STARTS: usize = 15;

/// On how many fresh connections in a row a reload must be seen; as many as the plugin demands.
const PROOFS: usize = 3;

/// One deployment.
struct Deployment {
    total: Duration,
    steps: Vec<(String, Duration)>,
    in_force: Duration,
}

/// Deploys again and again, with a bare reload of the same NGINX after each.
pub(crate) fn measure(scene: &mut Scene, shop: &Service, table: &mut Table) {
    let probe = scene.spare_port();
    scene.nginx.http = told(probe, 0);
    scene.first_release(shop, &Setup::version("v0"));
    let started = (0..STARTS).map(|_| start_service()).collect::<Vec<_>>();
    let (mut all, mut bare) = (Vec::new(), Vec::new());
    for number in 1..=DEPLOYMENTS {
        shop.write(&Setup::version(&format!("v{number}")));
        all.push(deploy(shop));
        bare.push(reload(scene, probe, number));
    }
    let peak = (0..3)
        .map(|number| {
            shop.write(&Setup::version(&format!("peak{number}")));
            peak_bytes(shop, &["deploy"])
        })
        .max();
    table.size("peak memory of `deploy`", peak.unwrap_or_default(), 100, "the most of 3");

    let startup = median(started.clone());
    let of = |deployment: &Deployment, wanted: &str| {
        deployment
            .steps
            .iter()
            .filter(|(kind, _)| kind == wanted)
            .map(|(_, took)| *took)
            .sum::<Duration>()
    };
    table.times(
        "`deploy`, no bake, health interval 100 ms",
        all.iter().map(|deployment| deployment.total).collect(),
        Aim::None,
    );
    table.times("of it the service's own start-up", started, Aim::None);
    table.times(
        "of it the drain",
        all.iter().map(|deployment| of(deployment, "drain")).collect(),
        Aim::None,
    );
    let overhead = all
        .iter()
        .map(|deployment| deployment.total.saturating_sub(startup + of(deployment, "drain")))
        .collect();
    table.times("**overhead**: what is left", overhead, Aim::Within(Duration::from_secs(1)));

    let mut kinds: Vec<String> = Vec::new();
    for (kind, _) in all.iter().flat_map(|deployment| &deployment.steps) {
        if !kinds.contains(kind) {
            kinds.push(kind.clone());
        }
    }
    let parts: Vec<String> = kinds
        .iter()
        .map(|kind| {
            format!(
                "{kind} {}",
                show(median(all.iter().map(|deployment| of(deployment, kind)).collect()))
            )
        })
        .collect();
    let outside = median(
        all.iter()
            .map(|deployment| {
                deployment
                    .total
                    .saturating_sub(deployment.steps.iter().map(|(_, took)| *took).sum())
            })
            .collect(),
    );
    table.row(
        "a deployment's steps",
        "",
        String::new(),
        &format!("{}; before, between and after them {}", parts.join(", "), show(outside)),
    );

    let in_force: Vec<Duration> = all.iter().map(|deployment| deployment.in_force).collect();
    let ratio =
        median(in_force.clone()).as_secs_f64() / median(bare.clone()).as_secs_f64().max(1e-6);
    table.times("switch: from applying it to its proof", in_force, Aim::None);
    table.times("bare `nginx -s reload` until a marker tells of it", bare, Aim::None);
    table.row("a switch to a bare reload", &format!("{ratio:.1} ×"), String::new(), "");
}

/// How long the service itself takes until it is ready.
fn start_service() -> Duration {
    let port = free_port();
    let mut command = Command::new(built("agente-api"));
    command.arg(format!("127.0.0.1:{port}"));
    quiet(&mut command);
    let began = Instant::now();
    let mut child = command.spawn().expect("agente-api runs");
    while !get(port, "/readyz").is_ok_and(|answer| answer.status == 200) {
        assert!(child.try_wait().expect("its state").is_none(), "agente-api ended");
        std::thread::sleep(Duration::from_millis(1));
    }
    let took = began.elapsed();
    let _ = child.kill();
    let _ = child.wait();
    took
}

fn deploy(shop: &Service) -> Deployment {
    let mut command = host(shop, &["--output", "json", "deploy"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let began = Instant::now();
    let output = command.output().expect("agente-host runs");
    let total = began.elapsed();
    assert!(
        output.status.success(),
        "`agente-host deploy` ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let (mut kinds, mut started, mut steps, mut in_force) =
        (Vec::new(), BTreeMap::new(), Vec::new(), None);
    for event in String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
    {
        let entry = &event["entry"]["event"];
        if entry["entry"] == "opened" {
            let plan = entry["plan"]["steps"].as_array().cloned().unwrap_or_default();
            kinds = plan
                .iter()
                .map(|step| step["kind"].as_str().unwrap_or_default().to_owned())
                .collect();
        }
        let (Some(step), Some(at)) = (entry["step"].as_u64(), event["at"].as_u64()) else {
            continue;
        };
        if entry["event"] == "started" {
            started.insert(step, at);
        } else if entry["event"] == "succeeded" {
            let kind = usize::try_from(step)
                .ok()
                .and_then(|step| kinds.get(step))
                .cloned()
                .unwrap_or_default();
            let took = started.get(&step).map_or(0, |began| at.saturating_sub(*began));
            steps.push((kind, Duration::from_millis(took)));
            let notes = entry["output"]["notes"].as_array().cloned().unwrap_or_default();
            let notes = notes
                .iter()
                .filter_map(Value::as_str)
                .filter_map(|note| note.split_once(" in force after "))
                .map(|(_, rest)| rest);
            in_force = notes
                .filter_map(|rest| rest.split(' ').next())
                .find_map(|number| number.parse().ok())
                .or(in_force);
        }
    }
    Deployment {
        total,
        steps,
        in_force: Duration::from_millis(in_force.expect("how long the switch took")),
    }
}

/// A server of NGINX that tells a number.
fn told(port: u16, number: usize) -> String {
    format!("server {{ listen 127.0.0.1:{port}; location / {{ return 200 \"{number}\"; }} }}")
}

/// Reloads NGINX with another number, and waits until it is told.
fn reload(scene: &mut Scene, port: u16, number: usize) -> Duration {
    scene.nginx.http = told(port, number);
    scene.nginx.write();
    let began = Instant::now();
    scene.nginx.reload();
    let mut seen = 0;
    while seen < PROOFS {
        let answer = get(port, "/").expect("NGINX answers");
        seen = if answer.body == number.to_string() { seen + 1 } else { 0 };
    }
    began.elapsed()
}
