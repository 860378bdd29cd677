//! The program as a process: exit codes, signals, the admin port, and what is wrong when something is.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use checkpoint::{Checkpoint, LocalFolder, TopicOffsets};
use kafka_io::{Compression, MockBroker, Outgoing};
use tempfile::TempDir;
use testbed::{ModelFiles, Process, committed, connection, consume, produce, until};

const PATIENCE: Duration = Duration::from_secs(30);
const PARTITIONS: i32 = 2;
const FREE_PORT: &str = "admin.address = \"127.0.0.1:0\"\n";

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_inference"))
}

/// Runs the program with arguments to its end.
fn inference(arguments: &[&str]) -> Output {
    Command::new(program())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A mock cluster with the topics, a model, and a folder.
struct Place {
    broker: MockBroker,
    files: ModelFiles,
    folder: TempDir,
}

impl Place {
    async fn new() -> Self {
        let broker = MockBroker::start(1).unwrap();
        for topic in ["ner-input", "ner-output"] {
            broker.create_topic(topic, PARTITIONS).unwrap();
        }
        let files = ModelFiles::fetch().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model");
        let imported = inference(&["import", files.wheel.to_str().unwrap(), model.to_str().unwrap()]);
        assert!(imported.status.success(), "{}", told(&imported));
        Self {
            broker,
            files,
            folder,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self) -> String {
        format!(
            "kafka.bootstrap_servers = \"{}\"\nmodel.folder = '{}'\nmodel.onnx_runtime = '{}'\n\
             progress.checkpoint = '{}'\nkafka.properties.\"fetch.wait.max.ms\" = \"10\"\n",
            self.broker.bootstrap_servers(),
            self.path("model").display(),
            self.files.library.display(),
            self.path("checkpoint").display(),
        )
    }

    fn start(&self) -> Process {
        Process::start(program(), self.folder.path(), &self.config(), &[]).unwrap()
    }

    /// Runs the program with its configuration and arguments to its end.
    fn run(&self, more: &str, arguments: &[&str]) -> Output {
        let file = self.path("once.toml");
        std::fs::write(&file, self.config() + more).unwrap();
        let common = ["--config", file.to_str().unwrap()];
        inference(&[&common, arguments].concat())
    }
}

fn message(text: &str) -> Outgoing {
    Outgoing {
        topic: "ner-input".into(),
        key: Some(text.as_bytes().to_vec()),
        value: Some(format!("{{\"uuid\":\"1\",\"text\":\"{text}\"}}").into_bytes()),
        headers: Vec::new(),
    }
}

#[test]
fn an_unknown_key_is_told_with_its_file_line_and_nearest_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wrong.toml");
    std::fs::write(&file, "[kafka]\nbootstrap_server = \"x\"\n").unwrap();
    let output = inference(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(64));
    let told = told(&output);
    for part in ["wrong.toml:2", "bootstrap_server", "bootstrap_servers"] {
        assert!(told.contains(part), "{part} in {told}");
    }
}

#[test]
fn a_wrong_command_line_is_exit_code_64_and_help_is_0() {
    assert_eq!(inference(&["--no-such-flag"]).status.code(), Some(64));
    assert_eq!(inference(&["--help"]).status.code(), Some(0));
    assert_eq!(inference(&["check"]).status.code(), Some(0));
    assert_eq!(inference(&["completions", "bash"]).status.code(), Some(0));
}

#[test]
fn the_effective_configuration_is_printed_without_secrets() {
    let output = Command::new(program())
        .arg("config")
        .env("INFERENCE_KAFKA__SECURITY__PROTOCOL", "sasl_ssl")
        .env("INFERENCE_KAFKA__SECURITY__SASL_MECHANISM", "SCRAM-SHA-512")
        .env("INFERENCE_KAFKA__SECURITY__USERNAME", "me")
        .env("INFERENCE_KAFKA__SECURITY__PASSWORD", "topsecret")
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success(), "{}", told(&output));
    assert!(
        printed.contains("username = \"me\"") && !printed.contains("topsecret"),
        "{printed}"
    );
}

#[test]
fn a_port_that_is_taken_is_exit_code_1_and_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = Command::new(program())
        .env("INFERENCE_ADMIN__ADDRESS", &address)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains(&address), "{}", told(&output));
}

