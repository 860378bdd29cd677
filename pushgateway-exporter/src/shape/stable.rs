//! Owns how names of Spark's become names that stay the same from run to run.
//!
//! Two of Spark's pages are known. `PrometheusServlet` writes names in `metrics_…` with the label `type` alone;
//! `PrometheusResource` writes `metrics_executor_…` with the application's id and name as labels. Anything else is
//! somebody else's and stays as it is.

use std::collections::{BTreeMap, HashSet};

use super::Shaped;
use super::namespace::Namespace;
use crate::exposition::{Labels, Reason, Sample};

/// How Spark's names begin, and how they begin afterwards.
const PREFIX: &str = "metrics_";
const STABLE: &str = "spark_";
/// What the label `type` of `PrometheusServlet` says.
const KINDS: [&str; 4] = ["gauges", "counters", "histograms", "timers"];
/// The gauges of a streaming query.
pub(super) const STREAMING: [&str; 6] = [
    "inputRate_total",
    "processingRate_total",
    "latency",
    "eventTime_watermark",
    "states_rowsTotal",
    "states_usedBytes",
];
/// The digits of the time in an application's names, in milliseconds since 1970, until the year 2286.
const TIME_DIGITS: usize = 13;

/// Gives the samples their stable names; drops the second copy of gauges; notes what was taken out.
pub(super) fn rewrite(shaped: &mut Shaped) {
    let twins = drop_twins(&mut shaped.samples);
    shaped.dropped.add(Reason::Twin, twins);
    let namespace = Namespace::of(servlet_names(&shaped.samples));
    if let Some(namespace) = &namespace {
        note(&mut shaped.ids, "namespace", Some(namespace.name().to_owned()));
    }
    for sample in &mut shaped.samples {
        if let Some(kind) = kind(sample) {
            rename(sample, kind, namespace.as_ref());
        } else if is_of_executor(sample) {
            take_application(sample, &mut shaped.ids);
        }
    }
}

/// `PrometheusServlet` writes each gauge twice, once under a name in `_Number`.
fn drop_twins(samples: &mut Vec<Sample>) -> usize {
    let gauges: HashSet<&str> = samples
        .iter()
        .filter_map(|sample| gauge(sample, "_Value"))
        .collect();
    let is_twin = |sample| gauge(sample, "_Number").is_some_and(|gauge| gauges.contains(gauge));
    let twins: Vec<bool> = samples.iter().map(is_twin).collect();
    let mut twins = twins.into_iter();
    let before = samples.len();
    samples.retain(|_| !twins.next().unwrap_or_default());
    before - samples.len()
}

/// The gauge that is written under a name with this ending.
fn gauge<'s>(sample: &'s Sample, ending: &str) -> Option<&'s str> {
    let is_gauge = kind(sample) == Some("gauges");
    sample.name.strip_suffix(ending).filter(|_| is_gauge)
}

/// The names of `PrometheusServlet`'s that may hold a namespace. Those of a master's applications hold none, and an
/// application may be called as if they did.
fn servlet_names(samples: &[Sample]) -> impl Iterator<Item = &str> {
    samples
        .iter()
        .filter(|sample| kind(sample).is_some())
        .map(|sample| sample.name.as_str())
        .filter(|name| application(name).is_none())
}

/// What the label `type` says, where the sample is one of `PrometheusServlet`'s.
fn kind(sample: &Sample) -> Option<&'static str> {
    let is_servlets = sample.name.starts_with(PREFIX) && sample.labels.len() == 1;
    let named = sample.labels.get("type").filter(|_| is_servlets)?;
    KINDS.into_iter().find(|&kind| kind == named)
}

