//! Owns which settings each way of logging in needs, and what becomes of them.

use sidecar::{Problems, Secret};

use super::token::TokenSource;
use super::{Address, RawSecurity, SaslMechanism, Tuning};

/// As whom to log in, and how.
#[derive(Debug, Clone)]
pub(crate) enum Credentials {
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    Password {
        mechanism: SaslMechanism,
        username: String,
        password: Secret,
    },
    /// `OAUTHBEARER`.
    Token(TokenSource),
}

impl Credentials {
    /// The credentials, if there are any; what does not go together is added to `problems`.
    pub(crate) fn check(
        raw: &RawSecurity,
        servers: &[Address],
        tuning: &Tuning,
        problems: &mut Problems,
    ) -> Option<Self> {
        let way = Way::of(raw);
        for (key, is_set, group) in settings(raw) {
            match (way.need(group, raw), is_set) {
                (Need::Required(problem), false) | (Need::Unused(problem), true) => {
                    problems.add(format!("kafka.security.{key}"), problem);
                }
                _ => {}
            }
        }
        match way {
            Way::NoSasl | Way::NoMechanism => None,
            Way::Password(mechanism) => Some(Self::Password {
                mechanism,
                username: raw.username.clone()?,
                password: raw.password.clone()?,
            }),
            Way::TokenFile | Way::TokenEndpoint | Way::Iam => {
                TokenSource::check(raw, servers, tuning, problems).map(Self::Token)
            }
        }
    }

    pub(crate) fn mechanism(&self) -> SaslMechanism {
        match self {
            Self::Password { mechanism, .. } => *mechanism,
            Self::Token(_) => SaslMechanism::OauthBearer,
        }
    }

    /// What to look at if a broker refuses them.
    pub(crate) fn advice(&self) -> &'static str {
        match self {
            Self::Password { .. } => "check kafka.security.username, password and sasl_mechanism",
            Self::Token(source) => source.advice(),
        }
    }
}

/// How to log in, as far as it is set.
#[derive(Clone, Copy)]
enum Way {
    NoSasl,
    NoMechanism,
    Password(SaslMechanism),
    TokenFile,
    TokenEndpoint,
    Iam,
}

/// Settings that are needed together.
#[derive(Clone, Copy)]
enum Group {
    Mechanism,
    Password,
    File,
    Endpoint,
    Client,
    ClientOption,
    Extension,
    Region,
}

/// Whether a setting is needed; a text is the problem if it is absent, or set.
enum Need {
    Required(String),
    Optional,
    Unused(String),
}

