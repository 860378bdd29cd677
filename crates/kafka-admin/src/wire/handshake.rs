//! Owns the first requests on a connection: which versions the broker knows, and who we are.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::{Request, StrBytes};
use tokio::time::Instant;

use super::decode::decode_response;
use super::encode::encode_request;
use super::frame::FrameError;
use super::reason::{Step, Target};
use super::sasl::{self, Identity};
use super::transport::Channel;
use super::versions::Versions;
use crate::{Connection, Refusal};

/// A connection that can be used.
pub(crate) struct Established {
    pub(crate) channel: Channel,
    pub(crate) versions: Versions,
    /// When the broker wants to know again who we are.
    pub(crate) reauthenticate_at: Option<Instant>,
}

/// Makes a connection; `step` says how far it got.
pub(crate) async fn establish(
    connection: &Connection,
    target: &Target,
    step: &mut Step,
) -> Result<Established, Refusal> {
    let identity = match &connection.credentials {
        Some(credentials) => {
            *step = Step::Token;
            Some(Identity::of(credentials).await?)
        }
        None => None,
    };
    let opened = Channel::open(connection, &target.address, step).await;
    let mut channel = opened.map_err(|error| Refusal::unreachable(target.describe(*step, &error)))?;
    *step = Step::Versions;
    let mut exchange = Exchange {
        channel: &mut channel,
        target,
        client_id: connection.client_id(),
        step: *step,
    };
    let versions = exchange.negotiate().await?;
    let mut reauthenticate_at = None;
    if let Some(identity) = &identity {
        *step = Step::Authenticate;
        exchange.step = *step;
        reauthenticate_at = sasl::authenticate(&mut exchange, &versions, identity).await?;
    }
    Ok(Established {
        channel,
        versions,
        reauthenticate_at,
    })
}

/// Requests one after the other, while nothing else is in flight.
pub(crate) struct Exchange<'e> {
    pub(crate) channel: &'e mut Channel,
    pub(crate) target: &'e Target,
    pub(crate) client_id: &'e str,
    pub(crate) step: Step,
}

impl Exchange<'_> {
    pub(crate) async fn call<Req: Request>(
        &mut self,
        request: &Req,
        version: i16,
    ) -> Result<Req::Response, Refusal> {
        let frame = encode_request(request, version, self.client_id).map_err(Refusal::impossible)?;
        let answer = self
            .channel
            .call(frame)
            .await
            .map_err(|error| self.failed(&error))?;
        decode_response::<Req>(answer, version)
            .map_err(|reason| Refusal::unreadable(format!("{}: {reason}", self.target.address)))
    }

    fn failed(&self, error: &FrameError) -> Refusal {
        Refusal::unreachable(self.target.describe(self.step, error))
    }

    /// Asks for versions with the newest request; a broker that does not know it answers in version 0, and since Kafka 2.4
    /// says which it knows.
    async fn negotiate(&mut self) -> Result<Versions, Refusal> {
        let newest = <ApiVersionsRequest as kafka_protocol::protocol::Message>::VERSIONS.max;
        let mut response = self.ask_versions(newest).await?;
        if response.error_code == ResponseError::UnsupportedVersion.code() {
            let known = Versions::of(&response).newest::<ApiVersionsRequest>(newest - 1);
            response = self.ask_versions(known.unwrap_or(0)).await?;
        }
        Refusal::check(response.error_code, None)?;
        Ok(Versions::of(&response))
    }

    async fn ask_versions(&mut self, version: i16) -> Result<ApiVersionsResponse, Refusal> {
        let mut request = ApiVersionsRequest::default();
        if version >= 3 {
            request = request
                .with_client_software_name(StrBytes::from_static_str("outrigger"))
                .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        }
        let frame = encode_request(&request, version, self.client_id).map_err(Refusal::impossible)?;
        let answer = self
            .channel
            .call(frame)
            .await
            .map_err(|error| self.failed(&error))?;
        let decoded = decode_response::<ApiVersionsRequest>(answer.clone(), version);
        let decoded = match decoded {
            // The answer to a version that the broker does not know is in version 0.
            Err(_) => decode_response::<ApiVersionsRequest>(answer, 0),
            decoded => decoded,
        };
        decoded.map_err(|reason| Refusal::unreadable(format!("{}: {reason}", self.target.address)))
    }
}
