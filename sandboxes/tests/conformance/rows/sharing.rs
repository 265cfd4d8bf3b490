//! What calls share and what they do not: the workspace that they write at once, caches, the kernel; and paths of
//! arguments, which name nothing but the workspace.

use std::{collections::BTreeSet, fs, sync::Arc, thread};

use cofferdam_contract::{Guarantee, RefusalKind, SandboxError, Strength, WorkspacePath};
use cofferdam_sandboxes::{Cancel, HandedBack, Kernel, KernelSays, OpenError, Reason, Session};

use super::{Row, ensure, row};
use crate::{
    stage::{Ask, Site, Stage, chain, close, enforced, run, write_file},
    table::Cell,
};

pub(super) const ROWS: &[Row] = &[
    row("P04", "paths of arguments name the workspace's files and nothing else", paths_stay_inside),
    row("P20", "another workspace sees no cache, another session only build folders", caches_are_the_workspaces_own),
    row("P72", "an unfit kernel is told of, and refused where policy requires a fit one", unfit_kernels_are_refused),
    row("P80", "two calls at once follow one another or conflict, and never mix", calls_do_not_mix),
];

fn paths_stay_inside(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P04");
    let root = site.workspace.display().to_string();
    let secret = stage.base.join("outside/secret.txt").display().to_string();
    let missing = stage.base.join("outside/missing.txt").display().to_string();
    let up = "../".repeat(root.matches('/').count());
    let outside = [
        "../../etc/passwd".to_owned(),
        "/etc/passwd".to_owned(),
        "folder/../../P04-other/x".to_owned(),
        format!("{root}/../../../outside/secret.txt"),
        format!("{root}x/README"),
        format!("{up}etc/passwd"),
        secret.clone(),
        "..".to_owned(),
    ];
    for text in &outside {
        let parsed = WorkspacePath::parse(text, &root);
        ensure(parsed.is_err(), || format!("{text:?} was taken for {parsed:?}"))?;
    }
    let said = |text: &str| WorkspacePath::parse(text, &root).err().map(|error| error.to_string());
    ensure(said(&secret) == said(&missing), || "what exists and what does not are refused differently".into())?;
    // What is no way out by its text is a plain name, or is refused; it reads nothing and writes only below.
    let mut open = site.open(&Ask::write());
    for text in [
        "%2e%2e/%2e%2e/etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "~",
        "~/.ssh/id_ed25519",
        "~root/x",
        "file:///etc/passwd",
        "\\\\?\\C:\\x",
        "..\\..\\etc\\passwd",
        "a\0b",
        "$HOME/x",
        "folder/./../README/../../outside",
        ". ./x",
        "\u{ff0e}\u{ff0e}/x",
        "/proc/self/root/etc/passwd",
        "//etc/passwd",
    ] {
        let Ok(path) = WorkspacePath::parse(text, &root) else { continue };
        let read = crate::stage::read_file(&mut open, path.as_str());
        let refused = matches!(&read, Err(SandboxError::File(refusal)) if refusal.kind == RefusalKind::NotFound);
        ensure(refused, || format!("{text:?} as {path:?} reads {read:?}"))?;
        let _ = write_file(&mut open, path.as_str(), "planted\n");
    }
    site.hand_back(close(open))?;
    // The canaries are looked at after the row; here, that nothing appeared beside the workspace.
    let beside: BTreeSet<_> = ["sites", "outside"]
        .iter()
        .flat_map(|folder| fs::read_dir(stage.base.join(folder)).into_iter().flatten().flatten())
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .filter(|entry| fs::read_to_string(entry.path()).is_ok_and(|text| text.contains("planted")))
        .map(|entry| entry.path())
        .collect();
    ensure(beside.is_empty(), || format!("written beside the workspace: {beside:?}"))?;
    Ok(Cell::Holds)
}

/// Writes a mark into every place that can be written, and says where.
const POISON: &str = r#"
mkdir -p "$HOME/.cache/pip" "$HOME/.npm" "$HOME/.cargo/registry" "$HOME/.config" node_modules target .venv 2>/dev/null
for place in $(cut -d' ' -f5 /proc/self/mountinfo) /tmp /var/tmp /dev/shm /run "$HOME" "$HOME/.cache/pip" "$HOME/.npm" \
    "$HOME/.cargo/registry" "$HOME/.config" node_modules target .venv; do
    (echo planted > "$place/planted-cache") 2>/dev/null && echo "$place"
