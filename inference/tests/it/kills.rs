//! The law, under kills: an offset is committed only after every result up to it has been acknowledged.

use std::collections::HashMap;

use checkpoint::TopicOffsets;
use inference::ledger::Ordering;
use kafka_io::Partition;
use proptest::prelude::*;
use testbed::committed;
use tokio_util::sync::CancellationToken;

use crate::fakes::{FakeKafka, Setup, message};

const PARTITIONS: i32 = 3;
const ROWS: i64 = 40;
const MAX_BATCH_ROWS: usize = 12;

/// A life of the worker: until it is killed, or everything is processed.
fn live(setup: &Setup, kill_at: usize) -> bool {
    setup.kafka.kill_at(kill_at);
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_time().start_paused(true).build().unwrap();
    // What still runs when the runtime is dropped is waited for: a write that began before a kill may succeed.
    runtime.block_on(async {
        let (worker, _around) = setup.worker().await;
        tokio::select! {
            biased;
            () = setup.kafka.killed() => false,
            result = worker.run(CancellationToken::new()) => { result.unwrap(); true }
        }
    })
}

fn answers(kafka: &FakeKafka) -> HashMap<String, usize> {
    let mut answers = HashMap::new();
    for result in &kafka.state().output {
        let key = String::from_utf8(result.key.clone().unwrap()).unwrap();
        *answers.entry(key).or_default() += 1;
    }
    answers
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn killed_anywhere_and_however_often_the_worker_loses_nothing(
        kills in prop::collection::vec(1_usize..150, 1..12),
        in_order in any::<bool>(),
    ) {
        let kafka = FakeKafka::default();
        for partition in 0..PARTITIONS {
            kafka.append(partition, (0..ROWS).map(|row| message(&format!("{partition}-{row}"))));
        }
        let folder = tempfile::tempdir().unwrap();
        let setup = Setup {
            partitions: PARTITIONS,
            max_batch_rows: MAX_BATCH_ROWS,
            ordering: if in_order { Ordering::Partition } else { Ordering::None },
            ..Setup::new(&kafka, Some(folder.path()))
        };
        let (mut lives, mut before) = (0, None::<(i64, TopicOffsets)>);
        for kill in kills.into_iter().chain([usize::MAX]) {
            lives += 1;
            let done = live(&setup, kill);
            if let Some((batch, positions)) = committed(folder.path()) {
                let answers = answers(&kafka);
                for (_, partition, position) in positions.iter() {
                    for row in 0..position {
                        let key = format!("{}/{row}", Partition(partition));
                        prop_assert!(answers.contains_key(&key), "{key} is committed without an answer");
                    }
                    let was = before.as_ref().and_then(|(_, before)| before.get("input", partition));
                    prop_assert!(was.is_none_or(|was| was <= position), "the checkpoint went back");
                }
                prop_assert!(before.as_ref().is_none_or(|(was, _)| *was <= batch.0));
                before = Some((batch.0, positions));
            }
            if done {
                break;
            }
        }
        let answers = answers(&kafka);
        prop_assert_eq!(answers.len(), usize::try_from(i64::from(PARTITIONS) * ROWS).unwrap());
        let again: usize = answers.values().map(|count| count - 1).sum();
        prop_assert!(again <= (lives - 1) * MAX_BATCH_ROWS, "{again} answers again after {lives} lives");
    }
}
