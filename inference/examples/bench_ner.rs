//! How fast the engine is alone: texts from a file through one or several models, again and again, for some seconds.
//!
//! usage: `bench_ner` --model DIR --onnx-runtime FILE --texts FILE.jsonl [--threads N] [--seconds N]
//!
//! Prints one JSON object. `make bench-ner` sets it beside spaCy.

#![expect(clippy::cast_precision_loss, reason = "what is measured is less precise")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use inference::model::{Model, Spent};
use inference::spacy::{CACHE_BYTES, Pipeline, Runtime};
use serde::Deserialize;
use tokio::time::Instant;

/// As many texts as the worker gives to a session at a time.
const SLICE_ROWS: usize = 32;

#[derive(Parser)]
struct Arguments {
    /// The model's bundle
    #[arg(long)]
    model: PathBuf,
    /// ONNX Runtime's shared library
    #[arg(long)]
    onnx_runtime: PathBuf,
    /// Texts, one JSON object per line
    #[arg(long)]
    texts: PathBuf,
    /// Models, each on a thread of its own
    #[arg(long, default_value = "1")]
    threads: usize,
    /// What each model may keep of the words that it has met
    #[arg(long, default_value_t = CACHE_BYTES)]
    cache_bytes: usize,
    /// How long to go on
    #[arg(long, default_value = "10")]
    seconds: u64,
}

#[derive(Deserialize)]
struct Document {
    text: String,
}

/// What a thread did.
struct Done {
    /// How long the first time through all texts took, with empty caches.
    first: Duration,
    texts: usize,
    took: Duration,
    spent: Spent,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let documents = read(&arguments.texts)?;
    let texts: Vec<&str> = documents.iter().map(|document| document.text.as_str()).collect();
    let runtime = Runtime::load(Some(&arguments.onnx_runtime))?;
    let done: Vec<Done> = std::thread::scope(|scope| {
        let work = || -> anyhow::Result<Done> {
            let mut model = Pipeline::load(&runtime, &arguments.model, arguments.cache_bytes)?;
            through(&mut model, &texts, Duration::from_secs(arguments.seconds))
        };
        let threads: Vec<_> = (0..arguments.threads).map(|_| scope.spawn(work)).collect();
        let done = threads.into_iter().map(|thread| match thread.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        done.collect::<anyhow::Result<_>>()
    })?;
    let sum = |of: fn(&Done) -> f64| done.iter().map(of).sum::<f64>();
    let took = sum(|done| done.took.as_secs_f64());
    let report = serde_json::json!({
        "threads": arguments.threads,
        "texts_per_second": sum(|done| texts_per_second(done.texts, done.took)),
        "texts_per_second_first": done.iter().map(|done| texts_per_second(texts.len(), done.first)).sum::<f64>(),
        "tokenize": sum(|done| done.spent.tokenize.as_secs_f64()) / took,
        "embed": sum(|done| done.spent.embed.as_secs_f64()) / took,
        "network": sum(|done| done.spent.network.as_secs_f64()) / took,
        "network_gflops": done.iter().map(|done| done.spent.operations).sum::<u64>() as f64
            / sum(|done| done.spent.network.as_secs_f64()) / 1e9,
    });
    Ok(writeln!(std::io::stdout(), "{report}")?)
}

/// Goes through all texts once, and then again until the time is over.
fn through(model: &mut Pipeline, texts: &[&str], duration: Duration) -> anyhow::Result<Done> {
    let began = Instant::now();
    once(model, texts)?;
    let first = began.elapsed();
    model.spent();
    let (began, mut rounds) = (Instant::now(), 0);
    while began.elapsed() < duration {
        once(model, texts)?;
        rounds += 1;
    }
    Ok(Done {
        first,
        texts: texts.len() * rounds,
        took: began.elapsed(),
        spent: model.spent(),
    })
}

fn once(model: &mut Pipeline, texts: &[&str]) -> anyhow::Result<()> {
    for slice in texts.chunks(SLICE_ROWS) {
        for answer in model.entities(slice) {
            answer?;
        }
    }
    Ok(())
}

fn texts_per_second(texts: usize, took: Duration) -> f64 {
    texts as f64 / took.as_secs_f64()
}

fn read(path: &Path) -> anyhow::Result<Vec<Document>> {
    let content = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let documents = content.lines().map(serde_json::from_str);
    documents
        .collect::<Result<_, _>>()
        .with_context(|| format!("{} is not JSON Lines", path.display()))
}
