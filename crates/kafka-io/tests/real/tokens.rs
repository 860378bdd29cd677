//! A broker that takes tokens: records are written and read with those of the source that requests use, too, and a session is
//! renewed before the broker ends it.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use kafka_admin::{Connection, Partition, RawKafka, RawSecurity, SaslMechanism, SecurityProtocol, Topic};
use kafka_io::{Consumer, Start};
use sidecar::Problems;
use testbed::{Kafka, KafkaSettings, TopicAdmin};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::kafka::{connection, next_record, produce};

const LOGIN: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
                     unsecuredLoginStringClaim_sub=\"user\";";
const CALLBACK: &str = "org.apache.kafka.common.security.oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler";
/// How long a token, and with it a session, is good for.
const LIFETIME: Duration = Duration::from_secs(10);
/// How often somebody writes a new one.
const RENEWED_EVERY: Duration = Duration::from_secs(1);

/// A token that says who one is and is not signed.
fn write_token(file: &Path) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = format!(
        "{{\"sub\":\"user\",\"iat\":{now},\"exp\":{}}}",
        now + LIFETIME.as_secs()
    );
    let token = format!(
        "{}.{}.",
        BASE64.encode("{\"alg\":\"none\"}"),
        BASE64.encode(claims)
    );
    let written = file.with_extension("new");
    std::fs::write(&written, token).unwrap();
    std::fs::rename(written, file).unwrap();
}

async fn broker() -> Kafka {
    let properties = [
        (
            "listener.security.protocol.map",
            "CLIENT:SASL_PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        ),
        ("sasl.enabled.mechanisms", "OAUTHBEARER"),
        ("listener.name.client.oauthbearer.sasl.jaas.config", LOGIN),
        (
            "listener.name.client.oauthbearer.sasl.server.callback.handler.class",
            CALLBACK,
        ),
        (
            "listener.name.client.oauthbearer.connections.max.reauth.ms",
            "60000",
        ),
    ];
    let settings = KafkaSettings {
        properties: properties
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .to_vec(),
        ..KafkaSettings::default()
    };
    Kafka::start(&settings).await.unwrap()
}

fn with_token(servers: &str, file: &Path) -> Connection {
    let raw = RawKafka {
        bootstrap_servers: servers.to_owned(),
        security: RawSecurity {
            protocol: SecurityProtocol::SaslPlaintext,
            sasl_mechanism: Some(SaslMechanism::OauthBearer),
            token_file: Some(file.to_owned()),
            ..RawSecurity::default()
        },
        ..RawKafka::default()
    };
    let mut problems = Problems::new();
    kafka_io::check(raw, &mut problems).unwrap_or_else(|| panic!("{problems}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_written_and_read_with_tokens_that_are_renewed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    write_token(&file);
    let (mut writer, written) = (JoinSet::new(), file.clone());
    writer.spawn(async move {
        loop {
            sleep(RENEWED_EVERY).await;
            write_token(&written);
        }
    });
    let broker = broker().await;
    let tokens = with_token(broker.bootstrap_servers(), &file);
    let topic = Topic::from("input");
    create(&broker, &topic).await;
    let start = [(Partition(0), Start::At(0))];
    let (consumer, mut events) = Consumer::assigned(&tokens, &topic, &start).unwrap();
    let began = Instant::now();
    for number in 0..4_u32 {
        let value = number.to_string();
        produce(&tokens, &topic, &[&value]).await;
        assert_eq!(next_record(&mut events).await.value, Some(value.into_bytes()));
        sleep_until(began + LIFETIME * (number + 1) / 2).await;
    }
    consumer.close().await;
}

/// By the listener of the brokers, which asks for nothing.
async fn create(broker: &Kafka, topic: &Topic) {
    let file = std::fs::read_to_string(broker.data().join("server.properties")).unwrap();
    let internal = file.split("BROKER://").nth(1).unwrap();
    let internal = internal.split(',').next().unwrap();
    let topics = TopicAdmin::new(&connection(internal)).unwrap();
    topics.create(topic, 1).await.unwrap();
}
