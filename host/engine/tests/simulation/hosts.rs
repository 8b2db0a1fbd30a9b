//! What a host must notice of itself: that its lease is gone, that it can't hear, that what it does
//! is wanted no more, that an entry was written after all, and that it is stuck.

use crate::scene::*;
use crate::shapes::{SHAPES, resume_until_ended, shape, size};
use crate::time::drive;
use crate::world::{Sim, Wrong, holder};
use agente_engine::attempt::Attempt;
use agente_engine::executor::{self, Halt};
use agente_engine::journal::{Event, Outcome};
use agente_engine::plan::Plan;
use agente_engine::policy::{KeepPrevious, OnDrainTimeout, Policy};
use agente_engine::ports::HEARTBEAT;
use agente_engine::ports::Leases;
use agente_engine::step::{StepEvent, StepState};
use std::time::Duration;

/// Runs a plan beside something that happens at a time of its own.
fn run_beside(sim: &Sim, plan: &Plan, other: impl Future<Output = ()>) -> Result<Outcome, Halt> {
    let lease = sim.begin(plan.slot);
    let state = sim.inner().state();
    let deployment = executor::begin(sim.world(), &*lease, plan.clone(), state);
    drive(&sim.time, || false, async {
        let other = async {
            other.await;
            std::future::pending::<()>().await;
        };
        futures_util::pin_mut!(deployment, other);
        match futures_util::future::select(deployment, other).await {
            futures_util::future::Either::Left((outcome, _)) => outcome,
            futures_util::future::Either::Right(_) => unreachable!(),
        }
    })
    .expect("nobody killed the host")
}

/// Another host takes the lease at a time, and the first must stop within a heartbeat.
fn assert_stops_when_passed_over(context: &str, sim: &Sim, plan: &Plan, at: u64) {
    let taken = async {
        sim.time.sleep(Duration::from_millis(at)).await;
        sim.inner().log.push("--- another host wants the lease".to_owned());
        let taken = sim.store.take_over(&scope(), holder(), Duration::from_mins(1)).await;
        unreachable!("the first host has let go and was not heard of: {taken:?}");
    };
    let began = sim.time.now().0;
    let result = run_beside(sim, plan, taken);
    let inner = sim.inner();
    let log = inner.log.join("\n");
    assert!(matches!(result, Err(Halt::LeaseLost { .. })), "{context}: {result:?}\n{log}");
    let after = (sim.time.now().0 - began).saturating_sub(at);
    let limit = u64::try_from(HEARTBEAT.as_millis()).unwrap();
    assert!(after <= limit, "{context}: it stopped {after} ms after it lost the lease\n{log}");
}

#[test]
fn a_host_that_is_passed_over_stops_within_a_heartbeat_wherever_it_waits() {
    for index in 1..SHAPES {
        let (_, sim, plan) = shape(index);
        let began = sim.time.now().0;
        run(&sim, &plan).unwrap();
        let took = sim.time.now().0 - began;
        for at in (0..took).step_by(997) {
            let (name, sim, plan) = shape(index);
            assert_stops_when_passed_over(&format!("{name} at {at}"), &sim, &plan, at);
        }
    }
    // A drain and a hold that last.
    let sim = managed();
    sim.inner().drain_takes = 60_000;
    let held = KeepPrevious::For { duration: Duration::from_secs(600) };
    let mut policy = Policy { keep_previous: held, ..policy() };
    policy.drain.timeout = Duration::from_secs(100);
    let slow = plan(&sim, 2, policy);
    for at in [20_000, 50_000, 100_000, 300_000] {
        let again = managed();
        again.inner().drain_takes = 60_000;
        assert_stops_when_passed_over(&format!("held, at {at}"), &again, &slow, at);
    }
}

#[test]
fn a_host_that_is_passed_over_while_paused_or_between_tries_of_an_undo_stops_too() {
    use agente_engine::journal::DecisionKind;
    let sim = managed();
    let paused = plan(&sim, 2, policy());
    sim.inner().decide_at = Some((sim.time.now().0 + 500, DecisionKind::Pause));
    assert_stops_when_passed_over("paused", &sim, &paused, 30_000);

    let (_, sim, plan) = shape(1);
    run(&sim, &plan).unwrap();
    let promoted = entry_about(
        &sim,
        &plan,
        |kind| kind.name() == "promote",
        |e| matches!(e, StepEvent::Succeeded { .. }),
    );
    let (_, sim, plan) = shape(1);
    sim.inner().abort_at_entry = Some(promoted);
    sim.inner().target_refuses_from = Some(promoted);
    assert_stops_when_passed_over("undoing", &sim, &plan, 30_000);
}

#[test]
fn an_entry_that_was_written_although_the_journal_said_no_is_recognised() {
    for index in 0..SHAPES {
        for entry in 0..size(index).0 {
            let (name, sim, plan) = shape(index);
            sim.inner().written_in_silence = Some(entry);
            let outcome = run(&sim, &plan);
            assert!(
                matches!(outcome, Ok(Outcome::Promoted { .. })),
                "{name}, entry {entry}: {outcome:?}"
            );
            assert_promoted(&sim, &plan);
        }
    }
}

