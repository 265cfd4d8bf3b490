//! Turns a rule's text into a [`Rule`], or says with file and line what it lacks.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use cofferdam_contract::{Isolation, Lane, Network, WorkspacePath};
use toml::Spanned;

use crate::{
    ceilings::{Stated, isolation_word, network_word},
    condition::Condition,
    document::{ApproversText, ConditionText, DecisionText, ExampleText, RuleText, Source},
    layer::{LayerName, Power, Shapes},
    problem::{Place, Problems},
    rule::{Approval, Example, Grant, Requester, Role, Rule, Terms},
    wording,
};

/// Longest `why` and longest name of anything, in bytes: they reach agents and audit lines.
const MAX_WHY_BYTES: usize = 1000;
const MAX_NAME_BYTES: usize = 64;
/// Most members of a list in `when`.
const MAX_MEMBERS: usize = 256;
/// An approval holds from a minute to a day.
const EXPIRES_SECONDS: std::ops::RangeInclusive<u64> = 60..=86_400;

/// Reads the rules of one file.
pub(crate) struct RuleReader<'a> {
    pub(crate) source: &'a Source<'a>,
    pub(crate) layer: LayerName,
    pub(crate) shapes: &'a Shapes,
    /// The limits in force for this file: its own, else those of earlier layers.
    pub(crate) limits: &'a Stated,
    pub(crate) problems: &'a mut Problems,
}

