//! Listing.

use std::os::unix::ffi::OsStrExt;

use cofferdam_contract::{Entry, EntryKind, Ignoring, LeftOut, ListFiles, Listing};

use super::*;

fn everything() -> ListFiles {
    let path = WorkspacePath::workspace();
    ListFiles { path, glob: None, depth: 99, offset: 0, max_entries: 999, ignoring: Ignoring::Nowhere }
}

fn list(guest: &mut Guest, request: ListFiles) -> Listing {
    match guest.file(FileRequest::List(request)) {
        Ok(FileReply::Listing(listing)) => listing,
        other => panic!("{other:?}"),
    }
}

fn paths(guest: &mut Guest, request: ListFiles) -> Vec<String> {
    list(guest, request).entries.into_iter().map(|entry| entry.path).collect()
}

#[test]
fn entries_come_depth_first_with_kind_and_size() {
    let mut guest = Guest::start();
    guest.make("b/c", "123");
    guest.make("a", "1");
    guest.make("b-c", "");
    guest.make_link("l", "/etc/passwd");
    guest.make_link("m", "b");
    let entry = |path: &str, kind, size| Entry { path: path.into(), exact: true, kind, size };
    let listing = list(&mut guest, everything());
    assert_eq!(
        listing,
        Listing {
            entries: vec![
                entry("a", EntryKind::File, 1),
                entry("b", EntryKind::Folder, 0),
                entry("b/c", EntryKind::File, 3),
                entry("b-c", EntryKind::File, 0),
                entry("l", EntryKind::Link("/etc/passwd".into()), 0),
                entry("m", EntryKind::Link("b".into()), 0),
            ],
            omitted: 0,
            left_out: LeftOut::default(),
            closed: vec![],
        }
    );
    assert_eq!(paths(&mut guest, ListFiles { path: path("m"), ..everything() }), ["m/c"]);
    assert_eq!(paths(&mut guest, ListFiles { depth: 1, ..everything() }), ["a", "b", "b-c", "l", "m"]);
    assert_eq!(paths(&mut guest, ListFiles { depth: 0, ..everything() }), ["a", "b", "b-c", "l", "m"]);
    let cut = list(&mut guest, ListFiles { max_entries: 2, ..everything() });
    assert_eq!((cut.entries.len(), cut.omitted), (2, 4));
}

#[test]
fn what_is_no_folder_cannot_be_listed() {
    let mut guest = Guest::start();
    guest.make("file", "");
    guest.make_link("out", "..");
    for (name, kind) in
        [("file", RefusalKind::WrongKind), ("missing", RefusalKind::NotFound), ("out", RefusalKind::LeadsOut)]
    {
        assert_eq!(guest.refused(FileRequest::List(ListFiles { path: path(name), ..everything() })), kind, "{name}");
    }
}

#[test]
fn globs_choose_by_name_or_by_path() {
    let mut guest = Guest::start();
    for file in ["a.rs", "src/b.rs", "src/deep/c.rs", "src/d.py", ".hidden.rs"] {
        guest.make(file, "");
    }
    let mut chosen = |start: &str, glob: &str| {
        let request =
            ListFiles { path: path(start), glob: Some(glob.into()), ignoring: Ignoring::Everywhere, ..everything() };
        paths(&mut guest, request)
    };
    assert_eq!(chosen(".", "*.rs"), ["a.rs", "src/b.rs", "src/deep/c.rs"]);
    assert_eq!(chosen(".", "src/*.rs"), ["src/b.rs"]);
    assert_eq!(chosen(".", "src/**/*.rs"), ["src/b.rs", "src/deep/c.rs"]);
    assert_eq!(chosen(".", "./src/*.{rs,py}"), ["src/b.rs", "src/d.py"]);
    assert_eq!(chosen("src", "deep/*"), ["src/deep/c.rs"]);
    assert_eq!(chosen(".", ".hidden*"), [".hidden.rs"]);
    assert_eq!(chosen(".", "*.none"), [""; 0]);
    let bad = ListFiles { glob: Some("a[".into()), ..everything() };
    let refusal = guest.file(FileRequest::List(bad)).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Invalid);
    assert!(refusal.message.starts_with("`a[` is no glob: "), "{}", refusal.message);
}

#[test]
fn ignore_files_filter_as_in_ripgrep() {
    let mut guest = Guest::start();
    guest.make(".gitignore", "target\n*.log\n!keep.log\n/anchored\n# comment\n");
    guest.make(".ignore", "!special.log\nvendor/\n");
    guest.make("sub/.gitignore", "!b.log\nlocal\n");
    guest.make(".git/info/exclude", "excluded\n");
    guest.make(".git/config", "");
    for file in [
        "target/x",
        "a.log",
        "keep.log",
        "special.log",
        "anchored",
        "sub/anchored",
        "sub/b.log",
        "sub/c.log",
        "sub/local",
        "local",
        "vendor/y",
        "excluded",
        ".github/z",
        "plain",
    ] {
        guest.make(file, "");
    }
    let ignoring = ListFiles { ignoring: Ignoring::Everywhere, ..everything() };
    assert_eq!(
        paths(&mut guest, ignoring.clone()),
        ["keep.log", "local", "plain", "special.log", "sub", "sub/anchored", "sub/b.log"]
    );
    // The rules of the folders above hold in a folder that is named, and a folder that is named is never ignored.
    assert_eq!(paths(&mut guest, ListFiles { path: path("sub"), ..ignoring.clone() }), ["sub/anchored", "sub/b.log"]);
    assert_eq!(paths(&mut guest, ListFiles { path: path("target"), ..ignoring }), ["target/x"]);
    // Nothing is hidden from who asks for everything, but `.git` is not entered unless it is named.
    let all = paths(&mut guest, everything());
    assert!(all.contains(&".git".into()) && !all.contains(&".git/config".into()) && all.contains(&"target/x".into()));
    assert!(paths(&mut guest, ListFiles { path: path(".git"), ..everything() }).contains(&".git/config".into()));
}

