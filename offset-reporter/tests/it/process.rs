//! The reporter as a process, beside the mock cluster and a checkpoint that our own writer makes.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use checkpoint::{Checkpoint, CheckpointWriter, LocalFolder, TopicOffsets};
use kafka_admin::{Admin, TopicPartition};
use kafka_io::MockBroker;
use testbed::{Process, commit_offsets, connection, group_offset, until};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_offset-reporter"))
}

/// A mock cluster with the topic `documents`, and a checkpoint.
struct Place {
    broker: MockBroker,
    folder: tempfile::TempDir,
    writer: CheckpointWriter<LocalFolder>,
}

impl Place {
    async fn new() -> Self {
        let broker = MockBroker::start(1).unwrap();
        broker.create_topic("documents", 1).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store = LocalFolder::new(folder.path().join("checkpoint"));
        let checkpoint = Checkpoint::read(store).await.unwrap();
        let writer = checkpoint.take_over().await.unwrap();
        Self {
            broker,
            folder,
            writer,
        }
    }

    /// Commits a batch that ends here.
    async fn commit(&mut self, offset: i64) {
        let mut ends = TopicOffsets::default();
        ends.set("documents", 0, offset);
        self.writer.commit(&ends, 1_795_337_460_366).await.unwrap();
    }

    fn config(&self) -> String {
        format!(
            "kafka.bootstrap_servers = \"{}\"\nreport.poll_interval = \"100ms\"\n\
             [[streams]]\nname = \"ner\"\ncheckpoint = '{}'\n",
            self.broker.bootstrap_servers(),
            self.folder.path().join("checkpoint").display(),
        )
    }

    fn admin(&self) -> Admin {
        Admin::new(&connection(&self.broker.bootstrap_servers()).unwrap())
    }

    fn start(&self) -> Process {
        Process::start(program(), self.folder.path(), &self.config(), &[]).unwrap()
    }

    fn run(&self, more: &str, arguments: &[&str]) -> Output {
        let file = self.folder.path().join("once.toml");
        std::fs::write(&file, self.config() + more).unwrap();
        reporter(&[&["--config", file.to_str().unwrap()], arguments].concat())
    }

    /// What the group has, when it has this.
    async fn group_has(&self, offset: i64) -> Option<()> {
        let admin = self.admin();
        until(PATIENCE, async || {
            let has = group_offset(&admin, "ner", &documents()).await;
            (has == Ok(Some(offset))).then_some(())
        })
        .await
    }
}

fn documents() -> TopicPartition {
    TopicPartition::new("documents", 0)
}

