//! Plays about staging: the failure budget, gates, pins, confirmation.

use std::collections::BTreeSet;

use stanch_model::terms::{
    CatchUp, Confirm, HaltIf, PromoteFrom, Quorum, RingSize, RingTerm, Role, Terms, Unanswered, WindowTerm,
};

use crate::plays::{Play, rings};

fn patient(failed: u32) -> HaltIf {
    HaltIf { failed, failed_percent: 100, failed_in_first_wave: failed, inconclusive_seconds: 600 }
}

#[test]
fn a_bad_host_is_set_aside_and_taken_back_alone() {
    let terms = Terms { halt_if: patient(2), ..Terms::default() };
    insta::assert_snapshot!(Play::under(3, terms).run(
        "approve
         tick
         start
         web-1 fails
         web-2 succeeds
         start
         web-1 undone
         start
         web-3 succeeds
         wait 5
         web-2 is good
         web-3 is good"
    ));
}

#[test]
fn one_failure_too_many_stops_the_rollout_and_takes_the_wave_back() {
    let terms = Terms { halt_if: patient(2), ..Terms::default() };
    insta::assert_snapshot!(Play::under(3, terms).run(
        "approve
         tick
         start
         web-1 fails
         tick
         web-1 undone
         web-2 succeeds
         start
         web-3 fails
         tick
         web-2 undone
         web-3 undone
         wait 5
         web-1 sends facts
         web-2 sends facts
         web-3 sends facts"
    ));
}

#[test]
fn a_first_wave_in_which_all_failed_halts_whatever_count_may_fail() {
    let terms = Terms { halt_if: patient(3), rings: rings(), ..Terms::default() };
    insta::assert_snapshot!(Play::under(3, terms).run(
        "approve
         tick
         start
         web-1 fails
         tick
         web-1 undone"
    ));
}

#[test]
fn a_check_that_cannot_tell_for_too_long_halts() {
    let terms = Terms { halt_if: patient(2), ..Terms::default() };
    insta::assert_snapshot!(Play::under(1, terms).run(
        "approve
         tick
         start
         web-1 succeeds
         wait 5
         web-1 is unclear
         wait 300
         web-1 is unclear
         wait 400"
    ));
}

#[test]
fn nothing_starts_outside_the_window_and_undo_passes() {
    let window = WindowTerm { calendar: "nights".to_owned(), must_finish_inside: true };
    let terms = Terms { windows: BTreeSet::from([window]), halt_if: patient(3), ..Terms::default() };
    insta::assert_snapshot!(Play::under(3, terms).run(
        "approve
         tick
         window opens for 600
         tick
         start
         web-1 succeeds
         wait 599
         wait 1
         tick
         web-2 fails
         tick
         web-2 undone
         window opens for 600
         start"
    ));
}

fn nightly(catch_up: CatchUp) -> Terms {
    let window = WindowTerm { calendar: "nights".to_owned(), must_finish_inside: true };
    let windows = BTreeSet::from([window]);
    Terms { windows, catch_up: Some(catch_up), halt_if: patient(3), ..Terms::default() }
}

#[test]
fn a_host_that_was_away_through_its_window_is_told_of_and_waits_for_the_next() {
    let terms = nightly(CatchUp { run_within_seconds: 0, tell_after: 2 });
    insta::assert_snapshot!(Play::under(1, terms).run(
        "approve
         tick
         web-1 is away
         window opens for 600
         tick
         wait 600
         web-1 is back
         tick
         web-1 is away
         window opens for 600
         tick
         wait 600
         web-1 is back
         window opens for 600
         tick
         start"
    ));
}

#[test]
fn a_host_that_waited_for_its_turn_in_its_window_has_not_missed_it() {
    let terms = nightly(CatchUp { run_within_seconds: 3_600, tell_after: 1 });
    insta::assert_snapshot!(Play::under(3, terms).run(
        "approve
         tick
         freezes end for 9000
         window opens for 600
         start
         web-3 is away
         wait 100
         web-3 is back
         wait 500
         web-1 succeeds
         start"
    ));
}

#[test]
fn windows_that_pass_while_no_server_is_at_work_are_counted_afterwards_and_let_nothing_start_outside() {
    let terms = nightly(CatchUp { run_within_seconds: 36_000, tell_after: 2 });
    insta::assert_snapshot!(Play::under(1, terms).run(
        "approve
         freezes end for 90000
         windows of 600 every 3600
         tick
         wait 8000
         start"
    ));
}

#[test]
fn nothing_starts_that_is_younger_than_its_terms_ask_for() {
    let terms = Terms { min_age_seconds: 3_600, halt_if: patient(3), ..Terms::default() };
    insta::assert_snapshot!(Play::under(1, terms).run(
        "approve
         tick
         start
         web-1 is offered
         wait 3599
         start
         wait 1
         start"
    ));
}

