//! Owns a cluster of fake brokers with one topic and groups, which a test changes while it is asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    ApiKey, FindCoordinatorRequest, FindCoordinatorResponse, ListGroupsResponse, ListOffsetsRequest,
    ListOffsetsResponse, MetadataRequest, MetadataResponse, OffsetFetchRequest, OffsetFetchResponse,
};
use kafka_protocol::protocol::StrBytes;

use crate::fake::{Asked, Fake, Held, Reaction};

pub(crate) const TOPIC: &str = "topic";
const NOT_LEADER: i16 = 6;
const NOT_COORDINATOR: i16 = 16;
const UNKNOWN_TOPIC: i16 = 3;

/// Kafka 4's versions, as far as they matter here.
pub(crate) const NEW: [(ApiKey, i16, i16); 7] = [
    (ApiKey::ApiVersions, 0, 4),
    (ApiKey::Metadata, 0, 13),
    (ApiKey::ListOffsets, 1, 10),
    (ApiKey::FindCoordinator, 0, 6),
    (ApiKey::OffsetFetch, 1, 9),
    (ApiKey::OffsetCommit, 2, 9),
    (ApiKey::ListGroups, 0, 5),
];
/// Kafka 2.1's.
pub(crate) const OLD: [(ApiKey, i16, i16); 5] = [
    (ApiKey::ApiVersions, 0, 2),
    (ApiKey::Metadata, 0, 7),
    (ApiKey::ListOffsets, 0, 4),
    (ApiKey::FindCoordinator, 0, 2),
    (ApiKey::OffsetFetch, 0, 5),
];

/// What the brokers have in common.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) ports: Vec<u16>,
    /// Who leads each partition, as metadata says.
    pub(crate) leaders: Vec<usize>,
    /// Who leads each partition indeed, if it is another.
    pub(crate) moved: BTreeMap<usize, usize>,
    pub(crate) coordinator: usize,
    /// Brokers that do not answer but for their versions.
    pub(crate) hanging: Vec<usize>,
    /// Requests that no broker answers.
    pub(crate) hanging_keys: Vec<ApiKey>,
    /// What the second broker waits for, after it has said which versions it knows.
    pub(crate) held: Option<Held>,
    /// Brokers that do nothing any more but take connections.
    pub(crate) frozen: Vec<usize>,
    pub(crate) asked: Vec<(ApiKey, i16)>,
}

impl State {
    pub(crate) fn count(&self, key: ApiKey) -> usize {
        self.asked.iter().filter(|(asked, _)| *asked == key).count()
    }
}

pub(crate) struct FakeCluster {
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) brokers: Vec<Fake>,
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

impl FakeCluster {
    /// As many brokers; partition n is led by broker n.
    pub(crate) async fn start(brokers: usize, versions: &'static [(ApiKey, i16, i16)]) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let mut listeners = Vec::new();
        for _ in 0..brokers {
            listeners.push(Fake::listen().await);
        }
        {
            let mut state = state.lock().unwrap();
            state.ports = listeners.iter().map(|(_, port)| *port).collect();
            state.leaders = (0..brokers).collect();
        }
        let serve = |(broker, (listener, _))| {
            let state = Arc::clone(&state);
            Fake::serve(listener, move |asked| react(&state, broker, versions, &asked))
        };
        let brokers = listeners.into_iter().enumerate().map(serve).collect();
        Self { state, brokers }
    }

    pub(crate) fn servers(&self) -> String {
        self.brokers[0].servers()
    }
}

fn react(state: &Mutex<State>, broker: usize, versions: &[(ApiKey, i16, i16)], asked: &Asked) -> Reaction {
    let mut state = state.lock().unwrap();
    state.asked.push((asked.key, asked.version));
    match asked.key {
        _ if state.frozen.contains(&broker) => Reaction::Hang,
        ApiKey::ApiVersions => match (asked.versions(versions), state.held.take_if(|_| broker == 1)) {
            (Reaction::Send(bytes), Some(held)) => Reaction::SendAndHold(bytes, held),
            (reaction, _) => reaction,
        },
        key if state.hanging.contains(&broker) || state.hanging_keys.contains(&key) => Reaction::Hang,
        ApiKey::Metadata => metadata(&mut state, asked),
        ApiKey::ListOffsets => list_offsets(&state, broker, asked),
        ApiKey::FindCoordinator => find_coordinator(&state, asked),
        ApiKey::OffsetFetch => offset_fetch(&state, broker, asked),
        ApiKey::ListGroups => asked.answer(&ListGroupsResponse::default()),
        key => panic!("nobody asks {key:?}"),
    }
}