done; true"#;

/// Finds such marks.
const FIND: &str = "find / -name planted-cache -not -path '/proc/*' 2>/dev/null; true";

fn caches_are_the_workspaces_own(stage: &Stage) -> Result<Cell, String> {
    let prepare = |site: &Site<'_>| {
        site.write_on_host("package.json", "{}\n");
        site.write_on_host("Cargo.toml", "[package]\nname = \"a\"\n");
        fs::create_dir_all(site.workspace.join("node_modules")).map_err(|error| error.to_string())
    };
    let (site, other) = (stage.site("P20"), stage.site("P20-other"));
    prepare(&site)?;
    prepare(&other)?;
    let said = |site: &Site<'_>, script: &str| {
        let mut open = site.open(&Ask::execute());
        run(&mut open, "sh", &["-c", script], |_, _| {}).text()
    };
    let poisoned = said(&site, POISON);
    for place in ["/tmp", "target", "node_modules"] {
        ensure(poisoned.lines().any(|line| line == place), || format!("{place} was not written: {poisoned}"))?;
    }
    let found = said(&other, FIND);
    ensure(found.is_empty(), || format!("another workspace sees {found}"))?;
    let root = site.workspace.display().to_string();
    for session in ["default", "another"] {
        let session = Session::open(Arc::clone(site.session.workspace()), session).map_err(|error| chain(&error))?;
        let again = Site { stage, workspace: site.workspace.clone(), session: Arc::new(session) };
        // Build folders belong to the workspace, and nothing else is kept.
        let found = said(&again, FIND);
        let elsewhere = found.lines().find(|line| {
            !["target", "node_modules", ".venv"].iter().any(|name| line.starts_with(&format!("{root}/{name}/")))
        });
        ensure(elsewhere.is_none(), || format!("a later call sees {found}"))?;
        ensure(found.contains("/target/"), || format!("the build folder is not kept: {found}"))?;
    }
    for site in [&site, &other] {
        let marked = fs::read_dir(&site.workspace)
            .into_iter()
            .flatten()
            .flatten()
            .find(|entry| entry.file_name() == "planted-cache" || entry.path().join("planted-cache").exists());
        ensure(marked.is_none(), || format!("the host has {marked:?}"))?;
    }
    Ok(Cell::Holds)
}

fn unfit_kernels_are_refused(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P72");
    let says = |release: &str, settings: &[(&str, &str)]| KernelSays {
        release: release.to_owned(),
        settings: settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        command_line: String::new(),
    };
    let fit = says("6.18.0", &[("kernel/unprivileged_bpf_disabled", "2")]);
    let unfit = [
        says("5.4.0-generic", &[]),
        says("6.18.0", &[("kernel/unprivileged_bpf_disabled", "0")]),
        says("6.18.0", &[("vm/unprivileged_userfaultfd", "1")]),
        KernelSays { command_line: "quiet mitigations=off".to_owned(), ..fit.clone() },
    ];
    let strict = "version = 1\nrequire = [\"kernel\"]\n";
    for (says, fit) in unfit.iter().map(|says| (says, false)).chain([(&fit, true)]) {
        let kernel = Kernel::judge(says);
        ensure(kernel.warnings().is_empty() == fit, || format!("{says:?} is judged {kernel:?}"))?;
        let yard = stage.yard_on(kernel);
        // Told of by every result and by `doctor`; the call goes on.
        let report = yard.doctor(stage.permit(&Ask::execute()), &site.session);
        ensure(report.kernel.is_empty() == fit, || format!("doctor says {:?} of {says:?}", report.kernel))?;
        let open = site.open_in(&yard, &Ask::execute());
        let strength = if fit { Strength::Enforced } else { Strength::Absent };
        ensure(enforced(&open).strength(Guarantee::Kernel) == strength, || format!("{:?}", enforced(&open)))?;
        drop(open);
        for ask in [Ask::execute(), Ask::read(), Ask::write()] {
            let opened = yard.open(stage.permit_under(strict, &ask), &site.session, &Cancel::new());
            let refused = matches!(&opened, Err(OpenError::Floor { guarantee: Guarantee::Kernel, .. }));
            ensure(refused != fit && opened.is_ok() == fit, || format!("{says:?} and `require`: {opened:?}"))?;
        }
    }
    Ok(Cell::Holds)
}

