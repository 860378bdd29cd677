//! Owns which version of which request a broker knows.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::ApiVersionsResponse;
use kafka_protocol::protocol::{Request, VersionRange};

use super::encode::request_name;
use crate::Refusal;

/// The most requests of which versions are kept: Kafka 4.3 has fewer than a hundred.
const MAX_REQUESTS: usize = 1000;

/// What a broker knows.
#[derive(Debug, Default)]
pub(crate) struct Versions(HashMap<i16, VersionRange>);

impl Versions {
    pub(crate) fn of(response: &ApiVersionsResponse) -> Self {
        let ranges = response.api_keys.iter().take(MAX_REQUESTS).map(|known| {
            let (min, max) = (known.min_version, known.max_version);
            (known.api_key, VersionRange { min, max })
        });
        Self(ranges.collect())
    }

    /// The newest version of a request, up to `limit`, that both sides know.
    pub(crate) fn newest<Req: Request>(&self, limit: i16) -> Result<i16, Refusal> {
        self.newest_in::<Req>(0..=limit)
    }

    /// The newest of these versions of a request that both sides know.
    pub(crate) fn newest_in<Req: Request>(&self, allowed: RangeInclusive<i16>) -> Result<i16, Refusal> {
        let ours = VersionRange {
            min: Req::VERSIONS.min.max(*allowed.start()),
            max: Req::VERSIONS.max.min(*allowed.end()),
        };
        let theirs = self.0.get(&Req::KEY);
        let both = theirs.map(|theirs| ours.intersect(theirs));
        both.filter(|both| !both.is_empty())
            .map(|both| both.max)
            .ok_or_else(|| unknown::<Req>(ours, theirs))
    }
}

fn unknown<Req: Request>(ours: VersionRange, theirs: Option<&VersionRange>) -> Refusal {
    let theirs = theirs.map_or_else(
        || "the broker does not know it".to_owned(),
        |theirs| format!("the broker knows versions {} to {}", theirs.min, theirs.max),
    );
    let reason = format!(
        "this program knows versions {} to {} of {}, {theirs}",
        ours.min,
        ours.max,
        request_name::<Req>(),
    );
    Refusal::of(ResponseError::UnsupportedVersion, Some(&reason))
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::api_versions_response::ApiVersion;
    use kafka_protocol::messages::{ConsumerGroupDescribeRequest, OffsetFetchRequest};

    use super::*;

    #[test]
    fn the_newest_version_that_both_know_is_taken() {
        let offset_fetch = ApiVersion::default()
            .with_api_key(9)
            .with_min_version(0)
            .with_max_version(5);
        let versions = Versions::of(&ApiVersionsResponse::default().with_api_keys(vec![offset_fetch]));
        assert_eq!(versions.newest::<OffsetFetchRequest>(i16::MAX), Ok(5));
        assert_eq!(versions.newest::<OffsetFetchRequest>(3), Ok(3));
        let refusal = versions
            .newest::<ConsumerGroupDescribeRequest>(i16::MAX)
            .unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "UNSUPPORTED_VERSION: this program knows versions 0 to 1 of ConsumerGroupDescribe, the broker does not know it"
        );
    }
}
