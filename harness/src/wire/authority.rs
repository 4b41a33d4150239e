//! An authority of the harness's own, which vouches for proxies and fake servers.

use crate::error::{Attempt, ErrorKind, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

/// The name by which a client that begins with TLS at once says that it speaks Postgres within.
pub(super) const ALPN: &[u8] = b"postgresql";

/// Whom its certificates are for: the loopback interface, by each of its names.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A certificate authority that lives as long as this does, for [`Proxy::start_tls`](super::Proxy::start_tls) and
/// [`FakeServer::start_tls`](super::FakeServer::start_tls). Its keys never leave this process, so nobody else can be
/// vouched for by it.
///
/// ```
/// use pgharness::wire::{Address, Authority, PassAll, Proxy};
/// use pgharness::{Template, sqlx, template};
/// use sqlx::ConnectOptions;
///
/// static APP: Template = template! {};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> pgharness::Result<()> {
/// let db = APP.get().await?;
/// let authority = Authority::new()?;
/// let proxy = Proxy::start_tls(Address::of(&db.options()), &authority, |_| PassAll).await?;
/// let options = authority.verified(&proxy.options(&db.options()));
/// let one: i32 = sqlx::query_scalar("select 1").fetch_one(&mut options.connect().await?).await?;
/// assert_eq!(one, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Authority(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    certificate: PathBuf,
    config: Arc<ServerConfig>,
    _dir: TempDir,
}

impl Authority {
    /// Makes an authority, and writes its certificate into a directory of its own.
    ///
    /// # Errors
    /// There is no room for the file, or no randomness for the keys.
    pub fn new() -> Result<Authority> {
        let (pem, config) = issue()?;
        let failed = || "failed to write the certificate of an authority".to_owned();
        let dir = tempfile::Builder::new()
            .prefix("pgharness-authority-")
            // What is in it is public, and a client may run as another user.
            .permissions(Permissions::from_mode(0o755))
            .tempdir()
            .attempt(ErrorKind::Environment, failed)?;
        let certificate = dir.path().join("root.crt");
        std::fs::write(&certificate, pem).attempt(ErrorKind::Environment, failed)?;
        Ok(Authority(Arc::new(Shared { certificate, config, _dir: dir })))
    }

    /// The file of its certificate: what `sslrootcert` wants to be told, or `PGSSLROOTCERT`.
    pub fn certificate(&self) -> &Path {
        &self.0.certificate
    }

    /// The same options, with which a client insists on TLS with whom this authority vouches for (`verify-full`).
    pub fn verified(&self, options: &PgConnectOptions) -> PgConnectOptions {
        options.clone().ssl_mode(PgSslMode::VerifyFull).ssl_root_cert(self.certificate())
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.0.config.clone()
    }
}

/// The authority's certificate, as text, and what a listener needs.
fn issue() -> Result<(String, Arc<ServerConfig>)> {
    let failed = || "failed to make a certificate".to_owned();
    let named = |name: &str, mut params: CertificateParams| {
        params.distinguished_name.push(DnType::CommonName, DnValue::Utf8String(name.into()));
        params
    };
    let key = KeyPair::generate().attempt(ErrorKind::Environment, failed)?;
    let mut params = named("pgharness", CertificateParams::default());
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let root = params.self_signed(&key).attempt(ErrorKind::Environment, failed)?;
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().attempt(ErrorKind::Environment, failed)?;
    let params = CertificateParams::new(NAMES.map(str::to_owned)).attempt(ErrorKind::Environment, failed)?;
    let mut params = named("localhost", params);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let leaf = params.signed_by(&key, &issuer).attempt(ErrorKind::Environment, failed)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .attempt(ErrorKind::Environment, failed)?
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .attempt(ErrorKind::Environment, failed)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok((root.pem(), Arc::new(config)))
}
