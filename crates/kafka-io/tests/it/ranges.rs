//! Positions that the log does not have: nothing moves by itself, and reading goes on where it is told to.

use kafka_admin::{Admin, Partition};
use kafka_io::{Consumer, Event, Start, StartWithout};
use testbed::commit_offsets;

use crate::kafka::{member, next, next_record, out_of_range, produce};
use crate::{at, mock};

#[tokio::test]
async fn a_position_beyond_the_end_stands_still_until_it_is_restarted() {
    let (_broker, connection, topic) = mock("input", 2);
    produce(&connection, &topic, &["a", "b", "c", "d", "e", "f"]).await;
    let starts = [(Partition(0), Start::At(100)), (Partition(1), Start::At(0))];
    let (consumer, mut events) = Consumer::assigned(&connection, &topic, &starts[..1]).unwrap();
    out_of_range(&mut events).await;
    // Another one is not held up by it, and what is not ours is left out.
    consumer.add(&starts[1..]).unwrap();
    assert_eq!(next_record(&mut events).await.partition, Partition(1));
    while !matches!(next(&mut events).await, Event::EndOfPartition(Partition(1))) {}
    consumer.restart(&[(Partition(0), Start::At(1)), (Partition(7), Start::At(0))]);
    let record = next_record(&mut events).await;
    assert_eq!((record.partition, record.offset), (Partition(0), 1));
    consumer.restart(&[(Partition(0), Start::Without(StartWithout::Earliest))]);
    while next_record(&mut events).await.offset != 0 {}
    consumer.close().await;
}

#[tokio::test]
async fn a_commit_beyond_the_end_stands_still_until_it_is_restarted() {
    let (_broker, connection, topic) = mock("input", 1);
    produce(&connection, &topic, &["a", "b", "c"]).await;
    let admin = Admin::new(&connection);
    commit_offsets(&admin, "group", &[(at(0), 100)], "")
        .await
        .unwrap();
    let (consumer, mut events) = Consumer::subscribed(&connection, &topic, &member("group")).unwrap();
    out_of_range(&mut events).await;
    assert_eq!(consumer.accept(&[Partition(0)]), [(Partition(0), 100)]);
    consumer.restart(&[(Partition(0), Start::At(2))]);
    assert_eq!(next_record(&mut events).await.offset, 2);
    consumer.commit(&[(Partition(0), 3)]).await.unwrap();
    consumer.close().await;
}
