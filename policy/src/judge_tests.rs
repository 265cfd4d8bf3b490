//! The judgement held to its promises, on rules made as values.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use cofferdam_contract::{Arguments, HandBack, Isolation, Lane, Limits, Work, WorkspacePath};
use proptest::{collection, option, prelude::*, sample::subsequence};

use super::*;
use crate::{
    ceilings::{NameSet, tests::any_ceilings},
    condition::Condition,
    layer::LayerName,
    problem::Place,
    protect::Protect,
    rule::{Approval, Requester},
    write_scope::WriteScope,
};

/// A plan that asks for nothing beyond executing.
pub(crate) fn plan(tool: &str) -> Plan {
    Plan {
        tool: tool.into(),
        arguments: Arguments::new(),
        work: Work::Execute,
        reads: vec![],
        hand_back: HandBack::Nothing,
        network: Network::Off,
        isolation: Isolation::Namespace,
        lane: Lane::Routine,
        limits: Limits::FILES,
        credentials: BTreeSet::new(),
    }
}

/// A rule that allows `t` with nothing.
pub(crate) fn rule(id: &str) -> Rule {
    Rule {
        id: id.into(),
        place: Place { file: "policy.toml".into(), line: 1 },
        layer: LayerName::Operator,
        role: Role::Decides,
        tools: BTreeSet::from(["t".into()]),
        when: BTreeMap::new(),
        grant: Grant::Allow(nothing()),
        why: format!("Because of {id}."),
        matching: vec![],
        not_match: vec![],
    }
}

fn nothing() -> Terms {
    Terms { network: Network::Off, isolation: Isolation::Namespace, lane: Lane::Routine, credentials: BTreeSet::new() }
}

fn approval(from: &[&str]) -> Approval {
    Approval {
        min: 1,
        from: from.iter().map(|name| (*name).to_owned()).collect(),
        requester: Requester::DoesNotCount,
        expires: Duration::from_secs(900),
    }
}

fn one_of(values: &[&str]) -> Condition {
    Condition::OneOf(values.iter().map(|value| Argument::from(*value)).collect())
}

fn standing() -> Arc<Standing> {
    Arc::new(Standing {
        policy_sha256: [7; 32],
        required: BTreeSet::new(),
        needed_arguments: BTreeMap::from([("t".to_owned(), BTreeSet::from(["needed".to_owned(), "also".to_owned()]))]),
        secrets: Arc::new(crate::Secrets::default()),
        protect: Arc::new(Protect::new(std::iter::empty()).unwrap()),
        environment: BTreeMap::new(),
        mode: Mode::Apply,
        write: WriteScope::EVERYTHING,
        authorship: crate::Authorship::Person,
    })
}

fn ask(plan: &Plan, rules: &[Rule], ceilings: &Ceilings) -> Verdict {
    judge(plan.clone(), rules, ceilings, &standing())
}

/// A verdict as a value that can be compared: the permit's terms, the question, or the refusal.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Allow { rule: String, isolation: Isolation, limits: Limits },
    Ask(Box<Question>),
    Deny(Refusal),
}

fn answer(plan: &Plan, rules: &[Rule], ceilings: &Ceilings) -> Answer {
    match ask(plan, rules, ceilings) {
        Verdict::Allow(permit) => {
            assert_eq!(permit.plan(), plan, "the permit carries what was judged");
            Answer::Allow { rule: permit.rule().into(), isolation: permit.isolation(), limits: permit.limits() }
        }
        Verdict::Ask(question) => Answer::Ask(Box::new(question)),
        Verdict::Deny(refusal) => Answer::Deny(refusal),
    }
}

fn refusal(plan: &Plan, rules: &[Rule], ceilings: &Ceilings) -> String {
    match answer(plan, rules, ceilings) {
        Answer::Deny(refusal) => refusal.to_string(),
        other => panic!("not refused: {other:?}"),
    }
}

fn is_allowed(plan: &Plan, rules: &[Rule], ceilings: &Ceilings) -> bool {
    matches!(ask(plan, rules, ceilings), Verdict::Allow(_))
}

