//! Well-known libraries in C that programs carry copies of: by which text a copy is known, and under which names CVE records
//! speak of it.
//!
//! A library is in the table when its own code holds a text with its version that nothing else has a reason to hold. A
//! program that only uses such a library may hold the text of the headers it was built with; what the program loads tells
//! the two apart.

use crate::canonical::Digest;

/// A library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Library {
    /// Its name.
    pub name: &'static str,
    /// Texts among a program's constants that give it away.
    pub marks: &'static [Mark],
    /// Beginnings of the names of shared libraries: a file that loads one of them has no copy of its own.
    pub loads: &'static [&'static str],
    /// What CVE records call it: vendor and product, in lower case with `_` in place of spaces.
    pub products: &'static [(&'static str, &'static str)],
}

/// A text that gives a library away, to which its version is joined, and what is expected after that.
pub type Mark = (&'static str, After);

/// What follows a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Anything that is no part of it.
    Any,
    /// The end of the text.
    End,
    /// This.
    Text(&'static str),
    /// A day, such as `1 Nov 2022`.
    Day,
}

const fn row(
    name: &'static str,
    marks: &'static [Mark],
    loads: &'static [&'static str],
    products: &'static [(&'static str, &'static str)],
) -> Library {
    Library { name, marks, loads, products }
}

/// All of them.
pub const LIBRARIES: [Library; 16] = [
    row("busybox", &[("BusyBox v", After::Text(" ("))], &[], &[("busybox", "busybox")]),
    row(
        "curl",
        &[("libcurl/", After::Any)],
        &["libcurl.so", "libcurl-gnutls.so", "libcurl-nss.so"],
        &[("curl", "curl"), ("curl", "libcurl"), ("haxx", "curl"), ("haxx", "libcurl")],
    ),
    row(
        "dropbear",
        &[("SSH-2.0-dropbear_", After::Any)],
        &[],
        &[("dropbear_ssh_project", "dropbear_ssh"), ("dropbear", "dropbear"), ("dropbear_project", "dropbear")],
    ),
    row(
        "expat",
        &[("expat_", After::End)],
        &["libexpat.so"],
        &[("libexpat_project", "libexpat"), ("libexpat", "libexpat")],
    ),
    row("libarchive", &[("libarchive ", After::End)], &["libarchive.so"], &[("libarchive", "libarchive")]),
    row("libgcrypt", &[("This is Libgcrypt ", After::Text(" - "))], &["libgcrypt.so"], &[("gnupg", "libgcrypt")]),
    row(
        "libjpeg-turbo",
        &[("libjpeg-turbo version ", After::Text(" ("))],
        &["libjpeg.so", "libturbojpeg.so"],
        &[("libjpeg-turbo", "libjpeg-turbo")],
    ),
    row("libpcap", &[("libpcap version ", After::Any)], &["libpcap.so"], &[("tcpdump", "libpcap")]),
    row(
        "libpng",
        &[("libpng version ", After::Any)],
        &["libpng16.so", "libpng12.so", "libpng.so"],
        &[("libpng", "libpng"), ("pnggroup", "libpng")],
    ),
    row(
        "libressl",
        &[("LibreSSL ", After::End)],
        &["libcrypto.so", "libssl.so"],
        &[("openbsd", "libressl"), ("libressl", "libressl")],
    ),
    row("libssh", &[("SSH-2.0-libssh_", After::Any)], &["libssh.so"], &[("libssh", "libssh")]),
    row("libssh2", &[("SSH-2.0-libssh2_", After::Any)], &["libssh2.so"], &[("libssh2", "libssh2")]),
    row("libtiff", &[("LIBTIFF, Version ", After::Any)], &["libtiff.so"], &[("libtiff", "libtiff")]),
    row(
        "mbedtls",
        &[("Mbed TLS ", After::End), ("mbed TLS ", After::End)],
        &["libmbedcrypto.so", "libmbedtls.so"],
        &[("arm", "mbed_tls"), ("trustedfirmware", "mbed_tls"), ("mbed-tls", "mbedtls"), ("mbed", "mbedtls")],
    ),
    row("openssl", &[("OpenSSL ", After::Day)], &["libcrypto.so", "libssl.so"], &[("openssl", "openssl")]),
    row(
        "zlib",
        &[("deflate ", After::Text(" Copyright 1995-")), ("inflate ", After::Text(" Copyright 1995-"))],
        &[],
        &[("zlib", "zlib"), ("madler", "zlib"), ("gnu", "zlib")],
    ),
];

/// The library that a CVE record speaks of.
pub fn of_product(vendor: &str, product: &str) -> Option<&'static Library> {
    let plain = |text: &str| text.trim().to_lowercase().replace(' ', "_");
    let (vendor, product) = (plain(vendor), plain(product));
    LIBRARIES.iter().find(|library| library.products.contains(&(vendor.as_str(), product.as_str())))
}

/// What the table says, as a digest: what was found by another one has to be looked for again.
pub fn edition() -> Digest {
    Digest::of_bytes(format!("{LIBRARIES:?}").as_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_library_has_its_own_name_and_no_product_is_two() {
        let names: BTreeSet<&str> = LIBRARIES.iter().map(|library| library.name).collect();
        assert_eq!(names.len(), LIBRARIES.len());
        let products: Vec<_> = LIBRARIES.iter().flat_map(|library| library.products).collect();
        assert_eq!(products.iter().collect::<BTreeSet<_>>().len(), products.len());
    }

    #[test]
    fn a_record_may_spell_vendor_and_product_as_people_do() {
        assert_eq!(of_product("OpenSSL", "OpenSSL").map(|one| one.name), Some("openssl"));
        assert_eq!(of_product("libexpat project", "libexpat").map(|one| one.name), Some("expat"));
        assert_eq!(of_product("n/a", "n/a"), None);
        assert_eq!(of_product("openssl", "openssl-sys"), None);
    }
}
