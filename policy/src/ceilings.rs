//! The `[limits]` of layers as a lattice: `meet` gives what both allow, field by field.
//!
//! Numbers and the network take the smaller, the isolation floor the stronger, sets what they share. So `meet` is
//! commutative, associative and idempotent, and never allows what one side refuses; the tests below hold it to that.
//! A layer is also *checked* against the layers before it ([`Stated::excess`]): asking for more is an error and not
//! silently cut.

use std::collections::BTreeSet;

use cofferdam_contract::{Isolation, Limits, Network};

use crate::{mode::Mode, problem::Place, write_scope::WriteScope};

/// What all calls stay under, whatever a rule says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ceilings {
    /// At most this much network.
    pub(crate) network: Network,
    /// Package ecosystems that may be reached.
    pub(crate) registries: NameSet,
    /// Hosts that may be reached.
    pub(crate) allow_hosts: NameSet,
    /// At least this boundary.
    pub(crate) isolation: Isolation,
    /// At most this mode of coming back.
    pub(crate) mode: Mode,
    /// Where changes may be handed back.
    pub(crate) write: WriteScope,
    /// Budgets.
    pub(crate) limits: Limits,
}

/// A set of names, or no bound on names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NameSet {
    /// No layer has said anything.
    Unbounded,
    /// These.
    Only(BTreeSet<String>),
}

/// The `[limits]` of one layer: each value with the line that states it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stated {
    pub(crate) network: Option<Located<Network>>,
    pub(crate) registries: Option<Located<BTreeSet<String>>>,
    pub(crate) allow_hosts: Option<Located<BTreeSet<String>>>,
    pub(crate) isolation: Option<Located<Isolation>>,
    pub(crate) mode: Option<Located<Mode>>,
    pub(crate) write: Option<Located<crate::write_scope::Globs>>,
    pub(crate) wall_seconds: Option<Located<u64>>,
    pub(crate) cpu_seconds: Option<Located<u64>>,
    pub(crate) memory_mb: Option<Located<u64>>,
    pub(crate) disk_mb: Option<Located<u64>>,
    pub(crate) pids: Option<Located<u64>>,
    pub(crate) output_kb: Option<Located<u64>>,
}

/// A value and the line that states it.
#[derive(Debug, Clone)]
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

/// A limit of a later layer that asks for more than an earlier one allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Excess {
    pub(crate) place: Place,
    pub(crate) message: String,
}

impl NameSet {
    fn meet(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Unbounded, set) | (set, Self::Unbounded) => set.clone(),
            (Self::Only(left), Self::Only(right)) => Self::Only(left & right),
        }
    }

    /// Reads "no layer has said anything" as "nothing": a name is only reached when the machine's owner wrote it.
    pub(crate) fn settle(self) -> Self {
        match self {
            Self::Unbounded => Self::Only(BTreeSet::new()),
            Self::Only(names) => Self::Only(names),
        }
    }

    /// Whether there is anything in the set.
    pub(crate) fn reaches_something(&self) -> bool {
        match self {
            Self::Unbounded => true,
            Self::Only(names) => !names.is_empty(),
        }
    }

    /// The names to print; none when unbounded, which [`NameSet::settle`] rules out.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        match self {
            Self::Unbounded => BTreeSet::new(),
            Self::Only(names) => names.clone(),
        }
    }
}

impl Ceilings {
    /// Everything that can be written down: the neutral element of [`Ceilings::meet`].
    pub(crate) const TOP: Self = Self {
        network: Network::Allowlist,
        registries: NameSet::Unbounded,
        allow_hosts: NameSet::Unbounded,
        isolation: Isolation::Namespace,
        mode: Mode::Apply,
        write: WriteScope::EVERYTHING,
        limits: Limits {
            wall_seconds: u64::MAX,
            cpu_seconds: u64::MAX,
            memory_mb: u64::MAX,
            disk_mb: u64::MAX,
            pids: u64::MAX,
            output_kb: u64::MAX,
        },
    };

