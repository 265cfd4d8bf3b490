//! A permit from the mint itself.

use cofferdam_policy::Permit;

fn main() {
    let _ = Permit::new;
}
