//! The real overlayfs: what it leaves is read back as what it showed, and it shows held layers as they are meant.
//!
//! Mounted in a user namespace by `unshare(1)` and `mount(8)`, so it is the same for root and for an ordinary user.

use std::{fs, path::Path, process::Command};

use cofferdam_contract::HandBack;

use super::playground::{Playground, Upper, path};

/// Prints everything below the current folder: kind, mode, name, link target, and each file's digest.
const LIST: &str =
    "find . -mindepth 1 -printf '%y %m %P %l\\n' | LC_ALL=C sort; find . -type f -exec sha256sum {} + | LC_ALL=C sort";

fn sh(script: &str, folder: &Path) -> String {
    let output = Command::new("sh").args(["-ec", script]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs `script` in a view of the workspace with its held layers, as a call does. Gives the layer that it wrote and a
/// listing of the view at the end.
fn call(ground: &Playground, script: &str) -> (Upper, String) {
    let session = ground.session();
    let layers = session.layers().unwrap();
    let upper = ground.upper();
    let place = tempfile::tempdir_in(ground.folder.path()).unwrap();
    for name in ["work", "view"] {
        fs::create_dir(place.path().join(name)).unwrap();
    }
    let lower: Vec<_> =
        layers.paths().chain([ground.workspace.root()]).map(|path| path.display().to_string()).collect();
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
    (upper, shown)
}

const TREE: &str = "
    mkdir -p src/deep/er docs build/out empty
    for i in 1 2 3 4 5; do echo $i > src/f$i; echo d$i > src/deep/d$i; echo o$i > build/out/o$i; done
    echo x > src/deep/er/x; echo readme > docs/readme; ln -s ../docs/readme src/link; chmod 750 docs; chmod 755 src/f5
";

#[test]
fn what_comes_back_is_what_the_view_showed() {
    for script in [
        "echo new > src/f1; echo more >> src/f2; rm src/f3; mv src/f4 src/f44; chmod 700 src/f5",
        "rm -rf build; mkdir build; echo fresh > build/one",
        "rm -rf build; echo now a file > build; rm src/f1; mkdir -p src/f1/inner; echo y > src/f1/inner/y",
        "mv src source || true; test -d source",
        "rm -rf src docs build empty",
        "rm src/link; ln -s f1 src/link; rm docs/readme; ln -s ../src docs/readme; rmdir empty; ln -s src empty",
        "mkdir -p a/b/c; chmod 700 a/b; echo c > a/b/c/c; touch src/f1; chmod 755 docs; cat src/f2 > /dev/null",
        "rm -rf src/deep; mkdir -p src/deep/er; echo x > src/deep/er/x; echo d9 > src/deep/d9; rm -rf src/deep/er; mkdir src/deep/er",
        "cp -a src copy; rm -rf src/deep; mv copy/deep moved; rm -rf copy; printf 'a' > \"$(printf 'odd\\nname')\"",
    ] {
        let ground = Playground::new();
        sh(TREE, ground.workspace.root());
        let session = ground.session();
        let stamp = ground.stamp();
        let (upper, shown) = call(&ground, script);
        let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
        assert_eq!(back.held, [], "{script}");
        assert_eq!(sh(LIST, ground.workspace.root()), shown, "{script}");
        let stamp = ground.stamp();
        let (upper, _) = call(&ground, "true");
        let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
        assert_eq!(back, super::HandedBack::default(), "a call that changes nothing hands nothing back");
    }
}

#[test]
fn the_next_call_sees_what_is_held_and_what_it_does_to_that_is_held_in_turn() {
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
        let (upper, shown) = call(&ground, script);
        let back = ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
        assert!(back.applied.is_empty(), "{script}: {:?}", back.applied);
        let (_, next) = call(&ground, "true");
        assert_eq!(next, shown, "{script}");
        assert_eq!(sh(LIST, ground.workspace.root()), host, "{script}");
    }
    // A person applies everything: now the workspace is what the session saw.
    let (_, shown) = call(&ground, "true");
    ground.settle();
    let all: Vec<_> = session.held().unwrap().into_iter().map(|held| held.change.path).collect();
    let released = session.apply(&all, &super::playground::patient(&|| false)).unwrap();
    assert_eq!(released.held, []);
    assert_eq!(session.held().unwrap(), []);
    assert_eq!(sh(LIST, ground.workspace.root()), shown);
}

#[test]
fn a_host_file_made_in_a_folder_with_held_changes_is_seen() {
    let ground = Playground::new();
    ground.write("pkg/a", "a");
    let session = ground.session();
    let stamp = ground.stamp();
    let (upper, _) = call(&ground, "echo r > pkg/.npmrc; rm pkg/a");
    ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    ground.write("pkg/later", "later");
    let (_, shown) = call(&ground, "true");
    assert!(shown.contains("pkg/later") && shown.contains("pkg/.npmrc") && !shown.contains("pkg/a "), "{shown}");
    assert_eq!(
        session.held().unwrap().iter().map(|held| held.change.path.clone()).collect::<Vec<_>>(),
        [path("pkg/.npmrc")]
    );
}

#[test]
fn writing_one_file_into_a_folder_whose_deletion_is_held_keeps_the_rest_deleted() {
    let ground = Playground::new();
    sh(
        "mkdir -p pkg/.vscode pkg/sub; echo s > pkg/.vscode/s; echo k > pkg/k; echo o > pkg/sub/o",
        ground.workspace.root(),
    );
    let host = sh(LIST, ground.workspace.root());
    let session = ground.session();
    let stamp = ground.stamp();
    let (upper, _) = call(&ground, "rm -rf pkg");
    ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    let stamp = ground.stamp();
    let (upper, shown) = call(&ground, "mkdir -p pkg; echo new > pkg/n");
    let back = ground.hand_back(&session, &upper, &super::playground::only(&["pkg/n"]), &stamp);
    assert_eq!((back.applied, back.left), (vec![], vec![]));
    assert_eq!(call(&ground, "true").1, shown);
    assert_eq!(sh(LIST, ground.workspace.root()), host);
}
