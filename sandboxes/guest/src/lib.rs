//! The words between the server and the small program that runs inside every sandbox.
//!
//! The library is the wire protocol alone: pure, without I/O, and the same code on both sides. The program itself is
//! the binary of this package; only it needs the feature `program`.
//!
//! Nothing here may trust a byte: the host decodes what a sandbox says with this very code.

pub mod wire;
