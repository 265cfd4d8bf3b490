//! Searching.

use cofferdam_contract::{Ignoring, LeftOut, MatchLine, OutputMode, SearchFiles, SearchHit, SearchReply};

use super::*;

pub(super) fn search(pattern: &str) -> SearchFiles {
    SearchFiles {
        pattern: pattern.into(),
        path: WorkspacePath::workspace(),
        glob: None,
        file_type: None,
        mode: OutputMode::Content,
        context: 0,
        case_insensitive: false,
        multiline: false,
        offset: 0,
        head_limit: 100,
        max_line_bytes: 200,
        ignoring: Ignoring::Everywhere,
    }
}

fn found(guest: &mut Guest, request: SearchFiles) -> SearchReply {
    match guest.file(FileRequest::Search(request)) {
        Ok(FileReply::Search(reply)) => reply,
        other => panic!("{other:?}"),
    }
}

/// The lines as `path:number:text`, context with dashes, as grep shows them.
fn shown(reply: &SearchReply) -> Vec<String> {
    let line = |hit: &SearchHit, line: &MatchLine| {
        let mark = if line.matched { ':' } else { '-' };
        format!("{}{mark}{}{mark}{}", hit.path, line.number, line.text)
    };
    reply.hits.iter().flat_map(|hit| hit.lines.iter().map(move |one| line(hit, one))).collect()
}

#[test]
fn matching_lines_come_in_the_order_of_paths() {
    let mut guest = Guest::start();
    guest.make("b/x", "no\nfoo 1\n");
    guest.make("b-a", "foo 2\r\nfoo 3");
    guest.make("a", "nothing\n");
    let reply = found(&mut guest, search("^foo .$"));
    let lines = |lines: &[(u64, &str)]| {
        let line = |(number, text): &(u64, &str)| MatchLine { number: *number, text: (*text).into(), matched: true };
        lines.iter().map(line).collect::<Vec<_>>()
    };
    assert_eq!(
        reply,
        SearchReply {
            hits: vec![
                SearchHit { path: "b-a".into(), matches: 2, lines: lines(&[(1, "foo 2"), (2, "foo 3")]) },
                SearchHit { path: "b/x".into(), matches: 1, lines: lines(&[(2, "foo 1")]) },
            ],
            omitted: 0,
            total_matches: 3,
            total_files: 2,
            left_out: LeftOut::default(),
            guessed: 0,
        }
    );
}

#[test]
fn context_case_and_lines_across_are_as_asked() {
    let mut guest = Guest::start();
    guest.make("a", "1\n2\nfoo\n4\n5\n6\n7\nFOO\n");
    let context = SearchFiles { context: 1, ..search("foo") };
    assert_eq!(shown(&found(&mut guest, context)), ["a-2-2", "a:3:foo", "a-4-4"]);
    let any_case = SearchFiles { case_insensitive: true, ..search("foo") };
    assert_eq!(shown(&found(&mut guest, any_case)), ["a:3:foo", "a:8:FOO"]);
    let across = SearchFiles { multiline: true, ..search("2.foo") };
    assert_eq!(shown(&found(&mut guest, across)), ["a:2:2", "a:3:foo"]);
    assert_eq!(found(&mut guest, search("2.foo")).total_files, 0);
}

#[test]
fn files_and_counts_can_be_asked_for_alone() {
    let mut guest = Guest::start();
    guest.make("a", "x\nx\n");
    guest.make("b", "x\n");
    guest.make("c", "x\n");
    for mode in [OutputMode::FilesWithMatches, OutputMode::Count] {
        let reply = found(&mut guest, SearchFiles { mode, offset: 1, head_limit: 1, ..search("x") });
        assert_eq!(reply.hits, [SearchHit { path: "b".into(), matches: 1, lines: vec![] }]);
        assert_eq!((reply.omitted, reply.total_files, reply.total_matches), (1, 3, 4));
    }
}

