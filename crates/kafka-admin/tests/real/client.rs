//! Owns what these tests need and the crate does not: topics that are created, records that are written. One request at a
//! time, on a blocking socket.

#![expect(clippy::disallowed_methods, reason = "a blocking socket has no other clock")]

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    CreateAclsRequest, CreateTopicsRequest, ElectLeadersRequest, EndTxnRequest, FindCoordinatorRequest,
    InitProducerIdRequest, MetadataRequest, ProduceRequest, RequestHeader, ResponseHeader, TransactionalId,
};
use kafka_protocol::protocol::{Decodable as _, Encodable as _, HeaderVersion as _, Request, StrBytes};
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, Record,
    RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

const TIMEOUT: Duration = Duration::from_secs(30);

/// Kafka's numbers of what may be allowed.
#[derive(Clone, Copy)]
#[allow(
    dead_code,
    reason = "two programs of tests have this file, and neither uses all of it"
)]
pub(crate) enum Operation {
    Read = 3,
    Describe = 8,
}

/// Kafka's numbers of what it may be allowed on.
#[derive(Clone, Copy)]
#[allow(dead_code, reason = "as above")]
pub(crate) enum Resource {
    Topic = 2,
    Group = 3,
}

/// A producer, as far as a transaction needs one.
#[derive(Clone)]
pub(crate) struct Transaction {
    id: TransactionalId,
    producer: i64,
    epoch: i16,
    sequence: i32,
}

pub(crate) struct Client(TcpStream);

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

#[allow(
    dead_code,
    reason = "two programs of tests have this file, and neither uses all of it"
)]
impl Client {
    pub(crate) fn new(servers: &str) -> Self {
        Self::connect(servers).unwrap()
    }

