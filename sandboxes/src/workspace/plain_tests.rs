//! Which folders are plain, read off layers of every kind.

use std::{fs, os::fd::OwnedFd};

use super::{
    super::playground::{Playground, Upper, path},
    *,
};

fn layer() -> Upper {
    Upper { folder: tempfile::tempdir().unwrap() }
}

fn found(ground: &Playground, layers: &[OwnedFd], links: &[&str], bounds: Bounds) -> Plain {
    let between: Vec<BorrowedFd<'_>> = layers.iter().map(AsFd::as_fd).collect();
    Plain::among(ground.workspace.fd(), &between, &links.iter().copied().map(path).collect(), bounds).unwrap()
}

fn names(plain: &Plain) -> Vec<String> {
    let mut names: Vec<String> = plain.folders().map(|(path, _)| path.to_string()).collect();
    names.sort();
    names
}

/// `a/1` to `d/2`, `deep/x/y/z`, and a link to a folder.
fn ground() -> Playground {
    let ground = Playground::new();
    for name in ["a/1/f", "a/2/f", "b/1/f", "c/1/f", "d/1/f", "d/2/f", "deep/x/y/z/f", "deep/other/f", "deep/x/w/f"] {
        ground.write(name, "x");
    }
    std::os::unix::fs::symlink("a", ground.host("link")).unwrap();
    ground
}

#[test]
fn what_a_layer_has_something_at_is_left_to_the_overlay_and_the_rest_is_plain() {
    let ground = ground();
    let (upper, lower) = (layer(), layer());
    // Deleted, replaced by a file, replaced by another folder, of another mode, a new file at depth 4, a new folder.
    ground.write("c/2/f", "x");
    upper.delete("a/1").write("b/1", "x").opaque("c").write("c/1/g", "x").folder("d").mode("d", 0o700);
    lower.write("deep/x/y/z/new", "x").write("new/folder/f", "x");
    let plain = found(&ground, &[upper.fd(), lower.fd()], &[], BOUNDS);
    assert_eq!(names(&plain), ["a/2", "d/1", "d/2", "deep/other", "deep/x/w"]);
    let first = found(&ground, &[upper.fd()], &[], BOUNDS);
    assert_eq!(names(&first), ["a/2", "d/1", "d/2", "deep"]);
}

#[test]
fn a_folder_with_a_link_to_a_masked_file_in_it_is_left_to_the_overlay() {
    let ground = ground();
    let plain = found(&ground, &[layer().fd()], &["deep/x/w/link", "b/.env"], BOUNDS);
    assert_eq!(names(&plain), ["a", "b/1", "c", "d", "deep/other", "deep/x/y"]);
}

#[test]
fn there_are_none_beyond_the_bound_or_in_a_small_workspace() {
    let ground = ground();
    let lower = layer();
    lower.write("a/1/g", "x").write("b/1/g", "x").write("c/new", "x");
    let within = |bounds| names(&found(&ground, &[lower.fd()], &[], bounds));
    // In the root are 6 names, 5 of them folders; in `a` 2, in `b` 1, in `c` 1, and 1 in each folder below.
    assert_eq!(within(BOUNDS), ["a/2", "c/1", "d", "deep"]);
    for (shown, first) in [(0, vec![]), (1, vec!["a/2"]), (2, vec!["d", "deep"]), (3, vec!["a/2", "d", "deep"])] {
        assert_eq!(within(Bounds { shown, ..BOUNDS }), first, "{shown} shown");
    }
    for (asked, first) in [(0, vec![]), (4, vec![]), (6, vec!["d", "deep"]), (7, vec!["a/2", "d", "deep"])] {
        assert_eq!(within(Bounds { asked, ..BOUNDS }), first, "{asked} asked");
    }
    for (names_in_one, first) in [(5, vec![]), (6, vec!["a/2", "c/1", "d", "deep"])] {
        assert_eq!(within(Bounds { names_in_one, ..BOUNDS }), first, "{names_in_one} names in one");
    }
    for (count, first) in [(5, vec![]), (6, vec!["d", "deep"]), (7, vec!["d", "deep"]), (8, vec!["a/2", "d", "deep"])] {
        assert_eq!(within(Bounds { names: count, ..BOUNDS }), first, "{count} names");
    }
    ground.write(".env", "A=s3cr3t-1234567890\n");
    let (session, masks) = (ground.session(), ground.masks());
    assert_eq!(Plain::find(&ground.workspace, &session.layers().unwrap(), &masks), Plain::default());
}

