//! What is accepted, and that nothing else is.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use cofferdam_contract::{
    Entry, EntryKind, Expected, FileContent, Ignoring, LeftOut, ListFiles, Listing, MatchLine, OutputMode, ReadFile,
    RefusalKind, SearchFiles, SearchHit, SearchReply, Status, Window, WorkspacePath, WriteFile, Written,
};
use cofferdam_guest::wire::Decoder;
use proptest::prelude::*;

use super::*;

fn ready() -> Conversation {
    let mut conversation = Conversation::new();
    assert_eq!(conversation.accept(FromGuest::Hello { version: VERSION }), Ok(Event::Ready));
    conversation
}

fn path(text: &str) -> WorkspacePath {
    WorkspacePath::parse(text, "/work").unwrap()
}

fn command() -> Command {
    Command {
        program: "true".into(),
        arguments: vec![],
        directory: WorkspacePath::workspace(),
        environment: BTreeMap::new(),
    }
}

fn refusal() -> FileRefusal {
    FileRefusal { kind: RefusalKind::NotFound, message: "`a` does not exist".into() }
}

/// Asks and hears `reply` to it.
fn answered(request: FileRequest, reply: FileReply) -> Result<Event, Violation> {
    let mut conversation = ready();
    conversation.file(request).unwrap();
    conversation.accept(FromGuest::FileReply { id: 1, result: Ok(reply) })
}

fn read() -> FileRequest {
    FileRequest::Read(ReadFile { path: path("a"), window: Window::Bytes, max_bytes: 4 })
}

fn content() -> FileContent {
    FileContent {
        bytes: b"abcd".into(),
        head: b"abcd".into(),
        size: 9,
        total_lines: Some(1),
        cut: true,
        digest: None,
        mode: 0o644,
    }
}

fn list(below: &str) -> FileRequest {
    FileRequest::List(ListFiles {
        path: path(below),
        glob: None,
        depth: 1,
        offset: 0,
        max_entries: 1,
        ignoring: Ignoring::Everywhere,
    })
}

fn entry(path: &str) -> Entry {
    Entry { path: path.into(), exact: false, kind: EntryKind::File, size: 0 }
}

fn listing(entries: Vec<Entry>) -> FileReply {
    FileReply::Listing(Listing { entries, omitted: 0, left_out: LeftOut::default(), closed: Vec::new() })
}

fn search(mode: OutputMode) -> FileRequest {
    FileRequest::Search(SearchFiles {
        pattern: "x".into(),
        path: path("src"),
        glob: None,
        file_type: None,
        mode,
        context: 0,
        case_insensitive: false,
        multiline: false,
        offset: 0,
        head_limit: 1,
        max_line_bytes: 3,
        ignoring: Ignoring::Everywhere,
    })
}

fn hits(path: &str, matches: u64, lines: &[&str]) -> FileReply {
    let line = |text: &&str| MatchLine { number: 1, text: (*text).into(), matched: true };
    let hit = SearchHit { path: path.into(), matches, lines: lines.iter().map(line).collect() };
    FileReply::Search(SearchReply {
        hits: vec![hit],
        omitted: 0,
        total_matches: 1,
        total_files: 1,
        left_out: LeftOut::default(),
        guessed: 0,
    })
}

#[test]
fn hello_is_said_once_first_and_in_our_version() {
    let mut conversation = Conversation::new();
    assert!(matches!(conversation.file(read()), Err(NotReady::Starting)));
    assert!(conversation.accept(FromGuest::Hello { version: VERSION + 1 }).is_err());
    assert!(matches!(conversation.file(read()), Err(NotReady::Broken)));

    let mut conversation = ready();
    assert!(conversation.accept(FromGuest::Hello { version: VERSION }).is_err());
    assert!(conversation.accept(FromGuest::Hello { version: VERSION }).is_err());
}

#[test]
fn one_thing_is_asked_at_a_time() {
    let mut conversation = ready();
    assert!(matches!(conversation.kill(), Err(NotReady::NoCommand)));
    conversation.execute(command(), 9).unwrap();
    assert!(matches!(conversation.file(read()), Err(NotReady::Busy)));
    assert!(matches!(conversation.execute(command(), 9), Err(NotReady::Busy)));
    assert!(matches!(conversation.find_program("sh".into()), Err(NotReady::Busy)));
    assert!(conversation.kill().is_ok());
    let exited = FromGuest::Exited { id: 1, exit: Exit::Signal(9), omitted: 0 };
    assert_eq!(conversation.accept(exited), Ok(Event::Exited { exit: Exit::Signal(9), omitted: 0 }));
    assert!(conversation.file(read()).is_ok());
}

