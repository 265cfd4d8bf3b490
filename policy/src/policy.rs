//! The policy: every layer together, loaded once and asked for every call.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cofferdam_contract::{Guarantee, Kind, Limits, Network, Plan, Task};

use crate::{
    ceilings::{Ceilings, Located, Stated, network_word},
    difference::{self, Difference, TooManyCases},
    digest::sha256,
    effective,
    explanation::{self, Explanation},
    git::Authorship,
    in_part::{self, InPart, Unknown},
    judge::judge,
    layer::{Layer, LayerName, Power, Shapes, ToolShape, start_of},
    permit::Standing,
    problem::{LoadError, Place, Problem, Problems},
    protect::Protect,
    rule::{Grant, Rule},
    rules,
    secrets::{Secrets, SecretsStated},
    task::{self, Named},
    verdict::Verdict,
};

/// The builtin policy's text: the first layer.
pub const BUILTIN: &str = include_str!("builtin.toml");

/// What may be done, and under which limits.
#[derive(Debug)]
pub struct Policy {
    /// Sorted by id.
    rules: Vec<Rule>,
    /// Sorted by name.
    tasks: Vec<Named>,
    ceilings: Ceilings,
    /// The ceilings with the lines that state them.
    stated: Stated,
    required_budgets: BTreeSet<Guarantee>,
    standing: Arc<Standing>,
    warnings: Vec<Problem>,
}

impl Policy {
    /// Loads the layers, the builtin one first, for these tools.
    ///
    /// # Errors
    /// [`LoadError`] with file and line for whatever is wrong in a layer, for a layer that asks for more than one
    /// before it, for a rule that can never decide, and when the layers are not in their order.
    pub fn load(layers: &[Layer<'_>], tools: &[ToolShape]) -> Result<Self, LoadError> {
        let mut shapes: Shapes = tools.iter().map(|tool| (tool.name.clone(), tool.arguments.clone())).collect();
        let mut needed_arguments: BTreeMap<String, BTreeSet<String>> =
            tools.iter().map(|tool| (tool.name.clone(), tool.required.clone())).collect();
        let mut tasks = Vec::new();
        let last = check_order(layers)?;
        let mut problems = Problems::default();
        let mut limits = Stated::default();
        let mut ceilings = Ceilings::TOP;
        let mut required_budgets = BTreeSet::new();
        let mut protected = BTreeMap::new();
        let mut secrets = SecretsStated::default();
        let mut environment = BTreeMap::new();
        let mut authorship = Authorship::default();
        let mut rules = Vec::new();
        let mut warnings = Vec::new();
        let mut before = start_of(last);
        for layer in layers {
            match layer.name.power() {
                Power::Grants => {}
                Power::Narrows => {
                    limits = limits.settle(&before);
                    ceilings = ceilings.settle();
                }
            }
            let content = layer.read(&shapes, &limits)?;
            for excess in limits.excess(&content.limits) {
                problems.add(&excess.place, excess.message);
            }
            ceilings = ceilings.meet(&content.limits.ceilings());
            limits = content.limits.over(limits);
            required_budgets.extend(content.require);
            protected.extend(content.protect.into_iter().map(|glob| (glob, start_of(layer))));
            secrets.add(content.secrets, layer.name, &mut problems);
            add_variables(&mut environment, content.environment, &mut problems);
            // The last layer that says something: it is a choice, and neither is more than the other.
            authorship = content.authorship.unwrap_or(authorship);
            shapes.extend(content.tasks.iter().map(|named| (named.task.name.clone(), named.arguments())));
            needed_arguments
                .extend(content.tasks.iter().map(|named| (named.task.name.clone(), named.needed_arguments())));
            // The rules that come with tasks are as those of an earlier layer: the file's own replace or restrict them.
            rules.extend(task::implicit_rules(&content.tasks, &content.rules));
            tasks.extend(content.tasks);
            rules = rules::combine(rules, content.rules, layer.name.power(), &mut problems, &mut warnings);
            before = start_of(layer);
            problems.end_step()?;
        }
        let protect =
            Protect::new(protected.into_keys()).map_err(|error| LoadError::at(start_of(last), error.to_string()))?;
        let secrets = secrets.settle().map_err(|error| LoadError::at(start_of(last), error.to_string()))?;
        let ceilings = ceilings.settle();
        let boundary = Guarantee::ALL.into_iter().filter(|guarantee| guarantee.kind() == Kind::Boundary);
        let standing = Standing {
            policy_sha256: [0; 32],
            needed_arguments,
            required: boundary.chain(required_budgets.iter().copied()).collect(),
            protect: Arc::new(protect),
            secrets: Arc::new(secrets),
            environment: environment.into_iter().map(|(name, located)| (name, located.value)).collect(),
            mode: ceilings.mode,
            write: ceilings.write.clone(),
            authorship,
        };
        warnings.extend(suspicions(&rules, &ceilings, &shapes, &start_of(last)));
        let unsigned =
            Self { rules, tasks, ceilings, stated: limits, required_budgets, standing: Arc::new(standing), warnings };
        Ok(unsigned.sign())
    }

    /// Judges a plan.
    pub fn judge(&self, plan: Plan) -> Verdict {
        judge(plan, &self.rules, &self.ceilings, &self.standing)
    }

    /// The digest of [`Policy::effective`]: what records and grants name the policy by.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        self.standing.policy_sha256
    }

