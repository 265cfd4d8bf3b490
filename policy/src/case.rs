//! Cases: the arguments of a call as rules compare them, and all the cases that a set of rules can tell apart.
//!
//! Two ideas make the language exact.
//!
//! *A list is judged element by element.* A call with `packages = ["a", "b"]` stands for two cases, one with each
//! value, and its verdict is the strictest of theirs. So a rule about `"b"` cannot be avoided by hiding it in a list.
//!
//! *Conditions are finite.* Rules tell apart only the values that they mention, folders that they mention with those
//! above them, everything else, and absence. One sample of each gives every case there is, so "can this rule ever decide?" is answered by
//! trying, not by guessing.

use std::collections::{BTreeMap, BTreeSet};

use cofferdam_contract::{Argument, Arguments};

use crate::rule::Rule;

/// Most cases that one call may stand for. Beyond it the call is refused: lists times lists could grow without end.
const MAX_OF_CALL: usize = 4096;
/// Most cases that the rules about one tool may tell apart. Beyond it the policy is refused at load.
const MAX_OF_RULES: usize = 65_536;

/// One value per argument; an absent argument is not in the map.
pub(crate) type Case = BTreeMap<String, Argument>;

/// More cases than are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany;

/// The cases that a call stands for. Only arguments that some rule mentions are kept.
///
/// # Errors
/// [`TooMany`] beyond 4096.
pub(crate) fn of_call(arguments: &Arguments, mentioned: &BTreeSet<&str>) -> Result<Vec<Case>, TooMany> {
    let choices = mentioned
        .iter()
        .map(|name| {
            let values = match arguments.get(*name) {
                None => vec![None],
                Some(Argument::List(elements)) if elements.is_empty() => vec![None],
                Some(Argument::List(elements)) => {
                    let distinct: BTreeSet<&Argument> = elements.iter().collect();
                    distinct.into_iter().cloned().map(Some).collect()
                }
                Some(value @ (Argument::Bool(_) | Argument::Integer(_) | Argument::Text(_) | Argument::Map(_))) => {
                    vec![Some(value.clone())]
                }
            };
            ((*name).to_owned(), values)
        })
        .collect();
    product(choices, MAX_OF_CALL)
}

/// Every case that these rules can tell apart.
///
/// # Errors
/// [`TooMany`] beyond 65,536.
pub(crate) fn of_rules(rules: &[&Rule]) -> Result<Vec<Case>, TooMany> {
    let choices = mentioned(rules).into_iter().map(|name| (name.to_owned(), samples(rules, name))).collect();
    product(choices, MAX_OF_RULES)
}

/// The arguments that these rules mention.
pub(crate) fn mentioned<'a>(rules: &[&'a Rule]) -> BTreeSet<&'a str> {
    rules.iter().flat_map(|rule| rule.when.keys()).map(String::as_str).collect()
}

/// One sample of each kind of value that these rules tell apart for an argument. Absence is the first, a value that
/// no rule mentions the last.
pub(crate) fn samples(rules: &[&Rule], argument: &str) -> Vec<Option<Argument>> {
    let conditions: Vec<_> =
        rules.iter().filter_map(|rule| Some((rule.when.get(argument)?, rule.grant.purpose()))).collect();
    // A name that occurs in no condition: as it is a value unlike all others, below a folder a path unlike all others.
    let mut fresh = String::from("other");
    while conditions.iter().any(|(condition, _)| condition.mentions(&fresh)) {
        fresh.push('_');
    }
    let told_apart: BTreeSet<Argument> =
        conditions.iter().flat_map(|(condition, purpose)| condition.samples(&fresh, *purpose)).collect();
    let other = Argument::Text(fresh);
    std::iter::once(None)
        .chain(told_apart.into_iter().filter(|value| *value != other).map(Some))
        .chain(std::iter::once(Some(other.clone())))
        .collect()
}

