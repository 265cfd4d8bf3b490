//! Decides what becomes of one change. Pure: everything it needs to know is passed in.
//!
//! Strictest first. What may never come back is dropped, what nobody asked to keep is left, what a person must see is
//! held, and only the rest is applied. A rule that does not know holds.
//!
//! What is passed in is found out by the rest of the room ([`assessment`]): whether the change was asked for
//! ([`selection`]), where a link leads ([`follow`]), what it does with files with credentials ([`spared`], [`listed`],
//! [`merge`]), and which names it makes twins of ([`twin`]).

pub(super) mod assessment;
pub(super) mod follow;
pub(super) mod listed;
pub(super) mod merge;
pub(super) mod selection;
pub(super) mod spared;
pub(super) mod twin;

#[cfg(test)]
mod spared_tests;

use std::{
    ffi::OsStr,
    path::{Component, Path},
};

use cofferdam_policy::Mode;

use super::{
    beneath::{Blocked, Kind},
    change::{Change, Reason, What},
    named::Protection,
    tree_path::TreePath,
};

/// What is known about one change.
#[derive(Debug, Clone)]
pub(super) struct Facts<'a> {
    /// Whether the plan asked for it to be kept.
    pub(super) wanted: bool,
    /// How changes come back at all.
    pub(super) mode: Mode,
    /// What it brings of masked text, or does with a name on the list of files with credentials.
    pub(super) listed: Option<Reason>,
    /// The line of the list of files with credentials that the host's file there is on.
    pub(super) secret: Option<&'a str>,
    /// Why the path is protected.
    pub(super) protected: Option<Protection>,
    /// Where it leads that a person must see, if it is a link.
    pub(super) leads: Leads,
    /// What could not be found out about the host, so that nothing is applied.
    pub(super) unread: Option<Reason>,
    /// Why it cannot be applied without something that is held.
    pub(super) tied: Option<Reason>,
    /// The folder above it that looks like a git repository of its own.
    pub(super) repository: Option<&'a TreePath>,
    /// Whether it differs from what the call saw.
    pub(super) differs_from_view: bool,
    /// Whether it differs from what the host has now.
    pub(super) differs_from_host: bool,
    /// What the host has there now.
    pub(super) host: Host,
}

/// Where a link leads, over all the links that it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Leads {
    /// It stays among what needs no look, or is no link.
    Nowhere,
    /// Out of the workspace, or so far that it was not followed to its end.
    Out,
    /// To a protected path.
    To(TreePath, Protection),
}

/// What the host has at a change's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    /// Nothing. `vanished`: something may have been deleted during the call.
    Absent { vanished: bool },
    /// Something.
    Present(Present),
    /// It cannot be reached.
    Blocked(Blocked),
}

/// Something on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Present {
    pub(super) kind: Kind,
    /// It, or something in it, changed during the call.
    pub(super) changed: bool,
    /// It is the mount point of another file system, or holds one.
    pub(super) mount: bool,
    /// The owner, when replacing it would not keep that.
    pub(super) other_owner: Option<u32>,
    /// For a folder that would be deleted or replaced: what is below it.
    pub(super) below: Below,
}

impl Present {
    /// Something against which nothing speaks.
    pub(super) fn plain(kind: Kind) -> Self {
        Self { kind, changed: false, mount: false, other_owner: None, below: Below::Nothing }
    }
}

/// What lies below a folder that would go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Below {
    /// Nothing that matters, or it does not go.
    Nothing,
    /// A protected path.
    Protected { path: TreePath, by: Protection },
    /// A file with credentials.
    Secret { path: TreePath },
    /// A repository's `.git`.
    Repository { path: TreePath },
    /// More than is looked through.
    TooMany,
}

impl Below {
    /// Why the folder does not go.
    fn reason(&self) -> Option<Reason> {
        match self {
            Self::Nothing => None,
            Self::Protected { path, by } => Some(by.clone().holds_folder(path)),
            Self::Secret { path } => Some(Reason::ContainsSecret { path: path.to_string() }),
            Self::Repository { path } => Some(Reason::ContainsRepository { path: path.to_string() }),
            Self::TooMany => Some(Reason::TooMany),
        }
    }
}

/// What becomes of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is no change.
    Unchanged,
    /// It takes an earlier held change back: the host has already what the call wants.
    Settled,
    /// It never comes back.
    Drop,
    /// Nobody asked for it.
    Leave,
    /// A person must see it.
    Hold(Reason),
    /// It is put into the workspace.
    Apply,
}

