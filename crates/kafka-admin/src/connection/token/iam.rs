//! Owns tokens for Amazon MSK with IAM: a presigned URL of `kafka-cluster:Connect` (AWS Signature, version 4), as a token.
//!
//! Credentials come from where AWS's tools find them. The region is the setting's, the brokers' own, or the environment's.

use std::error::Error as _;
use std::time::{Duration, SystemTime};

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_credential_types::provider::error::CredentialsError;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_http_client::tls;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use reqwest::Url;
use sidecar::Problems;
use tokio::sync::OnceCell;

use super::Fetched;
use crate::Refusal;
use crate::connection::{Address, RawSecurity, SecurityProtocol};

/// How long MSK believes a token, at most.
const LIFETIME: Duration = Duration::from_mins(15);
const SERVICE: &str = "kafka-cluster";
const ACTION: &str = "kafka-cluster:Connect";
/// Brokers log it; it is not signed.
const USER_AGENT: &str = concat!("outrigger/", env!("CARGO_PKG_VERSION"));
const KEY: &str = "kafka.security.aws_region";

/// Signs with the credentials of the process.
pub(super) struct Iam {
    region: Option<String>,
    timeout: Duration,
    /// Made when it is first asked for: the environment and files are read then.
    config: OnceCell<SdkConfig>,
}

impl Iam {
    /// The signer; mistakes are added to `problems`.
    pub(super) fn check(
        raw: &RawSecurity,
        servers: &[Address],
        timeout: Duration,
        problems: &mut Problems,
    ) -> Self {
        if raw.protocol != SecurityProtocol::SaslSsl {
            let problem = "must be \"sasl_ssl\" with sasl_mechanism = \"AWS_MSK_IAM\"";
            problems.add("kafka.security.protocol", problem);
        }
        let of_servers = || servers.iter().find_map(|server| region_of(&server.host));
        let region = raw.aws_region.clone().or_else(|| of_servers().map(str::to_owned));
        if let Some(region) = region.as_deref().filter(|region| !is_region(region)) {
            problems.add(
                KEY,
                format!("\"{region}\" is not a region, such as \"eu-central-1\""),
            );
        }
        Self {
            region,
            timeout,
            config: OnceCell::new(),
        }
    }

    pub(super) async fn fetch(&self) -> Result<Fetched, Refusal> {
        let config = self.config.get_or_init(|| self.load()).await;
        let region = config.region().ok_or_else(|| {
            Refusal::unauthenticated(format!("the brokers' AWS region is not known: set {KEY}"))
        })?;
        let provider = config
            .credentials_provider()
            .ok_or_else(|| no_credentials(&CredentialsError::not_loaded("there is no provider")))?;
        let credentials = provider.provide_credentials().await;
        let credentials = credentials.map_err(|error| no_credentials(&error))?;
        let now = SystemTime::now();
        let left = credentials
            .expiry()
            .map(|at| at.duration_since(now).unwrap_or_default());
        let token = presign(region.as_ref(), &credentials, now)
            .map_err(|reason| Refusal::unauthenticated(format!("no token for Amazon MSK: {reason}")))?;
        // A signature is worth no more than the credentials that it is made with.
        let lifetime = left.unwrap_or(LIFETIME).min(LIFETIME);
        Ok(Fetched::new(&token, credentials.access_key_id(), Some(lifetime)))
    }

    pub(super) fn is_silent(within: Duration) -> Refusal {
        Refusal::unreachable(format!(
            "no AWS credentials within {within:?}: check the network to AWS, and how credentials are given to the process"
        ))
    }

    async fn load(&self) -> SdkConfig {
        let https = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
            .build_https();
        let timeouts = TimeoutConfig::builder().operation_timeout(self.timeout).build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(https)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts);
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        loader.load().await
    }
}

fn no_credentials(error: &CredentialsError) -> Refusal {
    let mut reason = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        reason = format!("{reason}: {cause}");
        next = cause.source();
    }
    let reason = format!(
        "no AWS credentials: {reason}; check how the process is given them: environment, profile, or role"
    );
    match error {
        CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_) => {
            Refusal::unauthenticated(reason)
        }
        _ => Refusal::unreachable(reason),
    }
}

/// `eu-central-1` of `b-1.name.id.c2.kafka.eu-central-1.amazonaws.com`, or of a serverless cluster's host.
fn region_of(host: &str) -> Option<&str> {
    let host = host
        .strip_suffix(".cn")
        .unwrap_or(host)
        .strip_suffix(".amazonaws.com")?;
    let (before, region) = host.rsplit_once('.')?;
    let service = before.rsplit('.').next()?;
    matches!(service, "kafka" | "kafka-serverless").then_some(region)
}

/// Whether it can be part of a host's name.
fn is_region(region: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !region.is_empty() && region.bytes().all(is_allowed)
}

/// The token: a URL that the broker shows to IAM.
fn presign(region: &str, credentials: &Credentials, now: SystemTime) -> Result<String, String> {
    let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
    let url = format!("https://kafka.{region}.amazonaws.com{suffix}/");
    let action = [("Action", ACTION)];
    let mut url = Url::parse_with_params(&url, action).map_err(|error| error.to_string())?;
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(LIFETIME);
    let identity = credentials.clone().into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(SERVICE)
        .time(now)
        .settings(settings)
        .build()
        .map_err(|error| error.to_string())?;
    let request = SignableRequest::new("GET", url.as_str(), std::iter::empty(), SignableBody::Bytes(&[]));
    let request = request.map_err(|error| error.to_string())?;
    let signed = sign(request, &parameters.into()).map_err(|error| error.to_string())?;
    url.query_pairs_mut()
        .extend_pairs(signed.output().params())
        .append_pair("User-Agent", USER_AGENT);
    Ok(BASE64.encode(url.as_str()))
}