#[test]
fn a_host_that_is_back_runs_outside_of_its_window_but_not_in_a_freeze_nor_for_ever() {
    let terms = nightly(CatchUp { run_within_seconds: 3_600, tell_after: 0 });
    insta::assert_snapshot!(Play::under(2, terms).run(
        "approve
         tick
         web-1 is away
         web-2 is away
         window opens for 600
         tick
         wait 600
         web-1 is back
         tick
         freezes end for 9000
         start
         web-1 succeeds
         wait 5
         web-1 is good
         web-2 is back
         wait 3600
         start"
    ));
}

#[test]
fn a_host_that_its_ring_left_behind_goes_along_with_the_next_one() {
    let ring = |size| RingTerm { size, min: 1, bake_seconds: 60 };
    let rings = vec![ring(RingSize::Count(2)), ring(RingSize::Percent(100))];
    insta::assert_snapshot!(Play::under(4, Terms { rings, halt_if: patient(3), ..Terms::default() }).run(
        "approve
         tick
         web-1 is away
         start
         web-2 succeeds
         wait 5
         web-2 is good
         web-1 is back
         wait 61
         web-2 is good
         tick
         start"
    ));
}

#[test]
fn the_same_has_to_hold_in_staging_first() {
    let from = PromoteFrom { environment: "staging".to_owned(), verified_seconds: 3_600 };
    let terms = Terms { promote_from: BTreeSet::from([from]), ..Terms::default() };
    insta::assert_snapshot!(Play::under(1, terms).run(
        "approve
         tick
         staging holds
         wait 3599
         wait 1
         start"
    ));
}

#[test]
fn a_pair_keeps_one_healthy_member_counting_the_broken() {
    insta::assert_snapshot!(Play::under(3, Terms::default()).run(
        "pair 1 with web-3
         approve
         tick
         start
         web-1 succeeds
         start"
    ));
}

#[test]
fn change_stops_while_too_many_others_are_ill() {
    insta::assert_snapshot!(Play::under(1, Terms::default()).run(
        "ill 21
         approve
         tick
         start
         ill 20
         start"
    ));
}

#[test]
fn a_breaker_that_rests_lets_nothing_start_and_a_trial_is_told_how_it_went() {
    insta::assert_snapshot!(Play::under(1, Terms::default()).run(
        "breaker rests 600
         approve
         tick
         start
         wait 600
         breaker tries 1
         start
         web-1 succeeds
         wait 5
         web-1 is good"
    ));
}

#[test]
fn a_task_without_room_waits_and_the_other_goes_on() {
    insta::assert_snapshot!(Play::under(2, Terms::default()).run(
        "approve
         tick
         web-1 has no room
         start
         wait 5
         start"
    ));
}

#[test]
fn an_approval_that_ran_out_starts_nothing_and_one_that_was_used_does() {
    let unused = Play::under(1, Terms::default()).run(
        "approve for 60
         tick
         tick
         wait 61",
    );
    let used = Play::under(2, Terms { rings: rings(), ..Terms::default() }).run(
        "approve for 60
         tick
         start
         wait 61
         web-1 succeeds",
    );
    insta::assert_snapshot!(format!("{unused}\n---\n{used}"));
}

#[test]
fn a_target_that_moved_is_planned_again() {
    insta::assert_snapshot!(Play::under(2, Terms::default()).run(
        "approve
         tick
         start
         web-1 moved
         web-2 succeeds
         wait 5
         web-2 is good"
    ));
}

fn asks(unanswered: Unanswered) -> Terms {
    let confirm = Confirm { by: Role::Owner, within_seconds: 3_600, unanswered };
    Terms { confirm: BTreeSet::from([confirm]), ..Terms::default() }
}

const DONE: &str = "grant
    tick
    start
    web-1 succeeds
    wait 5
    web-1 is good
    ";

#[test]
fn the_owner_is_asked_reminded_and_then_the_next_in_line() {
    let play = |terms, script: &str| Play::under(1, terms).run(&format!("{DONE}{script}"));
    insta::assert_snapshot!(
        [
            play(asks(Unanswered::Escalate), "owner says confirm\nundo web-1:openssl"),
            play(asks(Unanswered::Escalate), "wait 1800\nwait 1800\nowner says confirm\nwait 3600\nwait 3600"),
            play(asks(Unanswered::Keep), "wait 3600\nwait 3600\nowner says confirm"),
            play(asks(Unanswered::Undo), "wait 3600"),
            play(asks(Unanswered::Undo), "undo is harmless\nwait 3600\ntick\nweb-1 undone\nwait 5\nweb-1 sends facts"),
            play(asks(Unanswered::Keep), "owner says except\ntick\nweb-1 undone"),
            play(asks(Unanswered::Keep), "owner says undo\ntick\nweb-1 undone"),
        ]
        .join("---\n")
    );
}

#[test]
fn what_needs_approvals_never_starts_by_itself() {
    let terms = Terms { approvals: BTreeSet::from([Quorum::default()]), ..Terms::default() };
    insta::assert_snapshot!(Play::under(1, terms).run("grant\ntick"), @r"
    > grant
      refused: it may not start by itself: its terms ask for approvals
    > tick
        ~ waits for approval
    ");
}