#[test]
fn no_rule_is_no() {
    assert_eq!(
        refusal(&plan("t"), &[], &Ceilings::TOP),
        "refused by the policy: no rule allows `t`, and what no rule allows is refused."
    );
}

#[test]
fn a_refusal_names_the_values_that_would_do() {
    let mut allow = rule("a");
    allow.when.insert("runner".into(), one_of(&["cargo", "pytest"]));
    let mut call = plan("t");
    call.arguments.insert("runner".into(), "make".into());
    assert_eq!(
        refusal(&call, &[allow], &Ceilings::TOP),
        "refused by the policy: no rule allows this call of `t`, and what no rule allows is refused. \
         Allowed instead: the same with `runner = \"cargo\"` or `\"pytest\"`."
    );
}

#[test]
fn a_denial_gives_its_reason_and_the_way_round() {
    let mut deny = rule("no-prod");
    deny.grant = Grant::Deny;
    deny.when.insert("env".into(), one_of(&["prod"]));
    let mut call = plan("t");
    call.arguments.insert("env".into(), "prod".into());
    assert_eq!(
        refusal(&call, &[rule("all"), deny], &Ceilings::TOP),
        "refused by the policy's rule `no-prod`: Because of no-prod. \
         Allowed instead: the same with another `env`, or without it."
    );
}

#[test]
fn nobody_is_told_to_leave_out_what_a_call_needs() {
    let deny = |arguments: &[&str]| {
        let mut deny = rule("no-prod");
        deny.grant = Grant::Deny;
        deny.when.extend(arguments.iter().map(|argument| ((*argument).to_owned(), one_of(&["prod"]))));
        let mut call = plan("t");
        call.arguments.extend(arguments.iter().map(|argument| ((*argument).to_owned(), "prod".into())));
        refusal(&call, &[rule("all"), deny], &Ceilings::TOP)
    };
    assert!(deny(&["needed"]).ends_with("the same with another `needed`."), "{}", deny(&["needed"]));
    assert!(deny(&["other"]).ends_with("the same with another `other`, or without it."), "{}", deny(&["other"]));
    assert!(!deny(&["needed", "also"]).contains("without"), "{}", deny(&["needed", "also"]));
    // Where nothing but its absence would do, nothing is advised.
    let mut allow = rule("never-with-it");
    allow.grant = Grant::Deny;
    allow.when.insert("needed".into(), Condition::Within(WorkspacePath::workspace()));
    let mut call = plan("t");
    call.arguments.insert("needed".into(), "a".into());
    let told = refusal(&call, &[rule("all"), allow], &Ceilings::TOP);
    assert!(!told.contains("without"), "{told}");
}

#[test]
fn a_folder_that_would_do_is_named_as_a_folder() {
    let mut allow = rule("a");
    allow.when.insert("path".into(), Condition::Within(WorkspacePath::parse("src", "/work").unwrap()));
    let call = plan("t");
    assert!(refusal(&call, &[allow], &Ceilings::TOP).ends_with("the same with `path = { prefix = \"src\" }`."));
}

#[test]
fn a_rule_about_a_value_is_not_avoided_by_hiding_it_in_a_list() {
    let mut deny = rule("no-b");
    deny.grant = Grant::Deny;
    deny.when.insert("names".into(), one_of(&["b"]));
    let rules = [rule("all"), deny];
    let mut call = plan("t");
    call.arguments.insert("names".into(), Argument::List(vec!["a".into(), "b".into()]));
    assert!(!is_allowed(&call, &rules, &Ceilings::TOP));
    call.arguments.insert("names".into(), Argument::List(vec!["a".into(), "c".into()]));
    assert!(is_allowed(&call, &rules, &Ceilings::TOP));
}

#[test]
fn every_element_of_a_list_needs_a_rule() {
    let mut allow = rule("only-a");
    allow.when.insert("names".into(), one_of(&["a"]));
    let mut call = plan("t");
    call.arguments.insert("names".into(), Argument::List(vec!["a".into(), "b".into()]));
    assert!(!is_allowed(&call, &[allow.clone()], &Ceilings::TOP));
    call.arguments.insert("names".into(), Argument::List(vec!["a".into(), "a".into()]));
    assert!(is_allowed(&call, &[allow], &Ceilings::TOP));
}