#[test]
fn ignore_files_agree_with_ripgreps_own_walker() {
    let mut guest = Guest::start();
    guest.make(".gitignore", "*.o\nbuild/\n/top\ndoc/*.html\n!doc/keep.html\n**/deep/*.tmp\n\\#x\nspace\\ \n!.shown\n");
    guest.make(".git/HEAD", "");
    guest.make("inner/.git/HEAD", "");
    guest.make("inner/.gitignore", "only-inner\n");
    guest.make("inner/.ignore", "!a.o\n");
    guest.make(".rgignore", "rg-only\n!inner/never\n");
    guest.make(".ignore", "never\n");
    for file in [
        "a.o",
        "build/x",
        "sub/build",
        "top",
        "sub/top",
        "doc/a.html",
        "doc/keep.html",
        "x/deep/y.tmp",
        "deep/z.tmp",
        "#x",
        "space ",
        ".shown",
        ".other",
        "inner/a.o",
        "inner/b.o",
        "inner/top",
        "inner/only-inner",
        "only-inner",
        "rg-only",
        "never",
        "inner/never",
    ] {
        guest.make(file, "");
    }
    let workspace = guest.workspace();
    let mut theirs: Vec<String> = ignore::WalkBuilder::new(&workspace)
        .git_global(false)
        .parents(false)
        .add_custom_ignore_filename(".rgignore")
        .build()
        .skip(1)
        .map(|entry| entry.unwrap().path().strip_prefix(&workspace).unwrap().to_str().unwrap().to_owned())
        .collect();
    theirs.sort();
    let mut ours = paths(&mut guest, ListFiles { ignoring: Ignoring::Everywhere, ..everything() });
    ours.sort();
    assert_eq!(ours, theirs);
}

#[test]
fn names_that_no_call_can_write_are_marked() {
    let mut guest = Guest::start();
    for name in [&b"bad\xff"[..], b"line\nend", b"back\\slash", b"good"] {
        std::fs::write(guest.workspace().join(std::ffi::OsStr::from_bytes(name)), "").unwrap();
    }
    let listing = list(&mut guest, everything());
    let shown: Vec<(&str, bool)> = listing.entries.iter().map(|entry| (entry.path.as_str(), entry.exact)).collect();
    assert_eq!(shown, [("back\\slash", false), ("bad\u{fffd}", false), ("good", true), ("line\u{fffd}end", false)]);
}

#[test]
fn a_listing_too_long_for_a_frame_is_cut_and_counted() {
    let mut guest = Guest::start();
    let folder = "f".repeat(250);
    let workspace = guest.workspace();
    let deep: PathBuf = std::iter::repeat_n(folder.as_str(), 12).collect();
    std::fs::create_dir_all(workspace.join(&deep)).unwrap();
    for file in 0..2000 {
        std::fs::write(workspace.join(&deep).join(format!("{file:04}")), "").unwrap();
    }
    let listing = list(&mut guest, ListFiles { max_entries: u64::MAX, ..everything() });
    assert_eq!(listing.entries.len() as u64 + listing.omitted, 2012);
    assert!(listing.omitted > 0 && listing.entries.len() > 1000, "{}", listing.entries.len());
}

#[test]
fn a_tree_deeper_than_any_path_is_walked_and_deleted_without_harm() {
    let mut guest = Guest::start();
    let script = "i=0; while [ $i -lt 600 ]; do mkdir d && cd -P d || exit 1; i=$((i+1)); done; echo made";
    assert_eq!(guest.sh(script).stdout, "made\n");
    let listing = list(&mut guest, ListFiles { depth: u32::MAX, ..everything() });
    assert_eq!((listing.entries.len(), listing.left_out.unreadable), (400, 1));
    assert_eq!(guest.refused(FileRequest::Delete(path("d"))), RefusalKind::TooLarge);
    assert_eq!(list(&mut guest, ListFiles { depth: 1, ..everything() }).entries.len(), 1);
}

#[test]
fn pages_follow_one_another_without_a_gap() {
    let mut guest = Guest::start();
    for file in ["a/b", "a/c", "d", "e/f"] {
        guest.make(file, "");
    }
    let whole = paths(&mut guest, everything());
    let mut pages = Vec::new();
    for offset in [0, 4] {
        let page = list(&mut guest, ListFiles { offset, max_entries: 4, ..everything() });
        assert_eq!(page.omitted, 2_u64.saturating_sub(offset));
        pages.extend(page.entries.into_iter().map(|entry| entry.path));
    }
    assert_eq!(pages, whole);
    assert_eq!(list(&mut guest, ListFiles { offset: 99, ..everything() }).entries, []);
}

#[test]
fn the_top_is_shown_in_full_and_what_is_closed_is_named() {
    let mut guest = Guest::start();
    guest.make(".gitignore", "target\n*.log\n");
    for file in ["target/x", "a.log", ".github/y", "src/.z", "src/b.log", "src/c"] {
        guest.make(file, "");
    }
    let listing = list(&mut guest, ListFiles { ignoring: Ignoring::BelowTheTop, ..everything() });
    let shown: Vec<&str> = listing.entries.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(shown, [".github", ".gitignore", "a.log", "src", "src/c", "target"]);
    assert_eq!(listing.closed, [".github", "target"]);
    assert_eq!(listing.left_out, LeftOut { ignored: 1, hidden: 1, ..LeftOut::default() });
}
