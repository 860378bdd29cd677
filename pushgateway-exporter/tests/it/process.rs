//! The program as a process: exit codes, signals, the admin port, and what is wrong when something is.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use testbed::{Process, until};

use crate::server::{Asked, RawServer, Server};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_pushgateway-exporter"))
}

/// How the page's group is pushed.
const PUT: &str = "PUT /metrics/job/orders/instance/driver/target/page";

/// Runs the program with arguments to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    Command::new(program())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

pub(crate) fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A target, a gateway, and a folder for configurations.
pub(crate) struct Place {
    pub(crate) target: RawServer,
    pub(crate) gateway: Server,
    pub(crate) folder: TempDir,
}

fn page(_: &str, _: u16) -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\nx 1\n"
        .to_vec()
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
    pub(crate) async fn new() -> Self {
        Self {
            target: RawServer::start(page, false).await,
            gateway: Server::start(answer).await,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn config(&self) -> String {
        format!(
            "targets.page.url = \"{}\"\npushgateway.url = \"{}\"\npush.interval = \"200ms\"\ngroup.job = \"orders\"\n",
            self.target.url("/"),
            self.gateway.url,
        )
    }

    pub(crate) fn start(&self, more: &str) -> Process {
        let config = self.config() + more;
        Process::start(program(), self.folder.path(), &config, &[]).unwrap()
    }

    /// Runs the program with its configuration and arguments to its end.
    pub(crate) async fn run(&self, more: &str, arguments: &[&str]) -> Output {
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
async fn the_address_of_a_gateway_is_used_in_its_usual_form() {
    let place = Place::new().await;
    let file = place.folder.path().join("blank.toml");
    let unusual = place.gateway.url.replace("http:", "HTTP:") + " ";
    let config = place.config().replace(&place.gateway.url, &unusual);
    std::fs::write(&file, config + "admin.address = \"127.0.0.1:0\"\n").unwrap();
    let arguments = ["--once", "--config", file.to_str().unwrap()].map(str::to_owned);
    let output = tokio::task::spawn_blocking(move || run(&arguments.each_ref().map(String::as_str)));
    let output = output.await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(place.gateway.lines(), [PUT]);
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
        "ok      targets.page: 4 bytes, 1 samples, 0 dropped\nok      pushgateway.url: Pushgateway 1.5.1\n\
         ok      admin.address: 127.0.0.1:0 is free\n"
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
