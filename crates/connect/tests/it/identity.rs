//! Tokens that say who somebody is: believed when everything about them is right, and attacked one thing at a time.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use proptest::prelude::*;
use serde_json::{Value, json};
use stanch_connect::oidc::{Claims, Expected, KeySet, TokenError, verify};

const ISSUER: &str = "https://id.example.org";
const NOW: i64 = 1_800_000_000;

/// A provider's key.
struct Key {
    private: EncodingKey,
    public: Value,
}

impl Key {
    fn new(kid: &str) -> Self {
        let curve = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(curve, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(curve, pkcs8.as_ref()).unwrap();
        let point = pair.public_key().as_ref();
        let (x, y) = point[1..].split_at(32);
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let public = json!({
            "kty": "EC", "crv": "P-256", "x": text(x), "y": text(y), "kid": kid, "use": "sig", "alg": "ES256",
        });
        Self { private: EncodingKey::from_ec_der(pkcs8.as_ref()), public }
    }
}

fn keys(all: &[&Key]) -> KeySet {
    let public: Vec<&Value> = all.iter().map(|key| &key.public).collect();
    serde_json::from_value(json!({ "keys": public })).unwrap()
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "0815", "aud": "stanch", "exp": NOW + 300, "iat": NOW - 1, "nonce": "n-0S6",
        "preferred_username": "ada", "email": "ada@example.org", "email_verified": true, "groups": ["ops", "web"],
    })
}

fn header(kid: &str) -> Header {
    Header { kid: Some(kid.into()), ..Header::new(Algorithm::ES256) }
}

fn token(key: &Key, claims: &Value) -> String {
    encode(&header("k1"), claims, &key.private).unwrap()
}

fn expected() -> Expected<'static> {
    let now = Timestamp::from_second(NOW).unwrap();
    Expected { issuer: ISSUER, client_id: "stanch", nonce: "n-0S6", groups_claim: "groups", now }
}

fn check(token: &str, keys: &KeySet) -> Result<Claims, TokenError> {
    verify(token, keys, expected())
}

#[test]
fn a_token_that_is_right_in_everything_is_believed() {
    let key = Key::new("k1");
    let said = check(&token(&key, &claims()), &keys(&[&key])).unwrap();
    assert_eq!(said.subject, "0815");
    assert_eq!((said.preferred_name.as_deref(), said.email.as_deref()), (Some("ada"), Some("ada@example.org")));
    assert_eq!(said.groups, ["ops", "web"]);
}

#[test]
fn one_wrong_claim_is_enough_to_be_refused() {
    let key = Key::new("k1");
    let set = keys(&[&key]);
    let claim = |name| TokenError::Claim(name);
    for (name, value, why) in [
        ("iss", json!("https://evil.example.org"), claim("iss")),
        ("iss", json!("https://id.example.org/"), claim("iss")),
        ("aud", json!("other"), claim("aud")),
        ("aud", json!(["other", "another"]), claim("aud")),
        ("aud", json!(["stanch", "other"]), claim("azp")),
        ("azp", json!("other"), claim("azp")),
        ("nonce", json!("of another sign-in"), claim("nonce")),
        ("nonce", Value::Null, claim("nonce")),
        ("sub", json!(""), claim("sub")),
        ("sub", json!("x".repeat(256)), claim("sub")),
        ("exp", json!(NOW - 60), TokenError::Expired),
        ("exp", json!(i64::MAX), claim("exp")),
        ("iat", json!(NOW + 61), TokenError::Early),
        ("nbf", json!(NOW + 61), TokenError::Early),
        ("exp", json!("soon"), TokenError::Form),
        ("iss", json!(["https://id.example.org"]), TokenError::Form),
    ] {
        let mut wrong = claims();
        wrong[name] = value.clone();
        assert_eq!(check(&token(&key, &wrong), &set), Err(why), "{name} = {value}");
    }
    for name in ["iss", "sub", "aud", "exp", "iat"] {
        let mut without = claims();
        without.as_object_mut().unwrap().remove(name);
        assert_eq!(check(&token(&key, &without), &set), Err(TokenError::Form), "without {name}");
    }
}

#[test]
fn clocks_may_differ_by_a_minute_and_no_more() {
    let key = Key::new("k1");
    let with = |name: &str, value: i64| {
        let mut claims = claims();
        claims[name] = json!(value);
        check(&token(&key, &claims), &keys(&[&key]))
    };
    assert!(with("exp", NOW - 59).is_ok() && with("iat", NOW + 60).is_ok());
    assert!(with("exp", NOW - 60).is_err() && with("iat", NOW + 61).is_err());
}

