//! Owns the cluster of the demo: the mock one or the user's, with the demo's topics in it.

use anyhow::Context;
use kafka_admin::{Connection, RawKafka, Topic};
use kafka_io::MockBroker;
use sidecar::Problems;
use testbed::TopicAdmin;

/// Partitions of each topic.
pub(crate) const PARTITIONS: i32 = 4;
/// The mock cluster answers a fetch only when it has waited to the end, so it shall not wait for long.
const MOCK_FETCH_WAIT: (&str, &str) = ("fetch.wait.max.ms", "5");

/// The cluster.
pub(crate) struct DemoCluster {
    pub(crate) raw: RawKafka,
    pub(crate) connection: Connection,
    pub(crate) input: Topic,
    pub(crate) output: Topic,
    pub(crate) kind: &'static str,
    _mock: Option<MockBroker>,
}

impl DemoCluster {
    /// The cluster at `servers`, or librdkafka's mock cluster.
    pub(crate) async fn open(servers: Option<&str>) -> anyhow::Result<Self> {
        let mut raw = RawKafka::default();
        let (mock, kind, suffix) = if let Some(servers) = servers {
            servers.clone_into(&mut raw.bootstrap_servers);
            (None, "your broker", format!("-demo-{}", std::process::id()))
        } else {
            let mock = MockBroker::start(1)?;
            raw.bootstrap_servers = mock.bootstrap_servers();
            let (name, value) = MOCK_FETCH_WAIT;
            raw.properties.insert(name.to_owned(), value.to_owned());
            (Some(mock), "librdkafka's mock cluster", String::new())
        };
        let connection =
            Connection::check(raw.clone(), &mut Problems::new()).context("HOST:PORT is empty")?;
        let [input, output] =
            ["input", "output"].map(|topic| Topic::from(format!("ner-{topic}{suffix}").as_str()));
        for topic in [&input, &output] {
            match &mock {
                Some(mock) => mock.create_topic(topic.as_str(), PARTITIONS)?,
                None => TopicAdmin::new(&connection)?.create(topic, PARTITIONS).await?,
            }
        }
        Ok(Self {
            raw,
            connection,
            input,
            output,
            kind,
            _mock: mock,
        })
    }
}
