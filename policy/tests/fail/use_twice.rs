//! One permit, two sandboxes.

use cofferdam_policy::Permit;

fn open(_permit: Permit) {}

fn run(permit: Permit) {
    open(permit);
    open(permit);
}

fn main() {}
