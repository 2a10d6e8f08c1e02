//! The only place that draws randomness from the system.

use crate::error::Failure;

/// `N` bytes that nobody can guess.
///
/// # Errors
/// If the system has none to give.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::System { what: "draw randomness", source: error.into() })?;
    Ok(bytes)
}
