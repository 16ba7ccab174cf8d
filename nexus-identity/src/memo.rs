//! The signatures that a thread has checked, so that it checks none twice. For the simulator, where all nodes of a mesh run
//! in one thread, and each checks what another one has checked.
//!
//! Only a build with the feature `memo` has it, and only a thread that asks for it. A node of its own gains nothing: it
//! seldom meets a signature twice.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::signed::Signature;

/// Signatures that are remembered. 32 bytes each.
const MEMO_MAX: usize = 1 << 16;

type Key = [u8; 32];

thread_local! {
    static CHECKED: RefCell<Option<BTreeSet<Key>>> = const { RefCell::new(None) };
}

/// Lets this thread remember the signatures that it checks from now on, or forget all of them.
pub fn remember(on: bool) {
    CHECKED.set(on.then(BTreeSet::new));
}

/// Asks `check` about a signature, if this thread does not know that it holds.
pub(crate) fn checked<E>(
    signer: &[u8; 32],
    message: &[u8],
    signature: &Signature,
    check: impl FnOnce() -> Result<(), E>,
) -> Result<(), E> {
    let is_on = CHECKED.with_borrow(Option::is_some);
    if !is_on {
        return check();
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(signer).update(signature.as_bytes()).update(message);
    let key = *hasher.finalize().as_bytes();
    if CHECKED.with_borrow(|checked| checked.as_ref().is_some_and(|checked| checked.contains(&key))) {
        return Ok(());
    }
    check()?;
    CHECKED.with_borrow_mut(|checked| {
        if let Some(checked) = checked {
            if checked.len() >= MEMO_MAX {
                checked.clear();
            }
            checked.insert(key);
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Domain, Keypair};

    /// promise: Whole networks, by seed | A signature that was checked before is not checked again, and a false one is never taken for one
    #[test]
    fn only_what_held_is_remembered() {
        let (key, other) = (Keypair::from_seed(&[1; 32]), Keypair::from_seed(&[2; 32]));
        let signature = key.sign(Domain::Entry, &[3; 32]);
        remember(true);
        for _ in 0..2 {
            assert!(key.did().verify(Domain::Entry, &[3; 32], &signature).is_ok());
            assert!(key.did().verify(Domain::Entry, &[4; 32], &signature).is_err());
            assert!(key.did().verify(Domain::Credential, &[3; 32], &signature).is_err());
            assert!(other.did().verify(Domain::Entry, &[3; 32], &signature).is_err());
        }
        let mut asked = 0;
        let mut ask = || checked(key.did().as_bytes(), b"message", &signature, || (asked += 1, Ok::<(), ()>(())).1);
        assert!(ask().is_ok() && ask().is_ok());
        assert_eq!(asked, 1);
        remember(false);
        let mut ask = || checked(key.did().as_bytes(), b"message", &signature, || (asked += 1, Ok::<(), ()>(())).1);
        assert!(ask().is_ok());
        assert_eq!(asked, 2);
    }
}
