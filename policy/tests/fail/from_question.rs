//! A question taken for an answer.

use cofferdam_policy::{Permit, Verdict};

fn take(verdict: Verdict) -> Permit {
    match verdict {
        Verdict::Allow(permit) => permit,
        Verdict::Ask(question) => question.into(),
        Verdict::Deny(_) => panic!("refused"),
    }
}

fn main() {}