#[test]
fn a_window_over_the_results_has_no_gap() {
    let mut guest = Guest::start();
    for file in ["a", "b", "c"] {
        guest.make(file, "x1\nx2\nx3\n");
    }
    let mut pages = Vec::new();
    for offset in [0, 4, 8] {
        let reply = found(&mut guest, SearchFiles { offset, head_limit: 4, ..search("x") });
        assert_eq!((reply.total_matches, reply.omitted), (9, 5_u64.saturating_sub(offset)));
        pages.extend(shown(&reply));
    }
    assert_eq!(pages, shown(&found(&mut guest, search("x"))));
    assert_eq!(found(&mut guest, SearchFiles { offset: 99, ..search("x") }).hits, []);
    assert_eq!(found(&mut guest, SearchFiles { head_limit: 0, ..search("x") }).omitted, 9);
}

#[test]
fn globs_types_and_paths_narrow_the_search() {
    let mut guest = Guest::start();
    for file in ["a.rs", "src/b.rs", "src/c.py", ".github/d.yml", ".git/config", "ignored/e.rs"] {
        guest.make(file, "x\n");
    }
    guest.make(".gitignore", "ignored\n");
    let mut files = |request: SearchFiles| {
        let reply = found(&mut guest, SearchFiles { mode: OutputMode::FilesWithMatches, ..request });
        reply.hits.into_iter().map(|hit| hit.path).collect::<Vec<_>>()
    };
    assert_eq!(files(search("x")), ["a.rs", "src/b.rs", "src/c.py"]);
    assert_eq!(files(SearchFiles { glob: Some("*.rs".into()), ..search("x") }), ["a.rs", "src/b.rs"]);
    assert_eq!(files(SearchFiles { file_type: Some("py".into()), ..search("x") }), ["src/c.py"]);
    assert_eq!(files(SearchFiles { path: path("src"), ..search("x") }), ["src/b.rs", "src/c.py"]);
    assert_eq!(files(SearchFiles { path: path("src/b.rs"), ..search("x") }), ["src/b.rs"]);
    assert_eq!(files(SearchFiles { path: path("ignored"), ..search("x") }), ["ignored/e.rs"]);
    assert_eq!(files(SearchFiles { path: path(".github"), ..search("x") }), [".github/d.yml"]);
    assert_eq!(files(SearchFiles { glob: Some(".github/**".into()), ..search("x") }), [".github/d.yml"]);
}

#[test]
fn binary_and_odd_files_are_passed_over_or_understood() {
    let mut guest = Guest::start();
    guest.make("binary", b"foo\nfoo\n\0\nfoo\n");
    guest.make("late", [&b"foo\n".repeat(100_000)[..], b"\0"].concat());
    guest.make("latin", b"foo \xe9\n");
    guest.make("utf16", "\u{feff}foo é\n".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>());
    guest.make("bom", "\u{feff}foo\n");
    guest.make_link("link", "latin");
    File::create(guest.workspace().join("huge")).unwrap().set_len(1 << 40).unwrap();
    for multiline in [false, true] {
        let reply = found(&mut guest, SearchFiles { multiline, ..search("^foo") });
        assert_eq!(shown(&reply), ["bom:1:foo", "latin:1:foo é", "utf16:1:foo é"]);
        assert_eq!((reply.left_out, reply.total_matches), (LeftOut { binary: 3, ..LeftOut::default() }, 3));
        assert_eq!(reply.guessed, 1);
    }
    assert_eq!(found(&mut guest, SearchFiles { path: path("binary"), ..search("foo") }).left_out.binary, 1);
}

#[test]
fn long_lines_are_cut_between_letters() {
    let mut guest = Guest::start();
    guest.make("a", "xééééé\n");
    let reply = found(&mut guest, SearchFiles { max_line_bytes: 4, ..search("x") });
    assert_eq!(shown(&reply), ["a:1:xé"]);
}

#[test]
fn more_results_than_a_frame_holds_are_cut_and_counted() {
    let mut guest = Guest::start();
    for file in ["a", "b"] {
        guest.make(file, format!("{}\n", "x".repeat(900)).repeat(6000));
    }
    let request = SearchFiles { head_limit: u64::MAX, max_line_bytes: 1000, ..search("x") };
    let reply = found(&mut guest, request);
    let lines = shown(&reply).len() as u64;
    assert_eq!((lines + reply.omitted, reply.total_matches), (12_000, 12_000));
    assert!(lines > 4000 && reply.hits.len() == 1, "{lines}");
}

