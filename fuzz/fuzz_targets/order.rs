//! An order of anybody's making: it is read or refused, as it came and signed by the right key, and what is taken can
//! be read again from the journal.

#![no_main]

#[path = "../../crates/testkit/src/conformance/desk.rs"]
#[allow(dead_code, unreachable_pub)]
mod desk;

use std::cell::RefCell;
use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use stanch_model::asset::{Asset, AssetKind};
use stanch_model::order::Verb;
use stanch_runner::{Config, Runner, decode_order};

/// After so many inputs the executor starts anew, so that its journal stays short.
const LIVES: u32 = 500;

struct Bench {
    folder: PathBuf,
    desk: desk::Desk,
    runner: Option<Runner>,
    used: u32,
}

fn open(folder: &PathBuf, desk: &desk::Desk) -> Runner {
    let asset = Asset::unlabelled(AssetKind::Host, "fuzzed", "fuzzed");
    let config = Config::new(desk.executor.clone(), asset, desk.root(), "boot", [9; 32]);
    Runner::open(folder, config).expect("the journal opens")
}

impl Bench {
    fn new() -> Self {
        // In memory where there is such a place: every order taken is synced.
        let memory = PathBuf::from("/dev/shm");
        let parent = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let folder = parent.join(format!("stanch-fuzz-order-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let desk = desk::Desk::new(stanch_model::Timestamp::now()).expect("fixed keys");
        let runner = Some(open(&folder, &desk));
        Self { folder, desk, runner, used: 0 }
    }

    fn try_one(&mut self, bytes: &[u8]) {
        let signed = decode_order(bytes);
        let body = match &signed {
            Ok(signed) => Some(signed.body.clone()),
            // Most inputs are not whole orders; many are whole verbs.
            Err(_) => serde_json::from_slice::<Verb>(bytes).ok().map(|verb| self.desk.order(verb)),
        };
        let Some(mut order) = body else { return };
        let Some(runner) = &self.runner else { return };
        let certificate = self.desk.certificate().expect("a certificate");
        if let Ok(signed) = signed {
            assert!(runner.accept(&certificate, &signed).is_err(), "taken without the right signature");
        }
        let fresh = self.desk.order(Verb::Release);
        order.id = fresh.id;
        order.executor = fresh.executor;
        order.position = fresh.position;
        order.finish_before = fresh.finish_before;
        order.start_within_seconds = order.start_within_seconds.max(1);
        let hello = runner.hello(Vec::new()).expect("the counter is durable");
        // A float has no canonical form: such an order cannot be signed, nor would it be.
        if let Ok(signed) = self.desk.sign(order, &hello) {
            let _ = runner.accept(&certificate, &signed);
        }
        self.used += 1;
        if self.used.is_multiple_of(LIVES) {
            let position = runner.position();
            self.runner = None;
            let again = open(&self.folder, &self.desk);
            assert_eq!(again.position(), position, "a restart forgot an order");
            drop(again);
            *self = Self::new();
        }
    }
}

thread_local! {
    static BENCH: RefCell<Bench> = RefCell::new(Bench::new());
}

fuzz_target!(|bytes: &[u8]| BENCH.with_borrow_mut(|bench| bench.try_one(bytes)));
