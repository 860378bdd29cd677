//! A user who may see some topics and groups: what is hidden is refused by itself, and never called absent.

use std::collections::BTreeMap;

use kafka_admin::{
    GroupId, LogEnd, RawSecurity, Refusal, RefusalKind, SaslMechanism, SecurityProtocol, Topic,
    TopicPartition,
};

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

#[tokio::test]
async fn what_a_user_may_not_see_is_refused_by_itself_and_is_not_absent() {
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
    let [seen, hidden] = ["seen", "hidden"].map(|topic| TopicPartition::new(topic, 0));
    let groups = ["seen", "hidden"].map(GroupId::from);
    for partition in [&seen, &hidden] {
        client.create_topic(partition.topic.as_str(), 1, &[]);
        client.produce(partition.topic.as_str(), 0, &[1]);
    }
    let both = [(seen.clone(), offset(1)), (hidden.clone(), offset(1))];
    for group in &groups {
        commit(&root, group, &both, "").await;
    }
    for resource in [Resource::Topic, Resource::Group] {
        client.allow("monitor", Operation::Describe, resource, "seen");
    }
    let monitor = admin(
        broker.bootstrap_servers(),
        RawSecurity {
            protocol: SecurityProtocol::SaslPlaintext,
            sasl_mechanism: Some(SaslMechanism::Plain),
            username: Some("monitor".to_owned()),
            password: Some("secret".into()),
            ..RawSecurity::default()
        },
    );

    let both = [seen.clone(), hidden.clone()];
    let ends: BTreeMap<_, _> = monitor
        .list_offsets(&both, LogEnd::Latest)
        .await
        .into_iter()
        .collect();
    assert_eq!(ends[&seen], Ok(offset(1)));
    denied(&ends[&hidden], "TOPIC_AUTHORIZATION_FAILED", "DESCRIBE");
    let topics = [seen.topic.clone(), hidden.topic.clone(), Topic::from("nowhere")];
    let described: BTreeMap<_, _> = monitor
        .describe_topics(&topics)
        .await
        .unwrap()
        .into_iter()
        .collect();
    assert!(described[&seen.topic].is_ok());
    denied(
        &described[&hidden.topic],
        "TOPIC_AUTHORIZATION_FAILED",
        "DESCRIBE",
    );
    // Whoever may not see a topic is not told whether it is there.
    denied(&described[&topics[2]], "TOPIC_AUTHORIZATION_FAILED", "DESCRIBE");
    let sections = monitor.log_sections(&[(seen.clone(), offset(0))], 1000).await;
    denied(&sections[0].1, "TOPIC_AUTHORIZATION_FAILED", "READ");

    let committed: BTreeMap<_, _> = monitor.committed(&groups).await.into_iter().collect();
    let of_seen = values(committed[&groups[0]].clone().unwrap());
    assert_eq!(of_seen.into_keys().collect::<Vec<_>>(), [seen.clone()]);
    denied(&committed[&groups[1]], "GROUP_AUTHORIZATION_FAILED", "DESCRIBE");
    let named: BTreeMap<_, _> = monitor
        .committed_in(&groups[0], &both)
        .await
        .unwrap()
        .into_iter()
        .collect();
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
