//! The authority of the installation: it vouches for this server to executors and for executors to this server, and for
//! nothing else. It signs no orders: whoever had its key could listen and delay, and have nothing carried out. Between
//! servers it vouches for the way; for an operator it takes the key that seals secrets as well.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber,
};
use stanch_model::canonical::Digest;
use stanch_model::id::ExecutorId;
use tokio_rustls::rustls::crypto::aws_lc_rs::sign::any_supported_type;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use crate::clock::{Clock, Entropy, NoEntropy, ten};
use crate::pki::{KeyError, keep, kept};

/// How long the authority's own certificate holds: executors pin it, and a newer one means that all enrol anew.
const AUTHORITY_LIFE: SignedDuration = SignedDuration::from_hours(24 * 3650);
/// How long a server's certificate holds; a new one is made at half of it.
const SERVER_LIFE: SignedDuration = SignedDuration::from_hours(24 * 30);
/// How long an executor's certificate holds. One that is away for longer than that enrols anew.
pub(super) const EXECUTOR_LIFE: SignedDuration = SignedDuration::from_hours(24 * 30);
/// The name in the certificates of servers. No executor gets it: the name in theirs is their id.
const SERVER: &str = "stanch-server";
/// How far clocks may be apart.
const SKEW: SignedDuration = SignedDuration::from_hours(1);

/// Why a certificate is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthorityError {
    /// Its key cannot be read or made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// What it wrote or is asked to sign makes no sense.
    #[error("{what}")]
    Certificate {
        /// What was tried.
        what: &'static str,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// The TLS library refuses a key.
    #[error("the server's key is refused by the TLS library")]
    Tls(#[source] tokio_rustls::rustls::Error),
    /// No random bytes.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
}

fn certificate(what: &'static str) -> impl FnOnce(rcgen::Error) -> AuthorityError {
    move |source| AuthorityError::Certificate { what, source }
}

/// The authority, with what it presents to executors.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    names: Vec<String>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    presented: Mutex<Option<(Arc<CertifiedKey>, Timestamp)>>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({})", self.fingerprint())
    }
}

