//! Which orders are taken, and which are not, each with its reason.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;
use stanch_model::Timestamp;
use stanch_model::asset::{AssetKind, asset_id};
use stanch_model::canonical::Digest;
use stanch_model::id::{ExecutorId, ItemId};
use stanch_model::order::{Answer, Order, Position, Verb};
use stanch_model::sign::{Signed, SigningKey};
use stanch_model::trust::Chain;
use stanch_runner::{MAX_ORDER_BYTES, Refused, Runner, Taken, decode_order};

use crate::place::{NOW, Place, accepted, steps};

fn apply(place: &mut Place) -> Verb {
    Verb::Apply(place.grant(&[("motd", "strong")]))
}

#[track_caller]
fn refuses(change: impl FnOnce(&mut Place, &mut Order), expected: fn(&Refused) -> bool) {
    let mut place = Place::new();
    let runner = place.open();
    let verb = apply(&mut place);
    let mut order = place.desk.order(verb);
    change(&mut place, &mut order);
    let before = runner.position();
    let hello = runner.hello(Vec::new()).unwrap();
    let signed = place.desk.sign(order, &hello).unwrap();
    let error = runner.accept(&place.desk.chain().unwrap(), &signed).unwrap_err();
    assert!(expected(&error), "{error}");
    assert!(error.hint().is_some(), "{error} leaves a person without a hint");
    assert_eq!((runner.position(), runner.unfinished().len()), (before, 0), "nothing of it is taken");
}

/// Refused, but by somebody entitled to an answer.
#[track_caller]
fn answers(change: impl FnOnce(&mut Place, &mut Order), expected: &str) {
    let mut place = Place::new();
    let runner = place.open();
    let verb = apply(&mut place);
    let mut order = place.desk.order(verb);
    change(&mut place, &mut order);
    let position = order.position;
    match place.offer_order(&runner, order).unwrap() {
        Taken::Answered { receipt, why } => {
            assert!(why.contains(expected), "{why}");
            assert!(matches!(&receipt.body.answer, Answer::Refused { message, .. } if *message == why));
            receipt.open(&runner.verifying_key()).unwrap();
        }
        other => panic!("taken: {other:?}"),
    }
    assert_eq!(runner.position(), position);
    assert_eq!(place.sets(), 0);
}

#[test]
fn a_good_order_is_taken() {
    let mut place = Place::new();
    let runner = place.open();
    let verb = apply(&mut place);
    accepted(place.offer(&runner, verb));
}

#[test]
fn an_order_for_another_executor_is_not_taken() {
    refuses(
        |_, order| order.executor = ExecutorId::from_entropy([8; 10]),
        |refused| matches!(refused, Refused::OtherExecutor { .. }),
    );
}

#[test]
fn an_order_that_comes_after_its_start_is_not_taken() {
    let mut place = Place::new();
    let runner = place.open();
    let verb = apply(&mut place);
    let order = place.desk.order(verb);
    let hello = runner.hello(Vec::new()).unwrap();
    let signed = place.desk.sign(order, &hello).unwrap();
    // The wall clock stands still or is set back; the other one counts.
    *place.clock.since_boot.lock().unwrap() += Duration::from_secs(61);
    let error = runner.accept(&place.desk.chain().unwrap(), &signed).unwrap_err();
    assert!(matches!(error, Refused::TooLate { within: 60, late: 61 }), "{error}");
}

#[test]
fn an_order_that_answers_no_poll_is_not_taken() {
    let mut place = Place::new();
    let runner = place.open();
    let verb = apply(&mut place);
    let order = place.desk.order(verb);
    let mut hello = runner.hello(Vec::new()).unwrap();
    hello.nonce ^= 1;
    let signed = place.desk.sign(order.clone(), &hello).unwrap();
    let chain = place.desk.chain().unwrap();
    assert!(matches!(runner.accept(&chain, &signed), Err(Refused::Nonce)));
    // Signed again for the next poll it is taken: the refusal did not use up its position.
    accepted(place.offer_order(&runner, order));
}

#[test]
fn polls_never_share_a_nonce_or_a_counter_even_over_restarts() {
    let place = Place::new();
    let mut nonces = std::collections::BTreeSet::new();
    let mut last = None;
    for _ in 0..3 {
        let runner = place.open();
        for _ in 0..40 {
            let hello = runner.hello(Vec::new()).unwrap();
            assert!(nonces.insert(hello.nonce) && last < Some(hello.counter));
            last = Some(hello.counter);
        }
    }
}

