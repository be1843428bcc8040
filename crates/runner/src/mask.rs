//! Output of programs on its way into evidence, messages and progress: secrets are masked first, then it is cut.
//!
//! Simple on purpose: the shapes below catch what package scripts and tools print by accident. It is no proof that no
//! secret remains.

use stanch_model::canonical::Digest;
use stanch_model::order::Evidence;

/// The longest text kept of one piece of evidence, in bytes.
pub const EVIDENCE_BYTES: usize = 64 << 10;
/// Pieces kept of one step.
pub const EVIDENCE_PIECES: usize = 32;
/// What is read of one piece before masking.
const READ_BYTES: usize = 4 << 20;
const MASK: &str = "[masked]";
/// Names whose value is a secret, wherever they end a word: `db_password=`, `AWS_SECRET_ACCESS_KEY=`.
const NAMES: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "api_key",
    "apikey",
    "api-key",
    "access_key",
    "private_key",
];

/// A piece of evidence: masked, at most [`EVIDENCE_BYTES`] long (the start and the end, where errors stand), with the
/// digest of the whole masked text, so that the digest says nothing about the secret.
pub fn evidence(name: &str, output: &[u8]) -> Evidence {
    let unread = output.len().saturating_sub(READ_BYTES);
    let text = mask(&String::from_utf8_lossy(output.get(..output.len() - unread).unwrap_or_default()));
    let digest = Digest::of_bytes(text.as_bytes());
    let (text, cut) = shorten(&text, EVIDENCE_BYTES);
    Evidence { name: mask(name), text, cut_bytes: (cut + unread) as u64, digest }
}

/// The text with what looks like a secret replaced.
pub fn mask(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut in_block = false;
    for line in text.split_inclusive('\n') {
        if in_block {
            in_block = !line.contains("-----END ");
            continue;
        }
        if let Some(at) = line.find("-----BEGIN ") {
            masked.push_str(line.get(..at).unwrap_or_default());
            masked.push_str(MASK);
            if line.ends_with('\n') {
                masked.push('\n');
            }
            in_block = !line.contains("-----END ");
            continue;
        }
        mask_line(line, &mut masked);
    }
    masked
}

fn mask_line(line: &str, masked: &mut String) {
    let lower = line.to_ascii_lowercase();
    let mut at = 0;
    while at < line.len() {
        let (rest, low) = (line.get(at..).unwrap_or_default(), lower.get(at..).unwrap_or_default());
        if low.starts_with("authorization:") {
            masked.push_str(rest.get(.."authorization:".len()).unwrap_or_default());
            masked.push(' ');
            masked.push_str(MASK);
            if rest.ends_with('\n') {
                masked.push('\n');
            }
            return;
        }
        let taken = assignment(rest, low, masked)
            .or_else(|| userinfo(rest, masked))
            .or_else(|| access_key(rest, at == 0 || !ends_word(line, at), masked));
        if let Some(taken) = taken {
            at += taken;
        } else if let Some(letter) = rest.chars().next() {
            masked.push(letter);
            at += letter.len_utf8();
        }
    }
}

fn ends_word(line: &str, at: usize) -> bool {
    line.get(..at).and_then(|before| before.chars().next_back()).is_some_and(|letter| letter.is_ascii_alphanumeric())
}

/// `name=value`, `name: value`, `"name": "value"`, `--name value`.
fn assignment(rest: &str, low: &str, masked: &mut String) -> Option<usize> {
    let name = NAMES.iter().find(|name| low.starts_with(**name))?;
    let mut start = name.len();
    let after = rest.get(start..)?;
    let quote = usize::from(after.starts_with(['"', '\'']));
    let sign = after.get(quote..)?.trim_start_matches(' ');
    let blanks = after.len() - quote - sign.len();
    if !sign.starts_with(['=', ':']) {
        return None;
    }
    start += quote + blanks + 1;
    let value = rest.get(start..)?;
    let space = value.len() - value.trim_start_matches([' ', '\t']).len();
    let value = value.get(space..)?;
    let (open, end) = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => (1, value.get(1..)?.find([quote, '\n']).map_or(value.len(), |end| end + 1)),
        _ => (0, value.find(|c: char| c.is_whitespace() || "&;,".contains(c)).unwrap_or(value.len())),
    };
    if end <= open {
        return None;
    }
    masked.push_str(rest.get(..start + space + open)?);
    masked.push_str(MASK);
    Some(start + space + end)
}