#[cfg(test)]
mod tests {
    use aws_credential_types::provider::SharedCredentialsProvider;

    use super::*;
    use crate::connection::Tuning;
    use crate::connection::token::{Issuer, TokenSource};
    use crate::{Properties, RefusalKind};

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    fn credentials(session: Option<&str>, expiry: Option<SystemTime>) -> Credentials {
        Credentials::new("AKIDEXAMPLE", SECRET, session.map(str::to_owned), expiry, "test")
    }

    fn url(token: &str) -> String {
        String::from_utf8(BASE64.decode(token).unwrap()).unwrap()
    }

    /// The signatures were computed beside this program, after AWS's description of the signature's version 4.
    #[test]
    fn a_token_is_a_signed_url_of_its_region() {
        let now = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        for (region, host, session, signature) in [
            (
                "eu-central-1",
                "kafka.eu-central-1.amazonaws.com",
                None,
                "674a7efeeb19a92e44b849bf3ea778a9c78e68ad0bac99e834ab2ea6139ac226",
            ),
            (
                "cn-north-1",
                "kafka.cn-north-1.amazonaws.com.cn",
                Some("a+b/c=="),
                "c19dc494f08a29c556224935f4950654845095bf66784da00fdcb8e242bcef8a",
            ),
        ] {
            let url = url(&presign(region, &credentials(session, None), now).unwrap());
            let begin = format!("https://{host}/?Action=kafka-cluster%3AConnect&");
            assert!(url.starts_with(&begin), "{url}");
            for part in [
                format!("&X-Amz-Credential=AKIDEXAMPLE%2F20231114%2F{region}%2Fkafka-cluster%2Faws4_request"),
                "X-Amz-Date=20231114T221320Z".to_owned(),
                "X-Amz-Expires=900".to_owned(),
                format!("X-Amz-Signature={signature}"),
                format!("&User-Agent=outrigger%2F{}", env!("CARGO_PKG_VERSION")),
            ] {
                assert!(url.contains(&part), "{part}: {url}");
            }
            let has_session = url.contains("X-Amz-Security-Token=a%2Bb%2Fc%3D%3D");
            assert_eq!(has_session, session.is_some(), "{url}");
        }
    }

    #[test]
    fn the_region_is_in_the_name_of_a_broker() {
        for (host, region) in [
            (
                "b-1.name.abc.c2.kafka.eu-central-1.amazonaws.com",
                Some("eu-central-1"),
            ),
            (
                "boot-abc.c1.kafka-serverless.us-east-1.amazonaws.com",
                Some("us-east-1"),
            ),
            (
                "b-1.name.abc.c2.kafka.cn-north-1.amazonaws.com.cn",
                Some("cn-north-1"),
            ),
            ("broker.example.com", None),
            ("s3.us-east-1.amazonaws.com", None),
            ("127.0.0.1", None),
        ] {
            assert_eq!(region_of(host), region, "{host}");
        }
    }

    fn problems(toml: &str) -> String {
        let mut problems = Problems::new();
        let raw = toml::from_str(toml).unwrap();
        Iam::check(&raw, &[], Duration::from_secs(1), &mut problems);
        problems.to_string()
    }

    #[test]
    fn a_token_is_not_sent_in_clear_and_a_region_is_a_part_of_a_name() {
        assert_eq!(
            problems("protocol = \"sasl_ssl\"\naws_region = \"eu-central-1\""),
            ""
        );
        let found = problems("protocol = \"sasl_plaintext\"\naws_region = \"evil.com/\"");
        assert_eq!(
            found,
            "kafka.security.protocol: must be \"sasl_ssl\" with sasl_mechanism = \"AWS_MSK_IAM\"\n\
             kafka.security.aws_region: \"evil.com/\" is not a region, such as \"eu-central-1\""
        );
    }

    fn source(config: &SdkConfig) -> TokenSource {
        let iam = Iam {
            region: None,
            timeout: Duration::from_secs(1),
            config: OnceCell::new_with(Some(config.clone())),
        };
        let tuning = Tuning::check(&Properties::default(), &mut Problems::new());
        TokenSource::new(Issuer::Iam(Box::new(iam)), Vec::new(), tuning.connect_timeout)
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_kept_and_lives_no_longer_than_the_credentials() {
        for (left, expected) in [(None, 900), (Some(3600), 900), (Some(100), 100)] {
            let now = SystemTime::now();
            let expiry = left.map(|left| now + Duration::from_secs(left));
            let provider = SharedCredentialsProvider::new(credentials(None, expiry));
            let config = SdkConfig::builder()
                .region(Region::new("eu-central-1"))
                .credentials_provider(provider)
                .build();
            let source = source(&config);
            let token = source.token().await.unwrap();
            assert_eq!(token.principal, "AKIDEXAMPLE");
            let since_1970 = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
            let lives = token.expires_at_ms / 1000 - i64::try_from(since_1970).unwrap();
            assert!((expected - 1..=expected + 1).contains(&lives), "{lives}");
            assert_eq!(source.token().await.unwrap(), token);
        }
    }

    #[tokio::test]
    async fn no_region_and_no_credentials_are_named() {
        let provider = SharedCredentialsProvider::new(credentials(None, None));
        let without_region = SdkConfig::builder().credentials_provider(provider).build();
        let without_credentials = SdkConfig::builder().region(Region::new("eu-central-1")).build();
        for (config, expected) in [
            (without_region, "set kafka.security.aws_region"),
            (without_credentials, "no AWS credentials"),
        ] {
            let refusal = source(&config).token().await.unwrap_err();
            assert_eq!(refusal.kind, RefusalKind::Denied);
            assert!(refusal.reason.contains(expected), "{refusal}");
        }
    }
}
