//! Which part of the series is this process's: a function of each series alone, so that processes need not talk.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// Part `number` (from 1) of `of` parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    number: u32,
    of: u32,
}

impl Shard {
    /// Whether what `key` (a series UID, or the path of a file below the input folder) names is of this part.
    pub fn has(self, key: &str) -> bool {
        let digest = Sha256::digest(key);
        let number = digest.iter().take(8).fold(0u64, |number, &byte| number << 8 | u64::from(byte));
        number % u64::from(self.of) == u64::from(self.number - 1)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-of-{}", self.number, self.of)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Shard { number, of }),
            _ => Err("expected I/N with I from 1 to N, such as 3/8".into()),
        }
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_in_one_part_and_parts_are_even() {
        for of in [1, 3, 8] {
            let shards: Vec<Shard> = (1..=of).map(|number| Shard { number, of }).collect();
            let mut sizes = vec![0usize; of as usize];
            for n in 0..4000 {
                let owners: Vec<_> = (0..shards.len()).filter(|&s| shards[s].has(&format!("1.2.840.{n}"))).collect();
                assert_eq!(owners.len(), 1);
                sizes[owners[0]] += 1;
            }
            let even: usize = 4000 / of as usize;
            assert!(sizes.iter().all(|&size| even.abs_diff(size) < even / 5), "{sizes:?}");
        }
        // Parts of a run that was begun with an earlier version go on with this one.
        assert!(Shard { number: 3, of: 4 }.has("1.2.3") && Shard { number: 2, of: 4 }.has("b/t1.nii.gz"));
    }

    #[test]
    fn a_shard_is_i_of_n() {
        assert_eq!("3/8".parse(), Ok(Shard { number: 3, of: 8 }));
        for bad in ["0/8", "9/8", "3", "3/", "/8", "a/b", "1/0", "-1/2"] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
    }
}