impl RuleReader<'_> {
    /// Reads a rule; `None` when something was wrong, which is then among the problems.
    pub(crate) fn read(&mut self, text: &Spanned<RuleText>) -> Option<Rule> {
        let place = self.source.place(&text.span());
        let text = text.get_ref();
        let id = self.id(text, &place);
        let tools = self.tools(text, &place);
        let why = self.why(text, &place);
        let grant = self.grant(text, &place);
        let role = self.role(text);
        let when = self.when(text, tools.as_ref());
        let matching = self.matching(text, &place);
        let not_match = self.examples(&text.not_match);
        let rule = Rule {
            id: id?,
            place,
            layer: self.layer,
            role: role?,
            tools: tools?,
            when: when?,
            grant: grant?,
            why: why?,
            matching: matching?,
            not_match: not_match?,
        };
        self.try_examples(&rule);
        Some(rule)
    }

    fn id(&mut self, text: &RuleText, rule: &Place) -> Option<String> {
        let id = self.needed(&text.id, rule, "an `id`, a short name for messages and records")?;
        if !is_name(id.get_ref()) {
            return self.refuse(&id.span(), "an `id` is 1 to 64 of a-z, 0-9 and `-`");
        }
        Some(id.get_ref().clone())
    }

    fn why(&mut self, text: &RuleText, rule: &Place) -> Option<String> {
        let why = self.needed(&text.why, rule, "a `why`, which is shown to whoever is refused or asked")?;
        let trimmed = why.get_ref().trim();
        if trimmed.is_empty() {
            return self.refuse(&why.span(), "a `why` says something");
        }
        if trimmed.len() > MAX_WHY_BYTES || trimmed.chars().any(char::is_control) {
            return self.refuse(&why.span(), "a `why` is one line of at most 1000 bytes");
        }
        Some(trimmed.to_owned())
    }

    fn tools(&mut self, text: &RuleText, rule: &Place) -> Option<BTreeSet<String>> {
        let list = self.needed(&text.tools, rule, "`tools`, the names of the tools that it speaks of")?;
        if list.get_ref().is_empty() {
            return self.refuse(&list.span(), "`tools` names at least one tool");
        }
        let mut tools = BTreeSet::new();
        for name in list.get_ref() {
            if !self.shapes.contains_key(name.get_ref().as_str()) {
                let known: Vec<&str> = self.shapes.keys().map(String::as_str).collect();
                let meant = wording::did_you_mean(name.get_ref(), known.iter().copied());
                let message =
                    format!("there is no tool `{}`; the tools are {}{meant}", name.get_ref(), known.join(", "));
                return self.refuse(&name.span(), message);
            }
            if !tools.insert(name.get_ref().clone()) {
                return self.refuse(&name.span(), format!("`{}` is named twice", name.get_ref()));
            }
        }
        Some(tools)
    }

    fn grant(&mut self, text: &RuleText, rule: &Place) -> Option<Grant> {
        let needed = "a `decision`: \"allow\", \"approve\" or \"deny\"";
        match *self.needed(&text.decision, rule, needed)?.get_ref() {
            DecisionText::Allow => {
                self.unwanted(text.approvers.as_ref().map(Spanned::span), "`approvers` belongs to \"approve\"")?;
                self.unwanted(text.expires.as_ref().map(Spanned::span), "`expires` belongs to \"approve\"")?;
                let terms = self.terms(text)?;
                if terms.lane == Lane::Sensitive {
                    let span = text.lane.as_ref().map(Spanned::span);
                    self.unwanted(span, "a sensitive call is never simply allowed; write decision = \"approve\"")?;
                }
                Some(Grant::Allow(terms))
            }
            DecisionText::Approve => {
                let needed = "`approvers = { min = 1, from = [\"group:…\"], not_requester = true }`";
                let approvers = self.needed(&text.approvers, rule, needed)?;
                let approval = self.approval(approvers.get_ref(), text.expires.as_ref());
                Some(Grant::Approve(self.terms(text)?, approval?))
            }
            DecisionText::Deny => {
                let grants = [
                    text.network.as_ref().map(Spanned::span),
                    text.isolation.as_ref().map(Spanned::span),
                    text.lane.as_ref().map(Spanned::span),
                    text.approvers.as_ref().map(Spanned::span),
                    text.expires.as_ref().map(Spanned::span),
                    text.credentials.as_ref().map(Spanned::span),
                ];
                for span in grants {
                    self.unwanted(span, "a rule that denies grants nothing; remove this line")?;
                }
                Some(Grant::Deny)
            }
        }
    }

    /// Whether the rule grants by itself. In a layer that may only narrow none does.
    fn role(&mut self, text: &RuleText) -> Option<Role> {
        let written = text.narrows.as_ref().map(|narrows| *narrows.get_ref());
        let decision = text.decision.as_ref()?;
        match (*decision.get_ref(), self.layer.power()) {
            (DecisionText::Allow, Power::Narrows) => self.refuse(
                &decision.span(),
                "a rule that allows belongs into the operator's policy; this layer only narrows, with \"deny\" or \"approve\"",
            ),
            (DecisionText::Allow | DecisionText::Deny, Power::Grants | Power::Narrows) => {
                self.unwanted(text.narrows.as_ref().map(Spanned::span), "`narrows` belongs to \"approve\"")?;
                Some(Role::Decides)
            }
            (DecisionText::Approve, Power::Narrows) if written == Some(false) => {
                let span = text.narrows.as_ref().map(Spanned::span).unwrap_or_default();
                self.refuse(&span, "every rule of this layer narrows; remove this line")
            }
            (DecisionText::Approve, Power::Narrows) => Some(Role::Narrows),
            (DecisionText::Approve, Power::Grants) if written == Some(true) => Some(Role::Narrows),
            (DecisionText::Approve, Power::Grants) => Some(Role::Decides),
        }
    }

    fn terms(&mut self, text: &RuleText) -> Option<Terms> {
        let network = text.network.as_ref().map_or(Network::Off, |network| *network.get_ref());
        let isolation = text.isolation.as_ref().map_or(Isolation::Namespace, |isolation| *isolation.get_ref());
        // A rule that grants what `[limits]` then takes away looks right and does nothing.
        if let (Some(rule), Some(limit)) = (&text.network, &self.limits.network)
            && *rule.get_ref() > limit.value
        {
            let most = network_word(limit.value);
            let message = format!("the rule grants more than {} allows: at most \"{most}\"", limit.place);
            return self.refuse(&rule.span(), message);
        }
        if let (Some(rule), Some(limit)) = (&text.isolation, &self.limits.isolation)
            && *rule.get_ref() < limit.value
        {
            let least = isolation_word(limit.value);
            let message = format!("the rule accepts less than {} allows: at least \"{least}\"", limit.place);
            return self.refuse(&rule.span(), message);
        }
        let mut credentials = BTreeSet::new();
        for name in text.credentials.iter().flat_map(Spanned::get_ref) {
            if !is_name(name.get_ref()) {
                return self.refuse(&name.span(), "the name of a credential is 1 to 64 of a-z, 0-9 and `-`");
            }
            credentials.insert(name.get_ref().clone());
        }
        let lane = text.lane.as_ref().map_or(Lane::Routine, |lane| *lane.get_ref());
        Some(Terms { network, isolation, lane, credentials })
    }

    pub(crate) fn approval(&mut self, text: &ApproversText, expires: Option<&Spanned<String>>) -> Option<Approval> {
        let Some(min) = u32::try_from(*text.min.get_ref()).ok().filter(|min| (1..=16).contains(min)) else {
            return self.refuse(&text.min.span(), "`min` is 1 to 16 people");
        };
        if text.from.get_ref().is_empty() {
            return self.refuse(&text.from.span(), "`from` names somebody who may approve");
        }
        let mut from = BTreeSet::new();
        for name in text.from.get_ref() {
            let rest = name.get_ref().strip_prefix("user:").or_else(|| name.get_ref().strip_prefix("group:"));
            if !rest.is_some_and(is_principal) {
                return self.refuse(&name.span(), "an approver is \"user:NAME\" or \"group:NAME\"");
            }
            from.insert(name.get_ref().clone());
        }
        let requester = if text.not_requester { Requester::DoesNotCount } else { Requester::Counts };
        let expires = match expires {
            None => Duration::from_secs(15 * 60),
            Some(written) => match seconds(written.get_ref()).filter(|seconds| EXPIRES_SECONDS.contains(seconds)) {
                Some(seconds) => Duration::from_secs(seconds),
                None => return self.refuse(&written.span(), "`expires` is from \"1m\" to \"24h\", such as \"15m\""),
            },
        };
        Some(Approval { min, from, requester, expires })
    }

    fn when(&mut self, text: &RuleText, tools: Option<&BTreeSet<String>>) -> Option<BTreeMap<String, Condition>> {
        let mut when = BTreeMap::new();
        for (argument, condition) in &text.when {
            for tool in tools.into_iter().flatten() {
                self.known_argument(tool, argument.get_ref(), &self.source.place(&argument.span()))?;
            }
            let condition = self.condition(condition)?;
            when.insert(argument.get_ref().clone(), condition);
        }
        Some(when)
    }

    fn condition(&mut self, text: &Spanned<ConditionText>) -> Option<Condition> {
        match text.get_ref() {
            ConditionText::OneOf(members) if members.is_empty() => {
                self.refuse(&text.span(), "an empty list holds for nothing; name the values")
            }
            ConditionText::OneOf(members) if members.len() > MAX_MEMBERS => {
                self.refuse(&text.span(), "a list in `when` has at most 256 members")
            }
            ConditionText::OneOf(members) => {
                let set: BTreeSet<_> = members.iter().cloned().collect();
                if set.len() < members.len() {
                    return self.refuse(&text.span(), "a list in `when` names each value once");
                }
                Some(Condition::OneOf(set))
            }
            ConditionText::Prefix(folder) if folder.starts_with('/') => {
                self.refuse(&text.span(), "a prefix is relative to the workspace; remove the leading `/`")
            }
            ConditionText::Prefix(folder) if folder.is_empty() => {
                self.refuse(&text.span(), "a prefix names a folder; \".\" is the workspace itself")
            }
            ConditionText::Prefix(folder) => match WorkspacePath::try_from(folder.clone()) {
                Ok(path) => Some(Condition::Within(path)),
                Err(_) => self.refuse(&text.span(), format!("{folder:?} is not a folder below the workspace")),
            },
        }
    }

    fn matching(&mut self, text: &RuleText, rule: &Place) -> Option<Vec<Example>> {
        let list = self.needed(&text.matching, rule, "`match`, with at least one call that it is for")?;
        if list.get_ref().is_empty() {
            return self.refuse(&list.span(), "`match` shows at least one call");
        }
        self.examples(list.get_ref())
    }

    fn examples(&mut self, texts: &[Spanned<ExampleText>]) -> Option<Vec<Example>> {
        let mut examples = Vec::new();
        for text in texts {
            let place = self.source.place(&text.span());
            let ExampleText { tool, args } = text.get_ref();
            if !self.shapes.contains_key(tool.get_ref().as_str()) {
                let meant = wording::did_you_mean(tool.get_ref(), self.shapes.keys().map(String::as_str));
                return self.refuse(&tool.span(), format!("there is no tool `{}`{meant}", tool.get_ref()));
            }
            for argument in args.keys() {
                self.known_argument(tool.get_ref(), argument, &place)?;
            }
            examples.push(Example { tool: tool.get_ref().clone(), arguments: args.clone(), place });
        }
        Some(examples)
    }

    /// Tries the rule on its own examples.
    fn try_examples(&mut self, rule: &Rule) {
        let wrong = rule.wrong_examples();
        for (place, message) in wrong {
            self.problems.add(&place, message);
        }
    }

    fn known_argument(&mut self, tool: &str, argument: &str, place: &Place) -> Option<()> {
        let arguments = self.shapes.get(tool)?;
        if arguments.contains(argument) {
            return Some(());
        }
        let known: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let known = if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) };
        let meant = wording::did_you_mean(argument, arguments.iter().map(String::as_str));
        self.problems.add(place, format!("`{tool}` has no argument `{argument}`; {known}{meant}"));
        None
    }

    fn needed<'t, T>(&mut self, value: &'t Option<Spanned<T>>, rule: &Place, what: &str) -> Option<&'t Spanned<T>> {
        if value.is_none() {
            self.problems.add(rule, format!("the rule needs {what}"));
        }
        value.as_ref()
    }

    fn unwanted(&mut self, span: Option<std::ops::Range<usize>>, message: &str) -> Option<()> {
        match span {
            Some(span) => self.refuse(&span, message),
            None => Some(()),
        }
    }

    fn refuse<T>(&mut self, span: &std::ops::Range<usize>, message: impl Into<String>) -> Option<T> {
        self.problems.add(&self.source.place(span), message);
        None
    }
}

/// Whether `text` is a name as policies write them.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text.chars().all(|character| matches!(character, 'a'..='z' | '0'..='9' | '-'))
}

/// Whether `text` can name a person or a group.
fn is_principal(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text.chars().all(|character| character.is_ascii_alphanumeric() || "-_.@".contains(character))
}

/// Reads `90s`, `15m` or `2h`.
fn seconds(text: &str) -> Option<u64> {
    let unit = text.chars().last()?;
    let number = text.strip_suffix(unit)?;
    if !number.chars().all(|character| character.is_ascii_digit()) {
        return None;
    }
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}