fn calls_do_not_mix(stage: &Stage) -> Result<Cell, String> {
    /// Pairs of calls that write the same two files at once.
    const ROUNDS: usize = 20;
    let site = stage.site("P80");
    let mut conflicts = 0;
    for round in 0..ROUNDS {
        let names = ["pair/one".to_owned(), format!("pair/new-{round}"), "README".to_owned()];
        // Both are open before either ends: neither sees what the other writes.
        let mut calls = ["first", "second"].map(|who| (who, site.open(&Ask::write())));
        for (who, open) in &mut calls {
            for name in &names {
                write_file(open, name, &format!("{who} {round}")).map_err(|error| error.to_string())?;
            }
        }
        let back: Vec<(&str, Result<HandedBack, String>)> = thread::scope(|scope| {
            let calls = calls.map(|(who, open)| (who, scope.spawn(|| site.hand_back(close(open)))));
            calls.map(|(who, call)| (who, call.join().unwrap_or_else(|_| Err("it panicked".into())))).into()
        });
        let texts: BTreeSet<Option<String>> = names.iter().map(|name| site.host_text(name)).collect();
        ensure(texts.len() == 1, || format!("the calls are mixed: {texts:?}"))?;
        for (who, back) in back {
            let back = back?;
            let won = texts.contains(&Some(format!("{who} {round}")));
            let told = back.held.iter().filter(|held| held.reason == Reason::Conflict).count();
            conflicts += usize::from(told > 0);
            ensure(won || told == names.len(), || format!("{who} lost and was told of {told} conflicts: {back:?}"))?;
        }
        site.discard_held()?;
    }
    ensure(conflicts == ROUNDS, || format!("{conflicts} conflicts in {ROUNDS} rounds"))?;
    executing_calls_take_turns(stage)
}

/// Runs that read, wait and write the same file: each that came back saw what the one before it wrote, and each other is
/// told of the conflict.
fn executing_calls_take_turns(stage: &Stage) -> Result<Cell, String> {
    const CALLS: usize = 6;
    let site = stage.site("P80-executing");
    site.write_on_host("log", "");
    let call = |number: usize| {
        let name = format!("session-{number}");
        let session = Session::open(Arc::clone(site.session.workspace()), &name).map_err(|error| chain(&error))?;
        let site = Site { stage, workspace: site.workspace.clone(), session: Arc::new(session) };
        let mut open = site.try_open(&Ask::execute().keeping_all())?;
        let script = format!("was=$(cat log); sleep 0.05; printf '%s%s\n' \"$was\" {number} > log");
        run(&mut open, "sh", &["-c", &script], |_, _| {}).printed("")?;
        let handed = site.hand_back(close(open))?;
        let conflicts = handed.held.iter().filter(|held| held.reason == Reason::Conflict).count();
        ensure((handed.applied.len(), conflicts) != (0, 0), || format!("neither came back nor conflicts: {handed:?}"))?;
        Ok::<_, String>((number, handed.applied.len()))
    };
    let call = &call;
    let results: Vec<Result<(usize, usize), String>> = thread::scope(|scope| {
        let calls: Vec<_> = (0..CALLS).map(|number| scope.spawn(move || call(number))).collect();
        calls.into_iter().map(|call| call.join().unwrap_or_else(|_| Err("it panicked".into()))).collect()
    });
    let mut applied = BTreeSet::new();
    for result in results {
        let (number, count) = result?;
        applied.extend((count > 0).then(|| number.to_string()));
    }
    let text = site.host_text("log").unwrap_or_default();
    let written: BTreeSet<String> = text.trim().chars().map(String::from).collect();
    ensure(!applied.is_empty() && written == applied && text.trim().len() == applied.len(), || {
        format!("{applied:?} came back, and the log holds {text:?}")
    })?;
    Ok(Cell::Holds)
}
