//! What a part of the world does to a priority.

/// What something tracked does to a priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// 0: the instance is in FAULT while it is not well. Of a file: what its number is multiplied by.
    pub value: i32,
    /// Well and not well change places.
    pub reverse: bool,
}
