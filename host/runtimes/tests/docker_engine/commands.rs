//! Programs in containers, and a look at their processes, connections and logs.

use crate::scene::{INSIDE, Scene, answer, command, eventually};
use agente_engine::fault::FaultKind;
use agente_engine::ports::{CommandPlace, Commands, Launch, ProcessError, ProcessTarget, Runtime};
use agente_engine::release::Artifact;
use agente_engine::route::Slot;
use agente_runtimes::docker::labels;
use bollard::models::HostConfig;
use bollard::query_parameters::ListContainersOptionsBuilder;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;

async fn running(scene: &Scene) -> (Launch, CommandPlace, ProcessTarget) {
    let launch = scene.serving(1, Slot::Blue).await;
    scene.runtime.ensure(&launch).await.unwrap();
    answer(&launch.backend.address).await;
    let name = launch.backend.id.0.clone();
    (launch, CommandPlace::Container(name.clone()), ProcessTarget::Container(name))
}

async fn one_shots(scene: &Scene) -> usize {
    let filters: HashMap<&str, Vec<String>> = HashMap::from([(
        "label",
        vec![labels::ONE_SHOT.to_owned(), format!("{}={}", labels::STORE, scene.settings.store)],
    )]);
    scene
        .docker
        .list_containers(Some(
            ListContainersOptionsBuilder::default().all(true).filters(&filters).build(),
        ))
        .await
        .unwrap()
        .len()
}