fn metadata(state: &mut State, asked: &Asked) -> Reaction {
    let request: MetadataRequest = asked.decode();
    let brokers = state.ports.iter().zip(0..).map(|(port, id)| {
        MetadataResponseBroker::default()
            .with_node_id(id.into())
            .with_host(text("127.0.0.1"))
            .with_port(i32::from(*port))
    });
    let brokers = brokers.collect();
    let topics = request.topics.unwrap_or_default();
    let topics = topics.into_iter().map(|topic| {
        let name = topic.name.unwrap();
        let described = MetadataResponseTopic::default();
        if name.as_str() != TOPIC {
            return described.with_name(Some(name)).with_error_code(UNKNOWN_TOPIC);
        }
        let partitions = state.leaders.iter().zip(0..).map(|(leader, partition)| {
            MetadataResponsePartition::default()
                .with_partition_index(partition)
                .with_leader_id(i32::try_from(*leader).unwrap().into())
        });
        described
            .with_name(Some(name))
            .with_partitions(partitions.collect())
    });
    let response = MetadataResponse::default()
        .with_brokers(brokers)
        .with_topics(topics.collect());
    // From the second answer on metadata knows who has moved.
    let moved: Vec<_> = state
        .moved
        .iter()
        .map(|(partition, leader)| (*partition, *leader))
        .collect();
    for (partition, leader) in moved {
        state.leaders[partition] = leader;
    }
    asked.answer(&response)
}

fn list_offsets(state: &State, broker: usize, asked: &Asked) -> Reaction {
    let request: ListOffsetsRequest = asked.decode();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let index = usize::try_from(partition.partition_index).unwrap();
            let leader = state.moved.get(&index).unwrap_or(&state.leaders[index]);
            let answer =
                ListOffsetsPartitionResponse::default().with_partition_index(partition.partition_index);
            if *leader == broker {
                answer.with_offset(100 + i64::from(partition.partition_index))
            } else {
                answer.with_error_code(NOT_LEADER)
            }
        });
        ListOffsetsTopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    asked.answer(&ListOffsetsResponse::default().with_topics(topics.collect()))
}

fn find_coordinator(state: &State, asked: &Asked) -> Reaction {
    let request: FindCoordinatorRequest = asked.decode();
    let broker = i32::try_from(state.coordinator).unwrap();
    let port = i32::from(state.ports[state.coordinator]);
    let response = if asked.version >= 4 {
        let coordinators = request.coordinator_keys.into_iter().map(|key| {
            Coordinator::default()
                .with_key(key)
                .with_node_id(broker.into())
                .with_host(text("127.0.0.1"))
                .with_port(port)
        });
        FindCoordinatorResponse::default().with_coordinators(coordinators.collect())
    } else {
        FindCoordinatorResponse::default()
            .with_node_id(broker.into())
            .with_host(text("127.0.0.1"))
            .with_port(port)
    };
    asked.answer(&response)
}

/// Every group has committed 7 in partition 0.
fn offset_fetch(state: &State, broker: usize, asked: &Asked) -> Reaction {
    let request: OffsetFetchRequest = asked.decode();
    let code = if broker == state.coordinator {
        0
    } else {
        NOT_COORDINATOR
    };
    let response = if asked.version >= 8 {
        let groups = request.groups.into_iter().map(|group| {
            let partition = OffsetFetchResponsePartitions::default().with_committed_offset(7);
            let topic = OffsetFetchResponseTopics::default()
                .with_name(text(TOPIC).into())
                .with_partitions(vec![partition]);
            OffsetFetchResponseGroup::default()
                .with_group_id(group.group_id)
                .with_error_code(code)
                .with_topics(vec![topic])
        });
        OffsetFetchResponse::default().with_groups(groups.collect())
    } else {
        let partition = OffsetFetchResponsePartition::default().with_committed_offset(7);
        let topic = OffsetFetchResponseTopic::default()
            .with_name(text(TOPIC).into())
            .with_partitions(vec![partition]);
        OffsetFetchResponse::default()
            .with_error_code(code)
            .with_topics(vec![topic])
    };
    asked.answer(&response)
}