/// Gives a sample of `PrometheusServlet`'s its stable name.
fn rename(sample: &mut Sample, kind: &str, namespace: Option<&Namespace>) {
    let of_driver = namespace.and_then(|namespace| namespace.rest(&sample.name));
    let (name, labels) = if let Some(rest) = of_driver {
        match streaming(rest) {
            Some((query, metric)) => (
                format!("spark_streaming_{metric}"),
                Labels::from([("query", query)]),
            ),
            None => (format!("spark_driver_{rest}"), Labels::from([("kind", kind)])),
        }
    } else if let Some((application, rest)) = application(&sample.name) {
        let labels = Labels::from([("application", application), ("kind", kind)]);
        (format!("spark_application_{rest}"), labels)
    } else {
        let rest = sample.name.strip_prefix(PREFIX).unwrap_or(&sample.name);
        (format!("{STABLE}{rest}"), Labels::from([("kind", kind)]))
    };
    sample.name = name;
    sample.labels = labels;
}

/// `spark_streaming_QUERY_METRIC_Value`: the query, in which every other character has become `_`, and the metric.
fn streaming(rest: &str) -> Option<(&str, &str)> {
    let rest = rest.strip_prefix("spark_streaming_")?.strip_suffix("_Value")?;
    STREAMING.into_iter().find_map(|metric| {
        let query = rest.strip_suffix(metric)?.strip_suffix('_')?;
        (!query.is_empty()).then_some((query, metric))
    })
}

/// `metrics_application_NAME_TIME_REST` of a standalone master: the application's name, and the rest.
fn application(name: &str) -> Option<(&str, &str)> {
    let named = name.strip_prefix("metrics_application_")?;
    let is_time = |part: &str| part.len() == TIME_DIGITS && part.bytes().all(|byte| byte.is_ascii_digit());
    named.rmatch_indices('_').find_map(|(place, _)| {
        let (before, rest) = (&named[..place], &named[place + 1..]);
        let (application, time) = before.rsplit_once('_')?;
        is_time(time).then_some((application, rest))
    })
}

/// Whether a sample is one of `PrometheusResource`'s.
fn is_of_executor(sample: &Sample) -> bool {
    let has = |label| sample.labels.get(label).is_some();
    sample.name.starts_with("metrics_executor_") && has("application_id") && has("executor_id")
}

/// Gives a sample of `PrometheusResource`'s its stable name, without what names the application.
fn take_application(sample: &mut Sample, ids: &mut BTreeMap<String, String>) {
    sample.name.replace_range(..PREFIX.len(), STABLE);
    for label in ["application_id", "application_name"] {
        note(ids, label, sample.labels.remove(label));
    }
}

