//! Trust: the public keys that a caller trusts, and the check that they signed an artifact or a tag. The section Signatures
//! of `STORE.md` defines it.
//!
//! This needs the feature `store`. Without it, giving a key is an error.

#[cfg(feature = "store")]
mod bundle;
#[cfg(feature = "store")]
mod enforced;
#[cfg(feature = "store")]
mod keys;
#[cfg(not(feature = "store"))]
mod missing;

#[cfg(all(fuzzing, feature = "store"))]
pub(crate) use bundle::read as read_bundle;
#[cfg(feature = "store")]
pub(crate) use enforced::Trust;
#[cfg(feature = "store-remote")]
pub(crate) use enforced::{MAX_BUNDLE_BYTES, check_bundle, unsigned};
#[cfg(feature = "store")]
pub(crate) use keys::TrustedKey;
#[cfg(not(feature = "store"))]
pub(crate) use missing::Trust;