    /// The policy in force as a policy file. Loaded as the operator's layer over the same builtin policy, it gives the
    /// same policy and the same text.
    #[must_use]
    pub fn effective(&self) -> String {
        effective::write(self)
    }

    /// The paths that are held for a person.
    #[must_use]
    pub fn protect(&self) -> &Arc<Protect> {
        &self.standing.protect
    }

    /// Which files hold credentials, and what a sandbox sees of them.
    #[must_use]
    pub fn secrets(&self) -> &Arc<Secrets> {
        &self.standing.secrets
    }

    /// Variables that are set inside.
    #[must_use]
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.standing.environment
    }

    /// Whom a commit is by.
    #[must_use]
    pub fn authorship(&self) -> Authorship {
        self.standing.authorship
    }

    /// The most that a call may use; a plan's own limits are cut to this.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.ceilings.limits
    }

    /// What must not be absent from a sandbox: every guarantee of the boundary, and the budgets of `require`.
    #[must_use]
    pub fn required(&self) -> BTreeSet<Guarantee> {
        self.standing.required.clone()
    }

    /// What is allowed to stand and is probably not meant: tools that nothing allows, network with nothing to reach.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// The commands that the machine's owner named: each is a tool beside the builtin ones. Sorted by name.
    pub fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.tasks.iter().map(|named| &named.task)
    }

    pub(crate) fn named_tasks(&self) -> &[Named] {
        &self.tasks
    }

    /// Says how a plan is judged: each rule about it, each condition, what it would be granted, and what is nearest to
    /// it that would be allowed.
    #[must_use]
    pub fn explain(&self, plan: &Plan) -> Explanation {
        explanation::explain(self, plan)
    }

    /// Every call that `candidate` would answer otherwise, and every other setting that it changes.
    ///
    /// # Errors
    /// [`TooManyCases`] when the rules of both tell apart more cases of a tool than are tried.
    pub fn difference(&self, candidate: &Self) -> Result<Difference, TooManyCases> {
        difference::between(self, candidate)
    }

    /// Judges a plan of which some arguments are not known.
    #[must_use]
    pub fn judge_in_part(&self, plan: &Plan, unknown: &BTreeMap<String, Unknown>) -> InPart {
        in_part::judge(self, plan, unknown)
    }

    /// The ids of all rules that stand in files, with the places of their `[[rule]]` lines. The builtin's are left out.
    #[must_use]
    pub fn written_rules(&self) -> Vec<(&str, &Place)> {
        let written = self.rules.iter().filter(|rule| rule.layer != LayerName::Builtin);
        written.map(|rule| (rule.id.as_str(), &rule.place)).collect()
    }

    pub(crate) fn stated(&self) -> &Stated {
        &self.stated
    }

    pub(crate) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    pub(crate) fn ceilings(&self) -> &Ceilings {
        &self.ceilings
    }

    pub(crate) fn required_budgets(&self) -> &BTreeSet<Guarantee> {
        &self.required_budgets
    }

    /// Puts the digest of the effective text into the policy. The text does not hold the digest.
    fn sign(self) -> Self {
        let policy_sha256 = sha256(self.effective().as_bytes());
        let standing = Standing { policy_sha256, ..Standing::clone(&self.standing) };
        Self { standing: Arc::new(standing), ..self }
    }
}

