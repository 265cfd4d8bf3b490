//! A project that does not compile.

pub fn number() -> u32 {
    "no number"
}