fn note(ids: &mut BTreeMap<String, String>, name: &str, value: Option<String>) {
    if let Some(value) = value.filter(|value| !value.is_empty()) {
        ids.insert(name.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::{parse, render};

    const DRIVERS: [(&str, &str); 2] = [
        (
            include_str!("../../tests/fixtures/driver-3.5.9.txt"),
            "local_1795337251607",
        ),
        (
            include_str!("../../tests/fixtures/driver-4.3.0.txt"),
            "local_1795337120538",
        ),
    ];
    const EXECUTORS: [(&str, &str); 3] = [
        (
            include_str!("../../tests/fixtures/executors-3.5.9.txt"),
            "local-1795337251607",
        ),
        (
            include_str!("../../tests/fixtures/executors-4.3.0.txt"),
            "local-1795337120538",
        ),
        (
            include_str!("../../tests/fixtures/executors-4.3.0-two-executors.txt"),
            "app-20261122085951-0000",
        ),
    ];

    fn stable(page: &str) -> Shaped {
        let mut shaped = Shaped {
            samples: parse(page.as_bytes()).samples,
            ..Shaped::default()
        };
        rewrite(&mut shaped);
        shaped
    }

    fn text(shaped: &Shaped) -> String {
        render(&shaped.samples, &shaped.types)
    }

    fn lines_with(shaped: &Shaped, words: &[&str]) -> String {
        let text = text(shaped);
        let lines: Vec<_> = text
            .lines()
            .filter(|line| words.iter().any(|word| line.contains(word)))
            .collect();
        lines.join("\n")
    }

    #[test]
    fn the_page_of_a_real_driver() {
        let shaped = stable(DRIVERS[1].0);
        let some = [
            "streaming_l",
            "streaming_i",
            "maxMem_MB",
            "jobs_failed",
            "compilationTime_99t",
        ];
        insta::assert_snapshot!(lines_with(&shaped, &some), @r#"
        spark_driver_BlockManager_memory_maxMem_MB_Value{kind="gauges"} 434
        spark_streaming_inputRate_total{query="630f5ac8_31bc_4e79_8b62_1ec6b290a15d"} 4.9950049950049955
        spark_streaming_inputRate_total{query="my_query_1"} 5
        spark_streaming_latency{query="630f5ac8_31bc_4e79_8b62_1ec6b290a15d"} 1177
        spark_streaming_latency{query="my_query_1"} 469
        spark_driver_appStatus_jobs_failedJobs_Count{kind="counters"} 0
        spark_driver_CodeGenerator_compilationTime_99thPercentile{kind="histograms"} 620
        "#);
        assert_eq!(
            shaped.ids,
            BTreeMap::from([("namespace".to_owned(), DRIVERS[1].1.to_owned())])
        );
    }

    #[test]
    fn the_page_of_real_executors() {
        let shaped = stable(EXECUTORS[2].0);
        insta::assert_snapshot!(lines_with(&shaped, &["spark_info", "rddBlocks", "totalDuration"]), @r#"
        spark_info{revision="98bc0212c94705434471627068f41e374ccab143",version="4.3.0"} 1
        spark_executor_rddBlocks{executor_id="driver"} 0
        spark_executor_rddBlocks{executor_id="1"} 0
        spark_executor_rddBlocks{executor_id="0"} 0
        spark_executor_totalDuration_seconds_total{executor_id="driver"} 168.894
        spark_executor_totalDuration_seconds_total{executor_id="1"} 59.597
        spark_executor_totalDuration_seconds_total{executor_id="0"} 54.623000000000005
        "#);
        insta::assert_debug_snapshot!(shaped.ids, @r#"
        {
            "application_id": "app-20261122085951-0000",
            "application_name": "my app-1.x",
        }
        "#);
    }

    #[test]
    fn real_pages_lose_their_twins_alone_and_every_trace_of_the_run() {
        for (page, id) in DRIVERS.into_iter().chain(EXECUTORS) {
            let shaped = stable(page);
            let twins = page.lines().filter(|line| line.contains("_Number{")).count();
            assert_eq!(shaped.samples.len() + twins, page.lines().count());
            assert_eq!(shaped.dropped.get(Reason::Twin), twins);
            assert!(!text(&shaped).contains(id));
            assert!(
                shaped
                    .samples
                    .iter()
                    .all(|sample| sample.name.starts_with(STABLE))
            );
        }
    }

    #[test]
    fn runs_that_differ_in_the_applications_id_or_namespace_have_the_same_series() {
        for (page, id) in DRIVERS {
            for other in [
                "app_20261122085951_0000",
                "my_driver_space",
                "driver",
                "spark_streaming_x_driver",
            ] {
                assert_eq!(
                    text(&stable(&page.replace(id, other))),
                    text(&stable(page)),
                    "{other}"
                );
            }
        }
        for (page, id) in EXECUTORS {
            assert_eq!(text(&stable(&page.replace(id, "local-1"))), text(&stable(page)));
            assert_eq!(
                text(&stable(&page.replace("my app-1.x", "q\"uo\\te"))),
                text(&stable(page))
            );
        }
    }

    #[test]
    fn the_pages_of_a_standalone_cluster() {
        let page = r#"
            metrics_master_aliveWorkers_Number{type="gauges"} 2
            metrics_master_aliveWorkers_Value{type="gauges"} 2
            metrics_worker_coresFree_Value{type="gauges"} 4
            metrics_application_my_app_1_x_1795337120538_runtime_ms_Value{type="gauges"} 17
            metrics_application_1795337120537_1795337120538_cores_Value{type="gauges"} 3
            metrics_CodeGenerator_compilationTime_Count{type="histograms"} 5
        "#;
        insta::assert_snapshot!(text(&stable(page)), @r#"
        spark_master_aliveWorkers_Value{kind="gauges"} 2
        spark_worker_coresFree_Value{kind="gauges"} 4
        spark_application_runtime_ms_Value{application="my_app_1_x",kind="gauges"} 17
        spark_application_cores_Value{application="1795337120537",kind="gauges"} 3
        spark_CodeGenerator_compilationTime_Count{kind="histograms"} 5
        "#);
    }

    #[test]
    fn an_application_whose_name_holds_the_drivers_mark_is_still_one_and_no_namespace() {
        let page = r#"
            metrics_application_my_driver_app_1795337120538_cores_Value{type="gauges"} 3
            metrics_application_my_driver_app_1795337120538_runtime_ms_Value{type="gauges"} 17
        "#;
        let shaped = stable(page);
        insta::assert_snapshot!(text(&shaped), @r#"
        spark_application_cores_Value{application="my_driver_app",kind="gauges"} 3
        spark_application_runtime_ms_Value{application="my_driver_app",kind="gauges"} 17
        "#);
        assert!(shaped.ids.is_empty(), "{:?}", shaped.ids);
    }

    #[test]
    fn a_driver_on_yarn_is_no_application_of_a_master_though_a_query_is_called_by_the_time() {
        let page = r#"
            metrics_application_1795337120538_0001_driver_BlockManager_memory_maxMem_MB_Value{type="gauges"} 1
            metrics_application_1795337120538_0001_driver_spark_streaming_q_1795337120538_latency_Value{type="gauges"} 2
        "#;
        insta::assert_snapshot!(text(&stable(page)), @r#"
        spark_driver_BlockManager_memory_maxMem_MB_Value{kind="gauges"} 1
        spark_streaming_latency{query="q_1795337120538"} 2
        "#);
    }

    #[test]
    fn a_query_may_be_called_like_a_metric() {
        let page = r#"
            metrics_ns_driver_spark_streaming_a_latency_latency_Value{type="gauges"} 1
            metrics_ns_driver_spark_streaming_a_driver_b_states_rowsTotal_Value{type="gauges"} 2
            metrics_ns_driver_spark_streaming_a_other_Value{type="gauges"} 3
            metrics_ns_driver_jvm_x_Value{type="gauges"} 4
        "#;
        insta::assert_snapshot!(text(&stable(page)), @r#"
        spark_streaming_latency{query="a_latency"} 1
        spark_streaming_states_rowsTotal{query="a_driver_b"} 2
        spark_driver_spark_streaming_a_other_Value{kind="gauges"} 3
        spark_driver_jvm_x_Value{kind="gauges"} 4
        "#);
    }

    #[test]
    fn what_is_not_of_sparks_form_stays_as_it_is() {
        let page = r#"
            metrics_ns_driver_x_Value 1
            metrics_ns_driver_x_Value{type="other"} 2
            metrics_ns_driver_x_Value{type="gauges",more="1"} 3
            metrics_executor_x{executor_id="1"} 4
            metrics_executor_x{application_id="1"} 5
            x_driver_y_Value{type="gauges"} 6
        "#;
        insta::assert_snapshot!(text(&stable(page)), @r#"
        metrics_ns_driver_x_Value 1
        metrics_ns_driver_x_Value{type="other"} 2
        metrics_ns_driver_x_Value{more="1",type="gauges"} 3
        metrics_executor_x{executor_id="1"} 4
        metrics_executor_x{application_id="1"} 5
        x_driver_y_Value{type="gauges"} 6
        "#);
    }

    #[test]
    fn only_the_second_copy_of_a_gauge_is_a_twin() {
        let page = r#"
            metrics_a_Number{type="gauges"} 1
            metrics_b_Number{type="gauges"} 2
            metrics_b_Value{type="counters"} 3
            metrics_c_Number 4
            metrics_c_Value{type="gauges"} 5
            metrics_d_Number{type="gauges"} 6
            metrics_d_Value{type="gauges"} 7
        "#;
        let shaped = stable(page);
        assert_eq!((shaped.samples.len(), shaped.dropped.get(Reason::Twin)), (6, 1));
        assert_eq!(lines_with(&shaped, &["_d_"]), "spark_d_Value{kind=\"gauges\"} 7");
    }
}
