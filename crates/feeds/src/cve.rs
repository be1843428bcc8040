//! CVE ids as numbers: a year and a count, so that hundreds of thousands of them sort and pack well.

/// The id as a number, in the order of year and count; `None` for a text that is no CVE id.
pub fn number(id: &str) -> Option<u64> {
    let (year, count) = id.strip_prefix("CVE-")?.split_once('-')?;
    let digits = |text: &str| !text.is_empty() && text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
    if year.len() != 4 || count.len() < 4 || !digits(year) || !digits(count) {
        return None;
    }
    // Leading zeros beyond four digits would give two texts one number.
    if count.len() > 4 && count.starts_with('0') {
        return None;
    }
    Some(year.parse::<u64>().ok()? << 32 | count.parse::<u64>().ok()?)
}

/// The text of a number.
pub fn text(number: u64) -> String {
    format!("CVE-{:04}-{:04}", number >> 32, number & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_have_four_to_nine_digits_after_the_year() {
        for id in ["CVE-2024-0001", "CVE-2026-109518", "CVE-1999-1234567"] {
            assert_eq!(number(id).map(text).as_deref(), Some(id));
        }
        for id in [
            "CVE-2024-1",
            "CVE-24-0001",
            "CAN-2026-0001",
            "CVE-2024-00001",
            "CVE-2024-",
            "cve-2024-0001",
            "CVE-2024-12a4",
        ] {
            assert_eq!(number(id), None, "{id}");
        }
    }

    proptest! {
        #[test]
        fn a_number_has_one_text(year in 1990_u64..2100, count in 0_u64..999_999_999) {
            let id = text(year << 32 | count);
            prop_assert_eq!(number(&id), Some(year << 32 | count));
        }
    }
}
