//! A sink that refuses some targets: no other is touched, and what is refused does not leave old values behind.

use std::time::Duration;

use pushgateway_exporter::push::{OnExit, PushError};
use tokio::time::sleep;

use crate::fakes::{FakeSink, INTERVAL, Pages, Watch, exporter, run_for, settings};

/// Refuses whatever has one of these words in it.
fn refuse(sink: &FakeSink, words: &'static [&'static str]) {
    sink.judge(|text| match words.iter().find(|word| text.contains(*word)) {
        Some(word) => Err(PushError::Refused(format!("{word} is of another type"))),
        None => Ok(()),
    });
}

/// Lets an exporter of `targets`, whose pages are `page_0 1` and so on, run for some cycles.
async fn run(sink: &FakeSink, targets: usize, cycles: u32) -> Watch {
    let pages = Pages::default();
    for target in 0..targets {
        pages.give(target, &format!("page_{target} 1\n"));
    }
    let (exporter, watch) = exporter(&pages, sink, targets, settings(OnExit::Keep));
    run_for(exporter, INTERVAL * (cycles - 1) + INTERVAL / 2).await;
    watch
}

#[tokio::test(start_paused = true)]
async fn a_refused_target_never_touches_another() {
    let sink = FakeSink::new();
    refuse(&sink, &["page_1"]);
    let watch = run(&sink, 3, 2).await;
    for (target, accepted) in [(0, true), (1, false), (2, true)] {
        let put = sink.put_of(target);
        assert_eq!(put.len(), 2, "{target}");
        for put in put {
            let has = put.text.contains(&format!("\npage_{target} 1\n"));
            assert_eq!(has, accepted, "{}", put.text);
        }
    }
    let refused = sink.newest(1);
    for line in [
        "spark_exporter_target_refused 1\n",
        "spark_exporter_target_samples 0\n",
        "spark_exporter_target_up 1\n",
    ] {
        assert!(refused.contains(line), "{line} in {refused}");
    }
    assert!(sink.newest(0).contains("spark_exporter_target_refused 0\n"));
    assert_eq!(
        sink.ledger(|ledger| ledger.trials),
        2 * (3 + 1),
        "one more push a cycle"
    );
    assert_eq!(
        watch.metric("pushgateway_exporter_target_refused{target=\"b\"}"),
        Some(1.0)
    );
    let refusals = "pushgateway_exporter_failures_total{class=\"target_refused\",stage=\"push\"}";
    assert_eq!(watch.metric(refusals), Some(1.0));
    let described = watch.readiness.describe();
    assert!(
        described.contains("[-]target b: the sink refuses its samples") && described.contains("[+]push"),
        "{described}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_accepted_again_comes_back() {
    let sink = FakeSink::new();
    refuse(&sink, &["page_1"]);
    let accepting = async {
        sleep(Duration::from_secs(20)).await;
        sink.judge(|_| Ok(()));
    };
    let (watch, ()) = tokio::join!(run(&sink, 3, 4), accepting);
    assert!(sink.newest(1).contains("\npage_1 1\n"));
    assert_eq!(
        watch.metric("pushgateway_exporter_target_refused{target=\"b\"}"),
        Some(0.0)
    );
    assert!(watch.readiness.is_ready());
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_even_without_samples_is_a_failure_of_its_target_alone() {
    let sink = FakeSink::new();
    sink.judge(|text| {
        let is_second = text.contains("page_1") || text.contains("target_refused 1");
        (!is_second)
            .then_some(())
            .ok_or_else(|| PushError::Refused("no more groups".to_owned()))
    });
    let watch = run(&sink, 3, 1).await;
    assert_eq!(sink.ledger(|ledger| (ledger.trials, ledger.put.len())), (4, 2));
    assert!(sink.newest(2).contains("\npage_2 1\n"));
    let described = watch.readiness.describe();
    assert!(
        described.contains("[-]target b: no more groups") && described.contains("[+]push"),
        "{described}"
    );
    assert_eq!(
        watch.metric("pushgateway_exporter_last_success_timestamp_seconds"),
        Some(0.0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_target_that_cannot_be_pushed_slows_no_other() {
    let sink = FakeSink::new();
    sink.judge(|text| {
        let is_second = text.contains("page_1");
        (!is_second)
            .then_some(())
            .ok_or_else(|| PushError::Failed("answers 500".to_owned()))
    });
    let watch = run(&sink, 3, 12).await;
    for target in [0, 2] {
        // The jitter may cost one.
        assert!(sink.times(target).len() >= 11, "{:?}", sink.times(target));
    }
    let described = watch.readiness.describe();
    assert!(
        described.contains("[-]target b: answers 500") && described.contains("[+]push"),
        "{described}"
    );
    assert_eq!(
        watch.metric("pushgateway_exporter_last_success_timestamp_seconds"),
        Some(0.0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_takes_no_target_is_tried_less_often() {
    let sink = FakeSink::new();
    sink.judge(|_| Err(PushError::Denied("answers 401".to_owned())));
    let watch = run(&sink, 2, 12).await;
    let trials = sink.ledger(|ledger| ledger.trials);
    assert!(trials <= 2 * 5, "{trials}");
    assert!(watch.readiness.describe().contains("[-]push: answers 401"));
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_answers_none_of_many_targets_in_time_costs_a_cycle_its_budget_and_no_target_its_turn() {
    let sink = FakeSink::new();
    sink.ledger(|ledger| ledger.slowness = Duration::from_secs(15));
    run(&sink, 6, 20).await;
    let pushes: Vec<usize> = (0..6).map(|target| sink.put_of(target).len()).collect();
    let (least, most) = (pushes.iter().min().unwrap(), pushes.iter().max().unwrap());
    assert!(*least >= 1 && most - least <= 1, "{pushes:?}");
}
