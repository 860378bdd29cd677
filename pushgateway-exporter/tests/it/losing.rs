//! What of the targets' samples reaches the sink, and what is said of that which does not.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prost::Message;
use pushgateway_exporter::remote_write::{STALE, WriteRequest};
use testbed::until;

use crate::process::{PATIENCE, Place, printed, told};
use crate::server::Server;

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
async fn what_is_dropped_and_will_be_missed_is_logged_once_and_a_series_that_stands_twice_fails_the_check() {
    let place = Place::new().await;
    let page = "x 0\nx 1\ny 1\ny{l=\"1\"} 1\nspark_exporter_target_up 1\n";
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
    assert_eq!(lines.len(), 3, "{log}");
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
    assert!(
        lines[2].contains("\"duplicate\"") && lines[2].contains("\"first_names\":\"x\""),
        "{}",
        lines[2]
    );
    let output = place.run(&more, &["check", "--connect"]).await;
    assert_eq!(output.status.code(), Some(1));
    let printed = printed(&output);
    assert!(
        printed.contains("failed  targets.large: ") && printed.contains(": spark_exporter_target_up"),
        "{printed}"
    );
    assert!(
        printed.contains("1 of these because the page has their series more than once"),
        "{printed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn series_that_are_equal_once_a_label_is_renamed_fail_the_check() {
    let place = Place::new().await;
    let page = "x{target=\"v\"} 1\nx{exported_target=\"v\"} 2\n";
    let page = Server::start(move |_| (200, page.to_owned())).await;
    let more = format!("targets.twice.url = \"{}\"\n", page.url);
    let output = place.run(&more, &["check", "--connect"]).await;
    let printed = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(
        printed.contains("failed  targets.twice: ") && printed.contains(": x\n"),
        "{printed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_scrape_sends_no_old_value_by_remote_write() {
    let place = Place::new().await;
    let served = Arc::new(AtomicUsize::new(0));
    let serving = served.clone();
    let target = Server::start(move |_| {
        serving.fetch_add(1, Ordering::Relaxed);
        (200, "old_value 1\n".to_owned())
    });
    let target = target.await;
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
    let values = posted.iter().take_while(|body| !ends(body)).count();
    assert_eq!(
        values,
        served.load(Ordering::Relaxed),
        "each value that was served is sent once"
    );
    assert_eq!(
        posted.len(),
        values + 1,
        "after the last comes the mark of its end, once"
    );
}
