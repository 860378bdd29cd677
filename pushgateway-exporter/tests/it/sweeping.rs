//! Sweeping the groups that exporters have left behind.

use crate::process::{Place, printed, run, told};
use crate::server::RawServer;

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