#[test]
fn a_request_too_long_to_send_changes_nothing() {
    let mut conversation = ready();
    let write = |length| {
        FileRequest::Write(WriteFile { path: path("a"), content: vec![0; length], expected: Expected::Anything })
    };
    assert!(matches!(conversation.file(write(40 << 20)), Err(NotReady::Encode { .. })));
    assert!(conversation.file(write(MAX_CONTENT_BYTES)).is_ok());
}

#[test]
fn output_stays_within_its_limit_and_ends_with_the_command() {
    let output = |id, length| FromGuest::Output { id, stream: Stream::Stdout, bytes: vec![b'x'; length] };
    let exited = |exit, omitted| FromGuest::Exited { id: 1, exit, omitted };
    let heard = |words: &[FromGuest]| {
        let mut conversation = ready();
        conversation.execute(command(), 10).unwrap();
        words.iter().map(|word| conversation.accept(word.clone())).collect::<Result<Vec<_>, _>>()
    };
    assert_eq!(heard(&[output(1, 4), output(1, 6), exited(Exit::Code(0), 5)]).unwrap().len(), 3);
    assert!(heard(&[FromGuest::NotStarted { id: 1, refusal: refusal() }]).is_ok());
    for words in [
        vec![output(1, 11)],
        vec![output(1, 5), output(1, 6)],
        vec![output(1, 0)],
        vec![output(2, 1)],
        vec![exited(Exit::Code(256), 0)],
        vec![exited(Exit::Code(-1), 0)],
        vec![exited(Exit::Signal(0), 0)],
        vec![exited(Exit::Signal(65), 0)],
        vec![output(1, 9), exited(Exit::Code(0), 1)],
        vec![output(1, 10), exited(Exit::Code(0), u64::MAX)],
        vec![exited(Exit::Code(0), 0), output(1, 1)],
        vec![exited(Exit::Code(0), 0), exited(Exit::Code(0), 0)],
        vec![output(1, 1), FromGuest::NotStarted { id: 1, refusal: refusal() }],
        vec![FromGuest::FileReply { id: 1, result: Err(refusal()) }],
        vec![FromGuest::Program { id: 1, path: None }],
    ] {
        assert!(heard(&words).is_err(), "{words:?}");
    }
}

#[test]
fn only_the_matching_answer_to_the_matching_request_is_one() {
    assert!(answered(read(), FileReply::Read(content())).is_ok());
    assert!(answered(read(), FileReply::Moved(1)).is_err());
    assert!(answered(FileRequest::Delete(path("a")), FileReply::Moved(1)).is_err());
    assert!(answered(FileRequest::Delete(path("a")), FileReply::Deleted(1)).is_ok());
    let mut conversation = ready();
    conversation.file(read()).unwrap();
    assert!(conversation.accept(FromGuest::FileReply { id: 2, result: Ok(FileReply::Read(content())) }).is_err());
}

#[test]
fn answers_stay_within_the_bounds_of_the_question() {
    let read_answer = |change: fn(&mut FileContent)| {
        let mut content = content();
        change(&mut content);
        answered(read(), FileReply::Read(content))
    };
    assert!(read_answer(|content| content.bytes.push(0)).is_err());
    assert!(read_answer(|content| content.head = vec![0; 1025]).is_err());
    assert!(read_answer(|content| content.size = u64::MAX).is_err());
    assert!(read_answer(|content| content.mode = 0o4755).is_err());
    assert!(read_answer(|content| content.total_lines = Some(u64::MAX)).is_err());

    assert!(answered(list("."), listing(vec![entry("a")])).is_ok());
    assert!(answered(list("."), listing(vec![entry("a"), entry("b")])).is_err());
    assert!(answered(list("src"), listing(vec![entry("src/a")])).is_ok());
    for path in ["a", "src", "srcx/a", "src/../a", "src//a", "src/a\u{1b}[2J", "/etc/passwd", "src/"] {
        assert!(answered(list("src"), listing(vec![entry(path)])).is_err(), "{path}");
    }
    let link = |target: &str| Entry { kind: EntryKind::Link(target.into()), ..entry("l") };
    assert!(answered(list("."), listing(vec![link("/etc/passwd")])).is_ok());
    assert!(answered(list("."), listing(vec![link("a\nb")])).is_err());
    assert!(answered(list("."), listing(vec![Entry { exact: true, ..entry("back\\slash") }])).is_err());

    let status = |mode| FileReply::Status(Status { kind: EntryKind::File, size: 1, mode });
    assert!(answered(FileRequest::Status(path("a")), status(0o755)).is_ok());
    assert!(answered(FileRequest::Status(path("a")), status(0o1755)).is_err());
}

