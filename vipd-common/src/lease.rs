//! The protocol on a lease word, over whatever holds it: memory shared with XDP, or a model of it.
//!
//! ```text
//!            acquire                     renew (after a send)
//!   0 / past ─────────▶ deadline ───────────────▶ later deadline
//!      ▲                  │  │
//!      └── release, or ───┘  └── deadline passes: no longer owner
//!          revoked by XDP
//! ```

/// A 64-bit word that others read and write at any moment.
pub trait LeaseWord {
    fn load(&self) -> u64;
    fn store(&self, value: u64);
    /// Stores `new` if the word is `old`; the word found instead if it is not.
    fn compare_exchange(&self, old: u64, new: u64) -> Result<(), u64>;
}

/// Makes this node the owner until `until`, by compare-exchange from whatever the word says: 0, a time that has passed, or
/// the deadline of this daemon's predecessor on this node (of which there is one at a time).
pub fn acquire(word: &impl LeaseWord, until: u64) {
    let mut found = word.load();
    while let Err(now) = word.compare_exchange(found, until) {
        found = now;
    }
}

/// Moves the deadline from `from`, the value last written, to `to`.
///
/// # Errors
///
/// The word found instead, if it is not `from`: XDP has revoked the lease.
pub fn renew(word: &impl LeaseWord, from: u64, to: u64) -> Result<(), u64> {
    word.compare_exchange(from, to)
}

/// Moves the deadline in the maps of another version, whose program is still attached, to what this version's says: `false` if that
/// program has revoked the lease.
pub fn follow(word: &impl LeaseWord, to: u64) -> bool {
    let mut found = word.load();
    while found != 0 {
        match word.compare_exchange(found, to) {
            Ok(()) => return true,
            Err(now) => found = now,
        }
    }
    false
}

/// Gives the lease up.
pub fn release(word: &impl LeaseWord) {
    word.store(0);
}
