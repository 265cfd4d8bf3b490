//! Reading upper layers.

use std::os::fd::AsFd;

use super::{
    change::{Change, What},
    changeset::{Bounds, Changeset, ChangesetError, Marks},
    playground::{Playground, path},
};

fn walk(upper: &super::playground::Upper, bounds: Bounds) -> Result<Changeset, ChangesetError> {
    Changeset::walk(upper.fd().as_fd(), Marks::User, bounds, &[path("target"), path("a/node_modules")])
}

#[test]
fn everything_is_listed_by_path_and_nothing_is_followed() {
    let ground = Playground::new();
    let upper = ground.upper();
    upper
        .write("a/file", "xy")
        .mode("a/file", 0o640)
        .mode("a", 0o700)
        .link("link", "/etc")
        .delete("gone")
        .opaque("new");
    upper.mode("new", 0o755).write("a/.cofferdam-0123", "t").write("target/x", "t").write("a/node_modules/y", "t");
    let set = walk(&upper, Bounds::of_bytes(1 << 20)).unwrap();
    let change = |name: &str, what| Change { path: path(name), what };
    assert_eq!(
        set.changes(),
        [
            change("a", What::Folder { mode: 0o700, opaque: false }),
            change("a/file", What::File { size: 2, mode: 0o640 }),
            change("gone", What::Deleted),
            change("link", What::Link { target: "/etc".into() }),
            change("new", What::Folder { mode: 0o755, opaque: true }),
        ]
    );
    assert!(set.dropped().is_empty());
}

#[test]
fn a_layer_beyond_a_bound_is_refused_with_the_bound() {
    let ground = Playground::new();
    let upper = ground.upper();
    upper.write("a/b/c/d", &"x".repeat(10_000)).write("e", "x");
    let bounds = Bounds { entries: 5, depth: 4, bytes: 1 << 20 };
    walk(&upper, bounds).unwrap();
    for (bounds, message) in [
        (Bounds { entries: 4, ..bounds }, "the call changed more than 4 files and folders; nothing was handed back"),
        (Bounds { depth: 3, ..bounds }, "the call made folders more than 3 deep, at a/b/c/d; nothing was handed back"),
        (Bounds { bytes: 9_000, ..bounds }, "the call wrote more than 9000 bytes; nothing was handed back"),
    ] {
        assert_eq!(walk(&upper, bounds).unwrap_err().to_string(), message);
    }
}

#[test]
fn marks_in_the_other_namespace_mean_nothing() {
    let ground = Playground::new();
    let upper = ground.upper();
    upper.opaque("a").mode("a", 0o755);
    let set = Changeset::walk(upper.fd().as_fd(), Marks::Trusted, Bounds::of_bytes(1 << 20), &[]).unwrap();
    assert_eq!(set.changes(), [Change { path: path("a"), what: What::Folder { mode: 0o755, opaque: false } }]);
}
