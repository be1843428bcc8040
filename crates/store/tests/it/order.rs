//! Orders stand in line, and each is answered once.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use stanch_model::Digest;
use stanch_model::id::OrderId;
use stanch_model::order::{Answer, Order, Position, Receipt, Verb, VerbKind};
use stanch_model::sign::{Signed, SigningKey};
use stanch_store::order::{DeliverOrder, NewOrder, OrderState, VoidOrder};
use stanch_store::receipt::{HandleReceipt, NewReceipt};
use stanch_store::{CommitError, Effect, Write};

use crate::world::{at, executor_id, order_id, world};

fn order(name: &str, executor: &str, epoch: u64) -> Write {
    Write::NewOrder(NewOrder {
        id: order_id(name),
        executor: executor_id(executor),
        epoch,
        task: None,
        verb: Verb::Observe { refresh: false, since: None },
        after: None,
        start_within_seconds: 60,
        finish_before: at(600),
        at: at(0),
    })
}

fn signed(name: &str, executor: &str, position: Position) -> Signed<Order> {
    let body = Order {
        id: order_id(name),
        executor: executor_id(executor),
        position,
        nonce: 7,
        start_within_seconds: 60,
        finish_before: at(600),
        verb: Verb::Observe { refresh: false, since: None },
    };
    Signed::new(body, &SigningKey::from_seed(&[1; 32]).unwrap()).unwrap()
}

fn receipt(name: &str, executor: &str, held: bool) -> Write {
    let body = Receipt {
        order: order_id(name),
        executor: executor_id(executor),
        position: Position { epoch: 1, generation: 1 },
        at: at(1),
        journal_head: Digest::of_bytes(b"head"),
        answer: Answer::Held { held },
    };
    let receipt = Signed::new(body, &SigningKey::from_seed(&[2; 32]).unwrap()).unwrap();
    Write::NewReceipt(NewReceipt { receipt, at: at(2) })
}

#[tokio::test]
async fn positions_rise_for_each_executor_and_begin_anew_with_an_epoch() {
    let world = world().await;
    let mut positions = Vec::new();
    for (name, executor, epoch) in [("1", "x", 1), ("2", "x", 1), ("3", "y", 1), ("4", "x", 3), ("5", "x", 3)] {
        let committed = world.store.put(order(name, executor, epoch)).await.unwrap();
        let [Effect::Order(_, position)] = committed.effects[..] else { panic!("{committed:?}") };
        positions.push((position.epoch, position.generation));
    }
    assert_eq!(positions, [(1, 1), (1, 2), (1, 1), (3, 1), (3, 2)]);
    assert!(matches!(world.store.put(order("6", "x", 2)).await, Err(CommitError::Conflict { .. })), "an old epoch");
    assert!(matches!(world.store.put(order("5", "y", 3)).await, Err(CommitError::Exists { .. })));
    let last = world.store.last_position(&executor_id("x")).await.unwrap();
    assert_eq!(last, Position { epoch: 3, generation: 2 });

    let after = Position { epoch: 1, generation: 1 };
    let waiting = world.store.orders_after(&executor_id("x"), after, 10).await.unwrap();
    assert_eq!(waiting.iter().map(|order| order.id.clone()).collect::<Vec<_>>(), ["2", "4", "5"].map(order_id));
    let unanswered = world.store.unanswered_orders(&executor_id("x")).await.unwrap();
    assert_eq!(unanswered.len(), 4, "those of others are not asked for");
}

#[tokio::test]
async fn an_order_may_be_handed_out_again_until_it_is_answered_or_void() {
    let world = world().await;
    world.store.put(order("1", "x", 1)).await.unwrap();
    let signed = signed("1", "x", Position { epoch: 1, generation: 1 });
    for _ in 0..2 {
        world.store.put(Write::DeliverOrder(DeliverOrder { signed: signed.clone(), at: at(1) })).await.unwrap();
    }
    let stored = world.store.order(&order_id("1")).await.unwrap().unwrap();
    assert_eq!(
        (stored.state, stored.signed, stored.delivered_at),
        (OrderState::Delivered, Some(signed.clone()), Some(at(1)))
    );
    world.store.put(receipt("1", "x", true)).await.unwrap();
    assert!(world.store.put(Write::DeliverOrder(DeliverOrder { signed, at: at(3) })).await.unwrap_err().is_conflict());
    assert!(world.store.orders_after(&executor_id("x"), Position::default(), 10).await.unwrap().is_empty());

    world.store.put(order("2", "x", 1)).await.unwrap();
    world.store.put(Write::VoidOrder(VoidOrder { id: order_id("2"), unless_delivered: true })).await.unwrap();
    assert!(world.store.orders_after(&executor_id("x"), Position::default(), 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_same_answer_twice_is_one_and_another_is_refused() {
    let world = world().await;
    world.store.put(order("1", "x", 1)).await.unwrap();
    assert!(
        matches!(world.store.put(receipt("1", "y", true)).await, Err(CommitError::Missing { .. })),
        "not its order"
    );
    assert_eq!(world.store.put(receipt("1", "x", true)).await.unwrap().effects, [Effect::Done]);
    assert_eq!(world.store.put(receipt("1", "x", true)).await.unwrap().effects, [Effect::Unchanged]);
    assert!(matches!(world.store.put(receipt("1", "x", false)).await, Err(CommitError::Exists { .. })));

    let unhandled = world.store.unhandled_receipts(&[VerbKind::Observe], 10).await.unwrap();
    assert_eq!(unhandled.len(), 1);
    let others = [VerbKind::Plan, VerbKind::Hold];
    assert!(world.store.unhandled_receipts(&others, 10).await.unwrap().is_empty(), "another stage's answers");
    assert_eq!(unhandled[0].receipt.body.answer, Answer::Held { held: true });
    let arrived = unhandled[0].at;
    let unheard = async |since| world.store.unheard(VerbKind::Observe, since).await.unwrap();
    assert_eq!(unheard(arrived).await, BTreeSet::from([executor_id("x")]));
    assert!(unheard(arrived + SignedDuration::from_secs(1)).await.is_empty(), "what is older may never be acted on");
    let handled = |order: OrderId| Write::HandleReceipt(HandleReceipt { order, forget: false, at: at(3) });
    world.store.put(handled(order_id("1"))).await.unwrap();
    assert!(world.store.put(handled(order_id("1"))).await.unwrap_err().is_conflict(), "acted on once");
    assert!(world.store.unhandled_receipts(&[VerbKind::Observe], 10).await.unwrap().is_empty());
    assert!(unheard(arrived).await.is_empty());
    assert_eq!(world.store.receipt(&order_id("1")).await.unwrap().unwrap().handled_at, Some(at(3)));
}

#[tokio::test]
async fn of_an_answer_that_is_kept_elsewhere_only_the_digest_stays() {
    let world = world().await;
    world.store.put(order("1", "x", 1)).await.unwrap();
    world.store.put(receipt("1", "x", true)).await.unwrap();
    let handled = HandleReceipt { order: order_id("1"), forget: true, at: at(3) };
    world.store.put(Write::HandleReceipt(handled)).await.unwrap();
    assert!(world.store.receipt(&order_id("1")).await.unwrap().is_none());
    assert!(world.store.is_answered(&order_id("1")).await.unwrap());
    assert!(!world.store.is_answered(&order_id("2")).await.unwrap());
    assert_eq!(world.store.put(receipt("1", "x", true)).await.unwrap().effects, [Effect::Unchanged], "known again");
    assert!(
        matches!(world.store.put(receipt("1", "x", false)).await, Err(CommitError::Exists { .. })),
        "still another"
    );
}