#[test]
fn a_host_that_cant_hear_says_so_at_once_and_in_the_outcome() {
    let sim = managed();
    let plan = plan(&sim, 2, policy());
    let now = sim.time.now().0;
    sim.inner().mailbox_fails = Some((now + 500, now + 4_500));
    let Outcome::Promoted { notes } = run(&sim, &plan).unwrap() else { panic!("not promoted") };
    assert!(
        notes.iter().any(|note| note.contains("operator decisions could not be read")),
        "{notes:?}"
    );
    let told: Vec<String> = sim.inner().told.iter().map(|(_, message)| message.clone()).collect();
    let deaf = told.iter().filter(|message| message.contains("decisions can't be read")).count();
    assert_eq!(deaf, 1, "{told:?}");
    assert!(
        told.iter().any(|message| message == "operator decisions can be read again"),
        "{told:?}"
    );

    // A moment is nothing to tell of.
    let sim = managed();
    let now = sim.time.now().0;
    sim.inner().mailbox_fails = Some((now + 500, now + 1_000));
    let Outcome::Promoted { notes } = run(&sim, &plan).unwrap() else { panic!("not promoted") };
    assert!(!notes.iter().any(|note| note.contains("operator decisions could not")), "{notes:?}");
}

#[test]
fn what_an_abort_finds_running_is_told_and_may_end_by_itself_but_not_for_long() {
    // A plugin that asks whether it is wanted ends without an effect, and the undo is wanted.
    let (_, sim, plan) = shape(1);
    run(&sim, &plan).unwrap();
    let shifting = entry_about(
        &sim,
        &plan,
        |kind| kind.name() == "shift",
        |event| *event == StepEvent::Started,
    );
    let (_, sim, plan) = shape(1);
    sim.inner().apply_takes = 3_000;
    sim.inner().abort_at_entry = Some(shifting);
    assert!(matches!(run(&sim, &plan).unwrap(), Outcome::Unwound { .. }));
    assert_clean_slate(&sim, &plan);
    let log = sim.inner().log.join("\n");
    assert!(log.contains("-run ended by itself"), "{log}");
    assert!(!log.contains("-undo ended by itself"), "{log}");

    // One that does not ask is dropped.
    let (_, calling, plan) = shape(1);
    run(&calling, &plan).unwrap();
    let apply = calling.inner().log.iter().find(|line| line.contains(" apply ")).unwrap().clone();
    let call = apply.split_whitespace().nth(2).unwrap().parse().unwrap();
    let (_, sim, plan) = shape(1);
    sim.inner().wrong.insert(call, Wrong::HangsAfter);
    sim.inner().abort_at_entry = Some(shifting);
    assert!(matches!(run(&sim, &plan).unwrap(), Outcome::Unwound { .. }));
    let inner = sim.inner();
    let at = |is: fn(&Event) -> bool| inner.entries().iter().find(|e| is(&e.event)).unwrap().at.0;
    let heard = at(|event| matches!(event, Event::Decided(_)));
    let turned = at(|event| matches!(event, Event::TurnedBack { .. }));
    assert!(turned - heard <= 500, "it turned back {} ms after the abort", turned - heard);
}

#[test]
fn a_host_that_is_stuck_past_the_point_of_no_return_is_so_in_the_journal() {
    let sim = managed();
    let plan = plan(&sim, 2, Policy { keep_previous: KeepPrevious::None, ..policy() });
    run(&sim, &plan).unwrap();
    let log = sim.inner().log.clone();
    let retire = log.iter().find(|line| line.contains(" retire ")).unwrap();
    let call: u64 = retire.split_whitespace().nth(2).unwrap().parse().unwrap();
    let sim = managed();
    sim.inner().wrong.insert(call, Wrong::FailsBefore);
    let outcome = run(&sim, &plan).unwrap();
    assert!(matches!(outcome, Outcome::Stuck { cause: None, .. }), "{outcome:?}");
    let attempt = Attempt::fold(&sim.inner().entries()).unwrap();
    assert!(attempt.is_stuck().is_some_and(|fault| fault.message == "it failed"));
    assert!(matches!(attempt.steps.last(), Some(StepState::Failed(_))), "{:?}", attempt.steps);
    assert!(matches!(resume_until_ended(&sim), Outcome::Promoted { .. }));
    let attempt = Attempt::fold(&sim.inner().entries()).unwrap();
    assert_eq!(attempt.is_stuck(), None);
    assert_promoted(&sim, &plan);
}

#[test]
fn what_is_done_outside_of_any_step_names_none() {
    let (_, sim, plan) = shape(1);
    run(&sim, &plan).unwrap();
    let shifted = entry_about(
        &sim,
        &plan,
        |kind| kind.name() == "shift",
        |e| matches!(e, StepEvent::Succeeded { .. }),
    );
    let (_, sim, plan) = shape(1);
    sim.inner().journal_fails_from = Some(shifted + 1);
    sim.inner().decide_at = Some((60_000, agente_engine::journal::DecisionKind::Abort));
    assert!(matches!(run(&sim, &plan), Err(Halt::JournalUnavailable { .. })));
    let inner = sim.inner();
    let restored = inner.log.iter().rfind(|line| line.contains(" apply ")).unwrap();
    assert!(restored.contains(&format!(" apply {}-restore ", plan.id)), "{restored}");
    let of_a_step = inner.told.iter().all(|(step, _)| step.is_none_or(|at| at < plan.steps.len()));
    assert!(of_a_step, "{:?}", inner.told);
}

#[test]
fn weak_evidence_is_taken_as_drained_only_where_the_policy_says_so() {
    for accepted in [true, false] {
        let sim = managed();
        sim.inner().sees_connections_only = true;
        let mut policy = policy();
        policy.drain.accept_weak_evidence = accepted;
        policy.drain.on_timeout = OnDrainTimeout::Keep;
        run(&sim, &plan(&sim, 2, policy)).unwrap();
        let kept = sim.inner().state().kept.clone().unwrap();
        assert_eq!(kept.drained, accepted);
    }
}