#[test]
fn a_signature_of_nobody_or_of_somebody_else_is_refused() {
    let (key, other) = (Key::new("k1"), Key::new("k1"));
    let set = keys(&[&key]);
    let good = token(&key, &claims());
    let parts: Vec<&str> = good.split('.').collect();
    let text = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());

    assert_eq!(check(&token(&other, &claims()), &set), Err(TokenError::Signature), "a key of another issuer");
    for none in ["none", "None", "NONE", ""] {
        let head = text(&json!({ "alg": none, "typ": "JWT", "kid": "k1" }));
        for signature in ["", parts[2]] {
            let forged = format!("{head}.{}.{signature}", parts[1]);
            assert_eq!(check(&forged, &set), Err(TokenError::Algorithm), "alg {none}");
        }
    }
    // Signed with what everybody knows: the public key as the secret of an HMAC.
    let known = serde_json::to_vec(&key.public).unwrap();
    let symmetric = Header { kid: Some("k1".into()), ..Header::new(Algorithm::HS256) };
    let forged = encode(&symmetric, &claims(), &EncodingKey::from_secret(&known)).unwrap();
    assert_eq!(check(&forged, &set), Err(TokenError::Algorithm));

    let mut more = claims();
    more["groups"] = json!(["admins"]);
    assert_eq!(check(&format!("{}.{}.{}", parts[0], text(&more), parts[2]), &set), Err(TokenError::Signature));
    assert_eq!(check(&format!("{}.{}.", parts[0], parts[1]), &set), Err(TokenError::Signature));
    assert!(check(&good[..good.len() - 4], &set).is_err());
    assert_eq!(check("", &set), Err(TokenError::Algorithm));
    assert_eq!(check(&"a".repeat(17_000), &set), Err(TokenError::Form));
}

#[test]
fn only_a_named_key_for_signatures_counts() {
    let (key, second) = (Key::new("k1"), Key::new("k2"));
    let good = token(&key, &claims());
    assert_eq!(check(&good, &keys(&[&second])), Err(TokenError::UnknownKey), "it may have been rotated in since");
    assert!(check(&good, &keys(&[&second, &key])).is_ok());

    let nameless = encode(&Header::new(Algorithm::ES256), &claims(), &key.private).unwrap();
    assert!(check(&nameless, &keys(&[&key])).is_ok(), "one key can be meant without a name");
    assert_eq!(check(&nameless, &keys(&[&key, &second])), Err(TokenError::UnknownKey), "of two none is");

    for (field, value) in [("use", "enc"), ("alg", "ES384"), ("crv", "P-384"), ("kty", "oct")] {
        let mut wrong = Key::new("k1");
        wrong.public = key.public.clone();
        wrong.public[field] = json!(value);
        assert!(check(&good, &keys(&[&wrong])).is_err(), "{field} = {value}");
    }
    // What a token brings along about its own key is never looked at.
    let head = json!({ "alg": "ES256", "jwk": second.public, "jku": "https://evil.example.org/keys", "kid": "k2" });
    let forged = encode(&header("k2"), &claims(), &second.private).unwrap();
    let parts: Vec<&str> = forged.split('.').collect();
    let forged = format!("{}.{}.{}", URL_SAFE_NO_PAD.encode(head.to_string()), parts[1], parts[2]);
    assert_eq!(check(&forged, &keys(&[&key])), Err(TokenError::UnknownKey));
}

#[test]
fn an_address_counts_only_when_the_provider_has_checked_it() {
    let key = Key::new("k1");
    for (verified, counts) in
        [(json!(true), true), (json!("true"), true), (json!(false), false), (Value::Null, false), (json!(1), false)]
    {
        let mut claims = claims();
        claims["email_verified"] = verified.clone();
        let said = check(&token(&key, &claims), &keys(&[&key])).unwrap();
        assert_eq!(said.email.is_some(), counts, "{verified}");
    }
}

#[test]
fn groups_are_texts_in_the_named_claim_and_nothing_else() {
    let key = Key::new("k1");
    let with = |groups: Value| {
        let mut claims = claims();
        claims["groups"] = groups;
        check(&token(&key, &claims), &keys(&[&key])).unwrap().groups
    };
    assert_eq!(with(json!("ops")), ["ops"]);
    assert_eq!(with(json!(["ops", 1, null, "", "x".repeat(256)])), ["ops"]);
    assert!(with(json!({ "ops": true })).is_empty() && with(Value::Null).is_empty());
}

proptest! {
    #[test]
    fn any_text_is_believed_or_refused(text in "[ -~]{0,300}") {
        let key = Key::new("k1");
        prop_assert!(check(&text, &keys(&[&key])).is_err());
    }

    #[test]
    fn any_change_to_a_token_is_noticed(at in 0_usize..1_000, to in "[A-Za-z0-9_-]") {
        let key = Key::new("k1");
        let good = token(&key, &claims());
        let at = at % good.len();
        let mut changed = good.clone();
        changed.replace_range(at..=at, &to);
        // The last digit of a part holds bits that mean nothing; a decoder that minds them refuses, one that does not
        // reads the same bytes.
        let same = changed.split('.').zip(good.split('.')).all(|(a, b)| {
            let read = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
            read(a) == read(b)
        });
        prop_assert!(same || check(&changed, &keys(&[&key])).is_err());
    }
}
