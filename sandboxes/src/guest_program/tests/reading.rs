//! Reading, looking, and where paths lead.

use cofferdam_contract::{EntryKind, FileContent, ReadFile, Status, Window};

use super::*;

fn whole(text: &str) -> FileRequest {
    FileRequest::Read(ReadFile { path: path(text), window: Window::Bytes, max_bytes: 1 << 20 })
}

fn lines(text: &str, first: u64, count: u64) -> FileRequest {
    FileRequest::Read(ReadFile { path: path(text), window: Window::Lines { first, count }, max_bytes: 1 << 20 })
}

fn read(guest: &mut Guest, request: FileRequest) -> FileContent {
    match guest.file(request) {
        Ok(FileReply::Read(content)) => content,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_is_read_with_all_that_is_known_about_it() {
    let mut guest = Guest::start();
    guest.make("a/b.txt", "one\ntwo\nthree");
    assert_eq!(
        read(&mut guest, whole("a/b.txt")),
        FileContent {
            bytes: b"one\ntwo\nthree".into(),
            head: b"one\ntwo\nthree".into(),
            size: 13,
            total_lines: Some(3),
            cut: false,
            digest: Some(Sha256::digest("one\ntwo\nthree").into()),
            mode: 0o644,
        }
    );
    let second = read(&mut guest, lines("a/b.txt", 2, 1));
    assert_eq!((second.bytes.as_slice(), second.cut, second.total_lines), (&b"two\n"[..], false, Some(3)));
    assert_eq!(read(&mut guest, lines("a/b.txt", 9, 1)).bytes, b"");
    assert_eq!(guest.refused(lines("a/b.txt", 0, 1)), RefusalKind::Invalid);
}

#[test]
fn content_is_cut_where_it_was_asked_to_be() {
    let mut guest = Guest::start();
    guest.make("a", "x".repeat(5000));
    let request = ReadFile { path: path("a"), window: Window::Bytes, max_bytes: 2000 };
    let content = read(&mut guest, FileRequest::Read(request));
    assert_eq!((content.bytes.len(), content.head.len(), content.size, content.cut), (2000, 1024, 5000, true));
}

#[test]
fn a_file_of_a_tebibyte_is_answered_from_its_beginning() {
    let mut guest = Guest::start();
    let file = guest.make("huge", "first\nsecond\n");
    File::options().write(true).open(file).unwrap().set_len(1 << 40).unwrap();
    let begun = std::time::Instant::now();
    let content = read(&mut guest, lines("huge", 2, 1));
    assert_eq!(content.bytes, b"second\n");
    assert_eq!((content.size, content.total_lines, content.digest, content.cut), (1 << 40, None, None, false));
    let content = read(&mut guest, whole("huge"));
    assert_eq!((content.bytes.len(), content.cut), (1 << 20, true));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(guest.refused(lines("huge", 4, 1)), RefusalKind::TooLarge);
    let endless = read(&mut guest, lines("huge", 3, 5));
    assert_eq!((endless.bytes.len(), endless.cut), (1 << 20, true));
}

#[test]
fn what_is_no_file_is_refused_without_waiting() {
    let mut guest = Guest::start();
    guest.make("folder/file", "");
    let pipe = guest.workspace().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(guest.workspace().join("socket")).unwrap();
    for (path, kind) in [
        ("pipe", RefusalKind::WrongKind),
        ("socket", RefusalKind::WrongKind),
        ("folder", RefusalKind::WrongKind),
        (".", RefusalKind::WrongKind),
        ("missing", RefusalKind::NotFound),
        ("missing/too", RefusalKind::NotFound),
        ("folder/file/below", RefusalKind::WrongKind),
    ] {
        assert_eq!(guest.refused(whole(path)), kind, "{path}");
    }
}

#[test]
fn links_are_followed_as_long_as_they_stay_inside() {
    let mut guest = Guest::start();
    guest.make("real/file", "inside");
    let workspace = guest.workspace();
    guest.make_link("relative", "real/file");
    guest.make_link("real/up", "../real/../relative");
    guest.make_link("absolute", workspace.join("real/file"));
    guest.make_link("folder", workspace.join("real"));
    guest.make_link("top", &workspace);
    for path in ["relative", "real/up", "absolute", "folder/file", "folder/up", "top/top/folder/file"] {
        assert_eq!(read(&mut guest, whole(path)).bytes, b"inside", "{path}");
    }
}

#[test]
fn links_that_lead_out_are_refused_alike_whatever_is_there() {
    let mut guest = Guest::start();
    let workspace = guest.workspace();
    guest.make_link("a", "../secret");
    guest.make_link("b", "../missing");
    guest.make_link("c", "/etc/passwd");
    guest.make_link("d", "/no/such/place");
    guest.make_link("e", "..");
    guest.make_link("f", format!("{}/../secret", workspace.display()));
    guest.make_link("g", format!("{}x", workspace.display()));
    guest.make_link("h", "/proc/self/root/etc/passwd");
    guest.make_link("i", "/proc/self/cwd");
    guest.make_link("j", "a");
    for path in ["a", "b", "c", "d", "e", "e/secret", "e/missing", "f", "g", "h", "i", "i/x", "j"] {
        let refusal = guest.file(whole(path)).unwrap_err();
        let message = format!("`{path}` leads out of the workspace through a link");
        assert_eq!(refusal, FileRefusal { kind: RefusalKind::LeadsOut, message });
    }
    guest.make_link("k", "k");
    assert_eq!(guest.refused(whole("k")), RefusalKind::Failed);
    guest.make_link("l", "nothing");
    assert_eq!(guest.refused(whole("l")), RefusalKind::NotFound);
}

#[test]
fn status_looks_at_the_link_itself() {
    let mut guest = Guest::start();
    guest.make("file", "abc");
    guest.make_link("link", "/etc/passwd");
    let mut status = |text: &str| match guest.file(FileRequest::Status(path(text))) {
        Ok(FileReply::Status(status)) => status,
        other => panic!("{other:?}"),
    };
    assert_eq!(status("file"), Status { kind: EntryKind::File, size: 3, mode: 0o644 });
    assert_eq!(status("link"), Status { kind: EntryKind::Link("/etc/passwd".into()), size: 0, mode: 0o777 });
    assert_eq!(status(".").kind, EntryKind::Folder);
    assert_eq!(guest.refused(FileRequest::Status(path("missing"))), RefusalKind::NotFound);
}

#[test]
fn a_folder_swapped_for_a_link_all_the_time_never_leads_out() {
    let mut guest = Guest::start();
    let outside = guest.outer.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("file"), "outside").unwrap();
    guest.make("real/file", "inside");
    guest.make_link("link", &outside);
    let workspace = guest.workspace();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (mut inside, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                let (one, other) = (workspace.join("real"), workspace.join("link"));
                rustix::fs::renameat_with(rustix::fs::CWD, one, rustix::fs::CWD, other, flags).unwrap();
            }
        });
        for _ in 0..3000 {
            match guest.file(whole("real/file")) {
                Ok(FileReply::Read(content)) => {
                    assert_eq!(content.bytes, b"inside");
                    inside += 1;
                }
                Err(_) => refused += 1,
                Ok(other) => panic!("{other:?}"),
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(inside > 0 && refused > 0, "{inside} {refused}");
}
