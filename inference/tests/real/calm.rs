//! When nothing goes wrong: each message has exactly one result, in order.

use kafka_io::Compression;
use serde_json::Value;

use crate::stage::{Message, PATIENCE, Stage, counts, key, text};

const MESSAGES: usize = 20_000;
const PARTITIONS: i32 = 3;

/// What the message of a number is like, and the start of the error that it is to be answered with.
fn message(number: usize) -> (Message, Option<&'static str>) {
    let with = |value: Option<&str>| Message {
        key: key(number),
        value: value.map(str::to_owned),
    };
    match number {
        7_000 | 14_000 => {
            return (
                text(number, &"Anna and Carlos went to Oslo. ".repeat(33_000)),
                None,
            );
        }
        9_000 => {
            return (
                text(number, &"a".repeat(1_000_001)),
                Some("text of 1000001 characters exceeds"),
            );
        }
        _ => {}
    }
    match number % 10 {
        1 => (
            with(Some("{\"text\": \"cut o")),
            Some("the message is not a JSON object"),
        ),
        3 => (
            with(Some("{\"uuid\": \"no text\"}")),
            Some("the message has no text"),
        ),
        5 => (with(None), Some("the message has no value")),
        7 => (text(number, ""), None),
        9 => (with(Some("\u{0}\u{1}")), Some("the message is not a JSON object")),
        _ => (text(number, "Ivan met Rosa in Prague."), None),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_thousand_messages_of_mixed_quality_have_one_result_each_in_order() {
    let stage = Stage::new("calm", PARTITIONS).await;
    stage.produce((0..MESSAGES).map(|number| message(number).0)).await;
    let mut worker = stage.worker("checkpoint", &[]).await;
    worker.ready().await.unwrap();
    let results = stage.finish([worker], (0..MESSAGES).map(key)).await;
    let counts = counts(&results);
    assert_eq!((results.len(), counts.len()), (MESSAGES, MESSAGES));

    // Keys say the partition, of the message as of its result.
    let mut last = vec![None; usize::try_from(PARTITIONS).unwrap()];
    for result in &results {
        let last = &mut last[usize::try_from(result.partition.0).unwrap()];
        assert!(
            *last < Some(&result.key),
            "{:?} came before {:?}",
            last,
            result.key
        );
        *last = Some(&result.key);
    }

    for result in &results {
        let number: usize = String::from_utf8_lossy(result.key.as_deref().unwrap())
            .parse()
            .unwrap();
        let answer: Value = serde_json::from_slice(result.value.as_deref().unwrap()).unwrap();
        match message(number).1 {
            None => assert!(
                answer["error_message"].is_null() && answer["ner"].is_array(),
                "{number}: {answer}"
            ),
            Some(error) => {
                let told = answer["error_message"].as_str().unwrap();
                assert!(
                    told.starts_with(error) && answer.get("ner").is_none(),
                    "{number}: {answer}"
                );
            }
        }
    }
    assert_eq!(stage.processed("checkpoint"), i64::try_from(MESSAGES).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_of_every_compression_are_read_and_written() {
    let codecs = [
        ("gzip", Compression::Gzip),
        ("snappy", Compression::Snappy),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd),
    ];
    for (name, compression) in codecs {
        let stage = Stage::new(&format!("compression-{name}"), 1).await;
        let texts = (0..200).map(|number| text(number, &"Wanda flew from Lagos to Dublin. ".repeat(10)));
        stage.produce_with(compression, texts).await;
        let worker = stage
            .worker("checkpoint", &[("INFERENCE_OUTPUT__COMPRESSION", name)])
            .await;
        let results = stage.finish([worker], (0..200).map(key)).await;
        assert_eq!(results.len(), 200, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_finishes_and_commits_all_that_is_in_hand() {
    let stage = Stage::new("sigterm", 2).await;
    stage.produce(crate::stage::texts(0..MESSAGES)).await;
    let mut worker = stage.worker("checkpoint", &[]).await;
    worker.ready().await.unwrap();
    testbed::until(PATIENCE, async || {
        worker
            .metric("inference_results_total")
            .await
            .filter(|&results| results > 500.0)
    })
    .await
    .expect("results are written");
    worker.stop().await.unwrap();
    let processed = stage.processed("checkpoint");
    assert!(
        (500..i64::try_from(MESSAGES).unwrap()).contains(&processed),
        "it was under load: {processed}"
    );
    // The rest comes from another worker; nothing is answered twice.
    let worker = stage.worker("checkpoint", &[]).await;
    let results = stage.finish([worker], (0..MESSAGES).map(key)).await;
    assert_eq!(results.len(), MESSAGES);
}
