//! Members of a group: where they begin, and that nothing is committed for what is not theirs.

use std::time::Duration;

use kafka_io::{
    Cluster, CommitError, Consumer, Event, GroupProtocol, Membership, Partition, Start, StartWithout,
};
use tokio::sync::mpsc::Receiver;

use crate::{at, mock, next, next_record, produce};

pub(crate) fn member(group: &str) -> Membership {
    Membership {
        group: group.to_owned(),
        instance_id: None,
        protocol: GroupProtocol::Classic,
        start: StartWithout::Earliest,
        session_timeout: Duration::from_secs(10),
        max_poll_interval: Duration::from_mins(1),
        drain_timeout: Duration::from_secs(20),
    }
}

async fn assigned(events: &mut Receiver<Event>) -> Vec<Partition> {
    loop {
        match next(events).await {
            Event::Assigned(partitions) if !partitions.is_empty() => return partitions,
            Event::Failed(why) => panic!("{why}"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_group_goes_on_behind_its_commit() {
    let (_broker, connection, topic) = mock("input", 1);
    produce(&connection, &topic, &["a", "b", "c"]).await;
    let (consumer, mut events) = Consumer::subscribed(&connection, &topic, &member("group")).unwrap();
    while !matches!(next(&mut events).await, Event::Assigned(partitions) if partitions == [Partition(0)]) {}
    assert_eq!(next_record(&mut events).await.offset, 0);
    consumer.commit(&[(Partition(0), 2)]).await.unwrap();
    // Who waits for the end of a revocation would otherwise hold up the close.
    events.close();
    consumer.close().await;
    let (consumer, mut events) = Consumer::subscribed(&connection, &topic, &member("group")).unwrap();
    assert_eq!(next_record(&mut events).await.offset, 2);
    events.close();
    consumer.close().await;
}

#[tokio::test]
async fn a_revocation_waits_for_the_work_in_hand() {
    let (_broker, connection, topic) = mock("input", 2);
    let (first, mut first_events) = Consumer::subscribed(&connection, &topic, &member("group")).unwrap();
    while !matches!(next(&mut first_events).await, Event::Assigned(partitions) if partitions.len() == 2) {}
    let (second, mut second_events) = Consumer::subscribed(&connection, &topic, &member("group")).unwrap();
    let (revoked, revocation) = loop {
        if let Event::Revoking(partitions, revocation) = next(&mut first_events).await {
            break (partitions, revocation);
        }
    };
    first
        .commit(&[(revoked[0], 0)])
        .await
        .expect("a commit while the partition is still ours");
    drop(revocation);
    let given = loop {
        match next(&mut second_events).await {
            Event::Assigned(partitions) if !partitions.is_empty() => break partitions,
            _ => {}
        }
    };
    assert_eq!(given, revoked);
    first_events.close();
    second_events.close();
    first.close().await;
    second.close().await;
}

#[tokio::test]
async fn a_member_of_a_group_without_commits_begins_where_it_is_told() {
    for protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
        for (start, first) in [(StartWithout::Earliest, "old"), (StartWithout::Latest, "new")] {
            let (_broker, connection, topic) = mock("input", 1);
            produce(&connection, &topic, &["old"]).await;
            let member = Membership {
                start,
                protocol,
                ..member("group")
            };
            let (consumer, mut events) = Consumer::subscribed(&connection, &topic, &member).unwrap();
            let given = assigned(&mut events).await;
            assert_eq!(consumer.starts(&given), [(Partition(0), Start::Without(start))]);
            if start == StartWithout::Latest {
                while !matches!(next(&mut events).await, Event::EndOfPartition(_)) {}
                produce(&connection, &topic, &["new"]).await;
            }
            let record = next_record(&mut events).await;
            assert_eq!(record.value.as_deref(), Some(first.as_bytes()), "{protocol:?}");
            consumer.close().await;
        }
    }
}

#[tokio::test]
async fn a_member_asks_for_commits_until_it_knows_them_and_begins_nowhere_else() {
    let (broker, connection, topic) = mock("input", 1);
    produce(&connection, &topic, &["a", "b", "c"]).await;
    let cluster = Cluster::new(&connection).unwrap();
    cluster.commit("group", &[(at(0), 2)], "").await.unwrap();
    broker.refuse_committed(4);
    let (consumer, mut events) = Consumer::subscribed(&connection, &topic, &member("group")).unwrap();
    let given = assigned(&mut events).await;
    assert_eq!(consumer.starts(&given), [(Partition(0), Start::At(2))]);
    assert_eq!(next_record(&mut events).await.offset, 2);
    consumer.close().await;
}

#[tokio::test]
async fn a_drain_that_is_late_is_a_loss_and_nothing_is_committed_after_it() {
    let (_broker, connection, topic) = mock("input", 2);
    let slow = Membership {
        drain_timeout: Duration::from_millis(200),
        ..member("group")
    };
    let (first, mut events) = Consumer::subscribed(&connection, &topic, &slow).unwrap();
    assert_eq!(assigned(&mut events).await.len(), 2);
    let (second, mut second_events) = Consumer::subscribed(&connection, &topic, &slow).unwrap();
    let (revoked, _never_drained) = loop {
        if let Event::Revoking(partitions, revocation) = next(&mut events).await {
            break (partitions, revocation);
        }
    };
    let lost = loop {
        if let Event::Lost(partitions) = next(&mut events).await {
            break partitions;
        }
    };
    assert_eq!(lost, revoked);
    assert_eq!(assigned(&mut second_events).await, revoked);
    second.commit(&[(revoked[0], 7)]).await.unwrap();
    let kept = Partition(1 - revoked[0].0);
    let refused = first.commit(&[(revoked[0], 3), (kept, 4)]).await.unwrap_err();
    assert_eq!(refused, CommitError::NotOurs(revoked.clone()));
    let cluster = Cluster::new(&connection).unwrap();
    for (partition, offset) in [(revoked[0], 7), (kept, 4)] {
        let asked = [at(partition.0)];
        let committed = cluster.committed("group", Some(&asked)).await.unwrap();
        assert_eq!(committed[0].1.as_ref().unwrap().offset, offset);
    }
    first.close().await;
    second.close().await;
}