#[test]
fn hits_stay_within_the_bounds_of_the_search() {
    let content = |reply| answered(search(OutputMode::Content), reply);
    assert!(content(hits("src/a", 1, &["abc"])).is_ok());
    assert!(content(hits("src", 1, &["abc"])).is_ok());
    assert!(content(hits("src/a", 1, &[])).is_err());
    assert!(content(hits("src/a", 0, &["abc"])).is_err());
    assert!(content(hits("src/a", 2, &["abc"])).is_err(), "more than the total");
    assert!(content(hits("src/a", 1, &["abc", "abc"])).is_err());
    assert!(content(hits("src/a", 1, &["abcd"])).is_err());
    assert!(content(hits("src/a", 1, &["a\nb"])).is_err());
    assert!(content(hits("other/a", 1, &["abc"])).is_err());
    assert!(answered(search(OutputMode::Count), hits("src/a", 1, &[])).is_ok());
    assert!(answered(search(OutputMode::Count), hits("src/a", 1, &["abc"])).is_err());
}

#[test]
fn refusals_and_program_paths_are_plain_text() {
    let refused = |message: String| {
        let mut conversation = ready();
        conversation.file(read()).unwrap();
        let refusal = FileRefusal { kind: RefusalKind::Failed, message };
        conversation.accept(FromGuest::FileReply { id: 1, result: Err(refusal) })
    };
    assert!(refused("x".repeat(MAX_MESSAGE_BYTES)).is_ok());
    assert!(refused("x".repeat(MAX_MESSAGE_BYTES + 1)).is_err());
    assert!(refused("a\u{1b}[31mb".into()).is_err());
    let program = |path: Option<&str>| {
        let mut conversation = ready();
        conversation.find_program("sh".into()).unwrap();
        conversation.accept(FromGuest::Program { id: 1, path: path.map(str::to_owned) })
    };
    assert!(program(Some("/bin/sh")).is_ok() && program(None).is_ok());
    assert!(program(Some("bin/sh")).is_err());
    assert!(program(Some("/bin/\nsh")).is_err());
}

#[test]
fn the_bound_of_the_next_frame_holds_its_longest_answer() {
    let mut conversation = ready();
    assert!(conversation.frame_bound() < 1024);
    let max_bytes = 1 << 20;
    conversation.file(FileRequest::Read(ReadFile { path: path("a"), window: Window::Bytes, max_bytes })).unwrap();
    let longest = FileContent { bytes: vec![0; 1 << 20], head: vec![0; 1024], ..content() };
    let frame = encode(&FromGuest::FileReply { id: 1, result: Ok(FileReply::Read(longest)) }).unwrap();
    assert!(frame.len() <= conversation.frame_bound());
}

fn any_text() -> BoxedStrategy<String> {
    prop_oneof!["[a-c/.]{0,6}", "\\PC{0,6}", Just("a\u{7}".to_owned()), Just("x".repeat(20_000))].boxed()
}

fn any_number() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..6, Just(MAX_MESSAGE_BYTES as u64), any::<u64>(), Just(u64::MAX)]
}

fn any_reply() -> impl Strategy<Value = FileReply> {
    let kind = prop_oneof![Just(EntryKind::File), any_text().prop_map(EntryKind::Link)];
    let entry = (any_text(), any::<bool>(), kind.clone(), any_number()).prop_map(|(path, exact, kind, size)| Entry {
        path,
        exact,
        kind,
        size,
    });
    let line = (any_number(), any_text(), any::<bool>()).prop_map(|(number, text, matched)| MatchLine {
        number,
        text,
        matched,
    });
    let hit = (any_text(), any_number(), prop::collection::vec(line, 0..3))
        .prop_map(|(path, matches, lines)| SearchHit { path, matches, lines });
    prop_oneof![
        (prop::collection::vec(any::<u8>(), 0..9), any_number(), any_number()).prop_map(|(bytes, size, lines)| {
            let (total_lines, mode) = (Some(lines), 0o644);
            FileReply::Read(FileContent {
                head: bytes.clone(),
                bytes,
                size,
                total_lines,
                cut: false,
                digest: None,
                mode,
            })
        }),
        any_number().prop_map(|previous_size| {
            let real_path = WorkspacePath::workspace();
            FileReply::Written(Written { created: true, real_path, previous_size })
        }),
        (prop::collection::vec(entry, 0..3), any_number(), any_number(), any_text()).prop_map(
            |(entries, omitted, unreadable, closed)| {
                let left_out = LeftOut { unreadable, ..LeftOut::default() };
                FileReply::Listing(Listing { entries, omitted, left_out, closed: vec![closed] })
            }
        ),
        (prop::collection::vec(hit, 0..3), any_number(), any_number()).prop_map(|(hits, omitted, total)| {
            let left_out = LeftOut { binary: total, ..LeftOut::default() };
            FileReply::Search(SearchReply {
                hits,
                omitted,
                total_matches: total,
                total_files: total,
                left_out,
                guessed: total,
            })
        }),
        (kind, any_number(), any::<u32>()).prop_map(|(kind, size, mode)| FileReply::Status(Status {
            kind,
            size,
            mode
        })),
        any_number().prop_map(FileReply::Moved),
        any_number().prop_map(FileReply::Deleted),
    ]
}

