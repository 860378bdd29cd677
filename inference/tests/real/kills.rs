//! When the worker is killed: everything has a result, and what is done again is bounded.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use testbed::committed;
use tokio::time::{Instant, sleep_until};

use crate::stage::{Stage, counts, key, texts};

const KILLS: usize = 20;
const ROUND: usize = 700;
/// The most that is in hand, and so done again after a kill, beside what is acknowledged and not committed yet.
const IN_FLIGHT_ROWS: usize = 100;
/// The longest life from its start.
const LONGEST_LIFE_MS: u64 = 2_500;

#[tokio::test(flavor = "multi_thread")]
async fn killed_twenty_times_while_messages_flow_the_worker_loses_nothing() {
    let stage = Stage::new("kills", 3).await;
    let rows = IN_FLIGHT_ROWS.to_string();
    let settings = [
        ("INFERENCE_ENGINE__IN_FLIGHT_ROWS", rows.as_str()),
        ("INFERENCE_PROGRESS__COMMIT_INTERVAL", "50ms"),
    ];
    let chance = RandomState::new();
    let (mut batch, mut positions) = (-1, None);
    for life in 0..KILLS {
        let lifetime = Duration::from_millis(chance.hash_one(life) % LONGEST_LIFE_MS);
        println!("life {life} lasts {lifetime:?}");
        let death = Instant::now() + lifetime;
        let mut worker = stage.worker("checkpoint", &settings).await;
        stage.produce(texts(life * ROUND..(life + 1) * ROUND)).await;
        // The moment itself is what is tested.
        sleep_until(death).await;
        worker.kill().unwrap();
        if let Some((now, ends)) = committed(&stage.checkpoint("checkpoint")) {
            assert!(now.0 >= batch, "batch {batch} was committed before {}", now.0);
            for (topic, partition, before) in positions.iter().flat_map(checkpoint::TopicOffsets::iter) {
                assert!(
                    ends.get(topic, partition) >= Some(before),
                    "partition {partition} went back"
                );
            }
            (batch, positions) = (now.0, Some(ends));
        }
    }
    assert!(batch > 0, "some lives were long enough to commit");
    let worker = stage.worker("checkpoint", &settings).await;
    let results = stage.finish([worker], (0..KILLS * ROUND).map(key)).await;
    let counts = counts(&results);
    assert_eq!(counts.len(), KILLS * ROUND);
    let again = results.len() - counts.len();
    println!("{again} results came twice");
    assert!(again <= KILLS * ROUND, "{again} results came twice");
    assert_eq!(
        stage.processed("checkpoint"),
        i64::try_from(KILLS * ROUND).unwrap()
    );
}
