//! A user who may see some topics and groups: what is hidden is refused by itself, and never called absent.

use std::collections::BTreeMap;

use kafka_admin::{
    Admin, GroupId, LogEnd, RawSecurity, Refusal, RefusalKind, SaslMechanism, SecurityProtocol, Topic,
    TopicPartition,
};
use testbed::Kafka;

use crate::client::{Client, Operation, Resource};
use crate::{admin, commit, offset, plain, start, values};

const USERS: &str =
    "org.apache.kafka.common.security.plain.PlainLoginModule required user_monitor=\"secret\";";

fn denied<T: std::fmt::Debug>(answer: &Result<T, Refusal>, code: &str, grant: &str) {
    let refusal = answer.as_ref().unwrap_err();
    assert_eq!(
        (refusal.kind, &*refusal.code),
        (RefusalKind::Denied, code),
        "{refusal}"
    );
    assert!(refusal.reason.contains(grant), "{refusal}");
}

const BOTH: [&str; 2] = ["seen", "hidden"];

/// A broker with a group and a topic of which everybody may know, and a group and a topic of which nobody may.
async fn with_secrets() -> Kafka {
    let broker = start(&[
        (
            "listener.security.protocol.map",
            "CLIENT:SASL_PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        ),
        ("sasl.enabled.mechanisms", "PLAIN"),
        ("listener.name.client.plain.sasl.jaas.config", USERS),
        (
            "authorizer.class.name",
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        ),
        // Who comes to the brokers' own listener.
        ("super.users", "User:ANONYMOUS"),
    ])
    .await;
    let internal = broker.internal_listener().unwrap();
    let mut client = Client::new(&internal);
    let root = plain(&internal);
    for topic in BOTH {
        client.create_topic(topic, 1, &[]);
        client.produce(topic, 0, &[1]);
    }
    let offsets = BOTH.map(|topic| (TopicPartition::new(topic, 0), offset(1)));
    for group in BOTH.map(GroupId::from) {
        commit(&root, &group, &offsets, "").await;
    }
    for resource in [Resource::Topic, Resource::Group] {
        client.allow("monitor", Operation::Describe, resource, "seen");
    }
    broker
}

fn monitor(broker: &Kafka) -> Admin {
    let security = RawSecurity {
        protocol: SecurityProtocol::SaslPlaintext,
        sasl_mechanism: Some(SaslMechanism::Plain),
        username: Some("monitor".to_owned()),
        password: Some("secret".into()),
        ..RawSecurity::default()
    };
    admin(broker.bootstrap_servers(), security)
}

#[tokio::test]
async fn what_a_user_may_not_see_is_refused_by_itself_and_is_not_absent() {
    let broker = with_secrets().await;
    let monitor = monitor(&broker);
    assert_topics(&monitor).await;
    assert_groups(&monitor).await;
}

async fn assert_topics(monitor: &Admin) {
    let both = BOTH.map(|topic| TopicPartition::new(topic, 0));
    let ends = monitor.list_offsets(&both, LogEnd::Latest).await;
    let ends: BTreeMap<_, _> = ends.into_iter().collect();
    assert_eq!(ends[&both[0]], Ok(offset(1)));
    denied(&ends[&both[1]], "TOPIC_AUTHORIZATION_FAILED", "DESCRIBE");
    let topics = ["seen", "hidden", "nowhere"].map(Topic::from);
    let described = monitor.describe_topics(&topics).await.unwrap();
    let described: BTreeMap<_, _> = described.into_iter().collect();
    assert!(described[&topics[0]].is_ok());
    // Whoever may not see a topic does not learn whether it is there.
    for hidden in &topics[1..] {
        denied(&described[hidden], "TOPIC_AUTHORIZATION_FAILED", "DESCRIBE");
    }
    let from = [(both[0].clone(), offset(0))];
    let sections = monitor.log_sections(&from, 1000).await;
    denied(&sections[0].1, "TOPIC_AUTHORIZATION_FAILED", "READ");
}

async fn assert_groups(monitor: &Admin) {
    let [seen, hidden] = BOTH.map(|topic| TopicPartition::new(topic, 0));
    let groups = BOTH.map(GroupId::from);
    let committed: BTreeMap<_, _> = monitor.committed(&groups).await.into_iter().collect();
    // Kafka leaves out what the user may not see if all is asked for, and says so if it is named.
    let of_seen = values(committed[&groups[0]].clone().unwrap());
    assert!(of_seen.keys().eq([&seen]), "{of_seen:?}");
    denied(&committed[&groups[1]], "GROUP_AUTHORIZATION_FAILED", "DESCRIBE");
    let both = [seen.clone(), hidden.clone()];
    let named = monitor.committed_in(&groups[0], &both).await.unwrap();
    let named: BTreeMap<_, _> = named.into_iter().collect();
    assert!(named[&seen].is_ok());
    denied(&named[&hidden], "TOPIC_AUTHORIZATION_FAILED", "DESCRIBE");
    let described: BTreeMap<_, _> = monitor.describe_groups(&groups).await.into_iter().collect();
    assert!(described[&groups[0]].is_ok(), "{described:?}");
    denied(&described[&groups[1]], "GROUP_AUTHORIZATION_FAILED", "DESCRIBE");
    // Commits need more than that.
    let refused = monitor.commit(&groups[0], &[(seen, offset(2))], "").await;
    let refused = refused.and_then(|mut answers| answers.pop().unwrap().1);
    denied(&refused, "GROUP_AUTHORIZATION_FAILED", "READ");
}
