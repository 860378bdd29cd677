//! A Pushgateway behind TLS, client certificates and passwords.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;
use testbed::Pushgateway;

use crate::page::Page;
use crate::stage::{host, run};

/// The password `secret`, as a web configuration wants it.
const HASH: &str = "$2b$04$4CYFvgY0597xaouSHM7oOu2qgc8KUJs13ufdnPloov/WbVe2OOwB2";

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

/// An authority, and a certificate of it for a server and for a client, as files.
fn certificates(folder: &Path) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    // Without a name of its own it would be taken for the certificates that it signs.
    params.distinguished_name.push(DnType::CommonName, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    write(folder, "ca.pem", &authority.pem());
    for name in ["server", "client"] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        write(folder, &format!("{name}.pem"), &certificate.pem());
        write(folder, &format!("{name}.key"), &key.serialize_pem());
    }
}

struct Secured {
    gateway: Pushgateway,
    folder: TempDir,
}

impl Secured {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        certificates(folder.path());
        let path = |name: &str| folder.path().join(name).display().to_string();
        let web = format!(
            "tls_server_config:\n  cert_file: {}\n  key_file: {}\n  client_ca_file: {}\n  client_auth_type: \
             RequireAndVerifyClientCert\nbasic_auth_users:\n  me: {HASH}\n",
            path("server.pem"),
            path("server.key"),
            path("ca.pem")
        );
        write(folder.path(), "web.yml", &web);
        let flag = format!("--web.config.file={}", path("web.yml"));
        let gateway = Pushgateway::start(&[&flag]).await.unwrap();
        Self { gateway, folder }
    }

    /// The settings of an exporter that knows the authority, and has a certificate and a password.
    fn security(&self, password: &str) -> String {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        format!(
            "[pushgateway]\nurl = \"https://{}\"\n[pushgateway.security]\nca_file = '{}'\ncertificate_file = '{}'\n\
             key_file = '{}'\nusername = \"me\"\npassword = \"{password}\"\n[targets.app]\n",
            host(self.gateway.url()),
            path("ca.pem"),
            path("client.pem"),
            path("client.key"),
        )
    }

    async fn once(&self, settings: &str, page: &Page) -> Result<(), String> {
        let output = run(
            &self.folder,
            &format!("{settings}url = \"{}\"\n", page.url),
            &["--once"],
        )
        .await;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            Ok(())
        } else {
            Err(told)
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_behind_tls_certificates_and_passwords_is_pushed_to() {
    let (secured, page) = (Secured::new().await, Page::start("x 1\n").await);
    secured.once(&secured.security("secret"), &page).await.unwrap();
    let told = secured.once(&secured.security("wrong"), &page).await.unwrap_err();
    assert!(
        told.contains("answers 401") && told.contains("password"),
        "{told}"
    );
    let unknown = secured.security("secret").replace("ca_file", "# ca_file");
    let told = secured.once(&unknown, &page).await.unwrap_err();
    assert!(told.contains("certificate verify failed"), "{told}");
    let without = secured
        .security("secret")
        .replace("certificate_file", "# c")
        .replace("key_file", "# k");
    secured.once(&without, &page).await.unwrap_err();
}