fn product(choices: Vec<(String, Vec<Option<Argument>>)>, most: usize) -> Result<Vec<Case>, TooMany> {
    let mut cases = vec![Case::new()];
    for (name, values) in choices {
        if cases.len().saturating_mul(values.len()) > most {
            return Err(TooMany);
        }
        cases = cases
            .iter()
            .flat_map(|case| {
                values.iter().map(|value| {
                    let mut case = case.clone();
                    if let Some(value) = value {
                        case.insert(name.clone(), value.clone());
                    }
                    case
                })
            })
            .collect();
    }
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        condition::Condition,
        judge::tests::{any_rules, rule},
    };
    use cofferdam_contract::WorkspacePath;
    use proptest::prelude::*;

    fn text(text: &str) -> Argument {
        Argument::Text(text.to_owned())
    }

    #[test]
    fn a_list_is_one_case_per_element_and_an_empty_list_is_absence() {
        let arguments = Arguments::from([
            ("files".into(), Argument::List(vec![text("b"), text("a"), text("b")])),
            ("none".into(), Argument::List(vec![])),
            ("unmentioned".into(), text("x")),
        ]);
        let cases = of_call(&arguments, &BTreeSet::from(["files", "none", "absent"])).unwrap();
        assert_eq!(cases, [Case::from([("files".into(), text("a"))]), Case::from([("files".into(), text("b"))])]);
    }

    #[test]
    fn too_many_cases_are_refused_and_not_cut() {
        let long = Argument::List((0..65).map(Argument::Integer).collect());
        let arguments = Arguments::from([("a".into(), long.clone()), ("b".into(), long)]);
        assert_eq!(of_call(&arguments, &BTreeSet::from(["a", "b"])), Err(TooMany));
        assert_eq!(of_call(&arguments, &BTreeSet::from(["a"])).map(|cases| cases.len()), Ok(65));
    }

    #[test]
    fn samples_are_absence_each_mention_and_something_else() {
        let mut first = rule("a");
        first.when.insert("path".into(), Condition::Within(WorkspacePath::parse("src", "/work").unwrap()));
        let mut second = rule("b");
        second.when.insert("path".into(), Condition::OneOf(BTreeSet::from([text("other"), text("src/a")])));
        assert_eq!(
            samples(&[&first, &second], "path"),
            [None, Some(text("other")), Some(text("src/a")), Some(text("src/other_")), Some(text("other_"))]
        );
    }

    #[test]
    fn folders_above_a_restricted_one_are_told_apart_from_it() {
        let mut deny = Rule { grant: crate::rule::Grant::Deny, ..rule("a") };
        deny.when.insert("path".into(), Condition::Within(WorkspacePath::parse("a/b/c", "/work").unwrap()));
        let expected = [".", "a", "a/b", "a/b/c/other"].map(text).map(Some);
        assert_eq!(samples(&[&deny], "path")[1..5], expected);
    }

    proptest! {
        /// What makes enumeration exact: no call falls between the samples.
        #[test]
        fn every_call_is_matched_like_one_of_the_samples(
            rules in any_rules(),
            arguments in proptest::collection::btree_map(
                "[xy]",
                prop_oneof![
                    "\\.|(a|b|src|docs)(/(a|b|c)){0,2}".prop_map(Argument::Text),
                    (0i64..3).prop_map(Argument::Integer),
                    any::<bool>().prop_map(Argument::Bool),
                ],
                0..3,
            ),
        ) {
            let rules: Vec<&Rule> = rules.iter().collect();
            let pattern = |case: &Case| rules.iter().map(|rule| rule.failing(case).next().is_none()).collect::<Vec<_>>();
            let samples: BTreeSet<Vec<bool>> = of_rules(&rules).unwrap().iter().map(pattern).collect();
            for case in of_call(&arguments, &mentioned(&rules)).unwrap() {
                prop_assert!(samples.contains(&pattern(&case)), "{:?}", case);
            }
        }
    }
}
