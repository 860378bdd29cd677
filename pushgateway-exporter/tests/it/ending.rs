//! What is left of a run when it ends.

use std::time::Duration;

use pushgateway_exporter::push::{OnExit, PushError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::fakes::{FakeSink, Pages, exporter, run_for, settings};

const SHORT: Duration = Duration::from_secs(5);

/// Runs for a while with two targets and ends.
async fn run(sink: &FakeSink, on_exit: OnExit) {
    let pages = Pages::default();
    pages.give(0, "x 1\n");
    pages.give(1, "y 1\n");
    let (exporter, _) = exporter(&pages, sink, 2, settings(on_exit));
    run_for(exporter, SHORT).await;
}

fn deleted(sink: &FakeSink) -> Vec<usize> {
    sink.ledger(|ledger| ledger.deleted.iter().copied().collect())
}

#[tokio::test(start_paused = true)]
async fn marked_down_only_that_the_targets_are_down_stays_and_nobody_is_asked_whose_they_are() {
    let sink = FakeSink::new();
    sink.ledger(|ledger| ledger.owned = None);
    run(&sink, OnExit::MarkDown).await;
    insta::assert_snapshot!(sink.newest(0), @r#"
    spark_exporter_build_info{version="0.1.0"} 1
    spark_exporter_run_info{run="run-1"} 1
    spark_exporter_interval_seconds 15
    spark_exporter_target_up 0
    spark_exporter_target_refused 0
    spark_exporter_target_samples 0
    spark_exporter_target_repaired_samples_total 0
    "#);
    assert_eq!(sink.newest(1), sink.newest(0));
    assert_eq!((sink.times(0), sink.times(1)), (vec![0, 5], vec![0, 5]));
    assert_eq!(sink.ledger(|ledger| ledger.owned_questions), 0);
}

#[tokio::test(start_paused = true)]
async fn deleted_nothing_stays_and_kept_everything() {
    let sink = FakeSink::new();
    run(&sink, OnExit::Delete).await;
    assert_eq!(deleted(&sink), [0, 1]);
    let sink = FakeSink::new();
    run(&sink, OnExit::Keep).await;
    assert!(sink.newest(0).contains("\nx 1\n"));
    assert_eq!(deleted(&sink), [0; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_values_of_another_run_are_not_deleted_though_those_of_other_targets_are() {
    let sink = FakeSink::new();
    sink.ledger(|ledger| ledger.owned = Some(vec![false, true]));
    run(&sink, OnExit::Delete).await;
    assert_eq!(deleted(&sink), [1]);
    assert!(sink.newest(0).contains("\nx 1\n"));
}

#[tokio::test(start_paused = true)]
async fn if_it_is_not_known_whose_the_values_are_they_are_marked_down() {
    let sink = FakeSink::new();
    sink.ledger(|ledger| ledger.owned = None);
    run(&sink, OnExit::Delete).await;
    assert_eq!(deleted(&sink), [0; 0]);
    for target in [0, 1] {
        assert!(sink.newest(target).contains("spark_exporter_target_up 0\n"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_sink_leaves_time_to_mark_all_targets_down_though_it_does_not_say_whose_they_are() {
    for (on_exit, owned_slowness) in [(OnExit::MarkDown, 0), (OnExit::Delete, 9)] {
        let (sink, pages) = (FakeSink::new(), Pages::default());
        (0..9).for_each(|target| pages.give(target, "x 1\n"));
        let (exporter, _) = exporter(&pages, &sink, 9, settings(on_exit));
        let slowing = async {
            tokio::time::sleep(SHORT / 2).await;
            sink.ledger(|ledger| {
                ledger.slowness = Duration::from_millis(1200);
                ledger.owned_slowness = Duration::from_secs(owned_slowness);
                ledger.put.clear();
            });
        };
        tokio::join!(run_for(exporter, SHORT), slowing);
        let marked: Vec<bool> = (0..9).map(|target| sink.put_of(target).len() == 1).collect();
        assert_eq!(marked, [true; 9], "{on_exit:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_never_pushed_changes_nothing() {
    let sink = FakeSink::new();
    sink.judge(|_| Err(PushError::Unreachable("nobody".to_owned())));
    run(&sink, OnExit::MarkDown).await;
    assert_eq!(
        sink.ledger(|ledger| ledger.trials),
        1,
        "and one connection that fails is enough"
    );
}

#[tokio::test(start_paused = true)]
async fn what_may_have_arrived_in_spite_of_an_error_is_marked_down() {
    let message = "answers 502".to_owned();
    for (error, is_marked) in [
        (PushError::Failed(message.clone()), true),
        (PushError::TimedOut(message.clone()), true),
        (PushError::Denied(message.clone()), false),
        (PushError::Refused(message), false),
    ] {
        let sink = FakeSink::new();
        sink.judge(move |text| {
            let is_last = text.contains("target_up 0\n");
            is_last.then_some(()).ok_or_else(|| error.clone())
        });
        run(&sink, OnExit::MarkDown).await;
        assert_eq!(sink.put_of(0).len(), usize::from(is_marked));
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_hangs_does_not_hold_up_the_end() {
    let sink = FakeSink::new();
    let pages = Pages::default();
    pages.give(0, "x 1\n");
    let (exporter, _) = exporter(&pages, &sink, 1, settings(OnExit::MarkDown));
    let hanging = async {
        tokio::time::sleep(SHORT / 2).await;
        sink.ledger(|ledger| ledger.hangs = true);
    };
    let began = Instant::now();
    tokio::join!(run_for(exporter, SHORT), hanging);
    assert_eq!(began.elapsed(), SHORT + Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_cycle_in_hand_does_not_hold_up_the_end() {
    let (sink, pages) = (FakeSink::new(), Pages::default());
    pages.give_late(0, Duration::from_secs(1000), "x 1\n");
    let (exporter, _) = exporter(&pages, &sink, 1, settings(OnExit::MarkDown));
    let began = Instant::now();
    run_for(exporter, SHORT).await;
    assert_eq!(began.elapsed(), SHORT);
}

#[tokio::test(start_paused = true)]
async fn a_push_that_is_on_its_way_arrives_before_the_last_one_or_is_given_up() {
    for (slowness, arrives) in [(SHORT + Duration::from_millis(900), true), (SHORT * 2, false)] {
        let (sink, pages) = (FakeSink::new(), Pages::default());
        pages.give(0, "x 1\n");
        sink.ledger(|ledger| ledger.slowness = slowness);
        let (exporter, _) = exporter(&pages, &sink, 1, settings(OnExit::MarkDown));
        let began = Instant::now();
        let hurrying = async {
            tokio::time::sleep(SHORT).await;
            sink.ledger(|ledger| ledger.slowness = Duration::ZERO);
        };
        tokio::join!(run_for(exporter, SHORT), hurrying);
        assert!(began.elapsed() <= SHORT + Duration::from_secs(1));
        let first = sink.put_of(0).first().map(|put| put.text.contains("\nx 1\n"));
        assert_eq!(first, Some(arrives));
        assert!(sink.newest(0).contains("spark_exporter_target_up 0\n"));
    }
}

#[tokio::test(start_paused = true)]
async fn once_that_is_stopped_says_so() {
    let (sink, pages) = (FakeSink::new(), Pages::default());
    let (exporter, _) = exporter(&pages, &sink, 1, settings(OnExit::Keep));
    let stop = CancellationToken::new();
    stop.cancel();
    let error = exporter.once(stop).await.unwrap_err().to_string();
    assert_eq!(error, "stopped before the cycle was done");
}