#[test]
fn elements_of_a_list_that_different_rules_grant_get_what_both_grant() {
    let (mut wide, mut narrow) = (rule("wide"), rule("narrow"));
    wide.when.insert("names".into(), one_of(&["a"]));
    wide.grant = Grant::Allow(Terms { network: Network::Registry, ..nothing() });
    narrow.when.insert("names".into(), one_of(&["b"]));
    let ceilings = Ceilings { registries: NameSet::Only(BTreeSet::from(["crates".into()])), ..Ceilings::TOP };
    let mut call = plan("t");
    call.network = Network::Registry;
    call.arguments.insert("names".into(), "a".into());
    assert!(is_allowed(&call, &[wide.clone(), narrow.clone()], &ceilings));
    call.arguments.insert("names".into(), Argument::List(vec!["a".into(), "b".into()]));
    assert_eq!(
        refusal(&call, &[wide, narrow], &ceilings),
        "refused by the policy's rule `narrow`: the call needs network = \"registry\", and the rule grants at most \
         \"off\". Allowed instead: the same with network = \"off\"."
    );
}

#[test]
fn lists_too_long_to_judge_are_refused() {
    let mut allow = rule("a");
    allow.when.insert("x".into(), one_of(&["a"]));
    allow.when.insert("y".into(), one_of(&["a"]));
    let mut call = plan("t");
    let list = Argument::List((0..100).map(|n| Argument::Text(format!("v{n}"))).collect());
    call.arguments.insert("x".into(), list.clone());
    call.arguments.insert("y".into(), list);
    assert!(refusal(&call, &[allow], &Ceilings::TOP).contains("too long"));
}

#[test]
fn a_call_must_fit_under_its_rule_and_under_the_limits() {
    let everything = Terms { network: Network::Allowlist, ..nothing() };
    let open = Rule { grant: Grant::Allow(everything), ..rule("open") };
    let ceilings = Ceilings { network: Network::Registry, ..Ceilings::TOP }.settle();
    let with = |change: fn(&mut Plan)| {
        let mut call = plan("t");
        change(&mut call);
        call
    };
    for (call, expected) in [
        (with(|call| call.network = Network::Allowlist), "[limits] network allows at most \"registry\""),
        (with(|call| call.network = Network::Registry), "[limits] registries names nothing to reach"),
        (with(|call| call.lane = Lane::Sensitive), "the rule grants the routine lane only"),
        (with(|call| _ = call.credentials.insert("c".into())), "the credential `c`"),
    ] {
        let text = refusal(&call, std::slice::from_ref(&open), &ceilings);
        assert!(text.contains(expected), "{text}");
    }
    let source = [crate::glob::Glob::parse("src/**").unwrap()].into_iter().collect();
    let ceilings = Ceilings { write: WriteScope::of(source), ..Ceilings::TOP };
    assert_eq!(
        refusal(&with(|call| call.hand_back = HandBack::Tree), &[open], &ceilings),
        "refused by the policy: the call would change the whole tree, and [limits] write allows only `src/**`. \
         Allowed instead: changes inside `src/**`."
    );
}

#[test]
fn isolation_is_raised_to_the_strongest_of_plan_rule_and_limits() {
    let levels = [Isolation::Namespace, Isolation::Container, Isolation::Gvisor, Isolation::Microvm];
    for (plan_level, rule_level, limit) in
        levels.into_iter().flat_map(|a| levels.into_iter().flat_map(move |b| levels.map(|c| (a, b, c))))
    {
        let call = Plan { isolation: plan_level, ..plan("t") };
        let rule = Rule { grant: Grant::Allow(Terms { isolation: rule_level, ..nothing() }), ..rule("a") };
        let ceilings = Ceilings { isolation: limit, ..Ceilings::TOP };
        let Answer::Allow { isolation, .. } = answer(&call, &[rule], &ceilings) else { panic!("refused") };
        assert_eq!(isolation, plan_level.max(rule_level).max(limit));
    }
}