    /// What both allow.
    pub(crate) fn meet(&self, other: &Self) -> Self {
        Self {
            network: self.network.min(other.network),
            registries: self.registries.meet(&other.registries),
            allow_hosts: self.allow_hosts.meet(&other.allow_hosts),
            isolation: self.isolation.max(other.isolation),
            mode: self.mode.max(other.mode),
            write: self.write.meet(&other.write),
            limits: self.limits.min(other.limits),
        }
    }

    /// The same with unstated names read as none.
    pub(crate) fn settle(self) -> Self {
        Self { registries: self.registries.settle(), allow_hosts: self.allow_hosts.settle(), ..self }
    }
}

impl Stated {
    /// The ceilings that this layer alone sets.
    pub(crate) fn ceilings(&self) -> Ceilings {
        let number = |stated: &Option<Located<u64>>| stated.as_ref().map_or(u64::MAX, |located| located.value);
        let names = |stated: &Option<Located<BTreeSet<String>>>| match stated {
            Some(located) => NameSet::Only(located.value.clone()),
            None => NameSet::Unbounded,
        };
        Ceilings {
            network: self.network.as_ref().map_or(Ceilings::TOP.network, |located| located.value),
            registries: names(&self.registries),
            allow_hosts: names(&self.allow_hosts),
            isolation: self.isolation.as_ref().map_or(Ceilings::TOP.isolation, |located| located.value),
            mode: self.mode.as_ref().map_or(Ceilings::TOP.mode, |located| located.value),
            write: self.write.as_ref().map_or(WriteScope::EVERYTHING, |located| WriteScope::of(located.value.clone())),
            limits: Limits {
                wall_seconds: number(&self.wall_seconds),
                cpu_seconds: number(&self.cpu_seconds),
                memory_mb: number(&self.memory_mb),
                disk_mb: number(&self.disk_mb),
                pids: number(&self.pids),
                output_kb: number(&self.output_kb),
            },
        }
    }

    /// Every value of `later` that asks for more than `self` allows, with both lines.
    pub(crate) fn excess(&self, later: &Self) -> Vec<Excess> {
        let numbers = [
            ("wall_seconds", &self.wall_seconds, &later.wall_seconds),
            ("cpu_seconds", &self.cpu_seconds, &later.cpu_seconds),
            ("memory_mb", &self.memory_mb, &later.memory_mb),
            ("disk_mb", &self.disk_mb, &later.disk_mb),
            ("pids", &self.pids, &later.pids),
            ("output_kb", &self.output_kb, &later.output_kb),
        ];
        let mut found: Vec<Excess> = numbers
            .into_iter()
            .filter_map(|(key, floor, asked)| {
                compare(key, floor, asked, |floor, asked| asked <= floor, u64::to_string, |n| format!("at most {n}"))
            })
            .collect();
        let listed = |names: &BTreeSet<String>| format!("{names:?}").replace('{', "[").replace('}', "]");
        let at_most_names = |names: &BTreeSet<String>| match names.is_empty() {
            true => "none".to_owned(),
            false => format!("only {}", listed(names)),
        };
        let network = |network: &Network| format!("{:?}", network_word(*network));
        let isolation = |isolation: &Isolation| format!("{:?}", isolation_word(*isolation));
        let mode = |mode: &Mode| format!("{:?}", mode.word());
        found.extend(compare(
            "mode",
            &self.mode,
            &later.mode,
            |floor, asked| asked >= floor,
            mode,
            |value| format!("at most {}", mode(value)),
        ));
        let globs = |globs: &crate::write_scope::Globs| {
            let texts: BTreeSet<String> = globs.iter().map(ToString::to_string).collect();
            listed(&texts)
        };
        found.extend(compare(
            "network",
            &self.network,
            &later.network,
            |floor, asked| asked <= floor,
            network,
            |value| format!("at most {}", network(value)),
        ));
        found.extend(compare(
            "isolation",
            &self.isolation,
            &later.isolation,
            |floor, asked| asked >= floor,
            isolation,
            |value| format!("nothing weaker than {}", isolation(value)),
        ));
        for (key, floor, asked) in [
            ("registries", &self.registries, &later.registries),
            ("allow_hosts", &self.allow_hosts, &later.allow_hosts),
        ] {
            found.extend(compare(key, floor, asked, |floor, asked| asked.is_subset(floor), listed, at_most_names));
        }
        found.extend(compare(
            "write",
            &self.write,
            &later.write,
            |floor, asked| WriteScope::of(floor.clone()).allows_globs(asked),
            globs,
            |value| format!("only what lies in {}", globs(value)),
        ));
        found
    }

