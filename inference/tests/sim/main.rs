//! The worker in a simulated world: what happens, and in which order, a seed decides. No result may be lost or invented.
//!
//! `OUTRIGGER_SIM_SEEDS` is how many seeds are tried, `OUTRIGGER_SIM_SEED` tries one, and `OUTRIGGER_SIM_BYTES` (as a
//! failure prints them) gives the bytes themselves.

#![expect(
    clippy::unwrap_used,
    clippy::unnecessary_wraps,
    clippy::print_stderr,
    clippy::too_many_lines,
    reason = "a world that contradicts itself has failed; every action of it has one signature"
)]

mod actions;
mod settle;
mod shrink;
mod tape;
mod world;

use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use inference::metrics::Metrics;
use prometheus::Registry;

use self::tape::Tape;
use self::world::{Checked, Tally, World};

/// Seeds that are tried if nobody says otherwise.
const SEEDS: u64 = 20_000;
/// Seeds between two progress lines.
const PROGRESS: u64 = 100_000;

/// Lives through a world, and then its end.
fn live(world: &mut World) -> Checked {
    while !world.tape.is_over() {
        world.step()?;
    }
    world.settle()
}

/// What went wrong with these bytes, if anything, and what was done if that is wanted.
fn run(bytes: &[u8], metrics: &Metrics, tell: bool) -> (Result<Tally, String>, Vec<String>) {
    let mut world = World::new(Tape::new(bytes.to_vec()), metrics, tell);
    let lived = catch_unwind(AssertUnwindSafe(|| live(&mut world)));
    let outcome = lived.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panicked: {}", text.unwrap_or_default()))
    });
    let story = world.story.take().unwrap_or_default();
    (outcome.map(|()| world.tally()), story)
}

/// Shortens what fails, and says all that is needed to see it again.
fn explain(seed: Option<u64>, bytes: &[u8], metrics: &Metrics) -> String {
    std::panic::set_hook(Box::new(|_| {}));
    let shortest = shrink::shrink(bytes, |bytes| run(bytes, metrics, false).0.is_err());
    let (outcome, story) = run(&shortest, metrics, true);
    drop(std::panic::take_hook());
    let hex = shortest.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    });
    let seed = seed.map_or_else(String::new, |seed| {
        format!("OUTRIGGER_SIM_SEED={seed}, shortened to ")
    });
    format!(
        "{}\n{seed}OUTRIGGER_SIM_BYTES={hex}\n{}",
        outcome.unwrap_err(),
        story.join("\n")
    )
}

fn metrics() -> Metrics {
    Metrics::register(&Registry::new()).unwrap()
}

fn setting(name: &str) -> Option<String> {
    std::env::vars()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value)
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits
        .chunks(2)
        .map(|pair| {
            pair.iter()
                .fold(0, |byte, digit| byte * 16 + u8::try_from(*digit).unwrap())
        })
        .collect()
}

/// Tries seeds on all cores, and gives the lowest that failed.
fn try_seeds(seeds: u64) -> (Option<u64>, Tally) {
    let (next, failed, total) = (
        AtomicU64::new(0),
        AtomicU64::new(u64::MAX),
        Mutex::new(Tally::default()),
    );
    let work = || {
        let metrics = metrics();
        let mut tally = Tally::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.min(failed.load(Ordering::Relaxed)) {
                break;
            }
            match run(&tape::bytes_of(seed), &metrics, false).0 {
                Ok(its) => tally.add(its),
                Err(_) => {
                    failed.fetch_min(seed, Ordering::Relaxed);
                }
            }
            if seed % PROGRESS == PROGRESS - 1 {
                eprintln!("{} seeds of {seeds}", seed + 1);
            }
        }
        total.lock().unwrap().add(tally);
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let failed = failed.into_inner();
    let total = total.into_inner().unwrap();
    ((failed < u64::MAX).then_some(failed), total)
}

#[test]
fn nothing_is_lost_and_nothing_is_invented_whatever_happens() {
    if let Some(hex) = setting("OUTRIGGER_SIM_BYTES") {
        let bytes = from_hex(&hex);
        assert!(
            run(&bytes, &metrics(), false).0.is_ok(),
            "{}",
            explain(None, &bytes, &metrics())
        );
        return;
    }
    let one = setting("OUTRIGGER_SIM_SEED").map(|seed| seed.parse::<u64>().unwrap());
    let seeds = setting("OUTRIGGER_SIM_SEEDS").map_or(SEEDS, |seeds| seeds.parse().unwrap());
    let (failed, total) = match one {
        Some(seed) => {
            let failed = run(&tape::bytes_of(seed), &metrics(), false).0.is_err();
            (failed.then_some(seed), Tally::default())
        }
        None => try_seeds(seeds),
    };
    eprintln!("{seeds} seeds: {total:?}");
    if let Some(seed) = failed {
        panic!("{}", explain(Some(seed), &tape::bytes_of(seed), &metrics()));
    }
}
