//! Which chunks a verification reads when it is not to read all of them. Pure.

use std::str::FromStr;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::archive::digest::Digest;

/// A part of the chunks. The others are only looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subset {
    /// Part `part` of `of`, counted from 1: after all parts every chunk was read, those that came meanwhile excepted.
    Part {
        /// Which.
        part: u32,
        /// Of how many.
        of: u32,
    },
    /// So many of a million chunks, chosen by a seed.
    Sample {
        /// How many of a million.
        of_million: u32,
        /// Another one chooses others.
        seed: u64,
    },
}

const MILLION: u32 = 1_000_000;

impl Subset {
    /// True if the chunk is to be read.
    pub fn has(self, chunk: &Digest) -> bool {
        let bytes = chunk.as_bytes();
        match self {
            // A digest's bytes are as good as any hash.
            Subset::Part { part, of } => {
                let first = bytes.first_chunk().expect("a digest has 32 bytes");
                u64::from_be_bytes(*first) % u64::from(of.max(1)) == u64::from(part) - 1
            }
            Subset::Sample { of_million, seed } => {
                xxh3_64_with_seed(bytes, seed) % u64::from(MILLION) < u64::from(of_million)
            }
        }
    }

    /// The same with another seed, if it is a sample.
    #[must_use]
    pub fn seeded(self, seed: u64) -> Subset {
        match self {
            Subset::Sample { of_million, .. } => Subset::Sample { of_million, seed },
            part @ Subset::Part { .. } => part,
        }
    }
}

/// `2/7`, `5%`, `0.5%`.
impl FromStr for Subset {
    type Err = String;

    fn from_str(text: &str) -> Result<Subset, String> {
        let wrong = || format!("{text:?} is neither a part such as 2/7 nor a share such as 5%");
        if let Some((part, of)) = text.split_once('/') {
            let number = |text: &str| text.parse::<u32>().map_err(|_| wrong());
            let (part, of) = (number(part)?, number(of)?);
            if part == 0 || part > of {
                return Err(format!("the parts of {of} are 1 to {of}"));
            }
            return Ok(Subset::Part { part, of });
        }
        let share = text.strip_suffix('%').ok_or_else(wrong)?;
        let share: f64 = share.trim().parse().map_err(|_| wrong())?;
        if !(share > 0.0 && share <= 100.0) {
            return Err("a share is more than 0% and at most 100%".to_owned());
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and a million"
        )]
        let of_million = (share * f64::from(MILLION) / 100.0).ceil() as u32;
        Ok(Subset::Sample {
            of_million,
            seed: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks() -> Vec<Digest> {
        (0..10_000_u32)
            .map(|n| Digest::of(&n.to_be_bytes()))
            .collect()
    }

    #[test]
    fn every_chunk_is_in_exactly_one_part() {
        for chunk in chunks() {
            let parts = (1..=7).filter(|part| Subset::Part { part: *part, of: 7 }.has(&chunk));
            assert_eq!(parts.count(), 1);
        }
    }

    #[test]
    fn a_sample_is_as_large_as_asked_for_and_another_with_another_seed() {
        let sample: Subset = "5%".parse().unwrap();
        let chosen = |seed| -> Vec<Digest> {
            let sample = sample.seeded(seed);
            chunks().into_iter().filter(|one| sample.has(one)).collect()
        };
        let (one, other) = (chosen(1), chosen(2));
        assert!((400..600).contains(&one.len()), "{}", one.len());
        assert_ne!(one, other);
        let all: Subset = "100%".parse().unwrap();
        assert!(chunks().iter().all(|chunk| all.has(chunk)));
    }

    #[test]
    fn what_is_no_part_and_no_share_is_refused() {
        assert_eq!("2/7".parse(), Ok(Subset::Part { part: 2, of: 7 }));
        for wrong in [
            "", "5", "0/3", "4/3", "-1/3", "1/0", "0%", "101%", "x%", "1/2/3", "NaN%",
        ] {
            assert!(wrong.parse::<Subset>().is_err(), "{wrong}");
        }
    }
}
