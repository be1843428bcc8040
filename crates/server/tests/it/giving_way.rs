//! A plan that waits gives way to a newer one: the two happen together, or neither does.

use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection};

use crate::double::Host;
use crate::world::World;

fn two() -> Host {
    Host::new("host", &[("paperclip", "3.0.15-1", "3.0.17-1"), ("stapler", "7.88-1", "7.88-2")])
}

async fn sql(world: &World, text: &'static str) {
    let path = world.folder.path().join("stanch.db");
    let mut conn = SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap();
    sqlx::raw_sql(text).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
}

/// Every remediation as its id, state and names, the newest first.
async fn all(world: &World) -> Vec<(String, String, Value)> {
    let list = world.client.get("/api/v1/remediations").await;
    let text = |one: &Value, name: &str| one[name].as_str().unwrap().to_owned();
    list.as_array().unwrap().iter().map(|one| (text(one, "id"), text(one, "state"), one["names"].clone())).collect()
}

/// The disk fails at one of the two writes, and the server dies with it: whichever comes first is not there alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_between_the_end_of_a_plan_and_its_successor_has_lost_neither() {
    for stop in [
        "CREATE TRIGGER stop BEFORE INSERT ON remediation BEGIN SELECT RAISE(ABORT, 'the disk is gone'); END",
        "CREATE TRIGGER stop BEFORE UPDATE OF state ON remediation WHEN NEW.state = 'superseded' \
         BEGIN SELECT RAISE(ABORT, 'the disk is gone'); END",
    ] {
        let mut world = World::new(two()).await;
        world.items(2).await;
        let (id, plan) = world.planned(&["paperclip"]).await;
        let before = all(&world).await;
        sql(&world, stop).await;
        let wish = json!({ "items": ["paperclip", "stapler"] });
        assert_eq!(world.client.refused("/api/v1/remediations", wish.clone()).await.0, 500, "{stop}");
        world.kill().await;
        sql(&world, "DROP TRIGGER stop").await;
        world.start().await;
        assert_eq!(all(&world).await, before, "{stop}");
        // What waited can still be approved, as it was shown.
        let one = world.state(&id, "awaiting_approval").await;
        assert_eq!(one["remediation"]["plan"], plan, "{stop}");
        assert_eq!(one["tasks"][0]["state"], "pending", "{stop}");
        world.approve(&id, &plan).await;
        world.state(&id, "closed").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_plan_takes_the_place_of_one_that_waits_and_both_records_say_so() {
    let world = World::new(two()).await;
    world.items(2).await;
    let (old, plan) = world.planned(&["paperclip"]).await;
    let (new, _) = world.planned(&["paperclip", "stapler"]).await;
    let states: Vec<_> = all(&world).await.into_iter().map(|(id, state, _)| (id, state)).collect();
    assert_eq!(states, [(new.clone(), "awaiting_approval".to_owned()), (old.clone(), "superseded".to_owned())]);
    let path = format!("/api/v1/remediations/{old}/approve");
    assert_eq!(world.client.refused(&path, json!({ "plan_hash": plan })).await.0, 409, "it is over");
    let asked = world.client.get(&format!("/api/v1/ledger?subject={new}")).await;
    assert!(asked.to_string().contains(&old), "{asked}");
}