/// `scheme://user:password@host`.
fn userinfo(rest: &str, masked: &mut String) -> Option<usize> {
    let after = rest.strip_prefix("://")?;
    let authority =
        after.get(..after.find(|c: char| c.is_whitespace() || "/?#\"'<>".contains(c)).unwrap_or(after.len()))?;
    let at = authority.rfind('@')?;
    masked.push_str("://");
    masked.push_str(MASK);
    masked.push('@');
    Some(3 + at + 1)
}

/// `AKIA` or `ASIA` and 16 more.
fn access_key(rest: &str, at_word: bool, masked: &mut String) -> Option<usize> {
    if !at_word || !(rest.starts_with("AKIA") || rest.starts_with("ASIA")) {
        return None;
    }
    let body = rest.get(4..20)?;
    body.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()).then(|| {
        masked.push_str(MASK);
        20
    })
}

/// The first and last part of a text, cut at letters, with the number of bytes left out.
fn shorten(text: &str, limit: usize) -> (String, usize) {
    if text.len() <= limit {
        return (text.to_owned(), 0);
    }
    let mark = "\n[...]\n";
    let part = (limit - mark.len()) / 2;
    let start = text.get(..text.floor_char_boundary(part)).unwrap_or_default();
    let end = text.get(text.ceil_char_boundary(text.len() - part)..).unwrap_or_default();
    (format!("{start}{mark}{end}"), text.len() - start.len() - end.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(mask(text), expected);
    }

    #[test]
    fn secrets_are_masked_and_the_rest_is_kept() {
        check("db password=hunter2 ok\n", "db password=[masked] ok\n");
        check("DB_PASSWORD: \"hunter 2\", x", "DB_PASSWORD: \"[masked]\", x");
        check("{\"token\": \"abc\"}", "{\"token\": \"[masked]\"}");
        check("a?api_key=abc&b=1", "a?api_key=[masked]&b=1");
        check("Authorization: Bearer abc\nnext", "Authorization: [masked]\nnext");
        check("Get:1 https://me:pw@deb.example/debian x", "Get:1 https://[masked]@deb.example/debian x");
        check("key AKIAIOSFODNN7EXAMPLE.", "key [masked].");
        check("AWS_SECRET_ACCESS_KEY=wJalr/x", "AWS_SECRET_ACCESS_KEY=[masked]");
        check("x\n-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\ny\n", "x\n[masked]\ny\n");
    }

    #[test]
    fn ordinary_output_is_not_touched() {
        for text in [
            "Setting up passwd (1:4.13+dfsg1-1+deb12u1) ...\n",
            "Unpacking libsecret-1-0 over (0.20) ...\nhttps://deb.debian.org/debian/pool/@x",
            "Ünïcödé tokens are fine\n",
            "",
        ] {
            check(text, text);
        }
    }

    #[test]
    fn long_output_keeps_its_start_and_end() {
        let text = format!("first {} last", "ä".repeat(EVIDENCE_BYTES));
        let kept = evidence("log", text.as_bytes());
        assert!(kept.text.len() <= EVIDENCE_BYTES && kept.text.starts_with("first") && kept.text.ends_with("last"));
        assert_eq!(kept.cut_bytes as usize + kept.text.len() - "\n[...]\n".len(), text.len());
        assert_eq!(kept.digest, Digest::of_bytes(text.as_bytes()));
    }

    proptest! {
        #[test]
        fn no_value_behind_a_secret_name_remains(value in "[A-Za-z0-9/+]{8,40}", before in "[a-z ]{0,20}", sign in "=|: |=\"") {
            let masked = mask(&format!("{before}password{sign}{value}\"\n"));
            prop_assert!(!masked.contains(&value), "{}", masked);
        }

        #[test]
        fn any_text_is_taken(text in "(?s).{0,200}") {
            let _ = mask(&text);
        }
    }
}