#[test]
fn wrong_requests_say_what_is_wrong() {
    let mut guest = Guest::start();
    guest.make_link("out", "..");
    let mut refused = |request| guest.file(FileRequest::Search(request)).unwrap_err();
    let refusal = refused(search("foo("));
    assert_eq!(refusal.kind, RefusalKind::Invalid);
    assert_eq!(refusal.message, "`foo(` is no regular expression to search with: unclosed group");
    assert_eq!(refused(search("a\\nb")).kind, RefusalKind::Invalid);
    assert_eq!(refused(search("((a{1000}){1000}){1000}")).kind, RefusalKind::Invalid);
    assert_eq!(refused(SearchFiles { file_type: Some("nonsense".into()), ..search("a") }).kind, RefusalKind::Invalid);
    assert_eq!(refused(SearchFiles { glob: Some("{a".into()), ..search("a") }).kind, RefusalKind::Invalid);
    assert_eq!(refused(SearchFiles { path: path("missing"), ..search("a") }).kind, RefusalKind::NotFound);
    assert_eq!(refused(SearchFiles { path: path("out"), ..search("a") }).kind, RefusalKind::LeadsOut);
}

#[test]
fn what_is_not_searched_is_counted_and_can_be_asked_for() {
    let mut guest = Guest::start();
    guest.make(".gitignore", "ignored\n");
    for file in ["a", "ignored/b", "ignored/c", ".hidden", ".git/config"] {
        guest.make(file, "x\n");
    }
    let mut searched = |ignoring| {
        let reply = found(&mut guest, SearchFiles { ignoring, mode: OutputMode::FilesWithMatches, ..search("x") });
        let hits: Vec<String> = reply.hits.into_iter().map(|hit| hit.path).collect();
        (hits, reply.left_out.ignored, reply.left_out.hidden)
    };
    assert_eq!(searched(Ignoring::Everywhere), (vec!["a".to_owned()], 1, 3));
    let all = [".hidden", "a", "ignored/b", "ignored/c"].map(String::from).to_vec();
    assert_eq!(searched(Ignoring::Nowhere), (all, 0, 0));
}

#[test]
fn letters_of_a_file_that_is_no_utf_8_are_found_and_the_guess_is_told() {
    let mut guest = Guest::start();
    guest.make("latin", b"caf\xe9 na\xefve\n");
    guest.make("large", [&b"caf\xe9\n"[..], &b"filler\n".repeat(1_300_000)].concat());
    let reply = found(&mut guest, search("café"));
    assert_eq!((shown(&reply), reply.guessed), (vec!["latin:1:café naïve".to_owned()], 1));
    let large = found(&mut guest, SearchFiles { path: path("large"), ..search("^caf") });
    assert_eq!((shown(&large), large.guessed), (vec!["large:1:caf\u{fffd}".to_owned()], 1));
}

/// Many more files than are handed to a thread at once, some of them with more results than one keeps.
#[test]
fn many_threads_find_what_one_finds_in_the_order_of_paths() {
    let mut guest = Guest::start();
    let mut expected = Vec::new();
    for folder in 0..40 {
        for file in 0..25 {
            let lines: u64 = if file == 7 { 3000 } else { file % 3 };
            let name = format!("f{folder:02}/g{:02}/{file:02}", file % 11);
            guest.make(&name, format!("needle {name}\n").repeat(usize::try_from(lines).unwrap()));
            expected.extend((1..=lines).map(|line| format!("{name}:{line}:needle {name}")));
        }
    }
    expected.sort_by(|one, other| {
        let parts = |line: &str| {
            let mut parts = line.split(':').map(str::to_owned);
            (parts.next().unwrap(), parts.next().unwrap().parse::<u64>().unwrap())
        };
        parts(one).cmp(&parts(other))
    });
    let total = expected.len() as u64;
    for (offset, head_limit) in [(0, 50), (2990, 100), (60_000, 5000), (total - 3, 10)] {
        let reply = found(&mut guest, SearchFiles { offset, head_limit, ..search("needle") });
        let end = (offset + head_limit).min(total);
        let window = usize::try_from(offset).unwrap()..usize::try_from(end).unwrap();
        assert_eq!(shown(&reply), expected[window], "{offset}");
        assert_eq!((reply.total_matches, reply.total_files, reply.omitted), (total, 640, total - end));
    } // Each search ends with the threads at rest, whichever of them was last.
    for _ in 0..100 {
        assert_eq!(found(&mut guest, search("g03/03$")).total_files, 0);
    }
}
