//! A server killed in the middle of its work: every transition that was acknowledged is there, and none is half there.
//! The child is this very test program, started again with an environment variable.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use stanch_model::merkle;
use stanch_model::remediation::TaskState;
use stanch_store::budget::Reserve;
use stanch_store::{Store, StoreAt};

use crate::world::{World, move_task, place, task_id};

/// Where the child finds the store: a path or an address.
const STORE: &str = "STANCH_TEST_CRASH_STORE";
const CALLERS: usize = 32;

/// The child: moves tasks for ever, and says which moves were acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_child() {
    let Ok(store) = std::env::var(STORE) else { return };
    let at = store.parse().map_or_else(|_| StoreAt::File(store.into()), StoreAt::Database);
    let folder = tempfile::tempdir().unwrap();
    let world = World { store: Store::open_at(&at).await.unwrap(), at, folder };
    let round = std::process::id();
    let remediation = world.remediation(&format!("r-{round}")).await;
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let store = world.store.clone();
        let asset = world.asset(&format!("host-{round}-{caller}")).await;
        let remediation = remediation.clone();
        callers.spawn(async move {
            for number in 0.. {
                let name = format!("t-{round}-{caller}-{number}");
                let id = task_id(&name);
                store.commit(crate::world::begin_task(&id, &remediation, &asset)).await.unwrap();
                let reserve = Reserve {
                    holder: id.to_string(),
                    scope: "all".into(),
                    span: "always".into(),
                    amount: 1,
                    limit: u32::MAX,
                };
                let step = move_task(&id, TaskState::Pending, 1, TaskState::Reserved)
                    .write(stanch_store::Write::Reserve(reserve))
                    .nudge("dispatch", &id);
                store.commit(step).await.unwrap();
                say(&name);
                store.commit(move_task(&id, TaskState::Reserved, 2, TaskState::Cancelled)).await.unwrap();
            }
        });
    }
    callers.join_all().await;
}

/// Says that this was acknowledged.
pub(crate) fn say(name: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "acknowledged {name}").unwrap();
    out.flush().unwrap();
}

/// Starts the child, waits for some acknowledgements and kills it with SIGKILL; gives all that it acknowledged.
fn run_and_kill(at: &StoreAt, after: usize) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["crash::crash_child", "--exact", "--nocapture", "--test-threads=1"])
        .env(
            STORE,
            match at {
                StoreAt::File(path) => path.display().to_string(),
                StoreAt::Database(url) => format!("{url}&user=stanch"),
            },
        )
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = Vec::new();
    for line in lines {
        let Ok(line) = line else { break };
        // The harness prints the test's name on the line of the first acknowledgement.
        if let Some((_, name)) = line.split_once("acknowledged ") {
            acknowledged.push(name.to_owned());
        }
        if acknowledged.len() == after {
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert!(!status.success() && acknowledged.len() >= after, "{status}, {} acknowledged", acknowledged.len());
    acknowledged
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill_and_nothing_is_half_there() {
    let folder = tempfile::tempdir().unwrap();
    let at = place(folder.path());
    let mut acknowledged = Vec::new();
    for after in [1, 40, 333] {
        acknowledged.extend(run_and_kill(&at, after));
        let store = Store::open_at(&at).await.unwrap();
        for name in &acknowledged {
            let task = store.task(&task_id(name)).await.unwrap();
            let task = task.unwrap_or_else(|| panic!("{name} was acknowledged and is gone"));
            assert!(matches!(task.state, TaskState::Reserved | TaskState::Cancelled), "{name}: {:?}", task.state);
        }
        whole(&store).await;
        store.shut().await;
    }
}

/// Each entry has its leaf, without a gap, and the tree is theirs; gives how many there are.
pub(crate) async fn ledger_is_whole(store: &Store) -> u64 {
    let tree = store.tree().await.unwrap().frontier;
    let mut leaves = Vec::new();
    while let page = store.entries(leaves.len() as u64, 5_000).await.unwrap()
        && !page.is_empty()
    {
        leaves.extend(page.into_iter().map(|entry| entry.leaf_hash().unwrap()));
    }
    assert_eq!((leaves.len() as u64, merkle::root(&leaves)), (tree.size(), tree.root()));
    tree.size()
}

/// Each state has its entry, its nudge and its share of the budget; each entry its leaf.
async fn whole(store: &Store) {
    ledger_is_whole(store).await;
    let mut moved = 0;
    let states = [TaskState::Pending, TaskState::Reserved, TaskState::Cancelled];
    let mut tasks: Vec<stanch_store::task::StoredTask> = Vec::new();
    while let page = store.tasks_in(&states, tasks.last().map(|task| (task.created_at, &task.id)), 1_000).await.unwrap()
        && !page.is_empty()
    {
        tasks.extend(page);
    }
    for task in &tasks {
        let told = store.timeline(task.id.as_str(), 0, 10).await.unwrap().len() as u64;
        assert_eq!(told, task.generation, "{task:?}");
        moved += u64::from(task.state != TaskState::Pending);
    }
    let taken = store.budget("all", "always").await.unwrap();
    assert_eq!(taken.reserved, moved, "a share for each task that was reserved, and no other");
    let nudges = store.nudges_after(0, 1_000_000).await.unwrap().len() as u64;
    assert_eq!(nudges, moved, "a nudge for each");
}