impl Authority {
    /// Reads key and certificate of a data folder, making what is missing. `names` are those under which executors reach
    /// this server.
    pub(crate) fn open(
        data_dir: &Path,
        names: Vec<String>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, AuthorityError> {
        let folder = data_dir.join("keys");
        let key_file = folder.join("authority");
        let key = match kept(&key_file)? {
            Some(der) => KeyPair::from_pkcs8_der_and_sign_algo(
                &PrivatePkcs8KeyDer::from(der.as_slice()),
                &PKCS_ECDSA_P256_SHA256,
            )
            .map_err(certificate("the authority's key does not read"))?,
            None => {
                let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
                    .map_err(certificate("the authority's key cannot be made"))?;
                keep(&key_file, key.serialized_der())?;
                key
            }
        };
        let certificate_file = folder.join("authority.crt");
        let der = match kept(&certificate_file)? {
            Some(der) => CertificateDer::from(der),
            None => {
                let der = own(&key, clock.now(), entropy.as_ref())?;
                keep(&certificate_file, &der)?;
                der
            }
        };
        let issuer = Issuer::from_ca_cert_der(&der, key)
            .map_err(certificate("the authority's certificate does not read: move keys/authority.crt away"))?;
        Ok(Self { issuer, der, names, clock, entropy, presented: Mutex::default() })
    }

    /// What executors pin: the SHA-256 of the certificate.
    pub(crate) fn fingerprint(&self) -> Digest {
        Digest::of_bytes(&self.der)
    }

    /// The certificate.
    pub(crate) const fn certificate(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The certificate as text.
    pub(crate) fn pem(&self) -> String {
        pem(&self.der)
    }

    /// A certificate for an executor's key, as it asks for one in PKCS #10; only the key is taken from the request, and
    /// that the asker has it is checked. Answers the certificate and the SHA-256 by which it is known.
    pub(crate) fn vouch_for(&self, executor: &ExecutorId, request: &str) -> Result<(String, Digest), AuthorityError> {
        let asked = CertificateSigningRequestParams::from_pem(request)
            .map_err(certificate("the request for a certificate makes no sense"))?;
        let mut params = self.params(executor.as_str(), EXECUTOR_LIFE)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let signed = params
            .signed_by(&asked.public_key, &self.issuer)
            .map_err(certificate("the executor's certificate cannot be signed"))?;
        Ok((signed.pem(), Digest::of_bytes(signed.der())))
    }

    fn params(&self, name: &str, life: SignedDuration) -> Result<CertificateParams, AuthorityError> {
        let now = self.clock.now();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from_slice(&serial(self.entropy.as_ref())?));
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        (params.not_before, params.not_after) = span(now, life);
        Ok(params)
    }

    /// What this server shows to another one of the installation, and its key.
    pub(crate) fn between_servers(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), AuthorityError> {
        let key =
            KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(certificate("the server's key cannot be made"))?;
        let mut params = self.params(SERVER, SERVER_LIFE)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let signed =
            params.signed_by(&key, &self.issuer).map_err(certificate("the server's certificate cannot be signed"))?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok((vec![signed.der().clone()], private))
    }

    /// What this server shows to executors; made anew when half its life is over.
    fn present(&self) -> Result<Arc<CertifiedKey>, AuthorityError> {
        let now = self.clock.now();
        let mut presented = self.presented.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((certified, until)) = presented.as_ref()
            && now < *until
        {
            return Ok(Arc::clone(certified));
        }
        let key =
            KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(certificate("the server's key cannot be made"))?;
        let mut params = self.params(SERVER, SERVER_LIFE)?;
        params.subject_alt_names = CertificateParams::new(self.names.clone())
            .map_err(certificate("a name of this server is no host name and no address"))?
            .subject_alt_names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let signed =
            params.signed_by(&key, &self.issuer).map_err(certificate("the server's certificate cannot be signed"))?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signing = any_supported_type(&private).map_err(AuthorityError::Tls)?;
        let certified = Arc::new(CertifiedKey::new(vec![signed.der().clone(), self.der.clone()], signing));
        let half = SERVER_LIFE.checked_div(2).unwrap_or(SERVER_LIFE);
        *presented = Some((Arc::clone(&certified), now.saturating_add(half).unwrap_or(now)));
        Ok(certified)
    }

    /// Whether a certificate can be shown: asked at the start, so that a name that cannot be one is told then.
    pub(crate) fn check(&self) -> Result<(), AuthorityError> {
        self.present().map(drop)
    }
}

impl ResolvesServerCert for Authority {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match self.present() {
            Ok(certified) => Some(certified),
            Err(error) => {
                tracing::error!(error = crate::error::chain(&error), "no certificate for executors");
                None
            }
        }
    }
}

/// Whether a certificate that the authority signed is one that servers show to each other.
pub(super) fn is_of_server(certificate: &CertificateDer<'_>) -> bool {
    let Ok((_, read)) = X509Certificate::from_der(certificate) else { return false };
    let mut names = read.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    names.next() == Some(SERVER) && names.next().is_none()
}

/// The authority's own certificate.
fn own(key: &KeyPair, now: Timestamp, entropy: &dyn Entropy) -> Result<CertificateDer<'static>, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    // Two installations never share a name, so that a chain that was mixed up is seen as such.
    let mark = ten(entropy)?;
    params.distinguished_name.push(DnType::CommonName, format!("Stanch authority {}", hex::encode(mark)));
    params.serial_number = Some(SerialNumber::from_slice(&serial(entropy)?));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    (params.not_before, params.not_after) = span(now, AUTHORITY_LIFE);
    let signed = params.self_signed(key).map_err(certificate("the authority's certificate cannot be made"))?;
    Ok(signed.der().clone())
}

/// A positive number of 127 bits.
fn serial(entropy: &dyn Entropy) -> Result<[u8; 16], NoEntropy> {
    let mut serial = [0; 16];
    entropy.fill(&mut serial)?;
    if let Some(first) = serial.first_mut() {
        *first = *first & 0x7f | 0x40;
    }
    Ok(serial)
}

/// From shortly before now until a life later, in the library's own type of time.
fn span(now: Timestamp, life: SignedDuration) -> (time::OffsetDateTime, time::OffsetDateTime) {
    let at = |at: Timestamp| {
        time::OffsetDateTime::from_unix_timestamp(at.as_second()).unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
    };
    (at(now.saturating_sub(SKEW).unwrap_or(now)), at(now.saturating_add(life).unwrap_or(now)))
}

fn pem(der: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