fn image(scene: &Scene) -> CommandPlace {
    match &scene.image {
        Artifact::Image { id, .. } => CommandPlace::Image(id.to_string()),
        other => panic!("not an image: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_in_a_container_gets_input_environment_and_folder_and_gives_outputs_and_status() {
    let scene = Scene::new("execed").await;
    let (_, place, _) = running(&scene).await;
    let commands = scene.commands();
    let mut print = command(place.clone(), &["/specimen", "print", "GIVEN", "RELEASE"]);
    print.env.insert("GIVEN".to_owned(), "a b=c".to_owned());
    print.cwd = Some("/proc".to_owned());
    let output = commands.run(&print).await.unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "GIVEN=a b=c\nRELEASE=blue-1\ncwd=/proc\n"
    );
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "to the error output\n");
    assert_eq!(
        (output.status, output.signal, output.timed_out, output.truncated),
        (Some(0), None, false, false)
    );

    let mut copy = command(place.clone(), &["/specimen", "copy", "7"]);
    copy.stdin = vec![b'z'; 300_000];
    copy.max_output_bytes = 400_000;
    let output = commands.run(&copy).await.unwrap();
    assert_eq!((output.stdout.len(), output.status, output.truncated), (300_000, Some(7), false));

    // One that does not read its input is not waited for.
    copy.argv = vec!["/specimen".to_owned(), "exit".to_owned(), "5".to_owned()];
    assert_eq!(commands.run(&copy).await.unwrap().status, Some(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn output_beyond_the_limit_is_cut_and_does_not_stall_the_program() {
    let scene = Scene::new("talkative").await;
    let (_, place, _) = running(&scene).await;
    for place in [place, image(&scene)] {
        let mut fill = command(place, &["/specimen", "fill", "5000000"]);
        fill.max_output_bytes = 1000;
        let output = scene.commands().run(&fill).await.unwrap();
        assert_eq!((output.stdout.len(), output.truncated, output.status), (1000, true, Some(0)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_over_its_time_is_killed_with_what_it_started() {
    let scene = Scene::new("overdue").await;
    let (_, place, target) = running(&scene).await;
    let commands = scene.commands();
    let mut slow = command(place, &["/specimen", "spawn-and-wait"]);
    slow.wall = Duration::from_secs(1);
    let began = Instant::now();
    let output = commands.run(&slow).await.unwrap();
    assert!(began.elapsed() >= slow.wall, "{:?}", began.elapsed());
    assert_eq!((output.status, output.signal, output.timed_out), (None, Some(9), true));
    assert!(String::from_utf8(output.stdout).unwrap().contains("spawned"));
    eventually("only process 1 is left", async || commands.tree(&target).await.unwrap().len() == 1)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_whose_call_is_dropped_is_killed() {
    let scene = Scene::new("dropped").await;
    let (_, place, target) = running(&scene).await;
    let commands = scene.commands();
    for place in [place, image(&scene)] {
        let before = one_shots(&scene).await;
        let one_shot = matches!(place, CommandPlace::Image(_));
        let call = tokio::spawn({
            let (commands, spec) = (commands.clone(), command(place, &["/specimen", "wait"]));
            async move { commands.run(&spec).await }
        });
        if one_shot {
            eventually("its container is there", async || one_shots(&scene).await == before + 1)
                .await;
        } else {
            eventually("it runs", async || commands.tree(&target).await.unwrap().len() == 2).await;
        }
        call.abort();
        let _aborted = call.await;
        eventually("it is gone", async || {
            commands.tree(&target).await.unwrap().len() == 1 && one_shots(&scene).await == before
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_containers_and_images_that_are_not_there_are_told_apart() {
    let scene = Scene::new("mistaken").await;
    let (launch, place, target) = running(&scene).await;
    let commands = scene.commands();
    for place in [place.clone(), image(&scene)] {
        let fault = commands.run(&command(place, &["/nowhere/program"])).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::InvalidConfig);
        assert!(fault.message.contains("`/nowhere/program`"), "{fault:?}");
    }
    let nobody = CommandPlace::Container("mistaken-nobody".to_owned());
    assert_eq!(
        commands.run(&command(nobody, &["/specimen", "exit", "0"])).await.unwrap_err().kind,
        FaultKind::Unavailable
    );
    let nothing = CommandPlace::Image("mistaken-nothing:1".to_owned());
    assert_eq!(
        commands.run(&command(nothing, &["/specimen", "exit", "0"])).await.unwrap_err().kind,
        FaultKind::Rejected
    );
    assert_eq!(
        commands
            .run(&command(CommandPlace::Container("../x".to_owned()), &["/x"]))
            .await
            .unwrap_err()
            .kind,
        FaultKind::InvalidConfig
    );
    assert_eq!(one_shots(&scene).await, 0);
    scene.runtime.retire(&launch.backend, Duration::from_secs(2)).await.unwrap();
    assert_eq!(
        commands.tree(&target).await.unwrap_err(),
        ProcessError::NotRunning("the container `mistaken.test.blue-r1-0`".to_owned())
    );
    assert!(matches!(commands.signal(&target, "HUP").await, Err(ProcessError::NotRunning(_))));
    assert!(matches!(commands.connections(&target).await, Err(ProcessError::NotRunning(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_in_an_image_runs_once_in_a_container_of_its_own_that_is_gone_afterwards() {
    let scene = Scene::new("one-shot").await;
    let commands = scene.commands();
    let mut print = command(image(&scene), &["/specimen", "print", "GIVEN"]);
    print.env.insert("GIVEN".to_owned(), "x".to_owned());
    let output = commands.run(&print).await.unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "GIVEN=x\ncwd=/\n");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "to the error output\n");
    assert_eq!(output.status, Some(0));

    let mut copy = command(image(&scene), &["/specimen", "copy", "9"]);
    copy.stdin = b"some input".to_vec();
    let output = commands.run(&copy).await.unwrap();
    assert_eq!((output.stdout.as_slice(), output.status), (b"some input".as_slice(), Some(9)));

    let mut slow = command(image(&scene), &["/specimen", "wait"]);
    slow.wall = Duration::from_millis(1500);
    let output = commands.run(&slow).await.unwrap();
    assert!(output.timed_out && output.status.is_none(), "{output:?}");
    assert_eq!(one_shots(&scene).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_host_left_of_a_one_shot_is_removed_by_the_next_and_what_is_not_over_is_left() {
    let scene = Scene::new("left-over").await;
    let store = scene.settings.store.clone();
    let far = u64::MAX.to_string();
    scene
        .stranger(
            "left-over-old",
            &[(labels::STORE, &store), (labels::ONE_SHOT, "1000")],
            HostConfig::default(),
        )
        .await;
    scene
        .stranger(
            "left-over-new",
            &[(labels::STORE, &store), (labels::ONE_SHOT, &far)],
            HostConfig::default(),
        )
        .await;
    scene
        .stranger(
            "left-over-theirs",
            &[(labels::STORE, "theirs"), (labels::ONE_SHOT, "1000")],
            HostConfig::default(),
        )
        .await;
    scene.commands().run(&command(image(&scene), &["/specimen", "exit", "0"])).await.unwrap();
    let is_there = async |name: &str| {
        scene
            .docker
            .inspect_container(name, None::<bollard::query_parameters::InspectContainerOptions>)
            .await
            .is_ok()
    };
    assert_eq!(
        (
            is_there("left-over-old").await,
            is_there("left-over-new").await,
            is_there("left-over-theirs").await
        ),
        (false, true, true)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_has_process_1_first_with_titles_and_start_times() {
    let scene = Scene::new("treed").await;
    let launch = scene.launch(1, Slot::Blue, scene.spec(&["spawn-and-wait"])).await;
    scene.runtime.ensure(&launch).await.unwrap();
    let target = ProcessTarget::Container(launch.backend.id.0.clone());
    let commands = scene.commands();
    eventually("both processes are there", async || {
        commands.tree(&target).await.is_ok_and(|tree| tree.len() == 2)
    })
    .await;
    let tree = commands.tree(&target).await.unwrap();
    assert_eq!(
        tree.iter().map(|process| process.title.as_str()).collect::<Vec<_>>(),
        ["/specimen spawn-and-wait", "/specimen wait"]
    );
    assert_eq!(tree[1].parent, tree[0].pid);
    let now = u64::try_from(
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis(),
    )
    .unwrap();
    for process in &tree {
        assert!(
            process.started_ms + 60_000 > now && process.started_ms <= now + 2000,
            "{process:?} at {now}"
        );
    }
    assert_eq!(
        commands.tree(&target).await.unwrap(),
        tree,
        "the same process has the same start time"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_those_that_stand_now() {
    let scene = Scene::new("connected").await;
    let (launch, _, target) = running(&scene).await;
    let commands = scene.commands();
    eventually("earlier connections have ended", async || {
        commands.connections(&target).await.unwrap().is_empty()
    })
    .await;
    // Not by the published port: the engine's forwarder would stand between.
    let mut stream =
        tokio::net::TcpStream::connect(address_inside(&scene, &launch).await).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    eventually("it is seen", async || commands.connections(&target).await.unwrap().len() == 1)
        .await;
    let seen = commands.connections(&target).await.unwrap().remove(0);
    assert_eq!(seen.local, stream.peer_addr().unwrap().to_string());
    assert_eq!(seen.remote, stream.local_addr().unwrap().to_string());
    assert_eq!(seen.pid, commands.tree(&target).await.unwrap()[0].pid);
    drop(stream);
    eventually("its end is seen", async || commands.connections(&target).await.unwrap().is_empty())
        .await;
}

async fn address_inside(scene: &Scene, launch: &Launch) -> String {
    let networks =
        scene.inspect(&launch.backend.id.0).await.network_settings.unwrap().networks.unwrap();
    format!("{}:{INSIDE}", networks["bridge"].ip_address.clone().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_reaches_process_1_and_the_log_since_a_mark_shows_it() {
    let scene = Scene::new("signalled").await;
    let (launch, _, target) = running(&scene).await;
    let commands = scene.commands();
    let log = format!("container:{}", launch.backend.id);
    eventually("its first line is there", async || {
        !commands.log_since(&log, 0, 1000).await.unwrap().is_empty()
    })
    .await;
    tokio::time::sleep(Duration::from_millis(2)).await; // A mark has milliseconds: what was written before it must be of an earlier one.
    let mark = commands.log_mark(&log).await.unwrap();
    assert!(commands.log_since(&log, mark, 1000).await.unwrap().is_empty());
    commands.signal(&target, "HUP").await.unwrap();
    eventually("the signal is told", async || {
        commands.log_since(&log, mark, 1000).await.unwrap() == b"hung up\n"
    })
    .await;
    assert_eq!(commands.log_since(&log, 0, 4).await.unwrap(), b" up\n");
    let Err(ProcessError::Other(fault)) = commands.signal(&target, "hup; rm").await else {
        panic!("`hup; rm` is no signal");
    };
    assert_eq!(fault.kind, FaultKind::InvalidConfig);
    assert_eq!(
        commands.log_mark("container:signalled-nobody").await.unwrap_err().kind,
        FaultKind::Unavailable
    );
}