/// What a guest may say, near enough to right answers that some are.
fn any_word() -> impl Strategy<Value = FromGuest> {
    let refusal = any_text().prop_map(|message| FileRefusal { kind: RefusalKind::Failed, message }).boxed();
    let exit = prop_oneof![(-2..300).prop_map(Exit::Code), (-2..70).prop_map(Exit::Signal)];
    prop_oneof![
        (1u32..3).prop_map(|version| FromGuest::Hello { version }),
        (1u32..4, any_reply()).prop_map(|(id, reply)| FromGuest::FileReply { id, result: Ok(reply) }),
        (1u32..4, refusal.clone()).prop_map(|(id, refusal)| FromGuest::FileReply { id, result: Err(refusal) }),
        (1u32..4, prop::collection::vec(any::<u8>(), 0..6)).prop_map(|(id, bytes)| FromGuest::Output {
            id,
            stream: Stream::Stderr,
            bytes
        }),
        (1u32..4, exit, any_number()).prop_map(|(id, exit, omitted)| FromGuest::Exited { id, exit, omitted }),
        (1u32..4, refusal).prop_map(|(id, refusal)| FromGuest::NotStarted { id, refusal }),
        (1u32..4, prop::option::of(any_text())).prop_map(|(id, path)| FromGuest::Program { id, path }),
    ]
}

#[derive(Debug, Clone)]
enum Act {
    Hear(FromGuest),
    File(FileRequest),
    Execute(u64),
    Find,
    Kill,
}

fn any_act() -> impl Strategy<Value = Act> {
    let request = prop_oneof![
        Just(read()),
        Just(list(".")),
        Just(list("a")),
        Just(search(OutputMode::Content)),
        Just(search(OutputMode::Count)),
        Just(FileRequest::Status(path("a"))),
        Just(FileRequest::Delete(path("a"))),
    ];
    prop_oneof![
        6 => any_word().prop_map(Act::Hear),
        3 => request.prop_map(Act::File),
        1 => (0u64..9).prop_map(Act::Execute),
        1 => Just(Act::Find),
        1 => Just(Act::Kill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_order_of_words_panics_and_a_violation_is_for_ever(acts in prop::collection::vec(any_act(), 0..24)) {
        let mut conversation = ready();
        let mut broken = false;
        for act in acts {
            let frame = match act {
                Act::Hear(word) => {
                    let heard = conversation.accept(word);
                    prop_assert!(!broken || heard.is_err());
                    broken |= heard.is_err();
                    continue;
                }
                Act::File(request) => conversation.file(request),
                Act::Execute(limit) => conversation.execute(command(), limit),
                Act::Find => conversation.find_program("sh".into()),
                Act::Kill => conversation.kill(),
            };
            prop_assert!(!broken || matches!(frame, Err(NotReady::Broken)));
            if let Ok(frame) = frame {
                let mut decoder = Decoder::new();
                decoder.push(&frame);
                prop_assert!(matches!(decoder.take::<ToGuest>(), Ok(Some(_))));
            }
        }
    }

    #[test]
    fn an_accepted_answer_holds_no_control_character_and_no_count_that_overflows(reply in any_reply()) {
        for request in [read(), list("."), list("a"), search(OutputMode::Content), FileRequest::Status(path("a"))] {
            match answered(request, reply.clone()) {
                Ok(Event::File(Ok(FileReply::Listing(Listing { entries, omitted, left_out, closed })))) => {
                    prop_assert!(omitted.checked_add(left_out.unreadable).is_some());
                    prop_assert!(!closed.iter().any(|path| path.chars().any(char::is_control)));
                    prop_assert!(entries.iter().all(|entry| !entry.path.chars().any(char::is_control)));
                }
                Ok(Event::File(Ok(FileReply::Search(SearchReply { hits, omitted, total_matches, left_out, .. })))) => {
                    let sum = omitted.checked_add(total_matches).and_then(|sum| sum.checked_add(left_out.binary));
                    prop_assert!(sum.is_some());
                    prop_assert!(hits.iter().all(|hit| !hit.path.chars().any(char::is_control)));
                }
                Ok(_) | Err(_) => {}
            }
        }
    }
}