/// Runs the program to its end.
fn reporter(arguments: &[&str]) -> Output {
    let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    Command::new(program())
        .args(arguments)
        .env("OFFSET_REPORTER_ADMIN__ADDRESS", admin.to_string())
        .output()
        .unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

#[test]
fn a_wrong_configuration_is_told_and_exits_64() {
    let folder = tempfile::tempdir().unwrap();
    let file: PathBuf = folder.path().join("wrong.toml");
    std::fs::write(
        &file,
        "[[streams]]\nname = \"a\"\ncheckpoint = \"abfss://c@a/x\"\n",
    )
    .unwrap();
    let output = reporter(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(64));
    assert!(
        told(&output).contains("wrong.toml:3") && told(&output).contains("mounted folder"),
        "{}",
        told(&output)
    );
    assert_eq!(reporter(&["--nonsense"]).status.code(), Some(64));
    assert_eq!(
        reporter(&[]).status.code(),
        Some(64),
        "without a stream there is nothing to do"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn it_follows_a_checkpoint_shows_it_and_ends_on_a_signal() {
    let mut place = Place::new().await;
    place.commit(7).await;
    let mut process = place.start();
    process.ready().await.unwrap();
    place
        .group_has(7)
        .await
        .unwrap_or_else(|| panic!("{}", process.log()));
    place.commit(12).await;
    place
        .group_has(12)
        .await
        .unwrap_or_else(|| panic!("{}", process.log()));
    for name in [
        "build_info",
        "cycles_total",
        "cycle_duration_seconds_count",
        "last_success_timestamp_seconds",
        "last_batch_id",
        "last_commit_timestamp_seconds",
        "batch_timestamp_seconds",
        "checkpoint_age_seconds",
        "offsets_without_commit",
        "processed_offset",
        "stream_up",
        "commits_total",
        "commit_delay_seconds_count",
    ] {
        let name = format!("offset_reporter_{name}");
        assert!(process.metric(&name).await.is_some(), "{name} is missing");
    }
    let (_, page) = process.get("/readyz?verbose").await.unwrap();
    assert!(page.contains("[+]stream ner"), "{page}");
    process.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn once_does_its_work_and_ends_and_fails_where_any_stream_failed() {
    let mut place = Place::new().await;
    place.commit(7).await;
    let output = place.run("", &["--once"]);
    assert!(output.status.success(), "{}", told(&output));
    place.group_has(7).await.unwrap();
    place.commit(9).await;
    let output = place.run(
        "[[streams]]\nname = \"lost\"\ncheckpoint = \"/nowhere\"\n",
        &["--once"],
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told(&output).contains("1 of 2 streams failed") && told(&output).contains("/nowhere"),
        "{}",
        told(&output)
    );
    place.group_has(9).await.unwrap();
}

#[test]
fn check_names_the_properties_that_are_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("reporter.toml");
    let config = "kafka.properties.\"fetch.min.bytes\" = \"1\"\nkafka.properties.\"socket.keepalive.enable\" = \"true\"\n\
                  [[streams]]\nname = \"a\"\ncheckpoint = \"/c\"\n";
    std::fs::write(&file, config).unwrap();
    let output = reporter(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        printed.starts_with("note    kafka.properties.\"fetch.min.bytes\": is not used")
            && !printed.contains("keepalive"),
        "{printed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_it_would_commit() {
    let mut place = Place::new().await;
    place.commit(7).await;
    let admin = place.admin();
    let by_hand = [(documents(), 3)];
    commit_offsets(&admin, "ner", &by_hand, "").await.unwrap();
    let output = place.run("", &["--once", "--dry-run"]);
    assert!(output.status.success(), "{}", told(&output));
    let told = told(&output);
    assert!(
        ["would commit", "documents-0", "\"from\":3", "\"to\":7"]
            .iter()
            .all(|what| told.contains(what)),
        "{told}"
    );
    let has = group_offset(&admin, "ner", &documents()).await;
    assert_eq!(has, Ok(Some(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_is_shown_to_people_and_to_programs() {
    let mut place = Place::new().await;
    place.commit(7).await;
    let folder = place.folder.path().join("checkpoint");
    let shown = told(&reporter(&["inspect", folder.to_str().unwrap()]));
    assert!(
        shown.contains("committed batch   0") && shown.contains("documents"),
        "{shown}"
    );
    let output = reporter(&["inspect", "--json", folder.to_str().unwrap()]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&json["committed_batch"], &json["sources"]["0"]["documents"]["0"]),
        (&0.into(), &7.into())
    );
    let missing = reporter(&["inspect", "/nowhere"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(told(&missing).contains("/nowhere") && told(&missing).contains("there is no checkpoint"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_named_and_exits_1() {
    let place = Place::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let file = place.folder.path().join("taken.toml");
    std::fs::write(&file, place.config()).unwrap();
    let output = Command::new(program())
        .arg("--config")
        .arg(&file)
        .env(
            "OFFSET_REPORTER_ADMIN__ADDRESS",
            taken.local_addr().unwrap().to_string(),
        )
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains("admin.address"), "{}", told(&output));
}

#[test]
fn s3_without_credentials_is_one_sentence_that_names_what_to_set() {
    let output = Command::new(program())
        .args(["inspect", "s3://bucket/checkpoint"])
        .env_clear()
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_REGION", "eu-central-1")
        .output()
        .unwrap();
    let told = told(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told.contains("no credentials were found; check the credentials: AWS_ACCESS_KEY_ID"),
        "{told}"
    );
    assert!(told.lines().count() == 1 && told.len() < 300, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rewind_shows_steps_back_alone() {
    let mut place = Place::new().await;
    place.commit(7).await;
    let ahead = [(documents(), 9)];
    let committed = commit_offsets(&place.admin(), "ner", &ahead, "by hand").await;
    committed.unwrap();
    for shown in ["ner documents-0: 9 -> 7 lowered\n", "nothing is held back\n"] {
        let output = place.run("", &["rewind", "ner"]);
        assert!(output.status.success(), "{}", told(&output));
        assert_eq!(String::from_utf8_lossy(&output.stdout), shown);
    }
}
