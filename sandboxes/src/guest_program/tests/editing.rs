//! Writing, moving and deleting.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use cofferdam_contract::{Expected, WriteFile, Written};

use super::*;

fn write(text: &str, content: &str) -> FileRequest {
    let content = content.as_bytes().to_vec();
    FileRequest::Write(WriteFile { path: path(text), content, expected: Expected::Anything })
}

fn replace(text: &str, old: &str, new: &str) -> FileRequest {
    let expected = Expected::Content(Sha256::digest(old).into());
    FileRequest::Write(WriteFile { path: path(text), content: new.as_bytes().to_vec(), expected })
}

fn rename(source: &str, destination: &str) -> FileRequest {
    FileRequest::Move { source: path(source), destination: path(destination) }
}

fn delete(text: &str) -> FileRequest {
    FileRequest::Delete(path(text))
}

fn names(folder: PathBuf) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_new_file_is_made_with_its_folders() {
    let mut guest = Guest::start();
    let written = Written { created: true, real_path: path("a/b/c.txt"), previous_size: 0 };
    assert_eq!(guest.file(write("a/b/c.txt", "new")), Ok(FileReply::Written(written)));
    assert_eq!(guest.content("a/b/c.txt"), "new");
    let mode = std::fs::metadata(guest.workspace().join("a/b/c.txt")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o644);
    assert_eq!(names(guest.workspace().join("a/b")), ["c.txt"]);
}

#[test]
fn a_replaced_file_keeps_its_mode_and_is_never_half_written() {
    let mut guest = Guest::start();
    let file = guest.make("run.sh", "old!");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o750)).unwrap();
    let before = std::fs::metadata(&file).unwrap().ino();
    let written = Written { created: false, real_path: path("run.sh"), previous_size: 4 };
    assert_eq!(guest.file(write("run.sh", "new")), Ok(FileReply::Written(written)));
    let after = std::fs::metadata(&file).unwrap();
    assert_eq!((after.mode() & 0o777, guest.content("run.sh").as_str()), (0o750, "new"));
    assert_ne!(after.ino(), before, "it is another file, renamed over the old one");
}

#[test]
fn a_link_is_kept_and_the_file_behind_it_written() {
    let mut guest = Guest::start();
    guest.make("real/file", "old");
    guest.make_link("link", "real/file");
    guest.make_link("dangling", "real/new");
    guest.make_link("out", "../secret");
    let written = Written { created: false, real_path: path("real/file"), previous_size: 3 };
    assert_eq!(guest.file(write("link", "new")), Ok(FileReply::Written(written)));
    let written = Written { created: true, real_path: path("real/new"), previous_size: 0 };
    assert_eq!(guest.file(write("dangling", "new")), Ok(FileReply::Written(written)));
    assert_eq!(guest.content("real/file") + &guest.content("real/new"), "newnew");
    assert!(std::fs::symlink_metadata(guest.workspace().join("link")).unwrap().is_symlink());
    assert_eq!(guest.refused(write("out", "x")), RefusalKind::LeadsOut);
    assert_eq!(std::fs::read_to_string(guest.outer.path().join("secret")).unwrap(), "secret\n");
}

#[test]
fn a_file_that_changed_since_it_was_read_is_not_written() {
    let mut guest = Guest::start();
    guest.make("file", "one");
    assert!(guest.file(replace("file", "one", "two")).is_ok());
    assert_eq!(guest.refused(replace("file", "one", "three")), RefusalKind::Changed);
    assert_eq!(guest.content("file"), "two");
    for missing in ["missing", "no/such/folder"] {
        assert_eq!(guest.refused(replace(missing, "", "x")), RefusalKind::Changed);
    }
    assert_eq!(names(guest.workspace()), ["file"]);
}

#[test]
fn what_cannot_be_written_is_refused() {
    let mut guest = Guest::start();
    guest.make("folder/file", "");
    std::fs::set_permissions(guest.make("read-only", "x"), std::fs::Permissions::from_mode(0o444)).unwrap();
    for (path, kind) in [
        ("folder", RefusalKind::WrongKind),
        (".", RefusalKind::WrongKind),
        ("folder/file/below", RefusalKind::WrongKind),
        ("read-only", RefusalKind::Permission),
    ] {
        assert_eq!(guest.refused(write(path, "new")), kind, "{path}");
    }
    assert_eq!(guest.content("read-only"), "x");
}

#[test]
fn a_large_file_goes_through() {
    let mut guest = Guest::start();
    let content = "0123456789abcdef".repeat(1 << 20);
    assert!(guest.file(write("large", &content)).is_ok());
    assert_eq!(guest.content("large"), content);
}

#[test]
fn moving_makes_folders_and_overwrites_nothing() {
    let mut guest = Guest::start();
    guest.make("a/one", "1");
    guest.make("a/sub/two", "2");
    guest.make("b", "b");
    guest.make_link("a/link", "../../secret");
    assert_eq!(guest.file(rename("a", "x/y/z")), Ok(FileReply::Moved(5)));
    assert_eq!(guest.content("x/y/z/sub/two"), "2");
    assert_eq!(guest.refused(rename("b", "x/y/z/one")), RefusalKind::Exists);
    assert_eq!(guest.refused(rename("b", "b")), RefusalKind::Exists);
    assert_eq!(guest.file(rename("x/y/z/link", "link")), Ok(FileReply::Moved(1)));
    assert_eq!(std::fs::read_link(guest.workspace().join("link")).unwrap(), Path::new("../../secret"));
    assert_eq!(guest.refused(rename("b", "link")), RefusalKind::Exists);
    assert_eq!((guest.content("b"), guest.content("x/y/z/one")), ("b".into(), "1".into()));
}

#[test]
fn moves_that_make_no_sense_leave_nothing_behind() {
    let mut guest = Guest::start();
    guest.make("a/b/c", "");
    guest.make_link("inside", "a/b");
    for (source, destination, kind) in [
        ("missing", "new/folder/x", RefusalKind::NotFound),
        ("a", "a/b/new/a", RefusalKind::Invalid),
        ("a", "inside/a", RefusalKind::Invalid),
        (".", "x", RefusalKind::Invalid),
        ("a", ".", RefusalKind::Invalid),
    ] {
        assert_eq!(guest.refused(rename(source, destination)), kind, "{source} {destination}");
    }
    assert_eq!(names(guest.workspace()), ["a", "inside"]);
    assert_eq!(names(guest.workspace().join("a/b")), ["c"]);
}

#[test]
fn deleting_counts_and_follows_no_link() {
    let mut guest = Guest::start();
    guest.make("tree/a/b", "");
    guest.make("tree/c", "");
    let outer = guest.outer.path().to_owned();
    guest.make_link("tree/out", &outer);
    guest.make_link("tree/loop", ".");
    guest.make_link("link", &outer);
    assert_eq!(guest.file(delete("tree")), Ok(FileReply::Deleted(6)));
    assert_eq!(guest.file(delete("link")), Ok(FileReply::Deleted(1)));
    assert_eq!(names(outer), ["secret", "work"]);
    assert_eq!(names(guest.workspace()), Vec::<String>::new());
    assert_eq!(guest.refused(delete("tree")), RefusalKind::NotFound);
    assert_eq!(guest.refused(delete(".")), RefusalKind::Invalid);
}

#[test]
fn deleting_through_a_link_that_leads_out_is_refused() {
    let mut guest = Guest::start();
    guest.make_link("out", "..");
    assert_eq!(guest.refused(delete("out/secret")), RefusalKind::LeadsOut);
    assert!(guest.outer.path().join("secret").exists());
}
