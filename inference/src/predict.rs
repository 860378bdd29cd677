//! Owns `inference predict`: texts from files or standard input to entities on standard output, line by line.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use anyhow::{Context, bail};
use serde::Serialize;

use crate::config::RawModel;
use crate::model::{Entity, Model};
use crate::record::{Fields, Request, Unreadable};
use crate::spacy::{Pipeline, Runtime};

/// The most lines, and unless it is one line the most bytes, that a thread is given at a time.
const CHUNK_LINES: usize = 64;
const CHUNK_BYTES: usize = 128 << 10;
/// Chunks that wait for each thread.
const CHUNKS_AHEAD: usize = 2;
/// The longest line: a text at the model's limit, with every character escaped.
const MAX_LINE_BYTES: u64 = 16 << 20;

/// The arguments of `predict`.
#[derive(Debug, clap::Args)]
pub struct Predict {
    /// The folder that `inference import` wrote; `model.folder` of the configuration if absent
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// ONNX Runtime's shared library; `model.onnx_runtime` of the configuration if absent, else `ORT_DYLIB_PATH`
    #[arg(long, value_name = "FILE")]
    onnx_runtime: Option<PathBuf>,
    /// Threads that compute
    #[arg(long, default_value = "1")]
    threads: NonZeroUsize,
    /// What each thread may keep of the words that it has met; `model.cache_bytes` of the configuration if absent
    #[arg(long, value_name = "BYTES")]
    cache_bytes: Option<usize>,
    /// Files of JSON Lines; standard input if there are none
    files: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Answer<'a> {
    entities: Vec<Span<'a>>,
}

/// An entity, with offsets in Unicode scalar values.
#[derive(Serialize)]
struct Span<'a> {
    start: usize,
    end: usize,
    label: &'a str,
    text: &'a str,
}

#[derive(Serialize)]
struct Failure {
    error: String,
}

/// Lines in, and where their answers are awaited: the writer waits for chunks in the order of the input.
type Chunk = (Vec<Vec<u8>>, SyncSender<Vec<u8>>);

/// Answers every line of the input. What the arguments leave open, `configured` says.
///
/// # Errors
/// Where the model cannot be loaded, or a file cannot be read or written.
pub(crate) fn run(arguments: &Predict, configured: &RawModel) -> anyhow::Result<()> {
    let library = arguments
        .onnx_runtime
        .as_ref()
        .or(configured.onnx_runtime.as_ref());
    let folder = arguments.model.as_ref().unwrap_or(&configured.folder);
    let cache_bytes = arguments.cache_bytes.unwrap_or(configured.cache_bytes.get());
    let runtime = Runtime::load(library.map(PathBuf::as_path))?;
    let load = || Pipeline::load(&runtime, folder, cache_bytes);
    let threads = arguments.threads.get();
    let mut models = Vec::new();
    for _ in 0..threads {
        models.push(load().with_context(|| format!("the model in {} cannot be used", folder.display()))?);
    }
    let ahead = threads * CHUNKS_AHEAD;
    let (chunks, queue) = sync_channel::<Chunk>(ahead);
    let (order, awaited) = sync_channel::<Receiver<Vec<u8>>>(ahead + threads);
    let queue = std::sync::Mutex::new(queue);
    thread::scope(|scope| {
        for mut model in models {
            let queue = &queue;
            scope.spawn(move || {
                loop {
                    let chunk = queue
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .recv();
                    let Ok((lines, answers)) = chunk else { return };
                    // Nobody waits any more where the output failed.
                    drop(answers.send(answer(&mut model, &lines)));
                }
            });
        }
        let writer = scope.spawn(move || write(&awaited));
        let read = read_all(&arguments.files, &chunks, &order);
        drop((chunks, order));
        let written = writer.join().unwrap_or_else(|_panic| bail!("writing failed"));
        // If the output failed, reading ended because of it.
        written.and(read)
    })
}

fn read_all(
    files: &[PathBuf],
    chunks: &SyncSender<Chunk>,
    order: &SyncSender<Receiver<Vec<u8>>>,
) -> anyhow::Result<()> {
    if files.is_empty() {
        return read(
            &mut std::io::stdin().lock(),
            Path::new("standard input"),
            chunks,
            order,
        );
    }
    for path in files {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        read(&mut BufReader::new(file), path, chunks, order)?;
    }
    Ok(())
}

fn read(
    input: &mut impl BufRead,
    name: &Path,
    chunks: &SyncSender<Chunk>,
    order: &SyncSender<Receiver<Vec<u8>>>,
) -> anyhow::Result<()> {
    let mut number = 0;
    loop {
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while lines.len() < CHUNK_LINES && bytes < CHUNK_BYTES {
            let mut line = Vec::new();
            number += 1;
            let length = std::io::Read::take(&mut *input, MAX_LINE_BYTES).read_until(b'\n', &mut line);
            let length = length.with_context(|| format!("cannot read {}", name.display()))?;
            if length == 0 {
                break;
            }
            if length as u64 == MAX_LINE_BYTES {
                bail!(
                    "{}:{number}: the line is longer than {MAX_LINE_BYTES} bytes",
                    name.display()
                );
            }
            bytes += length;
            lines.push(line);
        }
        if lines.is_empty() {
            return Ok(());
        }
        let (answers, awaited) = sync_channel(1);
        if order.send(awaited).is_err() || chunks.send((lines, answers)).is_err() {
            return Ok(());
        }
    }
}

fn write(awaited: &Receiver<Receiver<Vec<u8>>>) -> anyhow::Result<()> {
    let mut output = BufWriter::new(std::io::stdout().lock());
    for answers in awaited {
        let lines = answers.recv().context("a thread ended without an answer")?;
        output
            .write_all(&lines)
            .context("cannot write to standard output")?;
    }
    output.flush().context("cannot write to standard output")
}

/// One line for each line: its entities, or its error.
fn answer(model: &mut impl Model, lines: &[Vec<u8>]) -> Vec<u8> {
    let fields = Fields {
        pass_through: Vec::new(),
        ..Fields::default()
    };
    let questions: Vec<Result<String, Unreadable>> = lines
        .iter()
        .map(|line| Request::read(Some(line), &fields).text)
        .collect();
    let texts: Vec<&str> = questions
        .iter()
        .filter_map(|question| question.as_ref().ok())
        .map(String::as_str)
        .collect();
    let mut answers = model.entities(&texts).into_iter();
    let mut output = Vec::new();
    for question in &questions {
        let outcome = match question {
            Err(error) => Err(error.to_string()),
            Ok(_) => answers.next().map_or_else(
                || Err("the model gave no answer".to_owned()),
                |answer| answer.map_err(|error| error.to_string()),
            ),
        };
        let line = match &outcome {
            Ok(entities) => serde_json::to_writer(
                &mut output,
                &Answer {
                    entities: entities.iter().map(span).collect(),
                },
            ),
            Err(error) => serde_json::to_writer(&mut output, &Failure { error: error.clone() }),
        };
        // Strings and numbers always have a JSON form, and memory takes it.
        drop(line);
        output.push(b'\n');
    }
    output
}

fn span(entity: &Entity) -> Span<'_> {
    Span {
        start: entity.start,
        end: entity.end,
        label: &entity.label,
        text: &entity.text,
    }
}
