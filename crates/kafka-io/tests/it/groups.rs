//! Members of a group: where they begin, and that nothing is committed for what is not theirs.

use kafka_admin::{Admin, Partition};
use kafka_io::{CommitError, Consumer, Event, GroupProtocol, Membership, StartWithout};
use testbed::commit_offsets;
use tokio::time::Instant;

use crate::kafka::{PATIENCE, assert_late_drain_is_a_loss, assigned, member, next, next_record, produce};
use crate::{at, mock};

#[tokio::test]
async fn a_group_goes_on_behind_its_commit() {
    let (_broker, connection, topic) = mock("input", 1);
    produce(&connection, &topic, &["a", "b", "c"]).await;
    let (consumer, mut events) = Consumer::subscribed(&connection, &topic, &member("group")).unwrap();
    assert_eq!(assigned(&consumer, &mut events).await, [(Partition(0), 0)]);
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
    assert_eq!(assigned(&first, &mut first_events).await.len(), 2);
    let (second, mut second_events) = Consumer::subscribed(&connection, &topic, &member("group")).unwrap();
    let (revoked, revocation) = loop {
        if let Event::Revoking(partitions, revocation) = next(&mut first_events).await {
            break (partitions, revocation);
        }
    };
    // The group may begin its next rebalance at any time, and takes no commit then.
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = first.commit(&[(revoked[0], 0)]).await {
        assert!(
            matches!(&error, CommitError::Failed(why) if why.contains("RebalanceInProgress"))
                && Instant::now() < deadline,
            "a commit while the partition is still ours: {error}"
        );
    }
    drop(revocation);
    let given = assigned(&second, &mut second_events).await;
    assert!(given.iter().map(|(partition, _)| partition).eq(&revoked));
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
            let offset = i64::from(start == StartWithout::Latest);
            assert_eq!(assigned(&consumer, &mut events).await, [(Partition(0), offset)]);
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
    let admin = Admin::new(&connection);
    commit_offsets(&admin, "group", &[(at(0), 2)], "").await.unwrap();
    broker.refuse_committed(4);
    let (consumer, mut events) = Consumer::subscribed(&connection, &topic, &member("group")).unwrap();
    assert_eq!(assigned(&consumer, &mut events).await, [(Partition(0), 2)]);
    assert_eq!(next_record(&mut events).await.offset, 2);
    consumer.close().await;
}

#[tokio::test]
async fn a_drain_that_is_late_is_a_loss_and_nothing_is_committed_after_it() {
    let (_broker, connection, topic) = mock("input", 2);
    assert_late_drain_is_a_loss(&connection, &topic, GroupProtocol::Classic).await;
}