#[test]
fn approval_beats_allow_and_asks_for_what_every_rule_asks() {
    let ask = |id: &str, approval| Rule { grant: Grant::Approve(nothing(), approval), ..rule(id) };
    let one = ask("one", approval(&["group:a", "group:b"]));
    let two = ask("two", Approval { min: 2, expires: Duration::from_secs(60), ..approval(&["group:b"]) });
    let Answer::Ask(question) = answer(&plan("t"), &[rule("all"), one.clone(), two], &Ceilings::TOP) else {
        panic!("not asked")
    };
    assert_eq!(*question.approval(), Approval { min: 2, expires: Duration::from_secs(60), ..approval(&["group:b"]) });
    assert_eq!(
        question.to_string(),
        "the policy's rule `one` asks for the approval of 2 of group:b other than the requester: Because of one"
    );
    let other = ask("other", approval(&["group:c"]));
    assert!(refusal(&plan("t"), &[one, other], &Ceilings::TOP).contains("no one may approve for all of them"));
}

#[test]
fn only_the_strictest_rules_set_the_terms_so_a_person_may_grant_what_an_allow_does_not() {
    let terms = Terms { network: Network::Registry, ..nothing() };
    let ask = Rule { grant: Grant::Approve(terms, approval(&["user:ana"])), ..rule("ask") };
    let call = Plan { network: Network::Registry, ..plan("t") };
    assert!(matches!(answer(&call, &[rule("all"), ask], &Ceilings::TOP), Answer::Ask(_)));
}

#[test]
fn a_path_that_cannot_be_read_counts_against_the_call() {
    let source = || ("path".to_owned(), Condition::Within(WorkspacePath::parse("src", "/work").unwrap()));
    let deny = Rule { grant: Grant::Deny, when: BTreeMap::from([source()]), ..rule("no") };
    let allow = Rule { when: BTreeMap::from([source()]), ..rule("yes") };
    for path in ["/work/src/a", "../work/src/a", "src\\a"] {
        let mut call = plan("t");
        call.arguments.insert("path".into(), path.into());
        assert!(!is_allowed(&call, &[rule("all"), deny.clone()], &Ceilings::TOP), "{path}");
        assert!(!is_allowed(&call, std::slice::from_ref(&allow), &Ceilings::TOP), "{path}");
    }
}

#[test]
fn a_rule_about_a_folder_is_not_avoided_by_naming_the_folder_above() {
    let unit = ("path".to_owned(), Condition::Within(WorkspacePath::parse("tests/unit", "/work").unwrap()));
    let deny = Rule { grant: Grant::Deny, when: BTreeMap::from([unit.clone()]), ..rule("no") };
    let ask = Rule {
        grant: Grant::Approve(nothing(), approval(&["user:ana"])),
        when: BTreeMap::from([unit.clone()]),
        ..rule("ask")
    };
    let allow = Rule { when: BTreeMap::from([unit]), ..rule("yes") };
    for path in [".", "tests", "./tests/"] {
        let mut call = plan("t");
        call.arguments.insert("path".into(), path.into());
        assert!(!is_allowed(&call, &[rule("all"), deny.clone()], &Ceilings::TOP), "{path}");
        assert!(matches!(answer(&call, &[rule("all"), ask.clone()], &Ceilings::TOP), Answer::Ask(_)), "{path}");
        assert!(!is_allowed(&call, std::slice::from_ref(&allow), &Ceilings::TOP), "{path}");
    }
    let mut call = plan("t");
    call.arguments.insert("path".into(), "tests/other".into());
    assert!(is_allowed(&call, &[rule("all"), deny], &Ceilings::TOP));
}

#[test]
fn a_sensitive_call_is_asked_about_under_a_sensitive_rule() {
    let terms = Terms { lane: Lane::Sensitive, ..nothing() };
    let rule = Rule { grant: Grant::Approve(terms, approval(&["user:ana"])), ..rule("ship") };
    let call = Plan { lane: Lane::Sensitive, ..plan("t") };
    assert!(matches!(answer(&call, &[rule], &Ceilings::TOP), Answer::Ask(_)));
}

