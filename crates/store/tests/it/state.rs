//! Remediations and tasks move only along their arrows, only from where they are, and never silently.

use std::collections::BTreeSet;

use stanch_model::Digest;
use stanch_model::remediation::{RemediationState as R, TaskState as T};
use stanch_store::remediation::{EditRemediation, MoveRemediation, RemediationFilter};
use stanch_store::task::{EditTask, Lane, MoveTask};
use stanch_store::{CommitError, Effect, Transition, Write};

use crate::world::{at, begin, begin_for, entry, move_remediation, move_task, remediation_id, work_item, world};

#[tokio::test]
async fn a_move_needs_the_state_and_the_generation_that_are_there() {
    let world = world().await;
    let id = world.remediation("r").await;
    let moved = world.store.commit(move_remediation(&id, R::Decided, 1, R::Planned)).await.unwrap();
    assert_eq!(moved.effects, [Effect::Generation(2)]);

    for (from, generation, to) in
        [(R::Decided, 1, R::Planned), (R::Planned, 1, R::Approved), (R::Approved, 2, R::Scheduled)]
    {
        let error = world.store.commit(move_remediation(&id, from, generation, to)).await.unwrap_err();
        assert!(error.is_conflict(), "{from} {generation}: {error}");
    }
    let stored = world.store.remediation(&id).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.generation), (R::Planned, 2));
}

#[tokio::test]
async fn an_edit_that_leaves_the_state_still_makes_an_older_view_of_a_task_stale() {
    let world = world().await;
    let remediation = world.remediation("r").await;
    let asset = world.asset("host").await;
    let id = world.task("t", &remediation, &asset).await;
    let edit = |generation| {
        Write::EditTask(EditTask { id: id.clone(), generation, message: Some("waits".into()), body: None, at: at(1) })
    };
    assert_eq!(world.store.put(edit(1)).await.unwrap().effects, [Effect::Generation(2)]);
    assert!(world.store.put(edit(1)).await.unwrap_err().is_conflict());
    let stale = world.store.commit(move_task(&id, T::Pending, 1, T::Reserved)).await.unwrap_err();
    assert!(stale.is_conflict(), "{stale}");
    world.store.commit(move_task(&id, T::Pending, 2, T::Reserved)).await.unwrap();
}

#[tokio::test]
async fn a_move_that_no_arrow_allows_is_refused_and_leaves_no_trace() {
    let world = world().await;
    let id = world.remediation("r").await;
    let entries = world.store.tree().await.unwrap().frontier.size();
    let error = world.store.commit(move_remediation(&id, R::Decided, 1, R::Rolling(0))).await.unwrap_err();
    assert!(matches!(error, CommitError::IllegalMove { .. }), "{error}");
    let asset = world.asset("host").await;
    let task = world.task("t", &id, &asset).await;
    let error = world.store.commit(move_task(&task, T::Pending, 1, T::Running)).await.unwrap_err();
    assert!(matches!(error, CommitError::IllegalMove { .. }), "{error}");
    assert_eq!(world.store.tree().await.unwrap().frontier.size(), entries + 1, "only the task's beginning");
}

#[tokio::test]
async fn a_change_of_state_without_its_entry_is_refused() {
    let world = world().await;
    let id = world.remediation("r").await;
    let silent = Transition { entries: Vec::new(), ..move_remediation(&id, R::Decided, 1, R::Planned) };
    assert!(matches!(world.store.commit(silent).await, Err(CommitError::NoEntry { .. })));
    let elsewhere = Transition {
        entries: vec![entry("remediation_moved", "rem-other")],
        ..move_remediation(&id, R::Decided, 1, R::Planned)
    };
    assert!(matches!(world.store.commit(elsewhere).await, Err(CommitError::NoEntry { .. })));
    assert_eq!(world.store.remediation(&id).await.unwrap().unwrap().state, R::Decided);
}

