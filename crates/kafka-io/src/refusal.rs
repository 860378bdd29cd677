//! Owns what a cluster's refusal means for whoever asked: which ones pass by themselves, and which need a person.

use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode as Code;

use crate::context::describe;

/// Why the cluster does not do what it is asked for, as a whole or for one partition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {reason}")]
pub struct Refusal {
    /// What to do about it.
    pub kind: RefusalKind,
    /// Kafka's name of the error, such as `UNKNOWN_MEMBER_ID`.
    pub code: String,
    /// The reason in words.
    pub reason: String,
}

/// What to do about a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefusalKind {
    /// It passes: try again.
    Passing,
    /// There is no such topic, or it has no such partition.
    UnknownPartition,
    /// The group has members, and only they may commit.
    InUse,
    /// The credentials do not allow it.
    Denied,
    /// A person has to look.
    Permanent,
}

impl Refusal {
    pub(crate) fn of(code: Code, reason: Option<String>) -> Self {
        Self {
            kind: kind(code),
            code: shouted(code),
            reason: reason
                .filter(|reason| !reason.is_empty())
                .unwrap_or_else(|| describe(code)),
        }
    }

    /// The partition has no leader at the moment.
    pub(crate) fn without_leader() -> Self {
        Self::of(Code::LeaderNotAvailable, None)
    }

    /// Nobody answered in the time that a call is given.
    pub(crate) fn without_answer(after: Duration) -> Self {
        Self::of(
            Code::OperationTimedOut,
            Some(format!("no answer within {after:?}")),
        )
    }

    /// No broker answered.
    pub(crate) fn unreachable(error: &impl std::fmt::Display) -> Self {
        Self::of(Code::BrokerTransportFailure, Some(error.to_string()))
    }

    /// The answer has no offset: librdkafka gives a negative one where the leader did not answer.
    pub(crate) fn without_offset() -> Self {
        Self::of(
            Code::OperationTimedOut,
            Some("the partition's leader did not answer".to_owned()),
        )
    }

    /// A question that was not answered for a reason that passes.
    pub(crate) fn passing(error: &impl std::fmt::Display) -> Self {
        Self {
            kind: RefusalKind::Passing,
            ..Self::of(Code::Fail, Some(error.to_string()))
        }
    }

    /// It cannot even be asked for.
    pub(crate) fn impossible(error: &impl std::fmt::Display) -> Self {
        Self {
            kind: RefusalKind::Permanent,
            ..Self::of(Code::InvalidArgument, Some(error.to_string()))
        }
    }
}

/// Kafka's documentation of `OffsetCommit` and `ListOffsets` names the codes; those of librdkafka itself are about reaching
/// a broker.
fn kind(code: Code) -> RefusalKind {
    match code {
        Code::CoordinatorLoadInProgress
        | Code::CoordinatorNotAvailable
        | Code::NotCoordinator
        | Code::RebalanceInProgress
        | Code::NotLeaderForPartition
        | Code::LeaderNotAvailable
        | Code::FencedLeaderEpoch
        | Code::UnknownLeaderEpoch
        | Code::OffsetNotAvailable
        | Code::ReplicaNotAvailable
        | Code::KafkaStorageError
        | Code::RequestTimedOut
        | Code::NetworkException
        | Code::BrokerNotAvailable
        | Code::UnstableOffsetCommit
        | Code::OperationTimedOut
        | Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::Resolve
        | Code::TimedOutQueue => RefusalKind::Passing,
        // The last is what librdkafka says of a question in which it knows none of the partitions.
        Code::UnknownTopicOrPartition | Code::UnknownPartition | Code::UnknownTopic | Code::NoEnt => {
            RefusalKind::UnknownPartition
        }
        Code::UnknownMemberId | Code::IllegalGeneration | Code::FencedInstanceId => RefusalKind::InUse,
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::Authentication
        | Code::SaslAuthenticationFailed => RefusalKind::Denied,
        _ => RefusalKind::Permanent,
    }
}

/// `UnknownMemberId` as Kafka's documentation writes it: `UNKNOWN_MEMBER_ID`.
fn shouted(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_names_of_kafkas_documentation() {
        let of = |code| Refusal::of(code, None).code;
        assert_eq!(of(Code::UnknownMemberId), "UNKNOWN_MEMBER_ID");
        assert_eq!(of(Code::TopicAuthorizationFailed), "TOPIC_AUTHORIZATION_FAILED");
        assert_eq!(
            of(Code::CoordinatorLoadInProgress),
            "COORDINATOR_LOAD_IN_PROGRESS"
        );
    }
}