fn any_condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        subsequence(vec!["a", "src", "src/a"], 1..3).prop_map(|texts| one_of(&texts)),
        (0i64..2).prop_map(|number| Condition::OneOf(BTreeSet::from([Argument::Integer(number)]))),
        prop_oneof!["src", "src/a", "docs", "\\."]
            .prop_map(|folder| Condition::Within(WorkspacePath::parse(&folder, "/work").unwrap())),
    ]
}

fn any_terms() -> impl Strategy<Value = Terms> {
    (
        prop_oneof![Just(Network::Off), Just(Network::Registry), Just(Network::Allowlist)],
        prop_oneof![Just(Isolation::Namespace), Just(Isolation::Container)],
        collection::btree_set("[cd]", 0..3),
    )
        .prop_map(|(network, isolation, credentials)| Terms {
            network,
            isolation,
            lane: Lane::Routine,
            credentials,
        })
}

fn any_grant() -> impl Strategy<Value = Grant> {
    prop_oneof![
        3 => any_terms().prop_map(Grant::Allow),
        1 => (any_terms(), collection::btree_set("[xyz]", 1..3)).prop_map(|(terms, from)| {
            Grant::Approve(terms, Approval { from, ..approval(&[]) })
        }),
        1 => Just(Grant::Deny),
    ]
}