/// Checks that the builtin layer comes first and each layer once; gives the last.
fn check_order<'l, 't>(layers: &'l [Layer<'t>]) -> Result<&'l Layer<'t>, LoadError> {
    let message = "a policy starts with the builtin layer, and each layer comes once, in order";
    match (layers.first(), layers.last()) {
        (Some(first), Some(last)) => {
            let ascending = layers.iter().zip(layers.iter().skip(1)).all(|(before, after)| before.name < after.name);
            if first.name == LayerName::Builtin && ascending {
                Ok(last)
            } else {
                Err(LoadError::at(start_of(last), message.to_owned()))
            }
        }
        (None, _) | (_, None) => Err(LoadError::at(Place { file: "policy".to_owned(), line: 1 }, message.to_owned())),
    }
}

fn add_variables(
    environment: &mut BTreeMap<String, Located<String>>,
    added: BTreeMap<String, Located<String>>,
    problems: &mut Problems,
) {
    for (name, located) in added {
        match environment.get(&name) {
            Some(earlier) if earlier.value != located.value => {
                problems.add(&located.place, format!("[env] {name} is already set by {}", earlier.place));
            }
            Some(_) => {}
            None => {
                environment.insert(name, located);
            }
        }
    }
}

/// What is probably not meant. A tool that a rule denies without conditions is meant to be denied.
fn suspicions(rules: &[Rule], ceilings: &Ceilings, shapes: &Shapes, last: &Place) -> Vec<Problem> {
    let granting = |tool: &str| {
        rules.iter().any(|rule| match rule.grant {
            Grant::Allow(_) | Grant::Approve(..) => rule.tools.contains(tool),
            Grant::Deny => false,
        })
    };
    let meant = |tool: &str| {
        rules.iter().any(|rule| match rule.grant {
            Grant::Allow(_) | Grant::Approve(..) => false,
            Grant::Deny => rule.when.is_empty() && rule.tools.contains(tool),
        })
    };
    let ungranted = shapes.keys().filter(|tool| !granting(tool) && !meant(tool)).map(|tool| Problem {
        place: last.clone(),
        message: format!("every call of `{tool}` is refused: no rule allows it"),
    });
    let unreachable = rules.iter().filter_map(|rule| {
        let network = match &rule.grant {
            Grant::Allow(terms) | Grant::Approve(terms, _) => terms.network,
            Grant::Deny => Network::Off,
        };
        let key = match network {
            Network::Off => return None,
            Network::Registry => (!ceilings.registries.reaches_something()).then_some("registries")?,
            Network::Allowlist => (!ceilings.allow_hosts.reaches_something()).then_some("allow_hosts")?,
        };
        let word = network_word(network);
        let message =
            format!("the rule `{}` grants network = \"{word}\", and [limits] {key} names nothing to reach", rule.id);
        Some(Problem { place: rule.place.clone(), message })
    });
    ungranted.chain(unreachable).collect()
}

#[cfg(test)]
#[path = "policy_tests.rs"]
pub(crate) mod tests;
