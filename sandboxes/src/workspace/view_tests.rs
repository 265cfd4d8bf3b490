//! The real overlayfs, and the copy that stands in for it: what a view leaves is read back as what it showed, and it
//! shows held layers as they are meant.
//!
//! An overlay is mounted in a user namespace by `unshare(1)` and `mount(8)`, so it is the same for root and for an ordinary user.

use std::{fs, os::fd::BorrowedFd, path::Path, process::Command};

use cofferdam_contract::HandBack;

use super::{
    Bounds, Changeset, Copied, CopyBounds, CopyError, HandedBack, Session, Stamp,
    playground::{Playground, only, path, patient},
};

/// How a view is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Overlay,
    Copy,
}

pub(super) const VIEWS: [View; 2] = [View::Overlay, View::Copy];

/// What a call left: its changes, and the folders that they lie in.
pub(super) struct Left {
    pub(super) changeset: Changeset,
    _folders: Vec<tempfile::TempDir>,
}

const PLENTY: CopyBounds = CopyBounds { bytes: 1 << 30, entries: 100_000 };

pub(super) fn hand_back(
    ground: &Playground,
    session: &Session,
    left: &Left,
    allowed: &HandBack,
    stamp: &Stamp,
) -> HandedBack {
    let origin = super::playground::origin("call-1");
    let order = super::Order {
        changeset: &left.changeset,
        admission: ground.admission(allowed),
        masks: &ground.masks(),
        on_top: super::OnTop::Held,
        masked_then: None,
        masks_then: None,
        stamp,
        seen: None,
        origin: &origin,
    };
    session.hand_back(&order, &patient(&|| false)).unwrap()
}

/// Runs `script` in a view of the workspace with its held layers, as a call does. Gives what it left and a listing of
/// the view at the end.
pub(super) fn call(ground: &Playground, view: View, script: &str) -> (Left, String) {
    match view {
        View::Overlay => call_in_overlay(ground, script),
        View::Copy => call_in_copy(ground, script),
    }
}

fn call_in_copy(ground: &Playground, script: &str) -> (Left, String) {
    let session = ground.session();
    let layers = session.layers().unwrap();
    let folder = tempfile::tempdir_in(ground.folder.path()).unwrap();
    let sources: Vec<BorrowedFd<'_>> = layers.folders().chain([ground.workspace.fd()]).collect();
    let copied = Copied::make(&sources, folder.path(), PLENTY, &[], &|| None).unwrap();
    sh(script, folder.path());
    let shown = sh(LIST, folder.path());
    let changeset = Changeset::compare(&copied, Bounds::of_bytes(1 << 30), &[]).unwrap();
    (Left { changeset, _folders: vec![folder] }, shown)
}

/// Prints everything below the current folder: kind, mode, name, link target, and each file's digest.
pub(super) const LIST: &str =
    "find . -mindepth 1 -printf '%y %m %P %l\\n' | LC_ALL=C sort; find . -type f -exec sha256sum {} + | LC_ALL=C sort";

