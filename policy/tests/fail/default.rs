//! A permit for nothing in particular.

use cofferdam_policy::Permit;

fn empty() -> Permit {
    Permit::default()
}

fn main() {}
