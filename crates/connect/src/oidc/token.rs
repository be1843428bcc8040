//! The token that says who somebody is, and everything that must be true before it is believed (OpenID Connect Core
//! 1.0, 3.1.3.7). Pure: keys and time come in as arguments.

use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::Value;
use subtle::ConstantTimeEq as _;

/// How far the provider's clock may be from ours.
pub const SKEW: SignedDuration = SignedDuration::from_secs(60);
/// The most bytes of a token.
const LONGEST: usize = 16 * 1024;
/// The most keys of a set.
const KEYS: usize = 64;
/// The most groups that are read.
const GROUPS: usize = 1_000;
/// The most bytes of any name in a token.
const NAME: usize = 255;

/// Signatures with the provider's own key. None is `none`, and none is one that we could make ourselves (HMAC).
const ALGORITHMS: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// The keys a provider signs with. Keys of kinds that are not known are left out.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(from = "RawKeys")]
pub struct KeySet(Vec<Jwk>);

#[derive(Deserialize)]
struct RawKeys {
    keys: Vec<Value>,
}

impl From<RawKeys> for KeySet {
    fn from(raw: RawKeys) -> Self {
        let keys = raw.keys.into_iter().take(KEYS).filter_map(|key| serde_json::from_value(key).ok());
        Self(keys.collect())
    }
}

/// What a token must say.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The issuer.
    pub issuer: &'a str,
    /// What the issuer calls us.
    pub client_id: &'a str,
    /// What we made up for this sign-in.
    pub nonce: &'a str,
    /// The claim that lists the person's groups.
    pub groups_claim: &'a str,
    /// Now.
    pub now: Timestamp,
}

/// Who somebody is, according to a token that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The provider's own id of the person; the only thing that says who it is.
    pub subject: String,
    /// What they like to be called.
    pub preferred_name: Option<String>,
    /// Their address, if the provider has checked that it is theirs.
    pub email: Option<String>,
    /// Their groups.
    pub groups: Vec<String>,
}

