//! What real groups accept and refuse.

use std::time::Duration;

use kafka_admin::{GroupId, Offset, RefusalKind, Topic, TopicPartition};
use kafka_io::{Consumer, GroupProtocol, Membership, StartWithout};
use testbed::{Kafka, KafkaSettings, consumer_groups, until};

use crate::stage::{PATIENCE, Stage, Written};

#[tokio::test(flavor = "multi_thread")]
async fn kafkas_own_tool_shows_the_lag() {
    let stage = Stage::new().await;
    stage.topic("lag", 1, 50).await;
    let mut checkpoint = Written::at(stage.path("c")).await;
    checkpoint.commit(&[("lag", 0, 20)]).await;
    let process = stage.reporter("lag-group", stage.path("c").to_str().unwrap(), "");
    stage.comes_to_have(&process, "lag-group", ("lag", 0), 20).await;
    let rows = consumer_groups(&stage.servers, "lag-group").await.unwrap();
    let row = rows.iter().find(|row| row.topic == "lag").unwrap();
    assert_eq!(
        (row.current_offset, row.log_end_offset, row.lag),
        (Some(20), Some(50), Some(30))
    );
    stage.comes_to_tell(&process, "offset_reporter_lag", 30.0).await;
    checkpoint.commit(&[("lag", 0, 50)]).await;
    stage.comes_to_have(&process, "lag-group", ("lag", 0), 50).await;
    stage.comes_to_tell(&process, "offset_reporter_lag", 0.0).await;
    process.stop().await.unwrap();
}

