//! A sink that refuses some targets: the others are pushed, and the cost of finding out is bounded.

use std::time::Duration;

use pushgateway_exporter::push::{OnExit, PushError};

use crate::fakes::{FakeSink, INTERVAL, Pages, Watch, exporter, run_for, settings};

/// Refuses whatever has one of these words in it.
fn refuse(sink: &FakeSink, words: &'static [&'static str]) {
    sink.judge(|text| match words.iter().find(|word| text.contains(*word)) {
        Some(word) => Err(PushError::Refused(format!("{word} is of another type"))),
        None => Ok(()),
    });
}

/// Lets an exporter of `targets`, whose pages are `bad_0 1` and `good_0 1` and so on, run for some cycles.
async fn run(sink: &FakeSink, targets: usize, cycles: u32) -> Watch {
    let pages = Pages::default();
    for target in 0..targets {
        pages.give(target, &format!("page_{target} 1\n"));
    }
    let (exporter, watch) = exporter(&pages, sink, targets, settings(OnExit::Keep));
    run_for(exporter, INTERVAL * (cycles - 1) + INTERVAL / 2).await;
    watch
}

fn pages_of(text: &str) -> Vec<usize> {
    let numbers = text
        .lines()
        .filter_map(|line| line.strip_prefix("page_")?.strip_suffix(" 1"));
    numbers.map(|number| number.parse().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn one_refused_target_never_blanks_the_others() {
    let sink = FakeSink::new();
    refuse(&sink, &["page_1"]);
    let watch = run(&sink, 3, 1).await;
    let pushed = sink.ledger(|ledger| ledger.put.clone());
    for (_, text) in &pushed {
        assert_eq!(pages_of(text), [0, 2], "no push leaves out more than the bad one");
    }
    let last = sink.newest();
    for line in [
        "spark_exporter_target_refused{target=\"b\"} 1\n",
        "spark_exporter_target_refused{target=\"a\"} 0\n",
        "spark_exporter_target_samples{target=\"b\"} 0\n",
        "spark_exporter_target_up{target=\"b\"} 1\n",
    ] {
        assert!(last.contains(line), "{line} in {last}");
    }
    assert_eq!(
        watch.metric("pushgateway_exporter_target_refused{target=\"b\"}"),
        Some(1.0)
    );
    let refusals = "pushgateway_exporter_failures_total{class=\"target_refused\",stage=\"push\"}";
    assert_eq!(watch.metric(refusals), Some(1.0));
    assert!(
        watch
            .readiness
            .describe()
            .contains("[-]target b: the sink refuses its samples")
    );
}

#[tokio::test(start_paused = true)]
async fn several_refused_targets_are_found_and_the_others_are_pushed() {
    let sink = FakeSink::new();
    refuse(&sink, &["page_1", "page_4", "page_5"]);
    run(&sink, 7, 1).await;
    assert_eq!(pages_of(&sink.newest()), [0, 2, 3, 6]);
    assert!(sink.ledger(|ledger| ledger.trials) <= 1 + 7 + 1 + 7);
}

#[tokio::test(start_paused = true)]
async fn two_targets_that_cannot_stand_together_cost_only_one_of_them() {
    let sink = FakeSink::new();
    sink.judge(|text| {
        let both = text.contains("page_0") && text.contains("page_2");
        (!both)
            .then_some(())
            .ok_or_else(|| PushError::Refused("inconsistent".to_owned()))
    });
    run(&sink, 3, 1).await;
    assert_eq!(pages_of(&sink.newest()), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_target_is_not_tried_in_every_cycle() {
    let sink = FakeSink::new();
    refuse(&sink, &["page_1"]);
    run(&sink, 3, 13).await;
    let (trials, put) = sink.ledger(|ledger| (ledger.trials, ledger.put.len()));
    assert!(put >= 12, "each cycle is pushed");
    // At 0 s the full push, without a, without b; after one minute and after three the full push and without b.
    assert!(trials - put <= 5, "{trials} trials for {put} pushes");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_accepted_again_comes_back() {
    let sink = FakeSink::new();
    refuse(&sink, &["page_1"]);
    let accepting = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        sink.judge(|_| Ok(()));
    };
    let (watch, ()) = tokio::join!(run(&sink, 3, 8), accepting);
    assert_eq!(pages_of(&sink.newest()), [0, 1, 2]);
    assert_eq!(
        watch.metric("pushgateway_exporter_target_refused{target=\"b\"}"),
        Some(0.0)
    );
    assert!(watch.readiness.is_ready());
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_even_without_targets_is_an_error_and_the_search_ends() {
    let sink = FakeSink::new();
    refuse(&sink, &["spark_exporter_run_info"]);
    let watch = run(&sink, 3, 1).await;
    assert_eq!(sink.ledger(|ledger| (ledger.trials, ledger.put.len())), (5, 0));
    assert!(
        watch
            .readiness
            .describe()
            .contains("[-]push: spark_exporter_run_info is of another type")
    );
}

#[tokio::test(start_paused = true)]
async fn the_search_is_bounded_however_many_targets_are_refused() {
    let sink = FakeSink::new();
    refuse(&sink, &["page_"]);
    run(&sink, 100, 1).await;
    assert_eq!(pages_of(&sink.newest()), [0_usize; 0]);
    assert!(sink.ledger(|ledger| ledger.trials) <= 1 + 32 + 1 + 32);
}
