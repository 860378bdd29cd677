//! What this crate says of a quiet cluster is what Kafka's own tools say.

use std::collections::BTreeMap;

use kafka_admin::{GroupId, LogEnd, Topic};
use testbed::{consumer_groups, get_offsets};

use crate::client::Client;
use crate::{commit, offset, plain, start, values};

#[tokio::test]
async fn ends_and_commits_are_those_of_kafkas_tools() {
    let broker = start(&[]).await;
    let servers = broker.bootstrap_servers();
    let mut client = Client::new(servers);
    for (topic, partitions) in [("a", 3), ("b", 1)] {
        client.create_topic(topic, partitions, &[]);
        for partition in 0..partitions {
            let records: Vec<i64> = (0..=i64::from(partition) * 2).collect();
            client.produce(topic, partition, &records);
        }
    }
    let admin = plain(servers);
    let group = GroupId::from("group");
    let committed = [("a", 0, 0), ("a", 2, 4), ("b", 0, 1)];
    let committed =
        committed.map(|(topic, partition, end)| (Topic::from(topic).partition(partition), offset(end)));
    commit(&admin, &group, &committed, "").await;

    let topics = admin.topics().await.unwrap();
    let partitions = topics.iter().flat_map(|(name, topic)| {
        let partitions = topic.as_ref().unwrap().partitions.keys();
        partitions.map(|partition| name.partition(partition.0))
    });
    let ends = values(
        admin
            .list_offsets(&partitions.collect::<Vec<_>>(), LogEnd::Latest)
            .await,
    );
    let ours = ends.iter().map(|(partition, end)| {
        (
            partition.topic.as_str().to_owned(),
            partition.partition.0,
            end.get(),
        )
    });
    // The commits are in a topic, too.
    assert_eq!(ours.collect::<Vec<_>>(), get_offsets(servers).await.unwrap());

    let answers = admin.committed(&[group]).await.pop().unwrap().1.unwrap();
    let ours = values(answers).into_iter().map(|(partition, committed)| {
        let row = (committed.offset.get(), ends[&partition].get());
        (partition, row)
    });
    let rows = consumer_groups(servers, "group").await.unwrap();
    let theirs = rows.into_iter().map(|row| {
        let partition = Topic::from(&*row.topic).partition(row.partition);
        (
            partition,
            (row.current_offset.unwrap(), row.log_end_offset.unwrap()),
        )
    });
    assert_eq!(ours.collect::<BTreeMap<_, _>>(), theirs.collect());
}