/// Why a token is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It is too long, or does not read.
    #[error("the token does not read")]
    Form,
    /// Its signature is of a kind that proves nothing here.
    #[error("the token's signature is of a kind that is not accepted")]
    Algorithm,
    /// No key of the provider fits; its keys may have changed.
    #[error("the token is signed with a key that the provider does not name")]
    UnknownKey,
    /// The signature is wrong.
    #[error("the token's signature is wrong")]
    Signature,
    /// A claim is missing or says something else than it must.
    #[error("the token's claim `{0}` is missing or wrong")]
    Claim(&'static str),
    /// It is over.
    #[error("the token has expired")]
    Expired,
    /// It is of the future.
    #[error("the token is of the future: the clocks of provider and server differ by more than a minute")]
    Early,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct Raw {
    iss: String,
    sub: String,
    aud: Audience,
    exp: i64,
    iat: i64,
    nbf: Option<i64>,
    nonce: Option<String>,
    azp: Option<String>,
    preferred_username: Option<String>,
    email: Option<String>,
    email_verified: Option<Value>,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

/// Believes a token, or says why not.
///
/// # Errors
/// When anything about it is not as it must be. [`TokenError::UnknownKey`] may pass when the keys are fetched anew.
pub fn verify(token: &str, keys: &KeySet, expected: Expected<'_>) -> Result<Claims, TokenError> {
    if token.len() > LONGEST || !token.is_ascii() {
        return Err(TokenError::Form);
    }
    // What has no known algorithm does not read: `none` is not one.
    let header = decode_header(token).map_err(|_| TokenError::Algorithm)?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(TokenError::Algorithm);
    }
    let is_jwt = header.typ.as_deref().is_none_or(|kind| kind.eq_ignore_ascii_case("JWT"));
    if !is_jwt || header.crit.is_some() {
        return Err(TokenError::Form);
    }
    let raw = signed(token, keys, header.alg, header.kid.as_deref())?;
    check(&raw, expected)?;
    Ok(claims(raw, expected.groups_claim))
}

/// The claims of a token whose signature is right.
fn signed(token: &str, keys: &KeySet, algorithm: Algorithm, kid: Option<&str>) -> Result<Raw, TokenError> {
    let mut fitting = keys.0.iter().filter(|key| fits(key, algorithm));
    let key = match kid {
        Some(kid) => fitting.find(|key| key.common.key_id.as_deref() == Some(kid)),
        // Without a name only one key may be meant.
        None => fitting.next().filter(|_| fitting.next().is_none()),
    };
    let key = DecodingKey::from_jwk(key.ok_or(TokenError::UnknownKey)?).map_err(|_| TokenError::UnknownKey)?;
    let mut how = Validation::new(algorithm);
    // The claims are checked below, by a clock that is handed in.
    how.required_spec_claims.clear();
    how.validate_exp = false;
    how.validate_nbf = false;
    how.validate_aud = false;
    decode::<Raw>(token, &key, &how).map(|data| data.claims).map_err(|error| {
        use jsonwebtoken::errors::ErrorKind as E;
        match error.kind() {
            E::InvalidSignature | E::InvalidKeyFormat | E::InvalidRsaKey(_) | E::InvalidEcdsaKey => {
                TokenError::Signature
            }
            E::InvalidAlgorithm => TokenError::Algorithm,
            _ => TokenError::Form,
        }
    })
}

/// Whether a key is one that may have made a signature of this kind.
fn fits(key: &Jwk, algorithm: Algorithm) -> bool {
    if !key.common.public_key_use.as_ref().is_none_or(|purpose| *purpose == PublicKeyUse::Signature) {
        return false;
    }
    use Algorithm as A;
    let (family, own) = match algorithm {
        A::RS256 => (matches!(key.algorithm, AlgorithmParameters::RSA(_)), KeyAlgorithm::RS256),
        A::RS384 => (matches!(key.algorithm, AlgorithmParameters::RSA(_)), KeyAlgorithm::RS384),
        A::RS512 => (matches!(key.algorithm, AlgorithmParameters::RSA(_)), KeyAlgorithm::RS512),
        A::PS256 => (matches!(key.algorithm, AlgorithmParameters::RSA(_)), KeyAlgorithm::PS256),
        A::PS384 => (matches!(key.algorithm, AlgorithmParameters::RSA(_)), KeyAlgorithm::PS384),
        A::PS512 => (matches!(key.algorithm, AlgorithmParameters::RSA(_)), KeyAlgorithm::PS512),
        A::ES256 => (is_curve(key, &EllipticCurve::P256), KeyAlgorithm::ES256),
        A::ES384 => (is_curve(key, &EllipticCurve::P384), KeyAlgorithm::ES384),
        A::EdDSA => (matches!(key.algorithm, AlgorithmParameters::OctetKeyPair(_)), KeyAlgorithm::EdDSA),
        _ => return false,
    };
    family && key.common.key_algorithm.as_ref().is_none_or(|named| *named == own)
}

fn is_curve(key: &Jwk, curve: &EllipticCurve) -> bool {
    matches!(&key.algorithm, AlgorithmParameters::EllipticCurve(parameters) if parameters.curve == *curve)
}

fn check(raw: &Raw, expected: Expected<'_>) -> Result<(), TokenError> {
    if raw.iss != expected.issuer {
        return Err(TokenError::Claim("iss"));
    }
    let (for_us, several) = match &raw.aud {
        Audience::One(one) => (one == expected.client_id, false),
        Audience::Many(many) => (many.iter().any(|one| one == expected.client_id), many.len() > 1),
    };
    if !for_us {
        return Err(TokenError::Claim("aud"));
    }
    match &raw.azp {
        Some(party) if party != expected.client_id => return Err(TokenError::Claim("azp")),
        None if several => return Err(TokenError::Claim("azp")),
        _ => {}
    }
    let nonce = raw.nonce.as_deref().unwrap_or_default();
    if expected.nonce.is_empty() || !bool::from(nonce.as_bytes().ct_eq(expected.nonce.as_bytes())) {
        return Err(TokenError::Claim("nonce"));
    }
    let at = |seconds: i64, claim| Timestamp::from_second(seconds).map_err(|_| TokenError::Claim(claim));
    let latest = expected.now.saturating_add(SKEW).unwrap_or(expected.now);
    let earliest = expected.now.saturating_sub(SKEW).unwrap_or(expected.now);
    if at(raw.exp, "exp")? <= earliest {
        return Err(TokenError::Expired);
    }
    if at(raw.iat, "iat")? > latest
        || raw.nbf.map(|seconds| at(seconds, "nbf")).transpose()?.is_some_and(|at| at > latest)
    {
        return Err(TokenError::Early);
    }
    if raw.sub.is_empty() || raw.sub.len() > NAME || !raw.sub.is_ascii() {
        return Err(TokenError::Claim("sub"));
    }
    Ok(())
}

fn claims(raw: Raw, groups_claim: &str) -> Claims {
    let short = |text: &String| !text.is_empty() && text.len() <= NAME;
    let verified = match raw.email_verified {
        Some(Value::Bool(verified)) => verified,
        // Some providers write it as a text.
        Some(Value::String(text)) => text == "true",
        _ => false,
    };
    let groups = match raw.rest.get(groups_claim) {
        Some(Value::Array(many)) => {
            many.iter().take(GROUPS).filter_map(Value::as_str).map(str::to_owned).filter(short).collect()
        }
        Some(Value::String(one)) => vec![one.clone()].into_iter().filter(short).collect(),
        _ => Vec::new(),
    };
    Claims {
        subject: raw.sub,
        preferred_name: raw.preferred_username.filter(short),
        email: raw.email.filter(|_| verified).filter(short),
        groups,
    }
}
