//! The few shapes compiled feeds are written in: numbers, columns of numbers and pools of texts.
//!
//! Columns hold differences to the value before and pools hold what differs from the text before, so that what is
//! sorted becomes small before it is compressed. Reading never trusts a count: what a file claims is bounded by the
//! bytes it has.

use crate::error::Problem;

/// Texts of one pool take no more than this.
const MAX_POOL: usize = 256 << 20;
const CUT: Problem = Problem::Damaged("it is cut short");

#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// Numbers as they are; for those that are small anyway.
    pub(crate) fn plain(&mut self, values: &[u32]) {
        self.number(values.len() as u64);
        for value in values {
            self.number(u64::from(*value));
        }
    }

    /// Numbers as differences.
    pub(crate) fn column(&mut self, values: &[u64]) {
        self.number(values.len() as u64);
        let mut before = 0_u64;
        for value in values {
            let difference = value.wrapping_sub(before) as i64;
            self.number(((difference << 1) ^ (difference >> 63)) as u64);
            before = *value;
        }
    }

    pub(crate) fn column32(&mut self, values: &[u32]) {
        self.column(&values.iter().map(|value| u64::from(*value)).collect::<Vec<_>>());
    }

    pub(crate) fn pool<'a>(&mut self, texts: impl ExactSizeIterator<Item = &'a str> + Clone) {
        self.number(texts.len() as u64);
        self.number(texts.clone().map(|text| text.len() as u64).sum());
        let mut before = "";
        let mut suffixes = Vec::new();
        for text in texts {
            let mut shared = text.bytes().zip(before.bytes()).take_while(|(a, b)| a == b).count();
            while !text.is_char_boundary(shared) {
                shared -= 1;
            }
            self.number(shared as u64);
            self.number((text.len() - shared) as u64);
            suffixes.extend_from_slice(text.get(shared..).unwrap_or_default().as_bytes());
            before = text;
        }
        self.0.extend_from_slice(&suffixes);
    }
}

pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], Problem> {
        let Some((taken, rest)) = self.0.split_at_checked(length) else { return Err(CUT) };
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn number(&mut self) -> Result<u64, Problem> {
        // Nearly all take one byte.
        if let Some((byte, rest)) = self.0.split_first()
            && *byte < 0x80
        {
            self.0 = rest;
            return Ok(u64::from(*byte));
        }
        let mut value = 0_u64;
        for (at, byte) in self.0.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.0 = self.0.get(at + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(CUT)
    }

    /// A count of things that take at least one byte each.
    fn count(&mut self) -> Result<usize, Problem> {
        let count = usize::try_from(self.number()?).map_err(|_| CUT)?;
        if count > self.0.len() { Err(CUT) } else { Ok(count) }
    }

    pub(crate) fn plain(&mut self) -> Result<Vec<u32>, Problem> {
        let count = self.count()?;
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            values.push(narrow(self.number()?)?);
        }
        Ok(values)
    }

    pub(crate) fn column(&mut self) -> Result<Vec<u64>, Problem> {
        self.differences(Ok)
    }

    pub(crate) fn column32(&mut self) -> Result<Vec<u32>, Problem> {
        self.differences(narrow)
    }

    fn differences<T>(&mut self, keep: impl Fn(u64) -> Result<T, Problem>) -> Result<Vec<T>, Problem> {
        let count = self.count()?;
        let mut values = Vec::with_capacity(count);
        let mut before = 0_u64;
        for _ in 0..count {
            let folded = self.number()?;
            let difference = ((folded >> 1) as i64) ^ -((folded & 1) as i64);
            before = before.wrapping_add(difference as u64);
            values.push(keep(before)?);
        }
        Ok(values)
    }

    pub(crate) fn pool(&mut self) -> Result<Pool, Problem> {
        let count = self.count()?;
        let total = usize::try_from(self.number()?).map_err(|_| CUT)?;
        // Shared beginnings may make the pool larger than its file, but never by more than this.
        if total > self.0.len().saturating_mul(256) || total > MAX_POOL {
            return Err(Problem::Damaged("a pool of texts claims too much"));
        }
        let mut shapes = Vec::with_capacity(count);
        for _ in 0..count {
            shapes.push((narrow(self.number()?)? as usize, narrow(self.number()?)? as usize));
        }
        let mut blob: Vec<u8> = Vec::with_capacity(total);
        let mut ends = Vec::with_capacity(count);
        let mut before = 0;
        for (shared, own) in shapes {
            let start = blob.len();
            if shared > start - before || start + shared + own > total {
                return Err(Problem::Damaged("a text begins with more than the one before it"));
            }
            blob.extend_from_within(before..before + shared);
            blob.extend_from_slice(self.take(own)?);
            before = start;
            ends.push(blob.len() as u32);
        }
        let blob = String::from_utf8(blob).map_err(|_| Problem::Damaged("a text is not UTF-8"))?;
        if ends.iter().any(|end| !blob.is_char_boundary(*end as usize)) {
            return Err(Problem::Damaged("a text is not UTF-8"));
        }
        Ok(Pool { blob, ends })
    }

    pub(crate) const fn done(&self) -> Result<(), Problem> {
        if self.0.is_empty() { Ok(()) } else { Err(Problem::Damaged("something follows its end")) }
    }
}

fn narrow(value: u64) -> Result<u32, Problem> {
    u32::try_from(value).map_err(|_| Problem::Damaged("a number is too large"))
}

/// Texts by their position.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    blob: String,
    ends: Vec<u32>,
}

impl Pool {
    pub(crate) const fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn get(&self, at: u32) -> Option<&str> {
        let at = at as usize;
        let end = *self.ends.get(at)? as usize;
        let start = if at == 0 { 0 } else { *self.ends.get(at - 1)? as usize };
        self.blob.get(start..end)
    }

    /// Position of a text in a sorted pool.
    pub(crate) fn find(&self, text: &str) -> Option<u32> {
        let (mut low, mut high) = (0, self.ends.len() as u32);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(middle)?.cmp(text) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(numbers: Vec<u64>, small: Vec<u32>, texts in proptest::collection::vec(".{0,12}", 0..20)) {
            let mut writer = Writer::default();
            writer.column(&numbers);
            writer.plain(&small);
            writer.column32(&small);
            writer.pool(texts.iter().map(String::as_str));
            let bytes = writer.finish();
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.column().unwrap(), numbers);
            prop_assert_eq!(reader.plain().unwrap(), small.clone());
            prop_assert_eq!(reader.column32().unwrap(), small);
            let pool = reader.pool().unwrap();
            prop_assert!(reader.done().is_ok());
            prop_assert_eq!(pool.len(), texts.len());
            for (at, text) in texts.iter().enumerate() {
                prop_assert_eq!(pool.get(at as u32), Some(text.as_str()));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = Reader::new(&bytes).pool();
            let _ = Reader::new(&bytes).column32();
        }
    }

    #[test]
    fn a_count_larger_than_the_file_is_refused_before_memory_is_taken() {
        let mut writer = Writer::default();
        writer.number(u64::from(u32::MAX));
        assert!(Reader::new(&writer.finish()).plain().is_err());
    }
}
