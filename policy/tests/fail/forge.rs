//! A permit made by hand.

use cofferdam_contract::{Limits, Plan};
use cofferdam_policy::Permit;

fn forge(plan: Plan) -> Permit {
    Permit { plan, rule: "mine".to_owned(), isolation: cofferdam_contract::Isolation::Namespace, limits: Limits::FILES }
}

fn main() {}