#[test]
fn a_changed_order_is_not_taken() {
    let mut place = Place::new();
    let runner = place.open();
    let verb = apply(&mut place);
    let order = place.desk.order(verb);
    let hello = runner.hello(Vec::new()).unwrap();
    let mut signed = place.desk.sign(order, &hello).unwrap();
    signed.body.start_within_seconds = 86_400;
    let chain = place.desk.chain().unwrap();
    assert!(matches!(runner.accept(&chain, &signed), Err(Refused::Signature(_))));
}

/// What becomes of an order under another chain, whose certificates these keys sign.
fn certified(place: &Place, runner: &Runner, change: impl FnOnce(&mut Chain), root: u8, issuer: u8) -> Refused {
    let mut chain = place.desk.chain().unwrap();
    change(&mut chain);
    let key = |seed: u8| SigningKey::from_seed(&[seed; 32]).unwrap();
    let chain = Chain {
        issuer: Signed::new(chain.issuer.body, &key(root)).unwrap(),
        order_key: Signed::new(chain.order_key.body, &key(issuer)).unwrap(),
    };
    let mut desk = crate::desk::Desk::new(NOW).unwrap();
    desk.position = place.desk.position;
    let order = desk.order(Verb::Release);
    let signed = desk.sign(order, &runner.hello(Vec::new()).unwrap()).unwrap();
    runner.accept(&chain, &signed).unwrap_err()
}

#[test]
fn an_order_key_counts_only_with_a_chain_from_the_pinned_root_in_its_time_and_epoch() {
    let place = Place::new();
    let runner = place.open();
    let (root, issuer) = (1, 4);
    let refused = |change: fn(&mut Chain)| certified(&place, &runner, change, root, issuer);
    for (by_root, by_issuer) in [(66, issuer), (root, 66), (root, root), (issuer, issuer)] {
        let refused = certified(&place, &runner, |_| {}, by_root, by_issuer);
        assert!(matches!(refused, Refused::Certificate(_)), "{by_root} {by_issuer}: {refused}");
    }
    let later = |at: &mut Timestamp| *at = NOW.checked_add(Duration::from_secs(1)).unwrap();
    for (change, which) in [
        ((|c| c.issuer.body.not_after = NOW) as fn(&mut Chain), "issuer"),
        (|c| c.order_key.body.not_after = NOW, "order key"),
    ] {
        assert!(matches!(refused(change), Refused::CertificateTime { what, .. } if what == which));
    }
    let early = certified(&place, &runner, |c| later(&mut c.issuer.body.not_before), root, issuer);
    assert!(matches!(early, Refused::CertificateTime { what: "issuer", .. }));
    let early = certified(&place, &runner, |c| later(&mut c.order_key.body.not_before), root, issuer);
    assert!(matches!(early, Refused::CertificateTime { what: "order key", .. }));
    assert!(matches!(refused(|c| c.order_key.body.epoch = 2), Refused::CertificateEpoch { .. }));
    let other = |c: &mut Chain| c.order_key.body.key = SigningKey::from_seed(&[77; 32]).unwrap().verifying_key();
    assert!(matches!(refused(other), Refused::Signature(_)));
}

#[test]
fn what_cannot_hold_is_refused_with_an_answer() {
    answers(|_, order| order.finish_before = NOW, "had to be over by");
    answers(with_grant(|grant| grant.leaf.steps[0].params = json!({"name": "other"})), "not the granted one");
    answers(with_grant(|grant| grant.leaf_hash = Digest::of_bytes(b"other")), "not the granted one");
    answers(with_grant(|grant| grant.epoch = 2), "contradicts itself");
    answers(with_leaf(|grant| grant.leaf.asset = asset_id(AssetKind::Host, "other")), "this executor works on");
    answers(with_leaf(|grant| grant.leaf.steps.clear()), "names no steps");
}

fn with_grant(change: fn(&mut stanch_model::order::Grant)) -> impl FnOnce(&mut Place, &mut Order) {
    move |_, order| {
        if let Verb::Apply(grant) = &mut order.verb {
            change(grant);
        }
    }
}

/// As [`with_grant`], and the hash fits again.
fn with_leaf(change: fn(&mut stanch_model::order::Grant)) -> impl FnOnce(&mut Place, &mut Order) {
    move |_, order| {
        if let Verb::Apply(grant) = &mut order.verb {
            change(grant);
            grant.leaf_hash = grant.leaf.hash().unwrap();
        }
    }
}

