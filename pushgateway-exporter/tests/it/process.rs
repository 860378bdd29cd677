//! The program as a process: exit codes, signals, the admin port, and what is wrong when something is.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use prost::Message;
use pushgateway_exporter::remote_write::{STALE, WriteRequest};
use tempfile::TempDir;
use testbed::{Process, until};

use crate::server::{Asked, RawServer, Server};

const PATIENCE: Duration = Duration::from_secs(30);

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_pushgateway-exporter"))
}

/// How the page's group is pushed.
const PUT: &str = "PUT /metrics/job/orders/instance/driver/target/page";

/// Runs the program with arguments to its end.
fn run(arguments: &[&str]) -> Output {
    Command::new(program())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A target, a gateway, and a folder for configurations.
struct Place {
    target: RawServer,
    gateway: Server,
    folder: TempDir,
}

fn page(_: &str, _: u16) -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\nx 1\n".to_vec()
}

fn answer(asked: &Asked) -> (u16, String) {
    let old = r#"{"labels": {"job": "old"}, "push_time_seconds": {"metrics": [{"labels": {}, "value": "1e+09"}]},
        "spark_exporter_run_info": {"metrics": [{"labels": {"run": "r"}, "value": "1"}]}}"#;
    match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/api/v1/metrics") => (200, format!("{{\"data\": [{old}]}}")),
        ("GET", "/api/v1/status") => (
            200,
            r#"{"data": {"build_information": {"version": "1.5.1"}}}"#.to_owned(),
        ),
        ("DELETE", _) => (202, String::new()),
        _ => (200, String::new()),
    }
}