/// Decides.
pub(super) fn decide(change: &Change, facts: &Facts<'_>) -> Decision {
    if matches!(change.what, What::Special { .. }) {
        return Decision::Drop;
    }
    if !facts.differs_from_view {
        return Decision::Unchanged;
    }
    if !facts.wanted || facts.mode == Mode::ReadOnly {
        return Decision::Leave;
    }
    if !facts.differs_from_host {
        return Decision::Settled;
    }
    match reason_to_hold(change, facts) {
        Some(reason) => Decision::Hold(reason),
        None if facts.mode == Mode::Draft => Decision::Hold(Reason::Draft),
        None => Decision::Apply,
    }
}

fn reason_to_hold(change: &Change, facts: &Facts<'_>) -> Option<Reason> {
    // First, since only these ask for an order that names the path: another reason would hide what is at stake.
    if let Some(reason) = facts.listed.as_ref().filter(|reason| reason.is_about_secrets()) {
        return Some(reason.clone());
    }
    if let Some(pattern) = facts.secret {
        return Some(Reason::Secret { pattern: pattern.to_owned() });
    }
    if let Host::Present(present) = &facts.host {
        let below = present.below.reason().filter(Reason::must_be_named);
        if let Some(secret) = below.clone().filter(Reason::is_about_secrets) {
            return Some(secret);
        }
        if change.removes_repository(present.kind) {
            return Some(Reason::RemovesRepository { path: change.path.to_string() });
        }
        if below.is_some() {
            return below;
        }
    }
    if let Some(protection) = &facts.protected {
        return Some(protection.clone().holds());
    }
    if let Some(reason) = &facts.listed {
        return Some(reason.clone());
    }
    if let What::Link { target } = &change.what
        && (leads_out(&change.path, target) || facts.leads == Leads::Out)
    {
        return Some(Reason::LeadsOut { target: super::notice::visible(&target.to_string_lossy()) });
    }
    if let Leads::To(path, protection) = &facts.leads {
        return Some(protection.clone().holds_link(path));
    }
    if let Some(unread) = &facts.unread {
        return Some(unread.clone());
    }
    if let Some(folder) = facts.repository {
        return Some(Reason::Repository { folder: folder.to_string() });
    }
    if let Some(reason) = &facts.tied {
        return Some(reason.clone());
    }
    match &facts.host {
        Host::Absent { vanished: false } => None,
        Host::Absent { vanished: true } => Some(Reason::Conflict),
        Host::Present(present) => reason_of_present(&change.what, present),
        Host::Blocked(blocked) => Some(match blocked {
            Blocked::Link => Reason::ThroughLink,
            Blocked::NotFolder => Reason::NotInFolder,
            Blocked::Mount => Reason::OtherMount,
            Blocked::Permission => Reason::NotPermitted,
        }),
    }
}

fn reason_of_present(what: &What, present: &Present) -> Option<Reason> {
    if present.mount {
        return Some(Reason::OtherMount);
    }
    if let Some(reason) = present.below.reason() {
        return Some(reason);
    }
    match present.kind {
        Kind::File | Kind::Folder | Kind::Link => {}
        Kind::Character | Kind::Block | Kind::Fifo | Kind::Socket => return Some(Reason::HostSpecial),
    }
    if present.changed {
        return Some(Reason::Conflict);
    }
    match (what, present.other_owner) {
        // Deleting keeps nobody's ownership, and changing a folder's mode does not change its owner.
        (What::Deleted, _) | (_, None) => None,
        (What::Folder { .. }, Some(_)) if present.kind == Kind::Folder => None,
        (_, Some(owner)) => Some(Reason::OtherOwner { owner }),
    }
}

