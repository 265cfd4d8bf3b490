//! Judge one plan, run another.

use cofferdam_contract::Plan;
use cofferdam_policy::Permit;

fn swap(permit: &mut Permit, other: Plan) {
    *permit.plan() = other;
}

fn main() {}