    /// The same with names that nobody stated read as none, as if `place` said so: what a layer that only narrows is
    /// compared with.
    pub(crate) fn settle(self, place: &Place) -> Self {
        let none = || Located { value: BTreeSet::new(), place: place.clone() };
        Self {
            registries: Some(self.registries.unwrap_or_else(none)),
            allow_hosts: Some(self.allow_hosts.unwrap_or_else(none)),
            ..self
        }
    }

    /// This layer over the ones before it: what a still later layer is compared with.
    pub(crate) fn over(self, earlier: Self) -> Self {
        Self {
            network: self.network.or(earlier.network),
            registries: self.registries.or(earlier.registries),
            allow_hosts: self.allow_hosts.or(earlier.allow_hosts),
            isolation: self.isolation.or(earlier.isolation),
            mode: self.mode.or(earlier.mode),
            write: self.write.or(earlier.write),
            wall_seconds: self.wall_seconds.or(earlier.wall_seconds),
            cpu_seconds: self.cpu_seconds.or(earlier.cpu_seconds),
            memory_mb: self.memory_mb.or(earlier.memory_mb),
            disk_mb: self.disk_mb.or(earlier.disk_mb),
            pids: self.pids.or(earlier.pids),
            output_kb: self.output_kb.or(earlier.output_kb),
        }
    }
}

/// The word of the policy language for a network mode.
pub(crate) fn network_word(network: Network) -> &'static str {
    match network {
        Network::Off => "off",
        Network::Registry => "registry",
        Network::Allowlist => "allowlist",
    }
}

/// The word of the policy language for an isolation level.
pub(crate) fn isolation_word(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::Namespace => "namespace",
        Isolation::Container => "container",
        Isolation::Gvisor => "gvisor",
        Isolation::Microvm => "microvm",
    }
}