impl Place {
    async fn new() -> Self {
        Self {
            target: RawServer::start(page, false).await,
            gateway: Server::start(answer).await,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn config(&self) -> String {
        format!(
            "targets.page.url = \"{}\"\npushgateway.url = \"{}\"\npush.interval = \"200ms\"\ngroup.job = \"orders\"\n",
            self.target.url("/"),
            self.gateway.url,
        )
    }

    fn start(&self, more: &str) -> Process {
        let config = self.config() + more;
        Process::start(program(), self.folder.path(), &config, &[]).unwrap()
    }

    /// Runs the program with its configuration and arguments to its end.
    async fn run(&self, more: &str, arguments: &[&str]) -> Output {
        let file = self.folder.path().join("once.toml");
        std::fs::write(&file, self.config() + "admin.address = \"127.0.0.1:0\"\n" + more).unwrap();
        let mut command = Command::new(program());
        command
            .arg("--config")
            .arg(file)
            .args(arguments)
            .stdin(Stdio::null());
        tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap()
    }
}

#[test]
fn a_wrong_configuration_is_exit_code_64_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wrong.toml");
    std::fs::write(&file, "[push]\nintervall = \"15s\"\n").unwrap();
    let output = run(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(64));
    let told = told(&output);
    for part in ["wrong.toml:2", "`intervall`", "`interval`"] {
        assert!(told.contains(part), "{part} in {told}");
    }
}

#[test]
fn a_wrong_command_line_is_exit_code_64_and_help_is_0() {
    assert_eq!(run(&["--no-such-flag"]).status.code(), Some(64));
    assert_eq!(run(&["sweep"]).status.code(), Some(64), "sweep needs --ttl");
    assert_eq!(run(&["sweep", "--ttl", "soon"]).status.code(), Some(64));
    assert_eq!(run(&["--help"]).status.code(), Some(0));
    assert_eq!(run(&["check"]).status.code(), Some(0));
    assert_eq!(run(&["completions", "bash"]).status.code(), Some(0));
}

#[test]
fn the_effective_configuration_is_printed_without_secrets() {
    let output = Command::new(program())
        .arg("config")
        .env("PUSHGATEWAY_EXPORTER_PUSHGATEWAY__SECURITY__USERNAME", "me")
        .env(
            "PUSHGATEWAY_EXPORTER_PUSHGATEWAY__SECURITY__PASSWORD",
            "topsecret",
        )
        .env("PUSHGATEWAY_EXPORTER_TARGETS__DRIVER__PORTS", "4040-4056")
        .output()
        .unwrap();
    let printed = printed(&output);
    assert!(output.status.success(), "{}", told(&output));
    assert!(
        printed.contains("username = \"me\"") && printed.contains("4040-4056"),
        "{printed}"
    );
    assert!(!printed.contains("topsecret"), "{printed}");
}

#[test]
fn a_port_that_is_taken_is_exit_code_1_and_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let admin = [("PUSHGATEWAY_EXPORTER_ADMIN__ADDRESS", address.as_str())];
    let http = [
        ("PUSHGATEWAY_EXPORTER_ADMIN__ADDRESS", "127.0.0.1:0"),
        ("PUSHGATEWAY_EXPORTER_HTTP__ADDRESS", address.as_str()),
        ("PUSHGATEWAY_EXPORTER_PUSH__SINK", "http"),
    ];
    for variables in [&admin[..], &http] {
        let output = Command::new(program())
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(told(&output).contains(&address), "{}", told(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_pushes_says_how_it_is_and_sigterm_is_exit_code_0() {
    let place = Place::new().await;
    let mut exporter = place.start("");
    exporter.ready().await.unwrap();
    until(PATIENCE, async || {
        exporter
            .metric("pushgateway_exporter_pushes_total")
            .await
            .filter(|&pushes| pushes >= 2.0)
    })
    .await
    .expect("it pushes again and again");
    for path in ["/livez", "/healthz", "/readyz?verbose", "/version"] {
        assert_eq!(exporter.get(path).await.unwrap().0, 200, "{path}");
    }
    for name in [
        "pushgateway_exporter_build_info",
        "pushgateway_exporter_cycles_total",
        "pushgateway_exporter_cycles_skipped_total",
        "pushgateway_exporter_cycle_duration_seconds_count",
        "pushgateway_exporter_scrape_duration_seconds_count",
        "pushgateway_exporter_push_duration_seconds_count",
        "pushgateway_exporter_last_success_timestamp_seconds",
        "pushgateway_exporter_pushed_bytes_total",
        "pushgateway_exporter_target_up",
        "pushgateway_exporter_target_refused",
        "pushgateway_exporter_target_samples",
        "pushgateway_exporter_target_repaired_samples_total",
        "process_resident_memory_bytes",
    ] {
        assert!(exporter.metric(name).await.is_some(), "{name}");
    }
    exporter.stop().await.unwrap();
    let asked = place.gateway.asked();
    let last = asked.last().unwrap();
    assert_eq!(last.path, PUT.trim_start_matches("PUT "));
    assert!(
        last.text().contains("spark_exporter_target_up 0\n"),
        "{}",
        last.text()
    );
    assert!(asked[0].text().contains("\nx 1\n"));
    assert!(
        place.gateway.lines().iter().all(|line| line == PUT),
        "to mark down nothing needs to be read"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn once_pushes_once_and_fails_where_something_failed() {
    let place = Place::new().await;
    let output = place.run("", &["--once"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(place.gateway.lines(), [PUT]);
    let output = place
        .run("targets.none.url = \"http://127.0.0.1:1/\"\n", &["--once"])
        .await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told(&output).contains("target none: http://127.0.0.1:1/: cannot connect"),
        "{}",
        told(&output)
    );
    let asked = place.gateway.asked();
    let page = asked.iter().rfind(|asked| asked.path.ends_with("/target/page"));
    assert!(page.unwrap().text().contains("\nx 1\n"), "the rest is pushed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_prints_what_would_be_pushed_and_pushes_nothing() {
    let place = Place::new().await;
    let output = place.run("", &["--once", "--dry-run"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let printed = printed(&output);
    let head = format!(
        "samples for {}{}\n",
        place.gateway.url,
        PUT.trim_start_matches("PUT ")
    );
    assert!(printed.contains(&head) && printed.ends_with("x 1\n"), "{printed}");
    assert_eq!(place.gateway.lines(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_connect_tries_every_target_and_the_gateway() {
    let place = Place::new().await;
    let output = place.run("", &["check", "--connect"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(
        printed(&output),
        "ok      targets.page: 4 bytes, 1 samples, 0 dropped\nok      pushgateway.url: Pushgateway 1.5.1\n"
    );
    let output = place
        .run(
            "targets.none.url = \"http://127.0.0.1:1/\"\n",
            &["check", "--connect"],
        )
        .await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        printed(&output).contains("failed  targets.none: http://127.0.0.1:1/"),
        "{}",
        printed(&output)
    );
    assert!(
        place.gateway.lines().iter().all(|line| line.starts_with("GET")),
        "nothing is pushed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sweep_deletes_only_when_it_is_told_to() {
    let place = Place::new().await;
    let output = place.run("", &["sweep", "--ttl", "1h"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert!(
        printed(&output).starts_with("would delete {job=\"old\"}, last pushed "),
        "{}",
        printed(&output)
    );
    place
        .run("", &["sweep", "--ttl", "1h", "--delete", "--dry-run"])
        .await;
    place
        .run("", &["sweep", "--ttl", "1h", "--delete", "--match", "job=other"])
        .await;
    assert!(place.gateway.lines().iter().all(|line| line.starts_with("GET")));
    let output = place
        .run("", &["sweep", "--ttl", "1h", "--delete", "--match", "job=old"])
        .await;
    assert!(
        printed(&output).starts_with("deleted {job=\"old\"}"),
        "{}",
        printed(&output)
    );
    assert_eq!(place.gateway.lines().last().unwrap(), "DELETE /metrics/job/old");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_http_sink_the_newest_values_are_there_to_be_pulled() {
    let place = Place::new().await;
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut exporter = place.start(&format!("push.sink = \"http\"\nhttp.address = \"{port}\"\n"));
    exporter.ready().await.unwrap();
    let client = pushgateway_exporter::client::Client::new(
        &pushgateway_exporter::config::Security::default(),
        &crate::server::limits(PATIENCE),
    )
    .unwrap();
    let answer = client
        .get(&format!("http://{port}/metrics"), "text/plain")
        .await
        .unwrap();
    let text = String::from_utf8(answer.body).unwrap();
    assert_eq!(answer.status, 200);
    assert!(
        text.ends_with("\nx{target=\"page\"} 1\n")
            && text.contains("spark_exporter_target_up{target=\"page\"} 1\n"),
        "{text}"
    );
    exporter.stop().await.unwrap();
    assert_eq!(place.gateway.lines(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_targets_without_labels_are_both_pushed() {
    let place = Place::new().await;
    let second = format!("targets.second.url = \"{}\"\n", place.target.url("/"));
    for (sink, samples) in [
        ("pushgateway", ["\nx 1\n"; 2]),
        ("http", ["\nx{target=\"page\"} 1\n", "\nx{target=\"second\"} 1\n"]),
    ] {
        let mut exporter = place.start(&format!(
            "{second}push.sink = \"{sink}\"\nhttp.address = \"127.0.0.1:{}\"\n",
            free_port()
        ));
        exporter.ready().await.unwrap();
        assert_eq!(
            exporter.metric("pushgateway_exporter_target_samples").await,
            Some(2.0)
        );
        assert_eq!(
            exporter
                .metric("pushgateway_exporter_target_dropped_samples_total")
                .await,
            None
        );
        exporter.stop().await.unwrap();
        if sink == "pushgateway" {
            for (asked, sample) in place.gateway.asked().iter().zip(samples) {
                assert!(asked.text().contains(sample), "{}", asked.text());
            }
        }
    }
    let output = place.run(&second, &["check", "--connect"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let same = format!("{second}targets.second.labels.target = \"page\"\n");
    let output = place.run(&same, &["check"]).await;
    assert_eq!(output.status.code(), Some(64));
    assert!(
        told(&output).contains("targets.second.labels: are those of targets.page"),
        "{}",
        told(&output)
    );
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_and_will_be_missed_is_logged_once_and_a_collision_fails_the_check() {
    let place = Place::new().await;
    let page = "x 1\ny 1\ny{l=\"1\"} 1\nspark_exporter_target_up 1\n";
    let page = Server::start(move |_| (200, page.to_owned())).await;
    let more = format!("targets.large.url = \"{}\"\nshape.max_series = 2\n", page.url);
    let mut exporter = place.start(&more);
    exporter.ready().await.unwrap();
    until(PATIENCE, async || {
        let pushes = exporter.metric("pushgateway_exporter_cycles_total").await;
        pushes.filter(|&pushes| pushes >= 3.0)
    })
    .await
    .expect("it pushes again and again");
    let log = exporter.log();
    exporter.stop().await.unwrap();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("samples are dropped"))
        .collect();
    assert_eq!(lines.len(), 2, "{log}");
    for part in [
        "shape.max_series",
        "over_limit",
        "\"first_names\":\"y\"",
        "\"dropped\":2",
        "large",
    ] {
        assert!(lines[0].contains(part), "{part} in {}", lines[0]);
    }
    assert!(lines[1].contains("spark_exporter_target_up"), "{}", lines[1]);
    let output = place.run(&more, &["check", "--connect"]).await;
    assert_eq!(output.status.code(), Some(1));
    let printed = printed(&output);
    assert!(
        printed.contains("failed  targets.large: ") && printed.contains(": spark_exporter_target_up"),
        "{printed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_scrape_sends_no_old_value_by_remote_write() {
    let place = Place::new().await;
    let target = Server::start(|_| (200, "old_value 1\n".to_owned())).await;
    let more = format!(
        "targets.dying.url = \"{}\"\npush.sink = \"remote_write\"\nremote_write.url = \"{}/write\"\n",
        target.url, place.gateway.url
    );
    let exporter = place.start(&more);
    let posted = || {
        let bodies = place.gateway.asked().into_iter().map(|asked| asked.body);
        let plain = bodies.map(|body| snap::raw::Decoder::new().decompress_vec(&body).unwrap());
        let has = |body: &Vec<u8>| body.windows(9).any(|part| part == b"old_value");
        plain.filter(has).collect::<Vec<_>>()
    };
    until(PATIENCE, async || (posted().len() >= 2).then_some(()))
        .await
        .unwrap();
    drop(target);
    until(PATIENCE, async || {
        exporter
            .metric("pushgateway_exporter_failures_total")
            .await
            .filter(|&failures| failures >= 3.0)
    })
    .await
    .expect("it fails again and again");
    exporter.stop().await.unwrap();
    let ends = |body: &Vec<u8>| {
        let request = WriteRequest::decode(&body[..]).unwrap();
        let series = request.timeseries.into_iter().filter(|series| {
            let mut labels = series.labels.iter();
            labels.any(|label| label.value == "old_value")
        });
        let mut values = series.map(|series| series.samples[0].value);
        values.all(|value| value.to_bits() == STALE.to_bits())
    };
    let posted = posted();
    let scraped = posted.iter().take_while(|body| !ends(body)).count();
    assert_eq!(
        posted.len(),
        scraped + 1,
        "after the last value comes the mark of its end, once"
    );
}

/// A gateway whose clock stands at 01:46:40 on a day long ago, one hour after 1e9 s; a group was pushed 50 minutes
/// later than that, and another at 1e9 s.
fn past(path: &str, _: u16) -> Vec<u8> {
    let group = |job: &str, time: &str| {
        format!(
            "{{\"labels\": {{\"job\": \"{job}\"}}, \"push_time_seconds\": {{\"metrics\": [{{\"value\": \"{time}\"}}]}}, \
             \"spark_exporter_run_info\": {{\"metrics\": [{{\"labels\": {{\"run\": \"r\"}}}}]}}}}"
        )
    };
    let body = format!(
        "{{\"data\": [{}, {}]}}",
        group("living", "1.000003e9"),
        group("dead", "1e9")
    );
    let date = if path.starts_with("/proxy") {
        ""
    } else {
        "date: Sun, 09 Sep 2001 02:46:40 GMT\r\n"
    };
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\n{date}content-length: {length}\r\n\r\n{body}").into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_swept_by_the_gateways_clock_or_not_at_all() {
    let (place, gateway) = (Place::new().await, RawServer::start(past, false).await);
    let config = |path: &str| {
        let own = format!("pushgateway.url = \"{}\"", place.gateway.url);
        let file = place.folder.path().join("past.toml");
        let config = place
            .config()
            .replace(&own, &format!("pushgateway.url = \"{}\"", gateway.url(path)));
        std::fs::write(&file, config).unwrap();
        file.display().to_string()
    };
    let sweep = async |config: String| {
        let run = move || run(&["sweep", "--ttl", "1h", "--config", &config]);
        tokio::task::spawn_blocking(run).await.unwrap()
    };
    let output = sweep(config("/")).await;
    assert_eq!(
        printed(&output),
        "would delete {job=\"dead\"}, last pushed 1h ago\n1 groups; --delete deletes them\n"
    );
    let output = sweep(config("/proxy")).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains("no header Date"), "{}", told(&output));
}
