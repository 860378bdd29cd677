//! Owns SCRAM (RFC 5802), as Kafka has it: no channel binding, no authorization id, passwords as they are.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::rand::SecureRandom as _;
use ring::{digest, hmac, pbkdf2, rand};

/// The most rounds that a broker may ask for; Kafka itself allows 16,384. More would let it take our CPU.
const MAX_ITERATIONS: u32 = 1 << 17;
/// The fewest, as Kafka and RFC 7677 have it.
const MIN_ITERATIONS: u32 = 4096;
const NONCE_BYTES: usize = 24;
/// `n,,` in base64: neither side binds to the channel.
const CHANNEL_BINDING: &str = "biws";

/// Which hash.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ScramHash {
    Sha256,
    Sha512,
}

impl ScramHash {
    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }

    fn sign(self, key: &[u8], message: &[u8]) -> hmac::Tag {
        hmac::sign(&hmac::Key::new(self.hmac(), key), message)
    }
}

/// A login that has begun.
pub(crate) struct Scram {
    hash: ScramHash,
    nonce: String,
    first_bare: String,
}

/// What proves that we know the password, and what the broker has to answer.
pub(crate) struct Proof {
    /// The client's final message.
    pub(crate) message: String,
    server_key: hmac::Key,
    signed: String,
}

impl Scram {
    pub(crate) fn new(hash: ScramHash, username: &str) -> Result<Self, String> {
        let mut nonce = [0; NONCE_BYTES];
        rand::SystemRandom::new()
            .fill(&mut nonce)
            .map_err(|_unspecified| "the system has no random numbers".to_owned())?;
        Ok(Self::with_nonce(hash, username, BASE64.encode(nonce)))
    }

    fn with_nonce(hash: ScramHash, username: &str, nonce: String) -> Self {
        let username = username.replace('=', "=3D").replace(',', "=2C");
        Self {
            hash,
            first_bare: format!("n={username},r={nonce}"),
            nonce,
        }
    }

    pub(crate) fn first_message(&self) -> String {
        format!("n,,{}", self.first_bare)
    }

    /// The answer to the broker's first message.
    pub(crate) fn prove(&self, password: &str, server_first: &[u8]) -> Result<Proof, String> {
        let hash = self.hash;
        let server_first = text(server_first)?;
        let nonce = attribute(server_first, 'r')?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("the broker's SCRAM nonce does not continue ours".to_owned());
        }
        let salt = decoded(attribute(server_first, 's')?)?;
        let iterations: u32 = attribute(server_first, 'i')?.parse().unwrap_or_default();
        let rounds = NonZeroU32::new(iterations)
            .filter(|rounds| (MIN_ITERATIONS..=MAX_ITERATIONS).contains(&rounds.get()))
            .ok_or_else(|| {
                format!(
                    "the broker asks for {iterations} SCRAM iterations; {MIN_ITERATIONS} to {MAX_ITERATIONS} are allowed"
                )
            })?;
        let mut salted = vec![0; hash.hmac().digest_algorithm().output_len()];
        pbkdf2::derive(hash.pbkdf2(), rounds, &salt, password.as_bytes(), &mut salted);
        let client_key = hash.sign(&salted, b"Client Key");
        let stored_key = digest::digest(hash.hmac().digest_algorithm(), client_key.as_ref());
        let without_proof = format!("c={CHANNEL_BINDING},r={nonce}");
        let signed = format!("{},{server_first},{without_proof}", self.first_bare);
        let signature = hash.sign(stored_key.as_ref(), signed.as_bytes());
        let pairs = client_key.as_ref().iter().zip(signature.as_ref());
        let proof: Vec<u8> = pairs.map(|(key, signature)| key ^ signature).collect();
        Ok(Proof {
            message: format!("{without_proof},p={}", BASE64.encode(proof)),
            server_key: hmac::Key::new(hash.hmac(), hash.sign(&salted, b"Server Key").as_ref()),
            signed,
        })
    }
}

impl Proof {
    /// Whether the broker knows the password too.
    pub(crate) fn verify(&self, server_final: &[u8]) -> Result<(), String> {
        let server_final = text(server_final)?;
        if let Ok(error) = attribute(server_final, 'e') {
            return Err(format!("the broker says {error}"));
        }
        let signature = decoded(attribute(server_final, 'v')?)?;
        hmac::verify(&self.server_key, self.signed.as_bytes(), &signature).map_err(|_unspecified| {
            "the broker's SCRAM signature is wrong: it does not know the password, and may not be the broker"
                .to_owned()
        })
    }
}

fn text(message: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(message).map_err(|error| format!("the broker's SCRAM message is not UTF-8: {error}"))
}

fn attribute(message: &str, name: char) -> Result<&str, String> {
    let mut attributes = message.split(',').filter_map(|part| part.split_once('='));
    attributes
        .find(|(found, _)| found.chars().eq([name]))
        .map(|(_, value)| value)
        .ok_or_else(|| format!("the broker's SCRAM message has no attribute {name}"))
}

fn decoded(value: &str) -> Result<Vec<u8>, String> {
    BASE64
        .decode(value)
        .map_err(|error| format!("the broker's SCRAM message is not base64: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677.
    const SERVER_FIRST: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn example() -> Scram {
        Scram::with_nonce(ScramHash::Sha256, "user", "rOprNGfwEbeRWgbNEkqO".to_owned())
    }

    #[test]
    fn the_example_of_the_rfc_is_proved_and_verified() {
        let scram = example();
        assert_eq!(scram.first_message(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let proof = scram.prove("pencil", SERVER_FIRST.as_bytes()).unwrap();
        assert_eq!(
            proof.message,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        proof
            .verify(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
            .unwrap();
    }

    #[test]
    fn a_broker_that_does_not_know_the_password_is_not_believed() {
        let proof = example().prove("other", SERVER_FIRST.as_bytes()).unwrap();
        let error = proof
            .verify(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
            .unwrap_err();
        assert!(error.contains("signature is wrong"), "{error}");
        assert!(
            proof
                .verify(b"e=other-error")
                .unwrap_err()
                .contains("other-error")
        );
    }

    #[test]
    fn a_broker_cannot_take_our_cpu_or_use_another_nonce() {
        let scram = example();
        for wrong in [
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=2000000000",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1",
            "r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=rOprNGfwEbeRWgbNEkqOx,s=!,i=4096",
            "",
        ] {
            assert!(scram.prove("pencil", wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_comma_in_a_name_is_escaped() {
        let scram = Scram::with_nonce(ScramHash::Sha512, "a,b=c", "x".to_owned());
        assert_eq!(scram.first_message(), "n,,n=a=2Cb=3Dc,r=x");
    }
}
