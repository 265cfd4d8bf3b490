//! Judges a call of which not every argument is known: a recorded one, whose contents the log never held.
//!
//! Three answers: surely this, surely that, or unknown. Rules tell apart finitely many kinds of value, so each kind that
//! the unknown argument may be is tried; where all are answered alike, the answer is sure. A digest of the value tells
//! whether it is one of those that a rule spells out.

use std::collections::BTreeMap;

use cofferdam_contract::{Argument, Plan};

use crate::{
    case,
    digest::sha256,
    explanation::{Decided, Explanation, explain},
    policy::Policy,
    rule::Rule,
};

/// Most combinations of values that are tried. Beyond it the answer is unknown.
const MAX_TRIED: usize = 1024;

/// What there is of an argument that is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unknown {
    /// It is a text, of which there is the digest.
    Text {
        /// SHA-256 of the text.
        sha256: [u8; 32],
    },
    /// It may be anything, a list too.
    Anything,
}

/// What is sure of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InPart {
    /// It is answered so, whatever the unknown arguments are.
    Sure {
        /// The answer.
        decided: Decided,
        /// The rule that decides, where it is the same one for all.
        rule: Option<String>,
    },
    /// It depends on these arguments.
    Unknown {
        /// Their names.
        arguments: Vec<String>,
    },
}

/// Judges a plan whose arguments in `unknown` stand for values that are not known.
pub(crate) fn judge(policy: &Policy, plan: &Plan, unknown: &BTreeMap<String, Unknown>) -> InPart {
    let about: Vec<&Rule> = policy.rules().iter().filter(|rule| rule.tools.contains(&plan.tool)).collect();
    let mentioned = case::mentioned(&about);
    let asked: Vec<(&String, &Unknown)> =
        unknown.iter().filter(|(name, _)| mentioned.contains(name.as_str())).collect();
    let depends = || InPart::Unknown { arguments: asked.iter().map(|(name, _)| (*name).clone()).collect() };
    let mut plans = vec![plan.clone()];
    for (name, value) in &asked {
        let possible = possible(&about, name, value);
        if plans.len().saturating_mul(possible.len()) > MAX_TRIED {
            return depends();
        }
        plans = plans
            .iter()
            .flat_map(|plan| {
                possible.iter().map(|value| {
                    let mut plan = plan.clone();
                    match value {
                        Some(value) => plan.arguments.insert((*name).clone(), value.clone()),
                        None => plan.arguments.remove(*name),
                    };
                    plan
                })
            })
            .collect();
    }
    let answers: Vec<Explanation> = plans.iter().map(|plan| explain(policy, plan)).collect();
    let Some(first) = answers.first() else { return depends() };
    if answers.iter().any(|answer| answer.decided != first.decided) {
        return depends();
    }
    let same = answers.iter().all(|answer| answer.rule == first.rule);
    InPart::Sure { decided: first.decided, rule: first.rule.clone().filter(|_| same) }
}

/// The kinds of value that an argument may be.
fn possible(about: &[&Rule], name: &str, value: &Unknown) -> Vec<Option<Argument>> {
    let samples = case::samples(about, name);
    let sha256_of_it = match value {
        // A list may hold any of them, and an empty one counts as absence.
        Unknown::Anything => return samples,
        Unknown::Text { sha256 } => sha256,
    };
    let spelled_out = |sample: &Argument| {
        about.iter().filter_map(|rule| rule.when.get(name)).any(|condition| condition.has_member(sample))
    };
    let is_it = |sample: &Argument| match sample {
        Argument::Text(text) => sha256(text.as_bytes()) == *sha256_of_it,
        Argument::Bool(_) | Argument::Integer(_) | Argument::List(_) | Argument::Map(_) => false,
    };
    let samples: Vec<Argument> = samples.into_iter().flatten().collect();
    match samples.iter().find(|sample| spelled_out(sample) && is_it(sample)) {
        Some(exactly) => vec![Some(exactly.clone())],
        None => samples.into_iter().filter(|sample| !spelled_out(sample)).map(Some).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        judge::tests::plan,
        layer::{Layer, LayerName, ToolShape},
    };

    fn policy(when: &str) -> Policy {
        let text = format!(
            "version = 1\n[[rule]]\nid = \"all\"\ntools = [\"t\"]\ndecision = \"allow\"\nwhy = \"x\"\nmatch = [{{ tool = \"t\" }}]\n\
             [[rule]]\nid = \"no\"\ntools = [\"t\"]\ndecision = \"deny\"\nwhen = {{ a = {when} }}\nwhy = \"x\"\n\
             match = [{{ tool = \"t\", args = {{ a = \"x/y\" }} }}]"
        );
        let layer = Layer { name: LayerName::Builtin, file: "builtin", text: &text };
        let shape = ToolShape {
            name: "t".into(),
            arguments: BTreeSet::from(["a".to_owned(), "b".to_owned()]),
            required: BTreeSet::new(),
        };
        Policy::load(&[layer], &[shape]).unwrap()
    }

    fn judged(when: &str, name: &str, value: Unknown) -> Option<Decided> {
        let unknown = BTreeMap::from([(name.to_owned(), value)]);
        match policy(when).judge_in_part(&plan("t"), &unknown) {
            InPart::Sure { decided, .. } => Some(decided),
            InPart::Unknown { arguments } => {
                assert_eq!(arguments, [name]);
                None
            }
        }
    }

    #[test]
    fn a_digest_tells_whether_a_text_is_one_that_a_rule_spells_out() {
        let text = |text: &str| Unknown::Text { sha256: sha256(text.as_bytes()) };
        assert_eq!(judged("\"x/y\"", "a", text("x/y")), Some(Decided::Deny));
        assert_eq!(judged("\"x/y\"", "a", text("x/z")), Some(Decided::Allow));
    }

    #[test]
    fn what_a_digest_cannot_tell_is_unknown_and_what_no_rule_mentions_does_not_matter() {
        let text = Unknown::Text { sha256: sha256(b"x/z") };
        assert_eq!(judged("{ prefix = \"x\" }", "a", text.clone()), None);
        assert_eq!(judged("\"x/y\"", "a", Unknown::Anything), None);
        assert_eq!(judged("{ prefix = \"x\" }", "b", text), Some(Decided::Allow));
    }
}