#[test]
fn they_stand_until_one_of_them_or_a_folder_above_one_is_moved_or_replaced() {
    let ground = ground();
    let lower = layer();
    lower.write("deep/x/y/z/new", "x");
    let plain = found(&ground, &[lower.fd()], &[], BOUNDS);
    assert!(plain.stands(&ground.workspace) && Plain::default().stands(&ground.workspace));
    ground.write("a/1/other", "x");
    ground.write("another/f", "x");
    assert!(plain.stands(&ground.workspace), "what is in them, or new beside them, is shown");
    for moved in ["a", "deep", "deep/x", "deep/x/w"] {
        let away = ground.folder.path().join("away");
        fs::rename(ground.host(moved), &away).unwrap();
        assert!(!plain.stands(&ground.workspace), "{moved}");
        fs::create_dir(ground.host(moved)).unwrap();
        assert!(!plain.stands(&ground.workspace), "{moved}");
        fs::remove_dir(ground.host(moved)).unwrap();
        std::os::unix::fs::symlink(&away, ground.host(moved)).unwrap();
        assert!(!plain.stands(&ground.workspace), "{moved}");
        fs::remove_file(ground.host(moved)).unwrap();
        fs::rename(&away, ground.host(moved)).unwrap();
        assert!(plain.stands(&ground.workspace), "{moved}");
    }
}

#[test]
fn a_large_folder_a_wide_tree_and_a_deep_one_are_looked_at_within_the_bounds() {
    let ground = Playground::new();
    ground.write("small/f", "x");
    fs::create_dir(ground.host("flat")).unwrap();
    for number in 0..BOUNDS.names_in_one {
        fs::File::create(ground.host(&format!("flat/{number}"))).unwrap();
    }
    ground.write("flat/folder/f", "x");
    let deep = "d/".repeat(300);
    fs::create_dir_all(ground.host(&deep)).unwrap();
    for number in 0..1_100 {
        fs::create_dir_all(ground.host(&format!("wide/{number}/below"))).unwrap();
    }
    let (few, many) = (layer(), layer());
    few.write("flat/masked", "x").write("wide/0/masked", "x").write(&format!("{deep}masked"), "x");
    for number in 0..1_100 {
        many.write(&format!("wide/{number}/masked"), "x");
    }
    let look = |layers: &[OwnedFd]| {
        let begun = std::time::Instant::now();
        let plain = found(&ground, layers, &[], BOUNDS);
        // The bound tells a walk through everything from one within bounds, on a machine that does other work.
        assert!(begun.elapsed() < std::time::Duration::from_secs(2), "{:?}", begun.elapsed());
        plain
    };
    let plain = look(&[few.fd()]);
    assert_eq!(names(&plain), ["small"]);
    assert!(plain.looked_into.len() <= BOUNDS.asked + 1, "{}", plain.looked_into.len());
    let plain = look(&[many.fd(), few.fd()]);
    assert!(plain.looked_into.len() <= BOUNDS.asked + 1, "{}", plain.looked_into.len());
    assert_eq!(names(&plain), ["small"]);
}

#[test]
fn what_is_below_a_folder_that_is_not_watched_is_left_to_the_overlay() {
    let ground = ground();
    ground.write(".git/objects/ab/cd", "x");
    ground.write("node_modules/package/src/f", "x");
    ground.write("node_modules/other/f", "x");
    let lower = layer();
    lower.write(".git/HEAD", "x").write("node_modules/package/.env", "x");
    let plain = found(&ground, &[lower.fd()], &[], BOUNDS);
    assert_eq!(names(&plain), ["a", "b", "c", "d", "deep", "node_modules/other"]);
}
