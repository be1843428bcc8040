//! OpenID Connect, the side that relies on a provider: discovery, the code flow with PKCE, and the checks of the
//! token that says who somebody is (OpenID Connect Core 1.0, RFC 7636, RFC 9207).
//!
//! What a provider says is believed only after [`verify`]; nothing else of its answers tells who somebody is.

mod provider;
mod token;

pub use provider::{Address, Answer, Metadata, OidcError, exchange, fetch_keys, fetch_metadata};
pub use token::{Claims, Expected, KeySet, SKEW, TokenError, verify};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The challenge for a verifier (RFC 7636, `S256`).
pub fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_challenge_is_that_of_the_standard() {
        // RFC 7636, appendix B.
        let challenge = super::challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert_eq!(challenge, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}
