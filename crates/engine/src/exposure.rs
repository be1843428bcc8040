//! How reachable an asset is: from a person's label, else from a cloud fact, else from the sockets that listen.
//!
//! A socket says who could connect if nothing stood in between, and it cannot see what does. So a socket alone makes a
//! host `open` only when it is bound to a globally routable address; one bound to every address (`0.0.0.0`) makes it
//! `controlled`, because most hosts sit behind address translation or a firewall. A label corrects either way.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use stanch_model::asset::{Exposure, ExposureLevel, ExposureSource};
use stanch_model::facts::{HostFacts, ListeningSocket};

/// The label a person sets: `open`, `controlled` or `small`.
pub const LABEL: &str = "exposure";

/// The exposure of an asset, or `None` when nothing tells. A label with another word tells nothing.
pub fn exposure(facts: Option<&HostFacts>, labels: &BTreeMap<String, String>) -> Option<Exposure> {
    if let Some(level) = labels.get(LABEL).and_then(|word| level(word)) {
        return Some(Exposure { level, source: ExposureSource::Label });
    }
    let sockets = facts?.sockets.known()?;
    let level = sockets.iter().map(|socket| reach_of(socket.address)).max().unwrap_or(ExposureLevel::Small);
    Some(Exposure { level, source: ExposureSource::Sockets })
}

fn level(word: &str) -> Option<ExposureLevel> {
    match word.trim().to_ascii_lowercase().as_str() {
        "open" => Some(ExposureLevel::Open),
        "controlled" => Some(ExposureLevel::Controlled),
        "small" => Some(ExposureLevel::Small),
        _ => None,
    }
}

/// Who could connect to a socket bound to this address.
pub fn reach_of(address: IpAddr) -> ExposureLevel {
    match address.to_canonical() {
        address if address.is_loopback() => ExposureLevel::Small,
        IpAddr::V4(address) if is_global_v4(address) => ExposureLevel::Open,
        IpAddr::V6(address) if is_global_v6(address) => ExposureLevel::Open,
        _ => ExposureLevel::Controlled,
    }
}

/// The sockets that others can reach, the most reachable first.
pub fn listeners(sockets: &[ListeningSocket]) -> Vec<&ListeningSocket> {
    let mut reachable: Vec<&ListeningSocket> =
        sockets.iter().filter(|socket| reach_of(socket.address) > ExposureLevel::Small).collect();
    reachable.sort_by(|a, b| reach_of(b.address).cmp(&reach_of(a.address)).then_with(|| a.cmp(b)));
    reachable
}

const fn is_global_v4(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    let shared = a == 100 && (b & 0xc0) == 64;
    let benchmark = a == 198 && (b & 0xfe) == 18;
    !(a == 0
        || a >= 240
        || shared
        || benchmark
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast())
}

const fn is_global_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    // 2000::/3 is what has been given out for the internet; 2001:db8::/32 is for documents.
    first & 0xe000 == 0x2000 && !(first == 0x2001 && second == 0x0db8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_routable_address_is_open_by_its_socket() {
        let at = |text: &str| reach_of(text.parse().unwrap());
        for small in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(at(small), ExposureLevel::Small, "{small}");
        }
        for controlled in [
            "0.0.0.0",
            "::",
            "10.1.2.3",
            "192.168.0.9",
            "172.20.0.1",
            "100.64.1.1",
            "169.254.3.3",
            "fe80::1",
            "fd00::1",
        ] {
            assert_eq!(at(controlled), ExposureLevel::Controlled, "{controlled}");
        }
        for open in ["93.184.216.34", "8.8.8.8", "2a00:1450:4001::1"] {
            assert_eq!(at(open), ExposureLevel::Open, "{open}");
        }
    }

    #[test]
    fn a_label_wins_and_a_misspelt_one_says_nothing() {
        let label = |word: &str| BTreeMap::from([(LABEL.to_owned(), word.to_owned())]);
        assert_eq!(
            exposure(None, &label("Open")),
            Some(Exposure { level: ExposureLevel::Open, source: ExposureSource::Label })
        );
        assert_eq!(exposure(None, &label("opne")), None);
        assert_eq!(exposure(None, &BTreeMap::new()), None);
    }
}
