//! The loop in calm and in trouble.

use std::time::Duration;

use pushgateway_exporter::push::{OnExit, PushError};
use tokio_util::sync::CancellationToken;

use crate::fakes::{FakeSink, INTERVAL, Pages, exporter, run_for, settings};

/// As many intervals, and so much more that the jitter of each does not matter.
fn intervals(count: u32) -> Duration {
    INTERVAL * count + INTERVAL / 2
}

#[tokio::test(start_paused = true)]
async fn a_push_says_everything_about_its_target() {
    let (pages, sink) = (Pages::default(), FakeSink::new());
    pages.give(0, "x{k=\"v\"} 1\n}{\nx{k=\"v\"} 2\n");
    pages.give(
        1,
        "y{instance=\"mine\",job=\"mine\"} null\ny{instance=\"mine\",target=\"mine\"} NaN\n",
    );
    let (exporter, watch) = exporter(&pages, &sink, 2, settings(OnExit::Keep));
    exporter.once(CancellationToken::new()).await.unwrap();
    insta::assert_snapshot!(sink.newest(0), @r#"
    spark_exporter_build_info{version="0.1.0"} 1
    spark_exporter_run_info{run="run-1"} 1
    spark_exporter_interval_seconds 15
    spark_exporter_target_up 1
    spark_exporter_target_refused 0
    spark_exporter_target_samples 1
    spark_exporter_target_repaired_samples_total 0
    spark_exporter_target_dropped_samples_total{reason="malformed"} 1
    spark_exporter_target_dropped_samples_total{reason="duplicate"} 1
    spark_exporter_target_info{role="page"} 1
    x{k="v"} 2
    "#);
    let second = sink.newest(1);
    for line in [
        "spark_exporter_target_dropped_samples_total{reason=\"not_a_number\"} 1\n",
        "y{exported_instance=\"mine\",exported_target=\"mine\"} NaN\n",
    ] {
        assert!(second.contains(line), "{line} in {second}");
    }
    assert_eq!((sink.times(0), sink.times(1)), (vec![0], vec![0]));
    let metric = |series: &str| watch.metric(&format!("pushgateway_exporter_{series}"));
    assert_eq!(metric("target_up{target=\"a\"}"), Some(1.0));
    assert_eq!(metric("target_samples{target=\"a\"}"), Some(1.0));
    assert_eq!(
        metric("target_dropped_samples_total{reason=\"malformed\",target=\"a\"}"),
        Some(1.0)
    );
    assert_eq!(
        metric("target_dropped_samples_total{reason=\"not_a_number\",target=\"b\"}"),
        Some(1.0)
    );
    assert_eq!(metric("pushes_total"), Some(2.0));
    assert!(metric("last_success_timestamp_seconds") > Some(1.0));
    assert!(watch.readiness.is_ready());
}

#[tokio::test(start_paused = true)]
async fn an_empty_page_is_a_success_with_no_samples() {
    let (pages, sink) = (Pages::default(), FakeSink::new());
    pages.give(0, "");
    let (exporter, _) = exporter(&pages, &sink, 1, settings(OnExit::Keep));
    exporter.once(CancellationToken::new()).await.unwrap();
    let pushed = sink.newest(0);
    assert!(pushed.contains("spark_exporter_target_up 1\n"), "{pushed}");
    assert!(pushed.contains("spark_exporter_target_samples 0\n"), "{pushed}");
}

#[tokio::test(start_paused = true)]
async fn targets_with_the_same_series_lose_none_of_them() {
    let (pages, sink) = (Pages::default(), FakeSink::new());
    pages.give(0, "x 1\n");
    pages.give(1, "x 2\nspark_exporter_target_up 7\n");
    let (exporter, _) = exporter(&pages, &sink, 2, settings(OnExit::Keep));
    exporter.once(CancellationToken::new()).await.unwrap();
    assert!(sink.newest(0).contains("\nx 1\n"));
    let second = sink.newest(1);
    for line in [
        "\nx 2\n",
        "spark_exporter_target_up 1\n",
        "spark_exporter_target_dropped_samples_total{reason=\"collision\"} 1\n",
    ] {
        assert!(second.contains(line), "{line} in {second}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_label_that_is_renamed_makes_no_series_twice() {
    let (pages, sink) = (Pages::default(), FakeSink::new());
    pages.give(0, "x{target=\"v\"} 1\nx{exported_target=\"v\"} 2\n");
    let (exporter, _) = exporter(&pages, &sink, 1, settings(OnExit::Keep));
    exporter.once(CancellationToken::new()).await.unwrap();
    let pushed = sink.newest(0);
    assert!(
        pushed.ends_with("info{role=\"page\"} 1\nx{exported_target=\"v\"} 2\n"),
        "{pushed}"
    );
    assert!(
        pushed.contains("target_dropped_samples_total{reason=\"collision\"} 1\n"),
        "{pushed}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_last_values_of_a_dead_target_are_pushed_twice_more_and_then_only_that_it_is_down() {
    let (pages, sink) = (Pages::default(), FakeSink::new());
    pages.give(0, "x 1\n");
    pages.give(1, "y 1\n");
    let (exporter, watch) = exporter(&pages, &sink, 2, settings(OnExit::Keep));
    let dying = async {
        tokio::time::sleep(INTERVAL / 2).await;
        pages.kill(0);
    };
    tokio::join!(run_for(exporter, intervals(5)), dying);
    let pushed = sink.put_of(0);
    let in_each = |what: &str| -> Vec<bool> { pushed.iter().map(|put| put.text.contains(what)).collect() };
    let (up, has) = (in_each("target_up 1\n"), in_each("\nx 1\n"));
    assert_eq!(up[..5], [true, false, false, false, false]);
    assert_eq!(has[..5], [true, true, true, false, false]);
    assert!(
        sink.put_of(1).iter().all(|put| put.text.contains("\ny 1\n")),
        "the other stays"
    );
    let last = &pushed[4].text;
    assert!(last.contains("spark_exporter_target_samples 0\n"), "{last}");
    assert!(
        last.contains("spark_exporter_target_last_success_timestamp_seconds "),
        "{last}"
    );
    let failures = "pushgateway_exporter_failures_total{class=\"unreachable\",stage=\"scrape\"}";
    assert!(watch.metric(failures) >= Some(4.0));
    let told = watch.readiness.describe();
    assert!(
        told.contains("[-]target a: http://target-0/: nobody is there") && told.contains("[+]target b"),
        "{told}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_not_there_yet_is_looked_for_soon_and_the_others_are_pushed() {
    let (pages, sink) = (Pages::default(), FakeSink::new());
    pages.give(1, "y 1\n");
    let (exporter, _) = exporter(&pages, &sink, 2, settings(OnExit::Keep));
    let starting = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        pages.give(0, "x 1\n");
    };
    tokio::join!(run_for(exporter, Duration::from_secs(10)), starting);
    let came = sink.put_of(0).pop().unwrap();
    assert!((6..=8).contains(&came.at), "{:?}", sink.times(0));
    assert!(came.text.contains("\nx 1\n"));
    assert!(sink.put_of(1).iter().all(|put| put.text.contains("\ny 1\n")));
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_does_not_answer_is_tried_less_often_and_gets_the_newest_when_it_is_back() {
    let (pages, sink) = (Pages::default(), FakeSink::new());
    pages.give(0, "x 1\n");
    sink.judge(|_| Err(PushError::Unreachable("http://gateway: nobody".to_owned())));
    let (exporter, watch) = exporter(&pages, &sink, 1, settings(OnExit::Keep));
    let recovering = async {
        tokio::time::sleep(Duration::from_secs(170)).await;
        assert!(
            (4..=5).contains(&sink.ledger(|ledger| ledger.trials)),
            "0, 15, 45, 105, (165) s"
        );
        assert!(
            watch
                .readiness
                .describe()
                .contains("[-]push: http://gateway: nobody")
        );
        pages.give(0, "x 2\n");
        sink.judge(|_| Ok(()));
    };
    tokio::join!(run_for(exporter, Duration::from_secs(250)), recovering);
    assert!(
        sink.put_of(0)[0].text.contains("\nx 2\n"),
        "nothing old was queued"
    );
    let failures = "pushgateway_exporter_failures_total{class=\"unreachable\",stage=\"push\"}";
    assert!(watch.metric(failures) >= Some(4.0));
    assert!(watch.readiness.is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_slow_target_makes_cycles_fewer_and_not_more_at_a_time() {
    let (pages, sink) = (Pages::default(), FakeSink::new());
    pages.give_late(0, INTERVAL * 5 / 2, "x 1\n");
    let (exporter, watch) = exporter(&pages, &sink, 1, settings(OnExit::Keep));
    run_for(exporter, INTERVAL * 10).await;
    let times = sink.times(0);
    assert!((3..=4).contains(&times.len()), "{times:?}");
    assert!(watch.metric("pushgateway_exporter_cycles_skipped_total") >= Some(6.0));
}

#[tokio::test(start_paused = true)]
async fn many_targets_are_scraped_at_a_time_but_not_all() {
    let (pages, sink) = (Pages::default(), FakeSink::new());
    for target in 0..10 {
        pages.give_late(target, Duration::from_secs(1), &format!("x{target} 1\n"));
    }
    let (exporter, _) = exporter(&pages, &sink, 10, settings(OnExit::Keep));
    exporter.once(CancellationToken::new()).await.unwrap();
    assert_eq!(sink.times(9), [3], "four at a time");
}

#[tokio::test(start_paused = true)]
async fn once_tells_what_went_wrong_and_pushes_the_rest() {
    let (pages, sink) = (Pages::default(), FakeSink::new());
    pages.give(1, "y 1\n");
    let (one, _) = exporter(&pages, &sink, 2, settings(OnExit::Delete));
    let told = one.once(CancellationToken::new()).await.unwrap_err().to_string();
    assert!(
        told.starts_with("target a: http://target-0/: nobody is there"),
        "{told}"
    );
    assert!(sink.newest(1).contains("\ny 1\n"));
    assert!(
        sink.ledger(|ledger| ledger.deleted.is_empty()),
        "what is pushed once stays"
    );
    sink.judge(|_| Err(PushError::Denied("http://gateway answers 401".to_owned())));
    pages.give(0, "x 1\n");
    let (two, _) = exporter(&pages, &sink, 2, settings(OnExit::Keep));
    let told = two.once(CancellationToken::new()).await.unwrap_err().to_string();
    assert_eq!(
        told,
        "target a: http://gateway answers 401; target b: http://gateway answers 401"
    );
}

#[tokio::test(start_paused = true)]
async fn the_heart_beats_while_the_loop_waits_and_not_while_it_hangs() {
    let (pages, sink) = (Pages::default(), FakeSink::new());
    pages.give(0, "x 1\n");
    let mut settings = settings(OnExit::Keep);
    settings.run.interval = Duration::from_hours(1);
    let (exporter, watch) = exporter(&pages, &sink, 1, settings);
    let watching = async {
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_secs(30)).await;
            assert!(watch.heartbeat.is_alive());
        }
        pages.give_late(0, Duration::from_hours(9), "x 1\n");
        tokio::time::sleep(Duration::from_hours(1)).await;
        assert!(!watch.heartbeat.is_alive());
    };
    tokio::join!(run_for(exporter, Duration::from_hours(2)), watching);
}