#[tokio::test]
async fn a_transition_that_fails_late_leaves_nothing_of_what_came_before() {
    let world = world().await;
    let id = world.remediation("r").await;
    let both = move_remediation(&id, R::Decided, 1, R::Planned)
        .write(Write::NewRemediation(match begin(&id).writes.remove(0) {
            Write::NewRemediation(new) => new,
            _ => unreachable!(),
        }))
        .nudge("plan", &id);
    assert!(matches!(world.store.commit(both).await, Err(CommitError::Exists { .. })));
    assert_eq!(world.store.remediation(&id).await.unwrap().unwrap().state, R::Decided);
    assert_eq!(world.store.tree().await.unwrap().frontier.size(), 1);
    assert!(world.store.nudges_after(0, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn waves_plan_wait_and_body_are_kept() {
    let world = world().await;
    let id = world.remediation("r").await;
    let plan = stanch_model::plan::Plan {
        leaves: Vec::new(),
        waves: Vec::new(),
        terms: stanch_model::terms::Terms::default(),
        rules: std::collections::BTreeSet::new(),
        valid_until: at(100),
    };
    let hash = plan.hash().unwrap();
    let step = MoveRemediation {
        id: id.clone(),
        from: R::Decided,
        generation: 1,
        to: R::Planned,
        plan: Some(hash),
        waiting: Some("for a person".into()),
        body: Some(serde_json::json!({"note": 1})),
        at: at(1),
    };
    let planned = Transition::new(entry("remediation_planned", &id).resting_on("plan", hash))
        .write(Write::PutPlan(plan.clone(), at(1)))
        .write(Write::MoveRemediation(step));
    world.store.commit(planned).await.unwrap();
    let mut generation = 2;
    for (from, to) in [
        (R::Planned, R::Approved),
        (R::Approved, R::Scheduled),
        (R::Scheduled, R::Rolling(0)),
        (R::Rolling(0), R::Verifying(0)),
        (R::Verifying(0), R::Baking(0)),
        (R::Baking(0), R::Rolling(1)),
    ] {
        world.store.commit(move_remediation(&id, from, generation, to)).await.unwrap();
        generation += 1;
    }
    let error =
        world.store.commit(move_remediation(&id, R::Rolling(0), generation, R::Verifying(0))).await.unwrap_err();
    assert!(error.is_conflict(), "the wave is part of the state: {error}");

    let edit =
        EditRemediation { id: id.clone(), generation, waiting: Some("for the window".into()), body: None, at: at(2) };
    world.store.put(Write::EditRemediation(edit)).await.unwrap();
    let world = world.reopened().await;
    let stored = world.store.remediation(&id).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.generation), (R::Rolling(1), generation + 1));
    assert_eq!((stored.plan, stored.waiting.as_deref()), (Some(hash), Some("for the window")));
    assert_eq!(stored.body, serde_json::json!({"note": 1}));
    assert_eq!(world.store.plan(&hash).await.unwrap(), Some(plan));
    assert_eq!(world.store.plan(&Digest::of_bytes(b"other")).await.unwrap(), None);
}

#[tokio::test]
async fn one_task_at_a_time_works_in_a_lane() {
    let world = world().await;
    let remediation = world.remediation("r").await;
    let (here, there) = (world.asset("here").await, world.asset("there").await);
    let first = world.task("first", &remediation, &here).await;
    let second = world.task("second", &remediation, &here).await;
    let elsewhere = world.task("elsewhere", &remediation, &there).await;
    world.walk(&first, &[T::Reserved]).await;
    world.walk(&elsewhere, &[T::Reserved]).await;
    let error = world.store.commit(move_task(&second, T::Pending, 1, T::Reserved)).await.unwrap_err();
    assert!(matches!(&error, CommitError::LaneBusy { asset, lane: "change" } if *asset == here.to_string()), "{error}");
    world.walk(&first, &[T::Granted, T::Dispatched, T::Running, T::Succeeded]).await;
    world.walk(&second, &[T::Reserved]).await;
    assert!(
        matches!(
            world.store.commit(move_task(&first, T::Succeeded, 6, T::Undoing)).await,
            Err(CommitError::LaneBusy { .. })
        ),
        "an undo takes the lane too"
    );
}

#[tokio::test]
async fn tasks_are_found_by_their_remediation_and_their_state() {
    let world = world().await;
    let remediation = world.remediation("r").await;
    let mut ids = Vec::new();
    for number in 0..5 {
        let asset = world.asset(&format!("host-{number}")).await;
        ids.push(world.task(&format!("t-{number}"), &remediation, &asset).await);
    }
    let step = MoveTask {
        id: ids[0].clone(),
        from: T::Pending,
        generation: 1,
        to: T::Skipped,
        message: Some("already compliant".into()),
        body: None,
        at: at(3),
    };
    world.store.commit(Transition::new(entry("task_skipped", &ids[0])).write(Write::MoveTask(step))).await.unwrap();
    let skipped = world.store.tasks_in(&[T::Skipped], None, 10).await.unwrap();
    assert_eq!(skipped.len(), 1);
    assert_eq!((skipped[0].message.as_deref(), skipped[0].lane), (Some("already compliant"), Lane::Change));
    assert_eq!(world.store.tasks_of(&remediation).await.unwrap().len(), 5);
    assert!(world.store.tasks_in(&[], None, 10).await.unwrap().is_empty(), "no state means none");

    let mut seen = Vec::new();
    while let page = world.store.tasks_in(&[T::Pending], seen.last().map(|id| (at(0), id)), 3).await.unwrap()
        && !page.is_empty()
    {
        seen.extend(page.into_iter().map(|task| task.id));
    }
    ids.remove(0);
    ids.sort();
    assert_eq!(seen, ids);
}

#[tokio::test]
async fn remediations_are_listed_newest_first_and_by_item() {
    let world = world().await;
    let asset = world.asset("host").await;
    let item = work_item(&asset, "openssl", &[]).id;
    for number in 0..7 {
        world.remediation(&format!("r-{number}")).await;
    }
    let about = remediation_id("about");
    world.store.commit(begin_for(&about, vec![item.clone()])).await.unwrap();
    world.store.commit(move_remediation(&about, R::Decided, 1, R::Planned)).await.unwrap();
    world.store.commit(move_remediation(&about, R::Planned, 2, R::Dismissed)).await.unwrap();

    let filter = RemediationFilter { item: Some(item), ..RemediationFilter::default() };
    let found = world.store.remediations(&filter, None, 10).await.unwrap();
    assert_eq!(found.iter().map(|found| &found.id).collect::<Vec<_>>(), [&about]);
    let live = RemediationFilter { over: Some(false), ..RemediationFilter::default() };
    assert_eq!(world.store.remediations(&live, None, 100).await.unwrap().len(), 7);
    let dismissed = RemediationFilter { states: vec!["dismissed"], ..RemediationFilter::default() };
    assert_eq!(world.store.remediations(&dismissed, None, 100).await.unwrap().len(), 1);

    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let cursor = before.as_ref().map(|(at, id)| (*at, id));
        let page = world.store.remediations(&RemediationFilter::default(), cursor, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some((last.created_at, last.id.clone()));
        seen.extend(page.into_iter().map(|found| found.id));
    }
    assert_eq!(seen.len(), 8);
    assert!(seen.is_sorted_by(|a, b| a > b), "equal times: by id");
}

#[tokio::test]
async fn a_walk_over_remediations_sees_each_once_however_many_there_are() {
    let world = world().await;
    let many: BTreeSet<_> = (0..2_003).map(|nth| remediation_id(&format!("r{nth}"))).collect();
    for id in &many {
        world.store.commit(begin(id)).await.unwrap();
    }
    let all = world.store.all_remediations(&RemediationFilter::default()).await.unwrap();
    assert_eq!(all.len(), many.len());
    assert_eq!(all.into_iter().map(|row| row.id).collect::<BTreeSet<_>>(), many);
}