/// Any rules about `t` over a small world, with distinct ids.
pub(crate) fn any_rules() -> impl Strategy<Value = Vec<Rule>> {
    let one = (any_grant(), collection::btree_map("[xy]", any_condition(), 0..3));
    collection::vec(one, 0..6).prop_map(|parts| {
        let numbered = parts.into_iter().enumerate();
        numbered.map(|(index, (grant, when))| Rule { grant, when, ..rule(&format!("r{index}")) }).collect()
    })
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let scalar = || {
        prop_oneof![
            prop_oneof!["a", "src", "src/a", "src/b", "docs/x", "/abs", "\\.\\./up"].prop_map(Argument::Text),
            (0i64..3).prop_map(Argument::Integer),
        ]
    };
    let argument = prop_oneof![3 => scalar(), 1 => collection::vec(scalar(), 0..3).prop_map(Argument::List)];
    let path =
        prop_oneof!["src/a", "b\\.rs", "docs/a\\.md"].prop_map(|text| WorkspacePath::parse(&text, "/w").unwrap());
    let hand_back = prop_oneof![
        Just(HandBack::Nothing),
        Just(HandBack::Tree),
        collection::vec(path, 0..3).prop_map(HandBack::Paths),
        Just(HandBack::Matching(vec!["src/*.rs".into()])),
    ];
    (collection::btree_map("[xy]", argument, 0..3), hand_back, any_terms(), option::of(Just("c".to_owned())), 1u64..6)
        .prop_map(|(arguments, hand_back, needs, credential, pids)| Plan {
            arguments,
            hand_back,
            // Mostly modest, or most plans would be refused for the same reason.
            network: if pids > 1 { Network::Off } else { needs.network },
            isolation: needs.isolation,
            credentials: if pids > 2 { BTreeSet::new() } else { credential.into_iter().collect() },
            limits: Limits { pids, ..Limits::FILES },
            ..plan("t")
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn what_is_allowed_under_both_ceilings_is_allowed_under_each(
        call in any_plan(), rules in any_rules(), a in any_ceilings(), b in any_ceilings(),
    ) {
        if let Answer::Allow { rule, isolation, limits } = answer(&call, &rules, &a.meet(&b)) {
            for each in [&a, &b] {
                let Answer::Allow { rule: same, isolation: weaker, limits: wider } = answer(&call, &rules, each) else {
                    return Err(TestCaseError::fail("the meet allows what one side refuses"));
                };
                prop_assert_eq!(&rule, &same);
                prop_assert!(isolation >= weaker);
                prop_assert_eq!(limits.min(wider), limits);
            }
        }
    }

    #[test]
    fn adding_a_rule_that_denies_never_allows_more(
        call in any_plan(), rules in any_rules(), when in collection::btree_map("[xy]", any_condition(), 0..3),
    ) {
        let deny = Rule { grant: Grant::Deny, when, ..rule("added") };
        let more: Vec<Rule> = rules.iter().cloned().chain([deny]).collect();
        let (before, after) = (answer(&call, &rules, &Ceilings::TOP), answer(&call, &more, &Ceilings::TOP));
        prop_assert!(matches!(after, Answer::Deny(_)) || before == after);
    }

    #[test]
    fn adding_any_rule_allows_nothing_that_was_refused_by_a_rule(
        call in any_plan(), rules in any_rules(), added in any_rules(),
    ) {
        let renamed = added.into_iter().map(|rule| Rule { id: format!("more-{}", rule.id), ..rule });
        let more: Vec<Rule> = rules.iter().cloned().chain(renamed).collect();
        if let Answer::Deny(refusal) = answer(&call, &rules, &Ceilings::TOP)
            && let Some(id) = refusal.rule()
            && rules.iter().any(|rule| rule.id == id && rule.grant == Grant::Deny)
        {
            prop_assert!(!is_allowed(&call, &more, &Ceilings::TOP));
        }
    }

    #[test]
    fn the_order_of_rules_never_matters(
        (rules, shuffled) in any_rules().prop_flat_map(|rules| (Just(rules.clone()), Just(rules).prop_shuffle())),
        call in any_plan(),
        ceilings in any_ceilings(),
    ) {
        prop_assert_eq!(answer(&call, &rules, &ceilings), answer(&call, &shuffled, &ceilings));
    }

    #[test]
    fn the_strictest_matching_rule_wins(rules in any_rules(), call in any_plan()) {
        let about: Vec<&Rule> = rules.iter().collect();
        let cases = case::of_call(&call.arguments, &case::mentioned(&about)).unwrap();
        let matching = |case: &Case| rules.iter().filter(|rule| rule.matches("t", case)).map(Rule::severity).max();
        let by_case: Vec<Option<Severity>> = cases.iter().map(matching).collect();
        let verdict = answer(&call, &rules, &Ceilings::TOP);
        if by_case.contains(&None) || by_case.contains(&Some(Severity::Deny)) {
            prop_assert!(matches!(verdict, Answer::Deny(_)));
        } else if by_case.contains(&Some(Severity::Approve)) {
            let allowed = matches!(verdict, Answer::Allow { .. });
            prop_assert!(!allowed);
        } else {
            prop_assert!(!matches!(verdict, Answer::Ask(_)));
        }
    }

    #[test]
    fn what_is_allowed_fits_under_every_rule_that_decided(rules in any_rules(), call in any_plan()) {
        if is_allowed(&call, &rules, &Ceilings::TOP) {
            let about: Vec<&Rule> = rules.iter().collect();
            for case in case::of_call(&call.arguments, &case::mentioned(&about)).unwrap() {
                for rule in rules.iter().filter(|rule| rule.matches("t", &case)) {
                    let Grant::Allow(terms) = &rule.grant else {
                        return Err(TestCaseError::fail("allowed against a stricter rule"));
                    };
                    prop_assert!(call.network <= terms.network);
                    prop_assert!(call.credentials.is_subset(&terms.credentials));
                }
            }
        }
    }

    /// The text of a refusal is advice; advice must be true.
    #[test]
    fn a_value_that_a_refusal_names_is_granted_by_the_rules(rules in any_rules(), call in any_plan()) {
        let call = Plan { network: Network::Off, credentials: BTreeSet::new(), hand_back: HandBack::Nothing, ..call };
        if let Answer::Deny(refusal) = answer(&call, &rules, &Ceilings::TOP)
            && let Some(text) = refusal.nearest().and_then(|text| text.strip_prefix("the same with `"))
            && !text.contains("without") && !text.contains("another") && !text.contains('{')
        {
            let mut advised = call.clone();
            for change in text.split(", and with `") {
                let (argument, value) = change.split_once(" = ").unwrap();
                let first = value.split_once('`').unwrap().0;
                let table: toml::Table = toml::from_str(&format!("v = {first}")).unwrap();
                advised.arguments.insert(argument.to_owned(), table["v"].clone().try_into().unwrap());
            }
            let answer = answer(&advised, &rules, &Ceilings::TOP);
            prop_assert!(!matches!(answer, Answer::Deny(_)), "{:?}", answer);
        }
    }
}