async fn is_left_alone_while_it_has_members(group: &str, protocol: GroupProtocol) {
    let stage = Stage::new().await;
    stage.topic(group, 1, 50).await;
    let membership = Membership {
        group: group.to_owned(),
        instance_id: None,
        protocol,
        start: StartWithout::Earliest,
        session_timeout: Duration::from_secs(10),
        max_poll_interval: Duration::from_mins(1),
        drain_timeout: Duration::from_secs(5),
    };
    let (member, mut events) =
        Consumer::subscribed(&stage.connection, &Topic::from(group), &membership).unwrap();
    while !matches!(events.recv().await, Some(kafka_io::Event::Assigned(_))) {}
    let mut checkpoint = Written::at(stage.path("c")).await;
    checkpoint.commit(&[(group, 0, 20)]).await;
    let process = stage.reporter(group, stage.path("c").to_str().unwrap(), "");
    let refused = until(PATIENCE, async || {
        process.metric("offset_reporter_kafka_commit_errors_total").await
    });
    refused.await.unwrap_or_else(|| panic!("{}", process.log()));
    let (status, page) = process.get("/readyz?verbose").await.unwrap();
    assert!(
        status == 503 && page.contains("UNKNOWN_MEMBER_ID") && page.contains("members"),
        "{page}"
    );
    assert_eq!(stage.has(group, group, 0).await, Ok(None));
    events.close();
    member.close().await;
    // It asks again after a minute.
    stage.comes_to_have(&process, group, (group, 0), 20).await;
    process.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_active_classic_group_is_left_alone_and_taken_up_when_it_is_empty() {
    is_left_alone_while_it_has_members("classic", GroupProtocol::Classic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_active_group_of_kip_848_is_left_alone_and_taken_up_when_it_is_empty() {
    is_left_alone_while_it_has_members("kip-848", GroupProtocol::Consumer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_topic_blocks_no_other_and_a_new_partition_is_taken_up() {
    let stage = Stage::new().await;
    stage.topic("stays", 1, 30).await;
    stage.topic("goes", 1, 30).await;
    let mut checkpoint = Written::at(stage.path("c")).await;
    checkpoint.commit(&[("goes", 0, 10), ("stays", 0, 10)]).await;
    let process = stage.reporter("two-topics", stage.path("c").to_str().unwrap(), "");
    stage.comes_to_have(&process, "two-topics", ("goes", 0), 10).await;
    stage.topics.delete(&Topic::from("goes")).await.unwrap();
    stage
        .comes_to_tell(&process, "offset_reporter_unknown_partitions", 1.0)
        .await;
    checkpoint.commit(&[("goes", 0, 11), ("stays", 0, 12)]).await;
    stage
        .comes_to_have(&process, "two-topics", ("stays", 0), 12)
        .await;
    stage.topics.extend(&Topic::from("stays"), 2).await.unwrap();
    checkpoint
        .commit(&[("goes", 0, 11), ("stays", 0, 12), ("stays", 1, 0)])
        .await;
    stage.comes_to_have(&process, "two-topics", ("stays", 1), 0).await;
    stage.topic("goes", 1, 3).await;
    stage
        .comes_to_tell(&process, "offset_reporter_out_of_range", 1.0)
        .await;
    stage.comes_to_have(&process, "two-topics", ("goes", 0), 11).await;
    process.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_partitions_are_forgotten_where_that_is_wanted() {
    let stage = Stage::new().await;
    for topic in ["kept", "left"] {
        stage.topic(topic, 1, 30).await;
    }
    let mut checkpoint = Written::at(stage.path("c")).await;
    checkpoint.commit(&[("kept", 0, 10), ("left", 0, 10)]).await;
    let place = stage.path("c");
    let process = stage.reporter("pruned", place.to_str().unwrap(), "");
    stage.comes_to_have(&process, "pruned", ("left", 0), 10).await;
    checkpoint.commit(&[("kept", 0, 11)]).await;
    stage
        .comes_to_tell(&process, "offset_reporter_stale_partitions", 1.0)
        .await;
    assert_eq!(stage.has("pruned", "left", 0).await, Ok(Some(10)));
    process.stop().await.unwrap();
    let process = stage.reporter("pruned", place.to_str().unwrap(), "prune = true");
    let forgotten = until(PATIENCE, async || {
        (stage.has("pruned", "left", 0).await == Ok(None)).then_some(())
    });
    forgotten.await.unwrap_or_else(|| panic!("{}", process.log()));
    assert_eq!(stage.has("pruned", "kept", 0).await, Ok(Some(11)));
    process.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_broker_is_told_and_what_was_missed_comes_after_it() {
    let mut broker = Kafka::start(&KafkaSettings::default()).await.unwrap();
    let stage = Stage::on(broker.bootstrap_servers());
    stage.topic("t", 1, 50).await;
    let mut checkpoint = Written::at(stage.path("c")).await;
    checkpoint.commit(&[("t", 0, 10)]).await;
    let mut process = stage.reporter("g", stage.path("c").to_str().unwrap(), "");
    process.ready().await.unwrap();
    broker.stop().await.unwrap();
    checkpoint.commit(&[("t", 0, 40)]).await;
    let unready = until(PATIENCE, async || (!process.is_ready().await).then_some(()));
    unready.await.unwrap_or_else(|| panic!("{}", process.log()));
    broker.restart().await.unwrap();
    stage.comes_to_have(&process, "g", ("t", 0), 40).await;
    process.ready().await.unwrap();
    process.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_to_a_coordinator_that_is_away_is_answered_when_it_is_back() {
    let mut broker = Kafka::start(&KafkaSettings::default()).await.unwrap();
    let stage = Stage::on(broker.bootstrap_servers());
    stage.topic("t", 1, 50).await;
    let commit = async |offset| {
        let offsets = [(TopicPartition::new("t", 0), Offset::new(offset).unwrap())];
        let told = stage.admin.commit(&GroupId::from("g"), &offsets, "").await?;
        told.into_iter().try_for_each(|(_, told)| told)
    };
    let patiently = async |offset| until(PATIENCE, async || commit(offset).await.ok()).await;
    patiently(1).await.unwrap();
    broker.stop().await.unwrap();
    let unanswered = commit(2).await.unwrap_err();
    assert_eq!(unanswered.kind, RefusalKind::Passing, "{unanswered}");
    broker.restart().await.unwrap();
    patiently(3).await.unwrap();
    assert_eq!(
        stage.has("g", "t", 0).await,
        Ok(Some(3)),
        "the late commit undid nothing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tries_the_checkpoint_and_the_group_of_each_stream() {
    let stage = Stage::new().await;
    stage.topic("checked", 1, 30).await;
    let mut checkpoint = Written::at(stage.path("c")).await;
    checkpoint.commit(&[("checked", 0, 10)]).await;
    let file = stage.path("check.toml");
    let stream =
        |name: &str, place: &str| format!("[[streams]]\nname = \"{name}\"\ncheckpoint = \"{place}\"\n");
    let config = format!(
        "kafka.bootstrap_servers = \"{}\"\n{}{}",
        stage.servers,
        stream("good", stage.path("c").to_str().unwrap()),
        stream("bad", "/nowhere")
    );
    std::fs::write(&file, config).unwrap();
    let output = std::process::Command::new(crate::stage::program())
        .args(["check", "--connect", "--config", file.to_str().unwrap()])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told.contains("ok      good checkpoint") && told.contains("ok      good group: 1 of 1 partitions"),
        "{told}"
    );
    assert!(
        told.contains("failed  bad checkpoint: /nowhere: there is no checkpoint"),
        "{told}"
    );
}
