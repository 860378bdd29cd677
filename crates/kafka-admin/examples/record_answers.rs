//! Records what a broker answers: each kind of request that this crate makes, in each version that both know, as lines of a
//! name, a version and the bytes in base64. `tests/answers/answers.txt` was made so, with Kafka 4.3.1:
//!
//! ```text
//! cargo run -p kafka-admin --example record_answers -- HOST:PORT TOPIC GROUP CONSUMER_GROUP SHARE_GROUP
//! ```

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::collections::HashMap;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Buf as _, Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, ConsumerGroupDescribeRequest, DescribeConfigsRequest,
    DescribeGroupsRequest, DescribeShareGroupOffsetsRequest, FetchRequest, FindCoordinatorRequest, GroupId,
    ListGroupsRequest, ListOffsetsRequest, MetadataRequest, OffsetCommitRequest, OffsetDeleteRequest,
    OffsetFetchRequest, RequestHeader, ResponseHeader, SaslHandshakeRequest, ShareGroupDescribeRequest,
    TopicName, describe_configs_request, describe_share_group_offsets_request, fetch_request,
    list_offsets_request, metadata_request, offset_commit_request, offset_delete_request,
    offset_fetch_request,
};
use kafka_protocol::protocol::{Decodable as _, Encodable as _, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The last version of `Fetch` that has the names of topics.
const LAST_FETCH: i16 = 12;

struct Recorder {
    broker: TcpStream,
    known: HashMap<i16, (i16, i16)>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [address, topic, group, consumer_group, share_group] = &arguments[..] else {
        anyhow::bail!("usage: HOST:PORT TOPIC GROUP CONSUMER_GROUP SHARE_GROUP");
    };
    let mut recorder = Recorder {
        broker: TcpStream::connect(address).await?,
        known: HashMap::new(),
    };
    recorder.versions().await?;
    recorder.topics(topic).await?;
    recorder
        .groups(&id(group), &id(consumer_group), &id(share_group))
        .await?;
    recorder.offsets(topic, &id(group), &id(share_group)).await
}

fn id(group: &str) -> GroupId {
    GroupId(StrBytes::from_string(group.to_owned()))
}

fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

impl Recorder {
    async fn versions(&mut self) -> anyhow::Result<()> {
        let mut answer = self.call(&ApiVersionsRequest::default(), 0).await?;
        ResponseHeader::decode(&mut answer, 0)?;
        let answer = ApiVersionsResponse::decode(&mut answer, 0)?;
        let versions = answer.api_keys.iter();
        self.known = versions
            .map(|key| (key.api_key, (key.min_version, key.max_version)))
            .collect();
        let text = StrBytes::from_static_str("outrigger");
        self.record(|version| match version {
            ..3 => ApiVersionsRequest::default(),
            _ => ApiVersionsRequest::default()
                .with_client_software_name(text.clone())
                .with_client_software_version(text.clone()),
        })
        .await?;
        self.record(|_| SaslHandshakeRequest::default()).await
    }

    async fn topics(&mut self, topic: &str) -> anyhow::Result<()> {
        self.record(|_| {
            let topic = metadata_request::MetadataRequestTopic::default().with_name(Some(name(topic)));
            MetadataRequest::default().with_topics(Some(vec![topic]))
        })
        .await?;
        self.record(|_| {
            let resource = describe_configs_request::DescribeConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(name(topic).0)
                .with_configuration_keys(Some(vec![StrBytes::from_static_str("retention.ms")]));
            DescribeConfigsRequest::default().with_resources(vec![resource])
        })
        .await?;
        self.record(|version| {
            let partition = fetch_request::FetchPartition::default().with_partition_max_bytes(500);
            let asked = fetch_request::FetchTopic::default()
                .with_topic(name(topic))
                .with_partitions(vec![partition]);
            let topics = if version > LAST_FETCH {
                Vec::new()
            } else {
                vec![asked]
            };
            FetchRequest::default()
                .with_max_bytes(1000)
                .with_isolation_level(1)
                .with_session_epoch(-1)
                .with_topics(topics)
        })
        .await?;
        self.record(|_| {
            let partition = list_offsets_request::ListOffsetsPartition::default().with_timestamp(-1);
            let asked = list_offsets_request::ListOffsetsTopic::default()
                .with_name(name(topic))
                .with_partitions(vec![partition]);
            ListOffsetsRequest::default()
                .with_replica_id((-1).into())
                .with_topics(vec![asked])
        })
        .await
    }

    async fn groups(&mut self, group: &GroupId, consumer: &GroupId, share: &GroupId) -> anyhow::Result<()> {
        self.record(|version| match version {
            ..4 => FindCoordinatorRequest::default().with_key(group.0.clone()),
            _ => FindCoordinatorRequest::default().with_coordinator_keys(vec![group.0.clone()]),
        })
        .await?;
        self.record(|_| ListGroupsRequest::default()).await?;
        self.record(|_| DescribeGroupsRequest::default().with_groups(vec![group.clone()]))
            .await?;
        self.record(|_| ConsumerGroupDescribeRequest::default().with_group_ids(vec![consumer.clone()]))
            .await?;
        self.record(|_| ShareGroupDescribeRequest::default().with_group_ids(vec![share.clone()]))
            .await
    }

    async fn offsets(&mut self, topic: &str, group: &GroupId, share: &GroupId) -> anyhow::Result<()> {
        self.record(|version| {
            let named = offset_fetch_request::OffsetFetchRequestTopic::default();
            let named = named.with_name(name(topic)).with_partition_indexes(vec![0]);
            let single = OffsetFetchRequest::default().with_group_id(group.clone());
            match version {
                ..2 => single.with_topics(Some(vec![named])),
                2..8 => single.with_topics(None),
                8.. => {
                    let asked = offset_fetch_request::OffsetFetchRequestGroup::default();
                    let asked = asked.with_group_id(group.clone()).with_topics(None);
                    OffsetFetchRequest::default().with_groups(vec![asked])
                }
            }
        })
        .await?;
        self.record(|_| {
            let partition = offset_commit_request::OffsetCommitRequestPartition::default();
            let asked = offset_commit_request::OffsetCommitRequestTopic::default()
                .with_name(name(topic))
                .with_partitions(vec![partition]);
            OffsetCommitRequest::default()
                .with_group_id(id("other"))
                .with_topics(vec![asked])
        })
        .await?;
        self.record(|_| {
            let partition = offset_delete_request::OffsetDeleteRequestPartition::default();
            let asked = offset_delete_request::OffsetDeleteRequestTopic::default()
                .with_name(name(topic))
                .with_partitions(vec![partition]);
            OffsetDeleteRequest::default()
                .with_group_id(group.clone())
                .with_topics(vec![asked])
        })
        .await?;
        self.record(|_| {
            let asked =
                describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestGroup::default()
                    .with_group_id(share.clone())
                    .with_topics(None);
            DescribeShareGroupOffsetsRequest::default().with_groups(vec![asked])
        })
        .await
    }

    /// Asks in each version that both know, and prints the answers.
    async fn record<Req: Request>(&mut self, request: impl Fn(i16) -> Req) -> anyhow::Result<()> {
        let name = std::any::type_name::<Req>()
            .rsplit("::")
            .next()
            .unwrap_or_default();
        let name = name.strip_suffix("Request").unwrap_or(name);
        let (min, max) = self
            .known
            .get(&Req::KEY)
            .copied()
            .with_context(|| name.to_owned())?;
        for version in min.max(Req::VERSIONS.min)..=max.min(Req::VERSIONS.max) {
            let answer = self.call(&request(version), version).await;
            let answer = answer.with_context(|| format!("{name} {version}"))?;
            println!("{name} {version} {}", BASE64.encode(answer));
        }
        Ok(())
    }

    async fn call<Req: Request>(&mut self, request: &Req, version: i16) -> anyhow::Result<Bytes> {
        let mut frame = BytesMut::new();
        RequestHeader::default()
            .with_request_api_key(Req::KEY)
            .with_request_api_version(version)
            .with_correlation_id(7)
            .with_client_id(Some(StrBytes::from_static_str("recorder")))
            .encode(&mut frame, <Req as HeaderVersion>::header_version(version))?;
        request.encode(&mut frame, version)?;
        self.broker.write_i32(i32::try_from(frame.len())?).await?;
        self.broker.write_all(&frame).await?;
        let size = self.broker.read_i32().await?;
        let mut answer = vec![0; usize::try_from(size)?];
        self.broker.read_exact(&mut answer).await?;
        anyhow::ensure!((&answer[..]).get_i32() == 7, "an answer to something else");
        Ok(answer.into())
    }
}