/// The key of each setting, whether it is set, and its group.
fn settings(raw: &RawSecurity) -> [(&'static str, bool, Group); 11] {
    [
        ("sasl_mechanism", raw.sasl_mechanism.is_some(), Group::Mechanism),
        ("username", raw.username.is_some(), Group::Password),
        ("password", raw.password.is_some(), Group::Password),
        ("token_file", raw.token_file.is_some(), Group::File),
        ("token_endpoint", raw.token_endpoint.is_some(), Group::Endpoint),
        ("client_id", raw.client_id.is_some(), Group::Client),
        ("client_secret", raw.client_secret.is_some(), Group::Client),
        ("scope", raw.scope.is_some(), Group::ClientOption),
        ("token_ca_file", raw.token_ca_file.is_some(), Group::ClientOption),
        ("extensions", !raw.extensions.is_empty(), Group::Extension),
        ("aws_region", raw.aws_region.is_some(), Group::Region),
    ]
}

impl Way {
    fn of(raw: &RawSecurity) -> Self {
        match raw.sasl_mechanism {
            _ if !raw.protocol.has_sasl() => Self::NoSasl,
            None => Self::NoMechanism,
            Some(SaslMechanism::AwsMskIam) => Self::Iam,
            Some(SaslMechanism::OauthBearer) if raw.token_endpoint.is_some() => Self::TokenEndpoint,
            Some(SaslMechanism::OauthBearer) => Self::TokenFile,
            Some(mechanism) => Self::Password(mechanism),
        }
    }

    fn need(self, group: Group, raw: &RawSecurity) -> Need {
        let missing = |by: &str| Need::Required(format!("is missing; {by} needs it"));
        let mechanism = raw.sasl_mechanism.map_or("", SaslMechanism::setting);
        match (self, group) {
            (Self::NoSasl, _) => Need::Unused(format!(
                "has no effect with protocol = \"{}\"",
                raw.protocol.name()
            )),
            (Self::NoMechanism, Group::Mechanism) => missing(&format!("\"{}\"", raw.protocol.name())),
            (Self::NoMechanism, _)
            | (_, Group::Mechanism)
            | (Self::Iam, Group::Region)
            | (Self::TokenFile, Group::Endpoint | Group::Extension)
            | (Self::TokenEndpoint, Group::Endpoint | Group::ClientOption | Group::Extension) => {
                Need::Optional
            }
            (Self::Password(_), Group::Password) => missing(&format!("\"{mechanism}\"")),
            (Self::TokenFile, Group::File) => {
                Need::Required(format!("is missing; \"{mechanism}\" needs it, or token_endpoint"))
            }
            (Self::TokenEndpoint, Group::Client) => missing("token_endpoint"),
            (Self::TokenEndpoint, Group::File) => {
                Need::Unused("excludes token_endpoint; set one of the two".to_owned())
            }
            (Self::TokenFile, Group::Client | Group::ClientOption) => {
                Need::Unused("has no effect without token_endpoint".to_owned())
            }
            _ => Need::Unused(format!("has no effect with sasl_mechanism = \"{mechanism}\"")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Properties;

    fn problems(toml: &str) -> String {
        let mut problems = Problems::new();
        let raw: RawSecurity = toml::from_str(toml).unwrap();
        raw.check_files(&mut problems);
        let tuning = Tuning::check(&Properties::default(), &mut problems);
        Credentials::check(&raw, &[], &tuning, &mut problems);
        problems.to_string()
    }

    const TOKEN: &str = "protocol = \"sasl_ssl\"\nsasl_mechanism = \"OAUTHBEARER\"\n";

    #[test]
    fn a_password_needs_all_of_its_settings() {
        let found = problems("protocol = \"sasl_ssl\"\nsasl_mechanism = \"SCRAM-SHA-512\"\nusername = \"a\"");
        assert_eq!(
            found,
            "kafka.security.password: is missing; \"SCRAM-SHA-512\" needs it"
        );
    }

    #[test]
    fn a_token_comes_from_a_file_or_an_endpoint_and_a_password_beside_it_has_no_effect() {
        let found = problems(&format!("{TOKEN}username = \"a\"\ntoken_file = \"/nowhere\""));
        assert!(
            found.contains("kafka.security.token_file: cannot read /nowhere"),
            "{found}"
        );
        assert!(
            found.contains("kafka.security.username: has no effect with sasl_mechanism = \"OAUTHBEARER\""),
            "{found}"
        );
        assert_eq!(
            problems(TOKEN),
            "kafka.security.token_file: is missing; \"OAUTHBEARER\" needs it, or token_endpoint"
        );
        let found = problems(&format!(
            "{TOKEN}token_file = \"/dev/null\"\ntoken_endpoint = \"https://issuer/token\"\nclient_id = \"a\""
        ));
        assert_eq!(
            found,
            "kafka.security.token_file: excludes token_endpoint; set one of the two\n\
             kafka.security.client_secret: is missing; token_endpoint needs it"
        );
    }

    #[test]
    fn what_has_no_effect_is_named_once() {
        let found = problems("token_file = \"/dev/null\"\npassword = \"x\"\nextensions = { a = \"b\" }");
        for key in ["password", "token_file", "extensions"] {
            let problem = format!("{key}: has no effect with protocol = \"plaintext\"");
            assert_eq!(found.matches(&problem).count(), 1, "{found}");
        }
        let found = problems(&format!("{TOKEN}token_file = \"/dev/null\"\nscope = \"x\""));
        assert_eq!(
            found,
            "kafka.security.scope: has no effect without token_endpoint"
        );
        let found = problems("protocol = \"sasl_ssl\"\nsasl_mechanism = \"AWS_MSK_IAM\"\nusername = \"a\"");
        assert_eq!(
            found,
            "kafka.security.username: has no effect with sasl_mechanism = \"AWS_MSK_IAM\""
        );
    }
}
