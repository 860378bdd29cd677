//! `inference predict`: what its answers are, where it finds its model, and how much memory it takes.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use inference::spacy::import;
use tempfile::TempDir;
use testbed::ModelFiles;

/// What a text at the model's limit may make of the program, with the caches that it has by default.
const MOST_MEMORY_KB: usize = 300 << 10;

/// A folder with a configuration and the model that it names.
struct Place {
    folder: TempDir,
}

impl Place {
    async fn new() -> Self {
        let files = ModelFiles::fetch().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model");
        import(&files.wheel, &model).unwrap();
        let config = format!(
            "model.folder = '{}'\nmodel.onnx_runtime = '{}'\n",
            model.display(),
            files.library.display()
        );
        std::fs::write(folder.path().join("inference.toml"), config).unwrap();
        Self { folder }
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("inference.toml")
    }

    /// The program, which knows its model from the configuration alone.
    fn predict(&self) -> Command {
        let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_inference")));
        command
            .arg("--config")
            .arg(self.config())
            .arg("predict")
            .env_remove("ORT_DYLIB_PATH")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        command
    }

    /// The lines that answer `input`.
    fn answers(&self, input: &[u8]) -> Vec<String> {
        let mut running = self.predict().spawn().unwrap();
        running.stdin.take().unwrap().write_all(input).unwrap();
        let output = running.wait_with_output().unwrap();
        assert!(output.status.success());
        let printed = String::from_utf8(output.stdout).unwrap();
        printed.lines().map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn the_configuration_says_where_the_model_and_onnx_runtime_are() {
    let place = Place::new().await;
    let answers = place.answers(b"{\"text\":\"Anna lives in Rome.\"}\n");
    assert_eq!(
        answers,
        [r#"{"entities":[{"start":14,"end":18,"label":"GPE","text":"Rome"}]}"#]
    );
}

#[tokio::test]
async fn a_flag_comes_before_the_configuration() {
    let place = Place::new().await;
    let output = place
        .predict()
        .args(["--model", "no-such-model"])
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && log.contains("no-such-model"), "{log}");
}

#[tokio::test]
async fn a_line_without_a_text_is_answered_by_what_is_wrong_with_it() {
    let place = Place::new().await;
    let lines: [&[u8]; 7] = [
        b"{\"text\":\"Anna lives in Rome\xff.\"}",
        b"{\"text\":\"Anna lives in \\ud83d Rome.\"}",
        b"{\"text\":7}",
        b"{}",
        b"[]",
        b"",
        b"{\"text\":\"Anna lives in Rome.\"}",
    ];
    let answers = place.answers(&lines.join(&b'\n'));
    for (answer, part) in answers.iter().zip([
        "is not UTF-8",
        "surrogate pair",
        "text is not a string",
        "has no text",
        "is not a JSON object",
        "is not a JSON object",
        r#""text":"Rome""#,
    ]) {
        assert!(answer.contains(part), "{part} in {answer}");
    }
    assert_eq!(answers.len(), lines.len());
}

/// The first text keeps an entity open from its first word to its last, the second the parser's stack, so that both
/// decoders need features from the start of the text at its end; the third is all different words, and the caches fill.
#[tokio::test]
async fn a_text_of_a_megabyte_does_not_take_more_memory_than_it_should() {
    let place = Place::new().await;
    let words = (0..200_000_u32).map(|word| format!("{:x} ", word.wrapping_mul(2_654_435_761)));
    let hostile = [
        "Angela Merkel ".repeat(71_000),
        "$".repeat(250_000),
        words.collect(),
    ];
    let ordinary = "Anna lives in Rome. ".repeat(50_000);
    let mut running = place.predict().spawn().unwrap();
    let mut input = running.stdin.take().unwrap();
    let mut output = BufReader::new(running.stdout.take().unwrap());
    let lengths = hostile.each_ref().map(|text| text.trim_end().chars().count());
    let mut lines = Vec::new();
    for text in hostile.iter().chain([&ordinary]) {
        lines.extend(format!("{{\"text\":\"{text}\"}}\n").into_bytes());
    }
    // The last answer is longer than what the program keeps back, and standard input stays open: it is there to be looked at.
    input.write_all(&lines).unwrap();
    let mut answer = || {
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        serde_json::from_str::<serde_json::Value>(&line).unwrap()["entities"].take()
    };
    for length in &lengths[..2] {
        let entities = answer();
        let spans: Vec<_> = entities
            .as_array()
            .unwrap()
            .iter()
            .map(|entity| (&entity["start"], &entity["end"]))
            .collect();
        assert!(
            spans.len() == 1 && *spans[0].0 == 0 && *spans[0].1 == *length,
            "one from end to end: {}",
            spans.len()
        );
    }
    answer();
    let peak = peak_memory_kb(&running);
    assert!(peak < MOST_MEMORY_KB, "{peak} KB");
    drop(input);
    std::io::copy(&mut output, &mut std::io::sink()).unwrap();
    assert!(running.wait().unwrap().success());
}

/// The most memory that a running process had in use.
fn peak_memory_kb(process: &Child) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}
