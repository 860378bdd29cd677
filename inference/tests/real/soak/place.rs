//! Owns what all rounds share: one broker and one S3 server, each behind a proxy.

use std::collections::BTreeMap;

use anyhow::Context as _;
use checkpoint::{Location, RawS3, TopicOffsets};
use kafka_admin::{Admin, GroupId};
use testbed::{
    Fault as NetworkFault, FaultProxy, Kafka, KafkaSettings, Process, S3Server, committed, committed_on_s3,
    until,
};

use super::books::Positions;
use super::plan::Keeping;
use super::{DRAIN, GRACE, SESSION, WITHIN};
use crate::stage::{Stage, settings};

const BUCKET: &str = "soak";
/// The folder of a checkpoint in a round's folder, and the last part of its prefix on S3.
const CHECKPOINT: &str = "checkpoint";
/// How often progress is committed: often enough for many commits in a short life.
const COMMIT_INTERVAL: &str = "300ms";

/// The broker and the store.
pub(crate) struct Place {
    pub(crate) kafka: Kafka,
    s3: S3Server,
    kafka_proxy: FaultProxy,
    s3_proxy: FaultProxy,
}

impl Place {
    pub(crate) async fn new() -> anyhow::Result<Self> {
        let (kafka_proxy, s3_proxy) = (FaultProxy::start()?, FaultProxy::start()?);
        let s3 = S3Server::start().await?;
        s3.create_bucket(BUCKET).await?;
        s3_proxy.forward_to(s3.endpoint().trim_start_matches("http://").parse()?);
        // KIP-848 has the session's length from the broker.
        let session = SESSION.as_millis().to_string();
        let sessions = [
            ("group.consumer.min.session.timeout.ms", "1000"),
            ("group.consumer.session.timeout.ms", &session),
            ("group.consumer.min.heartbeat.interval.ms", "500"),
            ("group.consumer.heartbeat.interval.ms", "1000"),
            ("group.min.session.timeout.ms", "1000"),
        ];
        let sessions = sessions.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut settings = KafkaSettings {
            advertised_port: Some(kafka_proxy.address().port()),
            ..settings()
        };
        settings.properties.extend(sessions);
        let kafka = Kafka::start(&settings).await?;
        kafka_proxy.forward_to(kafka.listener());
        Ok(Self {
            kafka,
            s3,
            kafka_proxy,
            s3_proxy,
        })
    }

    /// What the network does from now on.
    pub(crate) fn network(&self, fault: NetworkFault) {
        self.kafka_proxy.set(fault);
        self.s3_proxy.set(fault);
    }

    /// Starts a worker that keeps its progress like that.
    pub(crate) async fn worker(&self, stage: &Stage, keeping: Keeping) -> Process {
        let millis = |duration: std::time::Duration| format!("{}ms", duration.as_millis());
        let (drain, grace, session) = (millis(DRAIN), millis(GRACE), millis(SESSION));
        let mut variables = vec![
            ("AWS_ACCESS_KEY_ID", self.s3.access_key()),
            ("AWS_SECRET_ACCESS_KEY", self.s3.secret_key()),
            ("INFERENCE_ADMIN__GRACE_PERIOD", &grace),
            ("INFERENCE_PROGRESS__COMMIT_INTERVAL", COMMIT_INTERVAL),
        ];
        let group = group(stage);
        if keeping.is_group() {
            let protocol = if keeping == Keeping::Classic {
                "classic"
            } else {
                "consumer"
            };
            variables.extend([
                ("INFERENCE_PROGRESS__KIND", "group"),
                ("INFERENCE_PROGRESS__GROUP", &group),
                ("INFERENCE_PROGRESS__PROTOCOL", protocol),
                ("INFERENCE_PROGRESS__DRAIN_TIMEOUT", &drain),
                ("INFERENCE_PROGRESS__SESSION_TIMEOUT", &session),
            ]);
        }
        let location = match keeping {
            Keeping::S3 => Location::S3 {
                bucket: BUCKET.to_owned(),
                prefix: prefix(stage),
            },
            _ => stage.checkpoint(CHECKPOINT).into(),
        };
        let s3 = RawS3 {
            endpoint: Some(format!("http://{}", self.s3_proxy.address())),
            path_style: true,
            ..RawS3::default()
        };
        stage.worker_at(location, s3, &variables).await
    }

    /// What is committed.
    pub(crate) async fn committed(&self, stage: &Stage, keeping: Keeping) -> anyhow::Result<Positions> {
        let ends = match keeping {
            Keeping::Disk => committed(&stage.checkpoint(CHECKPOINT)),
            Keeping::S3 => committed_on_s3(&self.s3, BUCKET, &prefix(stage)).await?,
            Keeping::Classic | Keeping::Consumer => return committed_by_group(stage).await,
        };
        Ok(ends.map_or_else(BTreeMap::new, |(_, ends)| positions(&ends)))
    }
}

async fn committed_by_group(stage: &Stage) -> anyhow::Result<Positions> {
    let admin = Admin::new(&stage.connection);
    let group = GroupId::from(group(stage).as_str());
    // A coordinator that has just come back is loading.
    let committed = until(WITHIN, async || {
        let committed = admin.committed_in_all(&group).await.ok()?;
        let committed = committed.into_iter();
        let committed = committed.map(|(of, position)| Some((of.partition, position.ok()?.offset.get())));
        committed.collect::<Option<Positions>>()
    });
    committed
        .await
        .with_context(|| format!("the broker does not name the positions of {group}"))
}

fn positions(ends: &TopicOffsets) -> Positions {
    let positions = ends.iter();
    positions
        .map(|(_, partition, position)| (kafka_admin::Partition(partition), position))
        .collect()
}

fn group(stage: &Stage) -> String {
    format!("{}-group", stage.input)
}

fn prefix(stage: &Stage) -> String {
    format!("{}/{CHECKPOINT}", stage.input)
}