#[test]
fn a_model_that_is_missing_is_exit_code_1_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("no-such-model");
    let output = inference(&["predict", "--model", model.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let told = told(&output);
    assert!(
        told.contains("no-such-model") || told.contains("ORT_DYLIB_PATH"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_model_is_exit_code_1_and_the_file_is_named() {
    let place = Place::new().await;
    let file = place.path("model/ner.encode.onnx");
    let mut content = std::fs::read(&file).unwrap();
    content[1000] ^= 1;
    std::fs::write(&file, content).unwrap();
    let output = place.run("admin.address = \"127.0.0.1:0\"\n", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains("ner.encode.onnx"), "{}", told(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_answered_and_sigterm_is_exit_code_0() {
    let place = Place::new().await;
    let mut worker = place.start();
    worker.ready().await.unwrap();
    let connection = connection(&place.broker.bootstrap_servers()).unwrap();
    let messages = (0..20).map(|row| message(&format!("Angela Merkel met number {row} in Berlin.")));
    produce(&connection, Compression::Lz4, messages).await.unwrap();
    let mut found = consume(&connection, &"ner-output".into(), PARTITIONS).unwrap();
    let results = found.take(PATIENCE, |records| records.len() == 20).await.unwrap();
    for result in results {
        let value = String::from_utf8(result.value.unwrap()).unwrap();
        assert!(
            value.contains(r#"{"entity":"Angela Merkel","category":"PERSON"}"#),
            "{value}"
        );
    }
    until(PATIENCE, async || {
        worker
            .metric("inference_results_total")
            .await
            .filter(|&results| results >= 20.0)
    })
    .await
    .expect("the metric follows");
    for (path, status) in [
        ("/livez", 200),
        ("/healthz", 200),
        ("/readyz?verbose", 200),
        ("/version", 200),
    ] {
        assert_eq!(worker.get(path).await.unwrap().0, status, "{path}");
    }
    for name in [
        "inference_records_total",
        "inference_end_to_end_seconds_count",
        "inference_last_success_timestamp_seconds",
        "inference_build_info",
        "inference_model_info",
        "process_resident_memory_bytes",
    ] {
        assert!(worker.metric(name).await.is_some(), "{name}");
    }
    worker.stop().await.unwrap();
    let (_, positions) = committed(&place.path("checkpoint")).unwrap();
    assert_eq!(positions.iter().map(|(_, _, position)| position).sum::<i64>(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn once_processes_what_is_there_and_ends() {
    let place = Place::new().await;
    let connection = connection(&place.broker.bootstrap_servers()).unwrap();
    let messages = (0..5).map(|row| message(&format!("{row} people live in Paris.")));
    produce(&connection, Compression::None, messages).await.unwrap();
    let output = place.run("admin.address = \"127.0.0.1:0\"\n", &["--once"]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let mut found = consume(&connection, &"ner-output".into(), PARTITIONS).unwrap();
    found.take(PATIENCE, |records| records.len() == 5).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn check_connect_tries_every_peer_and_finds_a_missing_topic() {
    let place = Place::new().await;
    let output = place.run(FREE_PORT, &["check", "--connect"]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let output = place.run(
        &format!("{FREE_PORT}dead_letter.topic = \"no-such-topic\"\n"),
        &["check", "--connect"],
    );
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1));
    let line = "failed  dead_letter.topic: the topic no-such-topic does not exist";
    assert!(
        printed.contains(line) && printed.contains("ok      input.topic"),
        "{printed}"
    );
}

/// What `check --connect` prints of a peer that fails, with exit code 1.
fn failed_check(place: &Place, (variable, value): (&str, &str), peer: &str) -> String {
    let file = place.path("check.toml");
    std::fs::write(&file, place.config()).unwrap();
    let output = Command::new(program())
        .args(["check", "--connect", "--config", file.to_str().unwrap()])
        .env("INFERENCE_ADMIN__ADDRESS", "127.0.0.1:0")
        .env(variable, value)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{printed}{}", told(&output));
    let line = printed
        .lines()
        .find(|line| line.starts_with(&format!("failed  {peer}: ")));
    line.unwrap_or_else(|| panic!("{peer} did not fail: {printed}"))
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn check_connect_finds_what_run_could_not_do_and_writes_nothing() {
    let place = Place::new().await;
    let output = place.run(FREE_PORT, &["check", "--connect"]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert!(!place.path("checkpoint").exists(), "nothing is written");

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let port = failed_check(&place, ("INFERENCE_ADMIN__ADDRESS", &address), "admin.address");
    assert!(port.contains("is the program running already?"), "{port}");

    // Another topic's checkpoint, then one beyond the end of this topic.
    for (topic, why) in [
        ("other", "is of the topic other, not ner-input"),
        (
            "ner-input",
            "reading stood at offset 500, but the partition has offsets 0 to 0 now",
        ),
    ] {
        let folder = place.path(&format!("of-{topic}"));
        let checkpoint = Checkpoint::read(LocalFolder::new(&folder)).await.unwrap();
        let mut positions = TopicOffsets::default();
        positions.set(topic, 0, 500);
        checkpoint
            .take_over()
            .await
            .unwrap()
            .commit(&positions, 0)
            .await
            .unwrap();
        let setting = ("INFERENCE_PROGRESS__CHECKPOINT", folder.to_str().unwrap());
        let found = failed_check(&place, setting, "progress.checkpoint");
        assert!(found.contains(why), "{found}");
    }

    // A file stands where the folder would be made.
    std::fs::write(place.path("file"), "").unwrap();
    let below = place.path("file/checkpoint");
    let setting = ("INFERENCE_PROGRESS__CHECKPOINT", below.to_str().unwrap());
    failed_check(&place, setting, "progress.checkpoint");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_broker_the_program_waits_and_says_which_address_does_not_answer() {
    let place = Place::new().await;
    place.broker.take_down(1).unwrap();
    let mut worker = place.start();
    let told = until(PATIENCE, async || {
        let (status, page) = worker.get("/readyz?verbose").await?;
        (status == 503 && page.contains("[-]kafka: ") && page.contains(&place.broker.bootstrap_servers()))
            .then_some(())
    });
    told.await.unwrap_or_else(|| panic!("{}", worker.log()));
    assert!(worker.get("/livez").await.unwrap().0 == 200);
    place.broker.bring_up(1).unwrap();
    worker.ready().await.unwrap();
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_abandons_the_work() {
    let place = Place::new().await;
    let mut worker = place.start();
    worker.ready().await.unwrap();
    // The model has enough to do with this one for both signals to come before its result.
    let long = message(&"Anna lives in Rome. ".repeat(45_000));
    let connection = connection(&place.broker.bootstrap_servers()).unwrap();
    produce(&connection, Compression::None, [long]).await.unwrap();
    let in_hand = until(PATIENCE, async || {
        let rows = worker.metric("inference_in_flight_rows").await;
        rows.filter(|&rows| rows > 0.0)
    });
    in_hand.await.expect("it is in hand");
    worker.signal("TERM").unwrap();
    until(PATIENCE, async || {
        worker.log().contains("finishing what is in hand").then_some(())
    })
    .await
    .unwrap();
    // One that comes at once is taken for the same.
    let abandoned = until(PATIENCE, async || {
        drop(worker.signal("TERM"));
        worker.log().contains("abandoned").then_some(())
    });
    abandoned.await.expect("a second signal counts");
    assert_eq!(worker.exit().await.unwrap().code(), Some(1));
    let told = worker.log();
    let last = told.lines().last();
    let expected = "inference: the work was abandoned: a second signal came (SIGTERM)";
    assert_eq!(last, Some(expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn predict_answers_line_by_line_in_order() {
    let place = Place::new().await;
    let lines = place.path("texts.jsonl");
    let long = "a ".repeat(500_001);
    let texts = [
        "Anna lives in Rome.",
        "",
        "nothing here",
        "é 😀 Paul was born in 1970.",
        &long,
    ];
    let content = texts.map(|text| format!("{}\n", serde_json::json!({ "text": text })));
    std::fs::write(&lines, content.concat()).unwrap();
    let output = Command::new(program())
        .args(["predict", "--threads", "2", "--model"])
        .arg(place.path("model"))
        .arg(&lines)
        .env("ORT_DYLIB_PATH", &place.files.library)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let answers: Vec<&str> = printed.lines().collect();
    assert!(answers.len() == texts.len(), "{}", told(&output));
    assert_eq!(
        answers[..4],
        [
            r#"{"entities":[{"start":14,"end":18,"label":"GPE","text":"Rome"}]}"#,
            r#"{"entities":[]}"#,
            r#"{"entities":[]}"#,
            r#"{"entities":[{"start":4,"end":8,"label":"PERSON","text":"Paul"},{"start":21,"end":25,"label":"DATE","text":"1970"}]}"#,
        ]
    );
    let error = answers[4];
    assert!(
        error.contains("1000002 characters exceeds the model's limit of 1000000"),
        "{error}"
    );
}
