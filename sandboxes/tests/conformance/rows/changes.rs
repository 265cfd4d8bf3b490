//! What comes back: names, links, bits, attributes and marks that a sandbox gives its files.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, Instant},
};

use super::{Row, ensure, row};
use crate::{
    stage::{Ask, Stage, close, run},
    table::Cell,
};

pub(super) const ROWS: &[Row] = &[
    row("P05", "odd names come back exactly or not at all", odd_names_are_exact),
    row("P09", "a hard link to a read-only or protected file changes neither", hard_links_change_nothing),
    row("P15", "set-id bits and file capabilities do nothing inside and stay there", set_id_bits_stay_inside),
    row("P17", "attributes, access lists and flags stay off the host", attributes_stay_inside),
    row("P22", "forged overlay marks are data", forged_marks_are_data),
    row("P24", "renaming the parents of a protected path plants nothing", renamed_parents_plant_nothing),
];

fn odd_names_are_exact(stage: &Stage) -> Result<Cell, String> {
    use std::os::unix::ffi::OsStrExt as _;
    let site = stage.site("P05");
    let (report, handed) = site.probe_and_hand_back(&Ask::execute().keeping_all(), &["P05"]);
    report.expect(&[("*", "ok")])?;
    let right: [&[u8]; 12] = [
        b"new\nline",
        b"\xff\xfe",
        "\u{e9}".as_bytes(),
        "e\u{301}".as_bytes(),
        "\u{202e}txt.exe".as_bytes(),
        b"name.",
        b"name ",
        b"CON",
        b"TWIN",
        b"twin",
        b"-rf",
        &[b'x'; 255],
    ];
    let mut came = 0;
    for entry in fs::read_dir(site.workspace.join("odd")).map_err(|error| error.to_string())?.flatten() {
        came += 1;
        let name = entry.file_name();
        ensure(right.contains(&name.as_bytes()), || format!("{name:?} came back, which nobody made"))?;
        let content = fs::read_to_string(entry.path()).unwrap_or_default();
        let its_own = name.as_bytes() != b"TWIN" || content == "upper case";
        ensure(its_own, || format!("{name:?} holds {content:?}"))?;
    }
    let accounted = came + handed.held.len() + handed.dropped.len();
    ensure(accounted >= right.len(), || format!("{came} came back; {handed:?}"))?;
    too_deep_is_refused(stage)?;
    Ok(Cell::Holds)
}

/// Folders deeper than any path can name: refused whole, or back as far as they are; never an endless walk.
fn too_deep_is_refused(stage: &Stage) -> Result<(), String> {
    let site = stage.site("P05-deep");
    let mut open = site.open(&Ask::execute().keeping_all());
    run(&mut open, "./probe", &["P38", "depth", ".", "400"], |_, _| {})
        .expect(&[("result", "not refused"), ("taken", "400")])?;
    run(&mut open, "sh", &["-c", "echo kept > kept"], |_, _| {}).printed("")?;
    let before = Instant::now();
    let back = open.close().map_err(|error| error.to_string()).and_then(|closed| site.hand_back(closed));
    ensure(before.elapsed() < Duration::from_secs(5), || format!("closing took {:?}", before.elapsed()))?;
    let kept = site.host_text("kept").is_some();
    ensure(back.is_err() != kept, || format!("neither refused nor handed back: {back:?}"))
}

fn hard_links_change_nothing(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P09");
    site.write_on_host(".git/config", "[core]\n");
    let before = fs::metadata(site.workspace.join(".git/config")).map_err(|error| error.to_string())?;
    let ask = Ask::execute().keeping_all();
    let (report, handed) = site.probe_and_hand_back(&ask, &["P09", "/usr/bin/env", "/etc/passwd", "/proc/self/exe"]);
    report.expect(&[
        ("link /*", "EXDEV|EPERM|EACCES"),
        ("link .git/config", "ok|EXDEV|EPERM"),
        ("write through the link", "ok"),
        ("/proc/sys/fs/protected_hardlinks", "EROFS|EACCES|EPERM"),
    ])?;
    ensure(site.host_text(".git/config").as_deref() == Some("[core]\n"), || {
        format!("the protected file changed: {handed:?}")
    })?;
    let after = fs::metadata(site.workspace.join(".git/config")).map_err(|error| error.to_string())?;
    ensure((before.ino(), after.nlink()) == (after.ino(), 1), || "the protected file has a second name".into())?;
    Ok(Cell::Holds)
}

fn set_id_bits_stay_inside(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P15");
    let (report, handed) = site.probe_and_hand_back(&Ask::execute().keeping_all(), &["P15"]);
    report.expect(&[
        ("copy", "ok"),
        ("chmod 6755", "ok|EPERM"),
        ("bits inside", "6755|755"),
        ("setxattr security.capability", "EPERM|EOPNOTSUPP|EACCES"),
        ("a folder with set-group-id", "ok"),
        ("a world-writable file", "ok"),
        ("ids of *", "{\"row\":\"ids\",\"attempts\":[{\"what\":\"Uid\",\"result\":\"1000 1000 1000 1000\"},{\"what\":\"Gid\",\"result\":\"1000 1000 1000 1000\"},{\"what\":\"CapEff\",\"result\":\"0000000000000000\"},{\"what\":\"NoNewPrivs\",\"result\":\"1\"}]}"),
    ])?;
    let mut seen = 0;
    for name in ["planted-set-id", "planted-folder", "planted-open"] {
        let Ok(metadata) = fs::symlink_metadata(site.workspace.join(name)) else { continue };
        seen += 1;
        ensure(metadata.mode() & 0o7000 == 0, || format!("{name} came back with mode {:o}", metadata.mode()))?;
        let attributes = attributes_of(&site.workspace.join(name));
        ensure(attributes.is_empty(), || format!("{name} came back with {attributes:?}"))?;
    }
    ensure(seen == 3, || format!("{seen} came back: {handed:?}"))?;
    Ok(Cell::Holds)
}

