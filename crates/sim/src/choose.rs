//! What happens next, drawn from a seed and from what the world looks like: mostly what would happen anyway, and often
//! enough what should not.

use crate::act::Act;
use crate::dice::Dice;
use crate::setup::SKEW;
use crate::world::World;

pub(crate) fn choose(dice: &mut Dice, world: &World) -> Act {
    let hosts = world.hosts.len();
    let host = dice.index(hosts);
    let server = dice.index(world.servers.len());
    let at = &world.hosts[host as usize];
    match dice.below(100) {
        0..=9 => Act::Pass(u32::try_from(200 + dice.below(6_000)).unwrap_or(1_000)),
        10 if dice.percent(15) => Act::Pass(u32::try_from(dice.below(600_000)).unwrap_or(1_000)),
        10..=33 => {
            let (row, turn) = (row(dice, world), u8::try_from(dice.below(6)).unwrap_or(0));
            if dice.percent(15) { Act::Load { server, row, turn } } else { Act::Serve { server, row, turn } }
        }
        34..=37 if !world.servers[server as usize].leaving.is_empty() && dice.percent(50) => Act::Leave { server },
        34..=37 => Act::Commit { server },
        38..=49 => Act::Handle { server, nth: few(dice) },
        50..=89 => at_host(dice, world, host, server),
        90..=92 => trouble(dice, host, server, at.cut),
        93..=96 => Act::Plan { draw: dice.next() },
        _ => people(dice, world, host),
    }
}

fn count(world: &World) -> u32 {
    u32::try_from(world.hosts.len()).unwrap_or(0)
}

fn row(dice: &mut Dice, world: &World) -> u32 {
    dice.index(world.store.live.len().max(1))
}

fn few(dice: &mut Dice) -> u32 {
    u32::try_from(dice.below(4)).unwrap_or(0)
}

/// Mail and work of one executor: what is there to do.
fn at_host(dice: &mut Dice, world: &World, host: u32, server: u32) -> Act {
    let at = &world.hosts[host as usize];
    let working = at.work.is_some() || !at.todo.is_empty();
    if working && dice.percent(45) {
        return Act::Work { host };
    }
    let up = !at.up.is_empty() && (at.down.is_empty() || dice.percent(50));
    let any = up || !at.down.is_empty();
    let nth = if dice.percent(80) { 0 } else { few(dice) };
    match dice.below(100) {
        0..=3 if any => Act::Lost { host, nth, up },
        4..=6 if any => Act::Twice { host, nth, up },
        _ if up => Act::Up { host, nth, server, slow: dice.percent(15) },
        _ if any => Act::Down { host, nth },
        _ => Act::Poll { host },
    }
}

fn trouble(dice: &mut Dice, host: u32, server: u32, cut: bool) -> Act {
    match dice.below(20) {
        0..=5 => Act::Dies { host, reboot: dice.percent(30) },
        6..=9 => Act::ServerDies { server },
        10..=13 => Act::Cut { host, cut: !cut },
        14 => Act::Clock { server, skew: i32::try_from(dice.between(-SKEW, SKEW)).unwrap_or(0) },
        15 => Act::Ledger { stuck: dice.percent(25) },
        16 => Act::Ledger { stuck: false },
        17 => Act::Fate { host, fate: u8::try_from(if dice.percent(60) { 0 } else { dice.below(8) }).unwrap_or(0) },
        18 if dice.percent(20) => Act::Forgets { host },
        _ => Act::Trust { host },
    }
}

fn people(dice: &mut Dice, world: &World, host: u32) -> Act {
    let row = row(dice, world);
    match dice.below(40) {
        0..=2 => Act::Hold { all: dice.percent(50) },
        3..=9 => Act::Release,
        10..=19 => Act::Approve { row, right: dice.percent(70) },
        20 => Act::Reject { row },
        21 => Act::Supersede { row },
        22..=27 => {
            let items = match dice.below(4) {
                0 => u8::try_from(dice.below(8)).unwrap_or(0),
                1 => 0,
                _ => 7,
            };
            Act::Undo { row, task: few(dice), items }
        }
        28..=29 => Act::Cancel { row },
        30..=32 => Act::Dismiss { row },
        33..=35 => {
            let suppressed = |host: &u32| world.store.queues[*host as usize].suppressed.iter().any(|known| *known > 0);
            Act::Lift { host: (0..count(world)).find(suppressed).unwrap_or(host) }
        }
        36..=38 => {
            let frozen = |host: &u32| world.store.queues[*host as usize].caller.frozen;
            Act::Trust { host: (0..count(world)).find(frozen).unwrap_or(host) }
        }
        _ => Act::Approve { row, right: true },
    }
}
