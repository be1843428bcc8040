//! The gate, the proofs and the benchmarks: everything that is run on the project rather than by it.

mod bench;
mod dist;
mod packages;
mod prove;
mod sim;
mod steps;
mod test;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "xtask", about = "The gate, the proofs and the benchmarks of Stanch")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// The gate: formatting, lints and every test. Installs the Debian packages that the tests need.
    Test {
        /// Only name the steps.
        #[arg(long)]
        list: bool,
    },
    /// The long proofs: what each issue must show, on live archives and real roots. May take hours.
    Prove {
        /// Which; all when none is named.
        names: Vec<String>,
        /// Only name the proofs.
        #[arg(long)]
        list: bool,
    },
    /// Packages: .deb for server and agent, .rpm for the agent. Installs what building them needs.
    Dist {
        /// Where to [default: target/dist].
        #[arg(long)]
        out: Option<std::path::PathBuf>,
        /// From a debug build, for proofs.
        #[arg(long)]
        debug: bool,
        /// A secret key of minisign, kept away from every server: signs the packages, and they ask for it from then on.
        #[arg(long, value_name = "FILE")]
        release_key: Option<std::path::PathBuf>,
        /// A public key that the packages after these may be signed with as well (repeatable): how keys are changed.
        #[arg(long, value_name = "FILE", requires = "release_key")]
        next_key: Vec<std::path::PathBuf>,
    },
    /// The benchmarks, each a ratio against a peer in the same run.
    Bench {
        /// Which; all when none is named.
        names: Vec<String>,
    },
    /// The simulator: the pure core in a world of crashes, losses, liars and people. Everything from a seed.
    Sim(sim::Sim),
    /// Fuzzes every parser of outside data (needs cargo-fuzz).
    Fuzz {
        /// Seconds for each target.
        #[arg(long, default_value_t = 180)]
        seconds: u32,
        /// Which; all when none is named.
        names: Vec<String>,
    },
}

fn main() -> std::process::ExitCode {
    let done = match Arguments::parse().task {
        Task::Test { list } => test::run(list),
        Task::Prove { names, list } => prove::run(&names, list),
        Task::Dist { out, debug, release_key, next_key } => {
            let release = release_key.map(|key| dist::Release::read(&key, &next_key)).transpose();
            release.and_then(|release| dist::run(out, debug, release.as_ref()))
        }
        Task::Bench { names } => bench::run(&names),
        Task::Sim(asked) => sim::run(&asked),
        Task::Fuzz { seconds, names } => prove::fuzz(seconds, &names),
    };
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
