//! Owns what a refusal means for whoever asked: which ones pass by themselves, and which need a person.

use kafka_protocol::ResponseError as Code;

/// How much is shown of what others say.
const MAX_SHOWN_CHARACTERS: usize = 300;

/// Why the cluster does not do what it is asked for, as a whole or for one partition, group or broker.
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
    /// The credentials do not allow it, or are wrong.
    Denied,
    /// A person has to look.
    Permanent,
}

impl Refusal {
    /// The refusal in an answer, if `code` is one; `message` is the broker's own, if it has any.
    pub(crate) fn check(code: i16, message: Option<&str>) -> Result<(), Self> {
        match Code::try_from_code(code) {
            None => Ok(()),
            Some(code) => Err(Self::of(code, message.map(shortened).as_deref())),
        }
    }

    pub(crate) fn of(code: Code, message: Option<&str>) -> Self {
        let message = message.filter(|message| !message.is_empty());
        Self {
            kind: kind(code),
            code: name(code),
            reason: message.unwrap_or_else(|| describe(code)).to_owned(),
        }
    }

    /// A connection that cannot be made.
    pub(crate) fn unreachable(reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self::of(Code::BrokerNotAvailable, Some(&reason))
    }

    /// A connection that was lost.
    pub(crate) fn lost(reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self::of(Code::NetworkException, Some(&reason))
    }

    /// Credentials that are refused, or cannot be had.
    pub(crate) fn unauthenticated(reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self::of(Code::SaslAuthenticationFailed, Some(&reason))
    }

    /// Nothing came in time.
    pub(crate) fn without_answer(reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self::of(Code::RequestTimedOut, Some(&reason))
    }

    /// The answer is larger than is allowed.
    pub(crate) fn too_large(reason: &str) -> Self {
        Self::of(Code::MessageTooLarge, Some(reason))
    }

    /// The answer does not have what was asked for.
    pub(crate) fn missing(what: &str) -> Self {
        Self::of(
            Code::UnknownServerError,
            Some(&format!("the broker's answer has no {what}")),
        )
    }

    /// The answer cannot be read.
    pub(crate) fn unreadable(reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self::of(Code::CorruptMessage, Some(&reason))
    }

    /// It cannot even be asked for.
    pub(crate) fn impossible(reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self::of(Code::InvalidRequest, Some(&reason))
    }

    /// Whether the broker may not be the one to ask any more, as far as nobody has heard of it.
    pub(crate) fn is_silence(&self) -> bool {
        matches!(
            self.code.as_str(),
            "REQUEST_TIMED_OUT" | "NETWORK_EXCEPTION" | "BROKER_NOT_AVAILABLE"
        )
    }

    /// Whether it may pass as soon as it is known again who leads or coordinates.
    pub(crate) fn is_stale(&self) -> bool {
        matches!(
            self.code.as_str(),
            "NOT_LEADER_OR_FOLLOWER"
                | "FENCED_LEADER_EPOCH"
                | "UNKNOWN_LEADER_EPOCH"
                | "LEADER_NOT_AVAILABLE"
                | "OFFSET_NOT_AVAILABLE"
                | "REPLICA_NOT_AVAILABLE"
                | "KAFKA_STORAGE_ERROR"
                | "LISTENER_NOT_FOUND"
                | "UNKNOWN_TOPIC_ID"
                | "INCONSISTENT_TOPIC_ID"
                | "UNKNOWN_TOPIC_OR_PARTITION"
                | "NOT_COORDINATOR"
                | "COORDINATOR_NOT_AVAILABLE"
                | "COORDINATOR_LOAD_IN_PROGRESS"
                | "NETWORK_EXCEPTION"
                | "BROKER_NOT_AVAILABLE"
        )
    }

    /// Whether the broker cannot be connected to: asking it again is of no use, another may have its place.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.code == "BROKER_NOT_AVAILABLE"
    }

    /// Whether a commit that was refused so has changed nothing, and may be sent again. A coordinator that is not available may
    /// have written it down already: it says so, too, if its replicas did not take it in time.
    pub(crate) fn is_unsent(&self) -> bool {
        let is_refused = matches!(
            self.code.as_str(),
            "NOT_COORDINATOR" | "COORDINATOR_LOAD_IN_PROGRESS"
        );
        is_refused || self.is_unreachable()
    }

    /// Whether the broker does not know the request in a version that it was asked in.
    pub(crate) fn is_unsupported(&self) -> bool {
        self.code == "UNSUPPORTED_VERSION"
    }

    /// Whether an answer about fewer things may be small enough.
    pub(crate) fn is_too_large(&self) -> bool {
        self.code == "MESSAGE_TOO_LARGE"
    }

    /// Whether it is about a group's coordinator.
    pub(crate) fn is_coordinators(&self) -> bool {
        matches!(
            self.code.as_str(),
            "NOT_COORDINATOR" | "COORDINATOR_NOT_AVAILABLE" | "COORDINATOR_LOAD_IN_PROGRESS"
        )
    }

    /// Whether the broker does not know the request, or this group is not of the kind that it is for.
    pub(crate) fn is_other_protocol(&self) -> bool {
        matches!(self.code.as_str(), "UNSUPPORTED_VERSION" | "GROUP_ID_NOT_FOUND")
    }
}

