//! Where a request comes from: names this server answers to, and pages that may ask it to act.
//!
//! A web page elsewhere can make a visitor's browser send requests here, and can even give its own name the address of
//! this machine. So the listener answers only to names it was told, and acts only for pages of its own.

use std::net::IpAddr;

use axum::http::{HeaderMap, header};

/// Whether the server goes by this `Host`.
pub(crate) fn host_is_ours(host: Option<&str>, ours: &[String]) -> bool {
    let Some(host) = host else { return false };
    let name = name_of(host);
    if name.eq_ignore_ascii_case("localhost") || ours.iter().any(|own| own.eq_ignore_ascii_case(name)) {
        return true;
    }
    name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether a request that acts was sent by a page of this server, as far as the browser tells.
pub(crate) fn same_origin(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &axum::http::HeaderValue| value.to_str().ok());
    if let Some(origin) = text(header::ORIGIN) {
        let Some(host) = text(header::HOST) else { return false };
        return origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")) == Some(host);
    }
    match headers.get("sec-fetch-site").map(|value| value.to_str()) {
        None => true,
        Some(Ok(site)) => site == "same-origin",
        Some(Err(_)) => false,
    }
}

fn name_of(host: &str) -> &str {
    if host.starts_with('[') {
        return host.find(']').and_then(|end| host.get(..=end)).unwrap_or(host);
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_and_configured_ones_are_ours() {
        let ours = ["stanch.example".to_owned()];
        for good in ["localhost", "localhost:7070", "127.0.0.1:7070", "[::1]:7070", "127.0.0.5", "Stanch.Example:80"] {
            assert!(host_is_ours(Some(good), &ours), "{good}");
        }
        for bad in ["evil.example", "localhost.evil.example:7070", "10.0.0.1", "[2001:db8::1]:7070", "", "127.0.0.1.x"]
        {
            assert!(!host_is_ours(Some(bad), &ours), "{bad}");
        }
        assert!(!host_is_ours(None, &ours));
    }

    #[test]
    fn another_page_may_not_ask_us_to_act() {
        let check = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, value.parse().unwrap());
            }
            same_origin(&headers)
        };
        assert!(check(&[("host", "127.0.0.1:7070"), ("origin", "http://127.0.0.1:7070")]));
        assert!(!check(&[("host", "127.0.0.1:7070"), ("origin", "http://127.0.0.1:8080")]));
        assert!(!check(&[("host", "127.0.0.1:7070"), ("origin", "null")]));
        assert!(!check(&[("host", "127.0.0.1:7070"), ("sec-fetch-site", "cross-site")]));
        assert!(check(&[("host", "127.0.0.1:7070"), ("sec-fetch-site", "same-origin")]));
    }
}