/// Whether a link at `path` leads out of the workspace, or could with other links' help.
///
/// An absolute target leads out: the workspace may be moved, and inside it is compared by text alone. `..` is allowed
/// only in front and no further than the workspace: after a name it could climb from wherever that name, as a link,
/// leads (`p/q/x -> ../../r`, then `p/q/x/..` is not `p/q`).
pub(super) fn leads_out(path: &TreePath, target: &OsStr) -> bool {
    let above = path.depth().saturating_sub(1);
    let mut climbed = 0;
    let mut descended = false;
    for component in Path::new(target).components() {
        match component {
            Component::Prefix(_) | Component::RootDir => return true,
            Component::CurDir => {}
            Component::ParentDir if descended => return true,
            Component::ParentDir => climbed += 1,
            Component::Normal(_) => descended = true,
        }
    }
    climbed > above
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::{super::change::Namer, *};

    fn change(what: What) -> Change {
        Change { path: TreePath::new("a/b").unwrap(), what }
    }

    fn file() -> What {
        What::File { size: 1, mode: 0o644 }
    }

    fn folder() -> What {
        What::Folder { mode: 0o755, opaque: false }
    }

    fn link(target: &str) -> What {
        What::Link { target: target.into() }
    }

    fn pattern(text: &str) -> Protection {
        Protection::Pattern(text.into())
    }

    fn namer() -> Namer {
        Namer::Setting { setting: "core.hooksPath".into(), file: ".git/config".into() }
    }

    fn present(kind: Kind) -> Present {
        Present::plain(kind)
    }

    /// A wanted change of a file that the host has, which nothing speaks against.
    fn plain() -> Facts<'static> {
        Facts {
            wanted: true,
            mode: Mode::Apply,
            listed: None,
            secret: None,
            protected: None,
            leads: Leads::Nowhere,
            unread: None,
            tied: None,
            repository: None,
            differs_from_view: true,
            differs_from_host: true,
            host: Host::Present(present(Kind::File)),
        }
    }

    fn on_host(present: Present) -> Facts<'static> {
        Facts { host: Host::Present(present), ..plain() }
    }

    fn absent(vanished: bool) -> Facts<'static> {
        Facts { host: Host::Absent { vanished }, ..plain() }
    }

    #[test]
    fn every_rule_gives_its_own_answer() {
        use Decision::{Apply, Drop, Hold, Leave, Settled, Unchanged};
        let repository = TreePath::new("a").unwrap();
        let protected_below = Below::Protected { path: TreePath::new("a/b/.vscode").unwrap(), by: pattern(".vscode") };
        let unread = Reason::SettingsUnread { file: ".git/config".into(), why: "git would refuse its line 1".into() };
        let socket = What::Special { special: super::super::change::Special::Socket };
        let blocked = |blocked| Facts { host: Host::Blocked(blocked), ..plain() };
        let table: Vec<(&str, What, Facts<'_>, Decision)> = vec![
            ("a plain edit", file(), plain(), Apply),
            ("a new file", file(), absent(false), Apply),
            ("a new folder", folder(), absent(false), Apply),
            ("a deletion", What::Deleted, plain(), Apply),
            ("a deleted folder", What::Deleted, on_host(present(Kind::Folder)), Apply),
            ("a link inside", link("c"), absent(false), Apply),
            ("a socket", socket, plain(), Drop),
            ("a mere copy", file(), Facts { differs_from_view: false, ..plain() }, Unchanged),
            ("a draft", file(), Facts { mode: Mode::Draft, ..plain() }, Hold(Reason::Draft)),
            ("read-only", file(), Facts { mode: Mode::ReadOnly, ..plain() }, Leave),
            (
                "a draft of a protected path",
                file(),
                Facts { mode: Mode::Draft, protected: Some(pattern(".git")), ..plain() },
                Hold(Reason::Protected { pattern: ".git".into() }),
            ),
            ("not asked for", file(), Facts { wanted: false, ..plain() }, Leave),
            ("the host has it already", file(), Facts { differs_from_host: false, ..plain() }, Settled),
            (
                "a protected path",
                file(),
                Facts { protected: Some(pattern(".git")), ..plain() },
                Hold(Reason::Protected { pattern: ".git".into() }),
            ),
            (
                "a file with credentials",
                file(),
                Facts { secret: Some(".env"), protected: Some(pattern(".env")), ..plain() },
                Hold(Reason::Secret { pattern: ".env".into() }),
            ),
            (
                "not asked for and protected",
                file(),
                Facts { wanted: false, protected: Some(pattern("x")), ..plain() },
                Leave,
            ),
            (
                "a masked copy over a file with credentials",
                file(),
                Facts { listed: Some(Reason::MaskedCopy { of: None }), secret: Some(".env"), ..plain() },
                Hold(Reason::MaskedCopy { of: None }),
            ),
            (
                "a link with a listed name over a file with credentials",
                link("c"),
                Facts { listed: Some(Reason::WouldMask { pattern: ".env".into() }), secret: Some(".env"), ..plain() },
                Hold(Reason::Secret { pattern: ".env".into() }),
            ),
            (
                "a link with a listed name",
                link("c"),
                Facts { listed: Some(Reason::WouldMask { pattern: ".env".into() }), ..absent(false) },
                Hold(Reason::WouldMask { pattern: ".env".into() }),
            ),
            ("a link out", link("../../x"), absent(false), Hold(Reason::LeadsOut { target: "../../x".into() })),
            (
                "a link to a protected path",
                link("../.git/hooks"),
                Facts { leads: Leads::To(TreePath::new(".git/hooks").unwrap(), pattern(".git")), ..plain() },
                Hold(Reason::LeadsToProtected { path: ".git/hooks".into(), pattern: ".git".into() }),
            ),
            (
                "a link to a link out",
                link("c"),
                Facts { leads: Leads::Out, ..plain() },
                Hold(Reason::LeadsOut { target: "c".into() }),
            ),
            (
                "a link to what a setting names",
                link("c"),
                Facts { leads: Leads::To(TreePath::new("a/c").unwrap(), Protection::Named(namer())), ..plain() },
                Hold(Reason::LeadsToNamed { path: "a/c".into(), by: namer() }),
            ),
            (
                "what a setting names",
                file(),
                Facts { protected: Some(Protection::Named(namer())), ..plain() },
                Hold(Reason::Named { by: namer() }),
            ),
            ("unread settings", file(), Facts { unread: Some(unread.clone()), ..plain() }, Hold(unread.clone())),
            (
                "unread settings and a protected path",
                file(),
                Facts { unread: Some(unread), protected: Some(pattern(".git")), ..plain() },
                Hold(Reason::Protected { pattern: ".git".into() }),
            ),
            (
                "in a nested repository",
                file(),
                Facts { repository: Some(&repository), ..plain() },
                Hold(Reason::Repository { folder: "a".into() }),
            ),
            ("tied", file(), Facts { tied: Some(Reason::BuildsOnHeld), ..plain() }, Hold(Reason::BuildsOnHeld)),
            ("vanished on the host", file(), absent(true), Hold(Reason::Conflict)),
            (
                "changed on the host",
                file(),
                on_host(Present { changed: true, ..present(Kind::File) }),
                Hold(Reason::Conflict),
            ),
            (
                "deleted here, changed there",
                What::Deleted,
                on_host(Present { changed: true, ..present(Kind::Folder) }),
                Hold(Reason::Conflict),
            ),
            (
                "a protected path goes too",
                What::Deleted,
                on_host(Present { below: protected_below, ..present(Kind::Folder) }),
                Hold(Reason::ContainsProtected { path: "a/b/.vscode".into(), pattern: ".vscode".into() }),
            ),
            (
                "too much goes",
                What::Deleted,
                on_host(Present { below: Below::TooMany, ..present(Kind::Folder) }),
                Hold(Reason::TooMany),
            ),
            ("a fifo on the host", file(), on_host(present(Kind::Fifo)), Hold(Reason::HostSpecial)),
            (
                "a mount on the host",
                file(),
                on_host(Present { mount: true, ..present(Kind::File) }),
                Hold(Reason::OtherMount),
            ),
            (
                "another's file",
                file(),
                on_host(Present { other_owner: Some(7), ..present(Kind::File) }),
                Hold(Reason::OtherOwner { owner: 7 }),
            ),
            (
                "another's file deleted",
                What::Deleted,
                on_host(Present { other_owner: Some(7), ..present(Kind::File) }),
                Apply,
            ),
            ("through a link", file(), blocked(Blocked::Link), Hold(Reason::ThroughLink)),
            ("through a file", file(), blocked(Blocked::NotFolder), Hold(Reason::NotInFolder)),
            ("through a mount", file(), blocked(Blocked::Mount), Hold(Reason::OtherMount)),
            ("no permission", file(), blocked(Blocked::Permission), Hold(Reason::NotPermitted)),
        ];
        for (name, what, facts, expected) in table {
            assert_eq!(decide(&change(what), &facts), expected, "{name}");
        }
    }

    #[test]
    fn links_are_followed_on_paper_only_as_far_as_paper_is_true() {
        let leads = |path: &str, target: &str| leads_out(&TreePath::new(path).unwrap(), OsStr::new(target));
        for (path, target) in [
            ("a", "/etc/passwd"),
            ("a", ".."),
            ("a", "../x"),
            ("a/b", "../../x"),
            ("a/b/c", "../../../x"),
            ("a", "x/../../y"),
            ("a/b/c", "x/../y"),
            ("a", "./../y"),
        ] {
            assert!(leads(path, target), "{path} -> {target}");
        }
        for (path, target) in
            [("a", "b"), ("a/b", "../x"), ("a/b/c", "../../x"), ("a", "./b/c"), ("a", "."), ("a", "..x")]
        {
            assert!(!leads(path, target), "{path} -> {target}");
        }
    }

    fn any_facts() -> impl Strategy<Value = Facts<'static>> {
        let rarely = || prop::bool::weighted(0.1);
        let path = || TreePath::new("a/b/.env").unwrap();
        let below = prop_oneof![
            9 => Just(Below::Nothing),
            1 => Just(Below::Protected { path: path(), by: pattern(".env") }),
            1 => Just(Below::Secret { path: path() }),
            1 => Just(Below::TooMany),
        ];
        let kinds = prop_oneof![Just(Kind::File), Just(Kind::Folder), Just(Kind::Link), Just(Kind::Socket)];
        let host = prop_oneof![
            2 => any::<bool>().prop_map(|vanished| Host::Absent { vanished }),
            1 => Just(Host::Blocked(Blocked::Link)),
            5 => (kinds, rarely(), rarely(), rarely(), below).prop_map(|(kind, changed, mount, is_others, below)| {
                Host::Present(Present { kind, changed, mount, other_owner: is_others.then_some(7), below })
            }),
        ];
        // Each rule is silent far more often than not, so that some changes are applied.
        let often = |reason: Reason| prop_oneof![9 => Just(None), 1 => Just(Some(reason))];
        let listed = prop_oneof![
            9 => Just(None),
            1 => Just(Some(Reason::MaskedCopy { of: None })),
            1 => Just(Some(Reason::WouldMask { pattern: ".env".into() })),
        ];
        let secret = prop_oneof![9 => Just(None), 1 => Just(Some(".env"))];
        let protected = prop_oneof![
            9 => Just(None),
            1 => Just(Some(pattern(".git"))),
            1 => Just(Some(Protection::Named(namer()))),
        ];
        let leads = prop_oneof![
            9 => Just(Leads::Nowhere),
            1 => Just(Leads::Out),
            1 => Just(Leads::To(TreePath::new("a/c").unwrap(), pattern(".git"))),
        ];
        let unread = often(Reason::SettingsUnread { file: ".git/config".into(), why: "x".into() });
        let tied = often(Reason::BuildsOnHeld);
        let is_in_repository = prop::bool::weighted(0.1);
        let mode = prop_oneof![8 => Just(Mode::Apply), 1 => Just(Mode::Draft), 1 => Just(Mode::ReadOnly)];
        let rules = (listed, secret, protected, leads, unread, tied, is_in_repository);
        let usually = || prop::bool::weighted(0.9);
        (rules, mode, usually(), usually(), usually(), host).prop_map(
            |(rules, mode, wanted, differs_from_view, differs_from_host, host)| {
                let (listed, secret, protected, leads, unread, tied, is_in_repository) = rules;
                let repository = is_in_repository.then_some(&*ABOVE);
                Facts {
                    wanted,
                    mode,
                    listed,
                    secret,
                    protected,
                    leads,
                    unread,
                    tied,
                    repository,
                    differs_from_view,
                    differs_from_host,
                    host,
                }
            },
        )
    }

    static ABOVE: LazyLock<TreePath> = LazyLock::new(|| TreePath::new("a").unwrap());

    proptest! {
        #[test]
        fn nothing_is_applied_that_any_rule_speaks_against(mut facts in any_facts(), what in prop_oneof![Just(What::Deleted), Just(file()), Just(link("c"))]) {
            let deleted = what == What::Deleted;
            if !matches!(what, What::Link { .. }) {
                facts.leads = Leads::Nowhere;
            }
            if decide(&change(what), &facts) == Decision::Apply {
                prop_assert!(facts.wanted && facts.mode == Mode::Apply && facts.differs_from_view && facts.differs_from_host);
                prop_assert!(facts.listed.is_none() && facts.secret.is_none() && facts.protected.is_none());
                prop_assert!(facts.leads == Leads::Nowhere && facts.unread.is_none() && facts.tied.is_none());
                prop_assert!(facts.repository.is_none());
                let fine = match facts.host {
                    Host::Absent { vanished } => !vanished,
                    Host::Present(present) => {
                        let is_kept = present.other_owner.is_none() || deleted;
                        let is_alone = present.below == Below::Nothing && !present.mount;
                        !present.changed && is_alone && is_kept && present.kind != Kind::Socket
                    }
                    Host::Blocked(_) => false,
                };
                prop_assert!(fine);
            }
        }
    }
}