/// Others' words, on one line and not too long.
pub(crate) fn shortened(text: &str) -> String {
    let printable = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter });
    printable.take(MAX_SHOWN_CHARACTERS).collect()
}

/// Kafka's documentation of `OffsetCommit` and `ListOffsets` names the codes.
fn kind(code: Code) -> RefusalKind {
    match code {
        Code::CoordinatorLoadInProgress
        | Code::CoordinatorNotAvailable
        | Code::NotCoordinator
        | Code::RebalanceInProgress
        | Code::NotLeaderOrFollower
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
        | Code::ThrottlingQuotaExceeded
        | Code::CorruptMessage
        | Code::UnknownServerError => RefusalKind::Passing,
        Code::UnknownTopicOrPartition | Code::UnknownTopicId => RefusalKind::UnknownPartition,
        Code::NonEmptyGroup
        | Code::UnknownMemberId
        | Code::IllegalGeneration
        | Code::FencedInstanceId
        | Code::StaleMemberEpoch
        | Code::GroupSubscribedToTopic => RefusalKind::InUse,
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::DelegationTokenAuthorizationFailed
        | Code::SaslAuthenticationFailed => RefusalKind::Denied,
        code if code.is_retriable() => RefusalKind::Passing,
        _ => RefusalKind::Permanent,
    }
}

/// `UnknownMemberId` as Kafka's documentation writes it: `UNKNOWN_MEMBER_ID`.
fn name(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

/// What a code means, for brokers that send no message.
fn describe(code: Code) -> &'static str {
    match code {
        Code::UnknownTopicOrPartition => "there is no such topic or partition, or it may not be described",
        Code::UnknownTopicId => "there is no topic with this id",
        Code::LeaderNotAvailable => "the partition has no leader at the moment",
        Code::NotLeaderOrFollower => "the broker does not lead the partition any more",
        Code::OffsetNotAvailable => "the new leader does not know the partition's end yet",
        Code::CoordinatorLoadInProgress => "the group's coordinator is loading",
        Code::CoordinatorNotAvailable => "the group has no coordinator at the moment",
        Code::NotCoordinator => "the broker does not coordinate the group any more",
        Code::RebalanceInProgress => "the group is rebalancing",
        Code::UnknownMemberId | Code::IllegalGeneration | Code::FencedInstanceId | Code::StaleMemberEpoch => {
            "the group has members, and only they may commit"
        }
        Code::NonEmptyGroup => "the group has members",
        Code::GroupSubscribedToTopic => "the group has members that subscribe to the topic",
        Code::TopicAuthorizationFailed => {
            "the client's user has no permission on the topic: grant it DESCRIBE, and READ to commit or to look at its log"
        }
        Code::GroupAuthorizationFailed => {
            "the client's user has no permission on the group: grant it DESCRIBE, and READ to commit"
        }
        Code::ClusterAuthorizationFailed => {
            "the client's user has no permission on the cluster: grant it DESCRIBE"
        }
        Code::GroupIdNotFound => "there is no such group",
        Code::OffsetMetadataTooLarge => "the metadata is larger than the broker's offset.metadata.max.bytes",
        Code::OffsetOutOfRange => "the partition has no such offset",
        Code::UnsupportedVersion => "the broker does not know this request in any version that we know",
        Code::UnsupportedForMessageFormat => "the topic's message format is too old",
        Code::InvalidGroupId => "the group's id is not valid",
        Code::KafkaStorageError => "the broker cannot read its log",
        Code::UnknownServerError => "the broker failed for a reason that it does not name; see its log",
        Code::Unknown(_) => "this code is newer than this program",
        _ => "the broker gives no reason; Kafka's protocol guide describes the code",
    }
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

    #[test]
    fn no_error_is_no_refusal_and_the_brokers_message_counts_more_than_ours() {
        assert_eq!(Refusal::check(0, Some("fine")), Ok(()));
        let refusal = Refusal::check(6, Some("moved")).unwrap_err();
        assert_eq!(refusal.to_string(), "NOT_LEADER_OR_FOLLOWER: moved");
        assert!(refusal.is_stale() && refusal.kind == RefusalKind::Passing);
        let unknown = Refusal::check(9999, None).unwrap_err();
        assert_eq!(unknown.kind, RefusalKind::Permanent);
    }
}
