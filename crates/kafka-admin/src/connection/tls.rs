//! Owns TLS: who may sign a broker's certificate, and the client's own.

use std::path::Path;
use std::sync::Arc;

use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::der::Document;
use sidecar::{Problems, Secret};
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime,
};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use super::RawSecurity;

/// How a PEM section begins whose key is encrypted in PKCS#8.
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";

/// What rustls needs; problems with the files are added to `problems`.
pub(crate) fn client_config(
    security: &RawSecurity,
    checks_host: bool,
    problems: &mut Problems,
) -> Option<Arc<ClientConfig>> {
    let provider = Arc::new(ring::default_provider());
    let roots = authorities(security.ca_file.as_deref())
        .map_err(|reason| problems.add("kafka.security.ca_file", reason))
        .ok()?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| problems.add("kafka.security.ca_file", error))
        .ok()?;
    let verifier: Arc<dyn ServerCertVerifier> = if checks_host {
        verifier
    } else {
        Arc::new(AnyHost(verifier))
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| problems.add("kafka.security", error))
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let (Some(certificate_file), Some(key_file)) = (&security.certificate_file, &security.key_file) else {
        return Some(Arc::new(builder.with_no_client_auth()));
    };
    let chain = certificates(certificate_file)
        .map_err(|reason| problems.add("kafka.security.certificate_file", reason));
    let key = private_key(key_file, security.key_password.as_ref())
        .map_err(|reason| problems.add("kafka.security.key_file", reason));
    let config = builder.with_client_auth_cert(chain.ok()?, key.ok()?);
    config
        .map_err(|error| problems.add("kafka.security.key_file", error))
        .map(Arc::new)
        .ok()
}

/// For HTTPS, without a certificate of the client's own; `is_used` if any connection is one.
pub(crate) fn https_config(ca_file: Option<&Path>, is_used: bool) -> Result<ClientConfig, String> {
    let roots = if is_used {
        authorities(ca_file)?
    } else {
        RootCertStore::empty()
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn authorities(file: Option<&Path>) -> Result<RootCertStore, String> {
    let found = match file {
        Some(file) => certificates(file)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    let mut store = RootCertStore::empty();
    // The system has certificates that nobody can read any more; they are no reason to stop.
    let (added, _ignored) = store.add_parsable_certificates(found);
    match (added, file) {
        (0, Some(file)) => Err(format!("no certificate in {} can be used", file.display())),
        (0, None) => Err("is missing, and the system has no certificates of authorities".to_owned()),
        _ => Ok(store),
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let cannot_read = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", file.display());
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file)
        .map_err(|error| cannot_read(&error))?
        .collect();
    let all = all.map_err(|error| cannot_read(&error))?;
    if all.is_empty() {
        return Err(format!("{} has no certificate in PEM", file.display()));
    }
    Ok(all)
}

fn private_key(file: &Path, password: Option<&Secret>) -> Result<PrivateKeyDer<'static>, String> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let Some(encrypted) = pem_section(&text, ENCRYPTED) else {
        if text.contains("Proc-Type: 4,ENCRYPTED") {
            return Err(format!(
                "{shown} is encrypted in OpenSSL's old format; convert it with: openssl pkcs8 -topk8 -in {shown}"
            ));
        }
        return PrivateKeyDer::from_pem_slice(text.as_bytes())
            .map_err(|error| format!("{shown} has no private key in PEM: {error}"));
    };
    let password = password
        .ok_or_else(|| format!("{shown} is encrypted; set kafka.security.key_password"))?
        .expose();
    let (_label, document) =
        Document::from_pem(encrypted).map_err(|error| format!("{shown} is damaged: {error}"))?;
    let decrypted = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes())
        .map_err(|error| format!("{shown} is damaged: {error}"))?
        .decrypt(password)
        .map_err(|error| format!("cannot decrypt {shown}: {error}; check kafka.security.key_password"))?;
    Ok(PrivatePkcs8KeyDer::from(decrypted.as_bytes().to_vec()).into())
}

fn pem_section<'t>(text: &'t str, label: &str) -> Option<&'t str> {
    let start = text.find(&format!("-----BEGIN {label}-----"))?;
    let end = format!("-----END {label}-----");
    let length = text[start..].find(&end)? + end.len();
    Some(&text[start..start + length])
}

/// Checks a broker's certificate, but not for which host it is: `ssl.endpoint.identification.algorithm = none`.
#[derive(Debug)]
struct AnyHost(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyHost {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self
            .0
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `openssl pkcs8 -topk8 -v2 aes-256-cbc`; its password is `secret`.
    const KEY: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----\n\
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAh3TxQKB0t+gAICCAAw\n\
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEKjcZTRsSXAVPtq24jNkAPQEgZBF\n\
mR9XHZQbcIg4/E8pT522DDM+fTSVKvUkP/hjSNKAc1RmEDfZywg6JMUbjxHTNF42\n\
twbkUGEdS9A/+I1bqpFD4uomoCGv5eR9Mi/GL9T1Ly0T2TGe+laL4FYTtUZSnPJA\n\
q4vesCvIN9L0E0uLU7xosZ6md/3tyXo7tCr03mIIvYQKyxd12SuWmpEjk3miMlA=\n\
-----END ENCRYPTED PRIVATE KEY-----\n";

    fn read(text: &str, password: Option<&str>) -> Result<PrivateKeyDer<'static>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        private_key(file.path(), password.map(Secret::from).as_ref())
    }

    #[test]
    fn an_encrypted_key_is_read_with_its_password() {
        let key = read(KEY, Some("secret")).unwrap();
        assert!(
            ring::default_provider()
                .key_provider
                .load_private_key(key)
                .is_ok()
        );
    }

    #[test]
    fn a_key_that_cannot_be_read_names_the_reason() {
        for (text, password, reason) in [
            (KEY, None, "set kafka.security.key_password"),
            (KEY, Some("wrong"), "check kafka.security.key_password"),
            (
                "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED",
                Some("secret"),
                "openssl pkcs8 -topk8",
            ),
            ("no key", None, "has no private key in PEM"),
        ] {
            let error = read(text, password).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