#[test]
fn an_undo_of_nothing_or_of_strangers_takes_back_nothing() {
    for (items, expected) in
        [(Vec::new(), "names no items"), (vec![ItemId::from_entropy([99; 10])], "is not in the leaf")]
    {
        let mut place = Place::new();
        let runner = place.open();
        let grant = place.grant(&[("motd", "strong")]);
        steps(place.carry_out(&runner, Verb::Apply(grant.clone())));
        let verb = Verb::Undo { task: grant.task.clone(), grant, items, attempt: 1 };
        match place.carry_out(&runner, verb) {
            Answer::Refused { message, .. } => assert!(message.contains(expected), "{message}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(place.content("motd").as_deref(), Some("strong"));
    }
}

#[test]
fn too_much_of_anything_is_refused_before_it_is_hashed() {
    let deep = (0..40).fold(json!(1), |inner, _| json!([inner]));
    for (what, change) in [
        ("steps", Box::new(|order: &mut Order| repeat_steps(order, 65)) as Box<dyn Fn(&mut Order)>),
        ("levels of nesting", Box::new(move |order: &mut Order| set_params(order, &deep))),
    ] {
        refuses(
            |_, order| change(order),
            match what {
                "steps" => |refused| matches!(refused, Refused::TooMany { what: "steps", count: 65, .. }),
                _ => |refused| matches!(refused, Refused::TooMany { what: "levels of nesting", .. }),
            },
        );
    }
    refuses(
        |_, order| set_params(order, &json!("x".repeat(MAX_ORDER_BYTES))),
        |refused| matches!(refused, Refused::TooLarge { .. }),
    );
}

fn repeat_steps(order: &mut Order, count: usize) {
    if let Verb::Apply(grant) = &mut order.verb {
        grant.leaf.steps = vec![grant.leaf.steps[0].clone(); count];
    }
}

fn set_params(order: &mut Order, params: &serde_json::Value) {
    if let Verb::Apply(grant) = &mut order.verb {
        grant.leaf.steps[0].params = params.clone();
    }
}

#[test]
fn a_repeated_order_gets_its_answer_again_and_runs_no_second_time() {
    let mut place = Place::new();
    let runner = place.open();
    let verb = apply(&mut place);
    let order = place.desk.order(verb);
    let id = accepted(place.offer_order(&runner, order.clone()));
    let answer = place.run(&runner, &id).unwrap();
    match place.offer_order(&runner, order.clone()).unwrap() {
        Taken::Known(receipt) => assert_eq!(receipt.body.answer, answer),
        other => panic!("{other:?}"),
    }
    // Once the server has the answer, a repetition is only stale.
    runner.delivered(&id).unwrap();
    assert!(matches!(place.offer_order(&runner, order), Err(Refused::Stale { .. })));
    assert_eq!(place.sets(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Invariant 4: whatever comes in whatever order, positions only rise.
    #[test]
    fn only_rising_positions_are_taken(positions in proptest::collection::vec((1u64..4, 1u64..8), 1..20)) {
        let mut place = Place::new();
        let runner = place.open();
        let mut last = Position { epoch: 0, generation: 0 };
        for (number, (epoch, generation)) in positions.into_iter().enumerate() {
            place.desk.position = Position { epoch, generation: generation - 1 };
            let mut order = place.desk.order(Verb::Release);
            order.id = stanch_model::id::OrderId::from_entropy([u8::try_from(number).unwrap(); 10]);
            let position = order.position;
            let taken = place.offer_order(&runner, order);
            prop_assert_eq!(taken.is_ok(), position > last, "{:?} after {:?}", position, last);
            last = last.max(position);
            prop_assert_eq!(runner.position(), last);
        }
        drop(runner);
        prop_assert_eq!(place.journal().position, last);
    }

    #[test]
    fn no_bytes_make_the_decoder_or_the_check_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), at: proptest::sample::Index, with: u8) {
        let _ = decode_order(&bytes);
        let mut place = Place::new();
        let runner = place.open();
        let verb = apply(&mut place);
        let order = place.desk.order(verb);
        let hello = runner.hello(Vec::new()).unwrap();
        let sent = place.desk.sign(order, &hello).unwrap();
        let mut json = serde_json::to_vec(&sent).unwrap();
        let at = at.index(json.len());
        json[at] = with;
        if let Ok(signed) = decode_order(&json) {
            let taken = runner.accept(&place.desk.chain().unwrap(), &signed);
            // What reads as the same order (`t` in a time, `A` in a digest) is the same order.
            prop_assert!(signed == sent || taken.is_err());
        }
    }
}
