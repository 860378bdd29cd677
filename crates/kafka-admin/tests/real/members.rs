//! Groups with members: Kafka's own consumers, with each protocol.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kafka_admin::{Admin, GroupDescription, GroupId, GroupType, Refusal, RefusalKind, TopicPartition};
use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::{offset, plain, start, values};

/// How long Java may take to start a consumer and the group to become stable.
const TIMEOUT: Duration = Duration::from_mins(1);

/// A consumer in Java.
struct Consumer(Child);

impl Consumer {
    fn start(servers: &str, tool: &str, group: &str, arguments: &[&str]) -> Self {
        let fetch = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/kafka/fetch");
        let jars = Command::new(fetch).output().unwrap().stdout;
        let jars = String::from_utf8(jars).unwrap();
        let child = Command::new("java")
            .args(["-XX:TieredStopAtLevel=1", "-cp", &format!("{}/*", jars.trim())])
            .arg(format!("org.apache.kafka.tools.consumer.{tool}"))
            .args(["--bootstrap-server", servers, "--topic", "a", "--group", group])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What a group is like as soon as all of its partitions are assigned.
async fn stable(admin: &Admin, group: &GroupId) -> GroupDescription {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let groups = std::slice::from_ref(group);
        let described: Result<_, Refusal> = if group.as_str() == "share" {
            admin.describe_share_groups(groups).await.pop().unwrap().1
        } else {
            admin.describe_groups(groups).await.pop().unwrap().1
        };
        match described {
            Ok(group) if group.members.iter().any(|member| member.assigned.len() == 2) => return group,
            other => assert!(Instant::now() < deadline, "{other:?}"),
        }
        sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn members_of_each_protocol_are_described_with_what_is_assigned_to_them() {
    let broker = start(&[]).await;
    let mut client = Client::new(broker.bootstrap_servers());
    client.create_topic("a", 2, &[]);
    let admin = plain(broker.bootstrap_servers());
    let consumer =
        |tool, group, arguments: &[&str]| Consumer::start(broker.bootstrap_servers(), tool, group, arguments);
    let _consumers = [
        consumer(
            "ConsoleConsumer",
            "classic",
            &["--consumer-property", "group.protocol=classic"],
        ),
        consumer(
            "ConsoleConsumer",
            "consumer",
            &["--consumer-property", "group.protocol=consumer"],
        ),
        consumer("ConsoleShareConsumer", "share", &[]),
    ];
    let both = [TopicPartition::new("a", 0), TopicPartition::new("a", 1)];
    for (name, group_type) in [
        ("classic", GroupType::Classic),
        ("consumer", GroupType::Consumer),
        ("share", GroupType::Share),
    ] {
        let described = stable(&admin, &GroupId::from(name)).await;
        assert_eq!(
            (described.group_type, described.state.as_str()),
            (group_type, "Stable")
        );
        let mut assigned = described.members[0].assigned.clone();
        assigned.sort();
        assert_eq!(assigned, both, "{name}");
        assert!(described.members[0].host.contains("127.0.0.1"), "{described:?}");
    }
    for name in ["classic", "consumer"] {
        let commits = [(both[0].clone(), offset(0))];
        let refused = admin.commit(&GroupId::from(name), &commits, "").await;
        let refusal = refused
            .and_then(|mut answers| answers.pop().unwrap().1)
            .unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::InUse, "{name}: {refusal}");
    }
    let share = [GroupId::from("share")];
    let deadline = Instant::now() + TIMEOUT;
    for written in 1.. {
        // A share group begins with a partition when it gets the first record; what came before it is none.
        client.produce("a", 0, &[1]);
        let (_, starts) = admin.share_group_offsets(&share).await.pop().unwrap();
        let start = values(starts.unwrap()).remove(&both[0]).flatten();
        // Whether it has finished the record is written down later.
        if let Some(start) = start {
            assert!(start <= offset(written), "{start}");
            break;
        }
        assert!(Instant::now() < deadline);
        sleep(Duration::from_millis(200)).await;
    }
}
