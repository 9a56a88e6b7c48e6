//! Unique identifiers under 2.25: random ones, or ones derived from content so that equal input gives equal files.

use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

use crate::error::{Error, Result};

/// Makes the UIDs of one object.
pub enum Uids {
    Random,
    /// Hash of all that decides the content of the object.
    Derived([u8; 32]),
}

impl Uids {
    /// A UID for `role`; a derived one depends on the content and the role alone.
    pub fn make(&self, role: &str) -> Result<String> {
        let uuid = match self {
            Uids::Random => {
                let mut bytes = [0; 16];
                getrandom::fill(&mut bytes)
                    .map_err(|error| Error::Internal(format!("no random numbers for a DICOM UID: {error}")))?;
                Builder::from_random_bytes(bytes).into_uuid()
            }
            Uids::Derived(seed) => named(seed, role),
        };
        Ok(dotted(uuid))
    }
}

/// A UID that follows from `name` alone, the same in every run.
pub fn derived(name: &str) -> String {
    dotted(named(&[], name))
}

fn named(seed: &[u8], name: &str) -> Uuid {
    let digest = Sha256::new().chain_update(seed).chain_update(name).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Builder::from_custom_bytes(bytes).into_uuid()
}

/// PS3.5 section B.2: a UUID as one decimal number under 2.25.
fn dotted(uuid: Uuid) -> String {
    format!("2.25.{}", uuid.as_u128())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_uids_differ_and_derived_ones_repeat() {
        let random = Uids::Random;
        assert_ne!(random.make("series").unwrap(), random.make("series").unwrap());
        let uids = Uids::Derived([7; 32]);
        assert_eq!(uids.make("series").unwrap(), Uids::Derived([7; 32]).make("series").unwrap());
        assert_ne!(uids.make("series").unwrap(), uids.make("instance").unwrap());
        assert_ne!(uids.make("series").unwrap(), Uids::Derived([8; 32]).make("series").unwrap());
        for uid in [random.make("x").unwrap(), uids.make("x").unwrap(), derived("x")] {
            assert!(uid.len() <= 64 && uid.starts_with("2.25."), "{uid}");
        }
    }
}