/// Names of a host file's extended attributes.
fn attributes_of(path: &Path) -> Vec<String> {
    let mut names = vec![0_u8; 4096];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap_or(0);
    let names = names.get(..length).unwrap_or_default().split(|byte| *byte == 0);
    names.filter(|name| !name.is_empty()).map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

fn attributes_stay_inside(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P17");
    stage.outside(&["P17"]).expect_among(&[("user.note on a new file", "ok|EOPNOTSUPP")])?;
    let (report, _) = site.probe_and_hand_back(&Ask::execute().keeping_all(), &["P17"]);
    report.expect(&[
        ("a new file", "ok"),
        ("user.note on *", "ok|EOPNOTSUPP|EPERM"),
        ("system.posix_acl_access on *", "ok|EOPNOTSUPP|EPERM|EINVAL"),
        ("trusted.note on *", "EPERM|EOPNOTSUPP"),
        // A kernel that has SELinux and no policy for it stores the label; it stays in the view.
        ("security.selinux on *", "ok|EPERM|EOPNOTSUPP"),
        ("security.*", "EPERM|EOPNOTSUPP"),
        ("the immutable flag", "EPERM|ENOTTY|EOPNOTSUPP|EACCES|EINVAL"),
        ("a project id", "EPERM|ENOTTY|EOPNOTSUPP|EACCES|EINVAL"),
    ])?;
    for name in ["attributed", "README"] {
        let attributes = attributes_of(&site.workspace.join(name));
        ensure(attributes.is_empty(), || format!("{name} came back with {attributes:?}"))?;
    }
    ensure(site.host_text("attributed").is_some(), || "the file itself did not come back".into())?;
    Ok(Cell::Holds)
}

fn forged_marks_are_data(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P22");
    for (name, content) in [("kept/file", "kept"), ("deleted", "x"), ("replaced/old", "x")] {
        site.write_on_host(name, content);
    }
    let (report, handed) = site.probe_and_hand_back(&Ask::execute().keeping_all(), &["P22", "folder"]);
    report.expect(&[
        ("whiteout device in *", "EPERM|EACCES"),
        ("rename it into the view", "ENOENT|EXDEV"),
        ("delete a file of the workspace", "ok"),
        ("replace a folder by an empty one", "ok"),
        // Stored as data under another name by newer kernels, refused by older ones.
        ("user.overlay.*", "ok|EPERM|EOPNOTSUPP|EACCES|EINVAL|EIO"),
        ("trusted.overlay.*", "EPERM|EOPNOTSUPP"),
    ])?;
    for (name, content) in [("folder/one", "1\n"), ("folder/two", "2\n"), ("kept/file", "kept"), ("README", "readme\n")]
    {
        let text = site.host_text(name);
        ensure(text.as_deref() == Some(content), || format!("{name} holds {text:?}; {handed:?}"))?;
    }
    ensure(site.host_text("deleted").is_none(), || "a real deletion did not come back".into())?;
    ensure(site.host_text("replaced/old").is_none(), || "a real replacement did not come back".into())?;
    for name in ["folder", "README"] {
        let attributes = attributes_of(&site.workspace.join(name));
        ensure(attributes.is_empty(), || format!("{name} came back with {attributes:?}"))?;
    }
    forged_marks_in_held_layers(stage)
}

/// Marks on what is held: the layer they lie in is a lower layer of the next call's view.
fn forged_marks_in_held_layers(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P22-held");
    site.write_on_host(".git/config", "[core]\n");
    site.write_on_host("kept/file", "kept");
    let mut open = site.open(&Ask::execute().keeping_all());
    let plant = "mkdir -p .git/hooks && echo planted > .git/hooks/pre-commit && touch deleted && mkdir replaced";
    run(&mut open, "sh", &["-c", plant], |_, _| {}).printed("")?;
    run(&mut open, "./probe", &["P22", ".git"], |_, _| {});
    let handed = site.hand_back(close(open))?;
    ensure(!handed.held.is_empty(), || format!("nothing is held: {handed:?}"))?;
    ensure(site.host_text(".git/hooks/pre-commit").is_none(), || "a hook was planted".into())?;
    let mut open = site.open(&Ask::execute());
    let report = run(&mut open, "sh", &["-c", "cat .git/config README kept/file; ls .git"], |_, _| {});
    report.printed("[core]\nreadme\nkeptconfig\nhooks")?;
    Ok(Cell::Holds)
}

fn renamed_parents_plant_nothing(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P24");
    site.write_on_host(".git/config", "[core]\n");
    let (report, handed) = site.probe_and_hand_back(&Ask::execute().keeping_all(), &["P24"]);
    // EXDEV: a folder of the lower layer is not renamed. A program that copies and deletes instead is the same to the gate.
    report.expect(&[("rename .git", "ok|EXDEV"), ("*", "ok")])?;
    ensure(site.host_text(".git/hooks/pre-commit").is_none(), || "a hook was planted".into())?;
    ensure(site.host_text(".git/config").is_some(), || "the repository's settings are gone".into())?;
    ensure(!handed.held.is_empty(), || format!("nothing is held: {handed:?}"))?;
    Ok(Cell::Holds)
}