    pub(crate) fn connect(servers: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(servers)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self(stream))
    }

    fn call<Req: Request>(&mut self, request: &Req, version: i16) -> Req::Response {
        self.try_call(request, version).unwrap()
    }

    fn try_call<Req: Request>(&mut self, request: &Req, version: i16) -> io::Result<Req::Response> {
        let mut body = BytesMut::new();
        RequestHeader::default()
            .with_request_api_key(Req::KEY)
            .with_request_api_version(version)
            .encode(&mut body, Req::header_version(version))
            .unwrap();
        request.encode(&mut body, version).unwrap();
        let mut frame = BytesMut::new();
        frame.put_i32(i32::try_from(body.len()).unwrap());
        frame.extend_from_slice(&body);
        self.0.write_all(&frame)?;
        let mut size = [0; 4];
        self.0.read_exact(&mut size)?;
        let mut answer = vec![0; usize::try_from((&size[..]).get_i32()).unwrap()];
        self.0.read_exact(&mut answer)?;
        let mut answer = Bytes::from(answer);
        ResponseHeader::decode(&mut answer, Req::Response::header_version(version)).unwrap();
        Ok(Req::Response::decode(&mut answer, version).unwrap())
    }

    /// Who leads each of these partitions, as this broker knows it; -1 if nobody does.
    pub(crate) fn leaders(&mut self, partitions: &[(String, i32)]) -> io::Result<Vec<i32>> {
        let topics: BTreeSet<_> = partitions.iter().map(|(topic, _)| topic).collect();
        let topics = topics
            .into_iter()
            .map(|topic| MetadataRequestTopic::default().with_name(Some(text(topic).into())));
        let request = MetadataRequest::default()
            .with_topics(Some(topics.collect()))
            .with_allow_auto_topic_creation(false);
        let response = self.try_call(&request, 9)?;
        let leader = |(topic, partition): &(String, i32)| {
            let mut topics = response.topics.iter();
            let topic =
                topics.find(|found| found.name.as_ref().is_some_and(|name| name.as_str() == topic))?;
            let partition = topic
                .partitions
                .iter()
                .find(|found| found.partition_index == *partition)?;
            Some(partition.leader_id.0)
        };
        Ok(partitions
            .iter()
            .map(|partition| leader(partition).unwrap_or(-1))
            .collect())
    }

    pub(crate) fn create_topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let configs = configs.iter().map(|(name, value)| {
            CreatableTopicConfig::default()
                .with_name(text(name))
                .with_value(Some(text(value)))
        });
        let topic = CreatableTopic::default()
            .with_name(text(name).into())
            .with_num_partitions(partitions)
            // As many as the broker's default.replication.factor says.
            .with_replication_factor(-1)
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(30_000);
        let response = self.call(&request, 5);
        assert_eq!(response.topics[0].error_code, 0, "{response:?}");
    }

    /// Each partition gets its preferred leader again.
    pub(crate) fn elect_preferred(&mut self) {
        const PREFERRED: i8 = 0;
        let request = ElectLeadersRequest::default()
            .with_election_type(PREFERRED)
            .with_topic_partitions(None)
            .with_timeout_ms(10_000);
        let response = self.call(&request, 2);
        assert_eq!(response.error_code, 0, "{response:?}");
    }

    /// Lets a user do something to all topics or groups whose names begin so.
    pub(crate) fn allow(&mut self, user: &str, operation: Operation, resource: Resource, prefix: &str) {
        const PREFIXED: i8 = 4;
        const ALLOW: i8 = 3;
        let creation = AclCreation::default()
            .with_resource_type(resource as i8)
            .with_resource_name(text(prefix))
            .with_resource_pattern_type(PREFIXED)
            .with_principal(text(&format!("User:{user}")))
            .with_host(text("*"))
            .with_operation(operation as i8)
            .with_permission_type(ALLOW);
        let request = CreateAclsRequest::default().with_creations(vec![creation]);
        let response = self.call(&request, 2);
        assert_eq!(response.results[0].error_code, 0, "{response:?}");
    }

    /// Writes records of these timestamps, as one batch.
    pub(crate) fn produce(&mut self, topic: &str, partition: i32, timestamps: &[i64]) {
        until_zero(|| self.try_produce(topic, partition, timestamps, None));
    }

    /// Begins a transaction with one record, and ends it.
    pub(crate) fn transaction(&mut self, id: &str, topic: &str, timestamp: i64, is_committed: bool) {
        let mut transaction = self.begin(id);
        until_zero(|| self.try_produce(topic, 0, &[timestamp], Some(&transaction)));
        transaction.sequence += 1;
        let end = EndTxnRequest::default()
            .with_transactional_id(transaction.id.clone())
            .with_producer_id(transaction.producer.into())
            .with_producer_epoch(transaction.epoch)
            .with_committed(is_committed);
        until_zero(|| self.call(&end, 4).error_code);
    }

    fn begin(&mut self, id: &str) -> Transaction {
        let id: TransactionalId = text(id).into();
        let find = FindCoordinatorRequest::default()
            .with_key_type(1)
            .with_coordinator_keys(vec![id.0.clone()]);
        until_zero(|| self.call(&find, 4).coordinators[0].error_code);
        let begin = InitProducerIdRequest::default()
            .with_transactional_id(Some(id.clone()))
            .with_transaction_timeout_ms(60_000)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let mut producer = None;
        until_zero(|| {
            let answer = self.call(&begin, 4);
            producer = Some((answer.producer_id.0, answer.producer_epoch));
            answer.error_code
        });
        let (producer, epoch) = producer.unwrap();
        Transaction {
            id,
            producer,
            epoch,
            sequence: 0,
        }
    }

    fn try_produce(
        &mut self,
        topic: &str,
        partition: i32,
        timestamps: &[i64],
        transaction: Option<&Transaction>,
    ) -> i16 {
        let records = timestamps.iter().zip(0..).map(|(timestamp, index)| Record {
            transactional: transaction.is_some(),
            control: false,
            delete_horizon: false,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            producer_id: transaction.map_or(NO_PRODUCER_ID, |transaction| transaction.producer),
            producer_epoch: transaction.map_or(NO_PRODUCER_EPOCH, |transaction| transaction.epoch),
            timestamp_type: TimestampType::Creation,
            offset: index,
            // The encoder begins another batch where the numbers have a gap.
            sequence: transaction.map_or(NO_SEQUENCE, |transaction| transaction.sequence)
                + i32::try_from(index).unwrap(),
            timestamp: *timestamp,
            key: None,
            value: Some(Bytes::from_static(b"value")),
            headers: IndexMap::default(),
        });
        let records: Vec<_> = records.collect();
        let options = RecordEncodeOptions {
            version: 2,
            compression: Compression::None,
        };
        let mut batch = BytesMut::new();
        RecordBatchEncoder::encode(&mut batch, &records, &options).unwrap();
        let data = PartitionProduceData::default()
            .with_index(partition)
            .with_records(Some(batch.freeze()));
        let topic = TopicProduceData::default()
            .with_name(text(topic).into())
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_transactional_id(transaction.map(|transaction| transaction.id.clone()))
            .with_acks(-1)
            .with_timeout_ms(30_000)
            .with_topic_data(vec![topic]);
        // From version 12 on a transaction has the partitions that are written to; older brokers do not know it.
        let response = self.call(&request, if transaction.is_some() { 12 } else { 8 });
        response.responses[0].partition_responses[0].error_code
    }
}

/// Leaders and coordinators are not ready at first.
fn until_zero(mut call: impl FnMut() -> i16) {
    let begun = Instant::now();
    loop {
        let code = call();
        if code == 0 {
            return;
        }
        assert!(begun.elapsed() < TIMEOUT, "error code {code}");
    }
}