pub(super) fn sh(script: &str, folder: &Path) -> String {
    let output = Command::new("sh").args(["-ec", script]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn call_in_overlay(ground: &Playground, script: &str) -> (Left, String) {
    let session = ground.session();
    let layers = session.layers().unwrap();
    let upper = ground.upper();
    let place = tempfile::tempdir_in(ground.folder.path()).unwrap();
    for name in ["work", "view"] {
        fs::create_dir(place.path().join(name)).unwrap();
    }
    let masks = ground.masks();
    let below = masks.layer_path().into_iter().chain([ground.workspace.root()]);
    let lower: Vec<_> = layers.paths().chain(below).map(|path| path.display().to_string()).collect();
    let mount = format!(
        "mount -t overlay overlay -o userxattr,lowerdir={},upperdir={},workdir=work view\ncd view\n{script}\n",
        lower.join(":"),
        upper.folder.path().display()
    );
    let listing = place.path().join("listing");
    let run = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-ec"])
        .arg(format!("{mount}({LIST}) > {}", listing.display()))
        .current_dir(place.path())
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let shown = fs::read_to_string(listing).unwrap();
    // overlayfs leaves its own working folder with mode 000.
    sh("chmod -R u+rwx work", place.path());
    (Left { changeset: upper.changeset(), _folders: vec![upper.folder, place] }, shown)
}

pub(super) const TREE: &str = "
    mkdir -p src/deep/er docs build/out empty
    for i in 1 2 3 4 5; do echo $i > src/f$i; echo d$i > src/deep/d$i; echo o$i > build/out/o$i; done
    echo x > src/deep/er/x; echo readme > docs/readme; ln -s ../docs/readme src/link; chmod 750 docs; chmod 755 src/f5
";

pub(super) const SCRIPTS: [&str; 9] = [
    "echo new > src/f1; echo more >> src/f2; rm src/f3; mv src/f4 src/f44; chmod 700 src/f5",
    "rm -rf build; mkdir build; echo fresh > build/one",
    "rm -rf build; echo now a file > build; rm src/f1; mkdir -p src/f1/inner; echo y > src/f1/inner/y",
    "mv src source || true; test -d source",
    "rm -rf src docs build empty",
    "rm src/link; ln -s f1 src/link; rm docs/readme; ln -s ../src docs/readme; rmdir empty; ln -s src empty",
    "mkdir -p a/b/c; chmod 700 a/b; echo c > a/b/c/c; touch src/f1; chmod 755 docs; cat src/f2 > /dev/null",
    "rm -rf src/deep; mkdir -p src/deep/er; echo x > src/deep/er/x; echo d9 > src/deep/d9; rm -rf src/deep/er; mkdir src/deep/er",
    "cp -a src copy; rm -rf src/deep; mv copy/deep moved; rm -rf copy; printf 'a' > \"$(printf 'odd\\nname')\"",
];

#[test]
fn what_comes_back_is_what_the_view_showed() {
    for (view, script) in VIEWS.into_iter().flat_map(|view| SCRIPTS.map(|script| (view, script))) {
        let ground = Playground::new();
        sh(TREE, ground.workspace.root());
        let session = ground.session();
        let stamp = ground.stamp();
        let (left, shown) = call(&ground, view, script);
        let back = hand_back(&ground, &session, &left, &HandBack::Tree, &stamp);
        assert_eq!(back.held, [], "{view:?} {script}");
        assert_eq!(sh(LIST, ground.workspace.root()), shown, "{view:?} {script}");
        let stamp = ground.stamp();
        let (left, _) = call(&ground, view, "true");
        let back = hand_back(&ground, &session, &left, &HandBack::Tree, &stamp);
        assert_eq!(back, HandedBack::default(), "a call that changes nothing hands nothing back");
    }
}

#[test]
fn the_next_call_sees_what_is_held_and_what_it_does_to_that_is_held_in_turn() {
    for view in VIEWS {
        let ground = Playground::new();
        sh(TREE, ground.workspace.root());
        sh(
            "mkdir -p .git/hooks pkg/.vscode; echo c > .git/config; echo s > pkg/.vscode/s; echo k > pkg/k",
            ground.workspace.root(),
        );
        let host = sh(LIST, ground.workspace.root());
        let session = ground.session();
        for script in [
            "echo evil > .git/config; echo h > .git/hooks/pre-commit; chmod 755 .git/hooks/pre-commit",
            "rm -rf pkg; echo env > .envrc; ln -s /etc out",
            "rm -rf .git/hooks; mkdir .git/hooks; echo other > .git/hooks/post; mkdir .idea; echo i > .idea/i; rm out",
            "mkdir pkg; echo k2 > pkg/k; mkdir pkg/.vscode; rm -rf .idea; echo file > .idea",
            "rm .idea .envrc; mkdir -p .idea/sub; echo j > .idea/sub/j; chmod 600 .git/config",
        ] {
            let stamp = ground.stamp();
            let (left, shown) = call(&ground, view, script);
            let back = hand_back(&ground, &session, &left, &HandBack::Tree, &stamp);
            assert!(back.applied.is_empty(), "{view:?} {script}: {:?}", back.applied);
            let (_, next) = call(&ground, view, "true");
            assert_eq!(next, shown, "{view:?} {script}");
            assert_eq!(sh(LIST, ground.workspace.root()), host, "{view:?} {script}");
        }
        // A person applies everything: now the workspace is what the session saw.
        let (_, shown) = call(&ground, view, "true");
        ground.settle();
        let all: Vec<_> = session.held().unwrap().into_iter().map(|held| held.change.path).collect();
        let released = session.apply(&all, &super::playground::listed(), &patient(&|| false)).unwrap();
        assert_eq!(released.held, []);
        assert_eq!(session.held().unwrap(), []);
        assert_eq!(sh(LIST, ground.workspace.root()), shown);
    }
}

#[test]
fn a_host_file_made_in_a_folder_with_held_changes_is_seen() {
    for view in VIEWS {
        let ground = Playground::new();
        ground.write("pkg/a", "a");
        let session = ground.session();
        let stamp = ground.stamp();
        let (left, _) = call(&ground, view, "echo r > pkg/.npmrc; rm pkg/a");
        hand_back(&ground, &session, &left, &HandBack::Tree, &stamp);
        ground.write("pkg/later", "later");
        let (_, shown) = call(&ground, view, "true");
        assert!(shown.contains("pkg/later") && shown.contains("pkg/.npmrc") && !shown.contains("pkg/a "), "{shown}");
        assert_eq!(
            session.held().unwrap().iter().map(|held| held.change.path.clone()).collect::<Vec<_>>(),
            [path("pkg/.npmrc")]
        );
    }
}

#[test]
fn writing_one_file_into_a_folder_whose_deletion_is_held_keeps_the_rest_deleted() {
    for view in VIEWS {
        let ground = Playground::new();
        sh(
            "mkdir -p pkg/.vscode pkg/sub; echo s > pkg/.vscode/s; echo k > pkg/k; echo o > pkg/sub/o",
            ground.workspace.root(),
        );
        let host = sh(LIST, ground.workspace.root());
        let session = ground.session();
        let stamp = ground.stamp();
        let (left, _) = call(&ground, view, "rm -rf pkg");
        hand_back(&ground, &session, &left, &HandBack::Tree, &stamp);
        let stamp = ground.stamp();
        let (left, shown) = call(&ground, view, "mkdir -p pkg; echo new > pkg/n");
        let back = hand_back(&ground, &session, &left, &only(&["pkg/n"]), &stamp);
        assert_eq!((back.applied, back.left), (vec![], vec![]));
        assert_eq!(call(&ground, view, "true").1, shown);
        assert_eq!(sh(LIST, ground.workspace.root()), host);
    }
}

#[test]
fn a_copy_takes_times_and_modes_along_and_no_more_than_its_bounds() {
    let ground = Playground::new();
    ground.write("src/a", "12345");
    sh(
        "touch -d @1000000000 src/a; chmod 751 src/a; mkfifo pipe; mkdir target; echo x > target/x; mkdir shut; chmod 0 shut",
        ground.workspace.root(),
    );
    let sources = [ground.workspace.fd()];
    let folder = tempfile::tempdir_in(ground.folder.path()).unwrap();
    let copied = Copied::make(&sources, folder.path(), PLENTY, &[path("target")], &|| None).unwrap();
    let shown = sh("find . -mindepth 1 -printf '%y %m %P\\n' | sort; stat -c %Y src/a", folder.path());
    assert_eq!(shown, "d 0 shut\nd 755 src\nd 755 target\nf 751 src/a\n1000000000\n");
    let changeset = Changeset::compare(&copied, Bounds::of_bytes(1 << 30), &[path("target")]).unwrap();
    assert_eq!((changeset.changes(), changeset.dropped()), (&[][..], &[][..]), "the pipe was not in it");
    for bounds in [CopyBounds { bytes: 4, entries: 100 }, CopyBounds { bytes: 100, entries: 2 }] {
        let folder = tempfile::tempdir_in(ground.folder.path()).unwrap();
        let refused = Copied::make(&sources, folder.path(), bounds, &[], &|| None);
        assert!(matches!(refused, Err(CopyError::TooLarge { .. })), "{refused:?}");
    }
    let folder = tempfile::tempdir_in(ground.folder.path()).unwrap();
    let ended = Copied::make(&sources, folder.path(), PLENTY, &[], &|| Some(cofferdam_contract::Ended::Cancelled));
    assert!(matches!(ended, Err(CopyError::Ended(cofferdam_contract::Ended::Cancelled))));
    sh("chmod 700 shut", ground.workspace.root());
}

#[test]
fn in_a_copy_marks_of_overlayfs_mean_nothing_and_a_change_of_the_same_size_and_time_is_seen() {
    let ground = Playground::new();
    for name in ["src/a", "src/b", "c"] {
        ground.write(name, "12345");
    }
    let session = ground.session();
    let stamp = ground.stamp();
    let script = "touch -r c ../times; printf 54321 > c; touch -r ../times c; \
        python3 -c 'import os; os.setxattr(\"src\", \"user.overlay.opaque\", b\"y\")'";
    let (left, _) = call(&ground, View::Copy, script);
    let back = hand_back(&ground, &session, &left, &HandBack::Tree, &stamp);
    assert_eq!(back.applied.iter().map(|change| change.path.clone()).collect::<Vec<_>>(), [path("c")]);
    assert_eq!(ground.read("c").as_deref(), Some("54321"));
    assert_eq!(ground.read("src/b").as_deref(), Some("12345"));
}
