//! The simulator's program. `cargo xtask sim` builds it with `--cfg stanch_defects` and calls it.

mod page;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use stanch_sim::defects::{self, Planted};
use stanch_sim::{Failure, Figures, large, simulate, story};

/// What was asked for, `--name value` by `--name value`.
struct Arguments(Vec<String>);

impl Arguments {
    fn text(&self, name: &str) -> Option<&str> {
        let at = self.0.iter().position(|argument| argument == name)?;
        self.0.get(at + 1).map(String::as_str)
    }

    fn number(&self, name: &str, otherwise: u64) -> Result<u64, String> {
        self.text(name)
            .map_or(Ok(otherwise), |text| text.parse().map_err(|_| format!("{name} wants a number, not `{text}`")))
    }

    fn defect(&self) -> Result<Option<&'static Planted>, String> {
        let Some(name) = self.text("--defect") else { return Ok(None) };
        let known = || defects::ALL.iter().map(|planted| planted.name).collect::<Vec<_>>().join(", ");
        defects::named(name).map(Some).ok_or_else(|| format!("there is no defect `{name}`; there are {}", known()))
    }
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    let arguments = Arguments(words.collect());
    let done = match command.as_str() {
        "run" => run(&arguments),
        "play" => play(&arguments),
        "defects" => page::defects(&arguments),
        "large" => fleet(&arguments),
        other => Err(format!("`{other}` is none of run, play, defects, large; use cargo xtask sim")),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Many seeds. The lowest that fails is shrunk and told.
fn run(arguments: &Arguments) -> Result<bool, String> {
    let (from, seeds) = (arguments.number("--from", 0)?, arguments.number("--seeds", 1_000)?);
    let steps = u32::try_from(arguments.number("--steps", 10_000)?).map_err(|error| error.to_string())?;
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let (jobs, planted) = (arguments.number("--jobs", cores)?.max(1), arguments.defect()?);
    let load = load();
    let (next, began) = (AtomicU64::new(from), Instant::now());
    let found: Mutex<(Figures, Option<Box<Failure>>)> = Mutex::new((Figures::default(), None));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + seeds {
                break;
            }
            let ended = simulate(seed, steps, planted);
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            match ended {
                Ok(figures) => found.0.add(&figures),
                Err(failure) => {
                    if found.1.as_ref().is_none_or(|known| failure.seed < known.seed) {
                        found.1 = Some(failure);
                    }
                    next.fetch_max(from + seeds, Ordering::Relaxed);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(work);
        }
    });
    let took = began.elapsed().as_secs_f64();
    let (figures, failure) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    tell(&figures, seeds, took, jobs, load);
    let Some(failure) = failure else {
        println!("no violation");
        return Ok(true);
    };
    println!(
        "\nseed {}: invariant {} does not hold after {} steps: {}",
        failure.seed, failure.invariant, failure.steps, failure.what
    );
    let short = failure.shrunk(planted);
    println!("shrunk to {} acts:\n\n{}", short.steps, short.story(planted));
    Ok(false)
}

fn tell(figures: &Figures, seeds: u64, took: f64, jobs: u64, load: f64) {
    let each = figures.steps as f64 / took / jobs as f64;
    println!(
        "{} steps over {seeds} seeds in {took:.1} s on {jobs} threads: {each:.0} steps/s a thread, load {load:.1} before",
        figures.steps
    );
    println!(
        "{} commits, {} refused, {} starts on targets, {} deaths, {} messages lost or doubled",
        figures.commits, figures.refused, figures.starts, figures.deaths, figures.mishaps
    );
    let ends: Vec<String> = figures.ends.iter().map(|(end, count)| format!("{count} {end}")).collect();
    println!("remediations ended: {}", ends.join(", "));
}

fn play(arguments: &Arguments) -> Result<bool, String> {
    let seed = arguments.number("--seed", 0)?;
    let steps = u32::try_from(arguments.number("--steps", 10_000)?).map_err(|error| error.to_string())?;
    let planted = arguments.defect()?;
    match simulate(seed, steps, planted) {
        Ok(_) => print!("{}", story(seed, steps, planted)),
        Err(failure) => print!("{}", failure.shrunk(planted).story(planted)),
    }
    Ok(true)
}

fn fleet(arguments: &Arguments) -> Result<bool, String> {
    let whole = |number: u64| usize::try_from(number).map_err(|error| error.to_string());
    let assets = whole(arguments.number("--assets", 100_000)?)?;
    let each = whole(arguments.number("--each", 100)?)?;
    let (load, began) = (load(), Instant::now());
    let figures = large(arguments.number("--from", 0)?, assets, each);
    let figures = figures.map_err(|(invariant, what)| format!("invariant {invariant} does not hold: {what}"))?;
    println!("{assets} assets, {each} to a remediation");
    tell(&figures, 1, began.elapsed().as_secs_f64(), 1, load);
    Ok(true)
}

/// The machine's load over the last minute.
fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}