fn compare<T>(
    key: &str,
    floor: &Option<Located<T>>,
    asked: &Option<Located<T>>,
    fits: impl Fn(&T, &T) -> bool,
    show: impl Fn(&T) -> String,
    bound: impl Fn(&T) -> String,
) -> Option<Excess> {
    let (Some(floor), Some(asked)) = (floor, asked) else { return None };
    if fits(&floor.value, &asked.value) {
        return None;
    }
    let message = format!(
        "[limits] {key} = {} asks for more than {} allows: {}",
        show(&asked.value),
        floor.place,
        bound(&floor.value)
    );
    Some(Excess { place: asked.place.clone(), message })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::glob::Glob;
    use cofferdam_contract::WorkspacePath;
    use proptest::{collection::btree_set, option, prelude::*};

    fn place() -> Place {
        Place { file: "policy.toml".into(), line: 1 }
    }

    fn located<T: std::fmt::Debug>(strategy: impl Strategy<Value = T>) -> impl Strategy<Value = Option<Located<T>>> {
        option::of(strategy.prop_map(|value| Located { value, place: place() }))
    }

    fn any_network() -> impl Strategy<Value = Network> {
        prop_oneof![Just(Network::Off), Just(Network::Registry), Just(Network::Allowlist)]
    }

    fn any_isolation() -> impl Strategy<Value = Isolation> {
        prop_oneof![
            Just(Isolation::Namespace),
            Just(Isolation::Container),
            Just(Isolation::Gvisor),
            Just(Isolation::Microvm)
        ]
    }

    fn any_mode() -> impl Strategy<Value = Mode> {
        prop_oneof![Just(Mode::Apply), Just(Mode::Draft), Just(Mode::ReadOnly)]
    }

    fn any_globs() -> impl Strategy<Value = crate::write_scope::Globs> {
        let glob = prop_oneof![Just("**"), Just("src/**"), Just("src/*.rs"), Just("*.rs"), Just("docs/a.md")];
        btree_set(glob.prop_map(|text| Glob::parse(text).unwrap()), 0..3)
    }

    fn any_names() -> impl Strategy<Value = BTreeSet<String>> {
        btree_set("[abc]", 0..3)
    }

    /// Any `[limits]` over a small world.
    pub(crate) fn any_stated() -> impl Strategy<Value = Stated> {
        let number = || located(1u64..5);
        (
            (located(any_network()), located(any_names()), located(any_names()), located(any_isolation())),
            (located(any_globs()), located(any_mode())),
            (number(), number(), number(), number(), number(), number()),
        )
            .prop_map(|((network, registries, allow_hosts, isolation), (write, mode), numbers)| Stated {
                mode,
                network,
                registries,
                allow_hosts,
                isolation,
                write,
                wall_seconds: numbers.0,
                cpu_seconds: numbers.1,
                memory_mb: numbers.2,
                disk_mb: numbers.3,
                pids: numbers.4,
                output_kb: numbers.5,
            })
    }

    /// Any ceilings over a small world.
    pub(crate) fn any_ceilings() -> impl Strategy<Value = Ceilings> {
        any_stated().prop_map(|stated| stated.ceilings())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn meet_is_commutative_associative_and_idempotent(
            a in any_ceilings(), b in any_ceilings(), c in any_ceilings(),
        ) {
            prop_assert_eq!(a.meet(&b), b.meet(&a));
            prop_assert_eq!(a.meet(&b).meet(&c), a.meet(&b.meet(&c)));
            prop_assert_eq!(a.meet(&a), a.clone());
            prop_assert_eq!(a.meet(&Ceilings::TOP), a);
        }

        #[test]
        fn a_layer_without_excess_is_what_the_meet_says(earlier in any_stated(), later in any_stated()) {
            let meet = earlier.ceilings().meet(&later.ceilings());
            let over = later.clone().over(earlier.clone()).ceilings();
            if earlier.excess(&later).is_empty() {
                prop_assert_eq!(
                    Ceilings { write: WriteScope::EVERYTHING, ..meet.clone() },
                    Ceilings { write: WriteScope::EVERYTHING, ..over.clone() }
                );
                // Two spellings of one scope may differ as text, so the scopes are compared by what they allow.
                for path in ["a", "a.rs", "src", "src/a", "src/a.rs", "src/a/b.rs", "docs/a.md"] {
                    let path = WorkspacePath::try_from(path.to_owned()).unwrap();
                    prop_assert_eq!(meet.write.allows(&path), over.write.allows(&path), "{}", path);
                }
                prop_assert!(over.write.allows_globs(&meet.write.narrowest()));
            } else {
                prop_assert_ne!(meet, over);
            }
        }
    }

    #[test]
    fn an_excess_names_both_lines() {
        let at = |line| Place { file: "builtin".into(), line };
        let floor = Stated {
            network: Some(Located { value: Network::Registry, place: at(4) }),
            isolation: Some(Located { value: Isolation::Container, place: at(5) }),
            memory_mb: Some(Located { value: 10, place: at(6) }),
            registries: Some(Located { value: BTreeSet::from(["npm".to_owned()]), place: at(7) }),
            ..Stated::default()
        };
        let asked = Stated {
            network: Some(Located { value: Network::Allowlist, place: place() }),
            isolation: Some(Located { value: Isolation::Namespace, place: place() }),
            memory_mb: Some(Located { value: 11, place: place() }),
            registries: Some(Located { value: BTreeSet::from(["npm".to_owned(), "go".to_owned()]), place: place() }),
            ..Stated::default()
        };
        let messages: Vec<String> = floor.excess(&asked).into_iter().map(|excess| excess.message).collect();
        assert_eq!(
            messages,
            [
                "[limits] memory_mb = 11 asks for more than builtin:6 allows: at most 10",
                "[limits] network = \"allowlist\" asks for more than builtin:4 allows: at most \"registry\"",
                "[limits] isolation = \"namespace\" asks for more than builtin:5 allows: nothing weaker than \"container\"",
                "[limits] registries = [\"go\", \"npm\"] asks for more than builtin:7 allows: only [\"npm\"]",
            ]
        );
    }
}
