//! The host's side of the protocol: whatever a guest says in whatever order, nothing panics, a violation is for ever,
//! and what is accepted keeps to the bounds of what was asked.
//!
//! The module is compiled into this target from its source, which needs nothing else of its package: the package itself
//! embeds the guest and would build it each time.
#![no_main]

#[path = "../../../src/conversation/mod.rs"]
mod conversation;

use std::collections::BTreeMap;

use cofferdam_contract::{
    Command, FileReply, FileRequest, ListFiles, OutputMode, ReadFile, SearchFiles, Window, WorkspacePath,
};
use cofferdam_guest::wire::{Decoder, FromGuest, VERSION};
use libfuzzer_sys::fuzz_target;

use self::conversation::{Conversation, Event, NotReady};

const LIMIT: u64 = 5;

fuzz_target!(|data: &[u8]| {
    let mut conversation = Conversation::new();
    let hello = conversation.accept(FromGuest::Hello { version: VERSION });
    assert_eq!(hello, Ok(Event::Ready));
    let mut broken = false;
    let mut rest = data;
    while let Some((act, after)) = rest.split_first() {
        rest = after;
        let asked = match act % 10 {
            0 => conversation.file(read()),
            1 => conversation.file(list()),
            2 => conversation.file(search(OutputMode::Content)),
            3 => conversation.file(search(OutputMode::Count)),
            4 => conversation.file(FileRequest::Status(path("a"))),
            5 => conversation.file(FileRequest::Delete(path("a"))),
            6 => conversation.execute(command(), LIMIT),
            7 => conversation.find_program("sh".into()),
            8 => conversation.kill(),
            _ => {
                // The guest speaks: one length, then that many bytes of a frame.
                let Some((length, after)) = rest.split_first() else {
                    return;
                };
                let (body, after) = after.split_at(usize::from(*length).min(after.len()));
                rest = after;
                broken |= hear(&mut conversation, body, broken);
                continue;
            }
        };
        assert!(!broken || matches!(asked, Err(NotReady::Broken)));
    }
});

/// Lets the guest say a frame. Says whether it was a violation.
fn hear(conversation: &mut Conversation, body: &[u8], broken: bool) -> bool {
    let mut decoder = Decoder::new();
    decoder.set_bound(conversation.frame_bound());
    decoder.push(&u32::try_from(body.len()).expect("at most 255").to_le_bytes());
    decoder.push(body);
    let Ok(Some(said)) = decoder.take::<FromGuest>() else {
        return false;
    };
    let Ok(event) = conversation.accept(said) else {
        return true;
    };
    assert!(!broken);
    match event {
        Event::Output(_, bytes) => assert!(bytes.len() as u64 <= LIMIT),
        Event::File(Ok(FileReply::Listing(listing))) => {
            assert!(listing.entries.len() <= 2);
            assert!(listing.entries.iter().all(|entry| entry.path.starts_with("a/")));
        }
        Event::File(Ok(FileReply::Read(content))) => assert!(content.bytes.len() <= 4),
        Event::File(Ok(FileReply::Search(reply))) => assert!(reply.hits.len() <= 2),
        _ => {}
    }
    false
}

fn path(text: &str) -> WorkspacePath {
    WorkspacePath::parse(text, "/work").expect("a plain name")
}

fn read() -> FileRequest {
    FileRequest::Read(ReadFile { path: path("a"), window: Window::Bytes, max_bytes: 4 })
}

fn list() -> FileRequest {
    FileRequest::List(ListFiles { path: path("a"), glob: None, depth: 1, max_entries: 2, respect_ignore: true })
}

fn search(mode: OutputMode) -> FileRequest {
    FileRequest::Search(SearchFiles {
        pattern: "x".into(),
        path: path("a"),
        glob: None,
        file_type: None,
        mode,
        context: 0,
        case_insensitive: false,
        multiline: false,
        offset: 0,
        head_limit: 2,
        max_line_bytes: 3,
    })
}

fn command() -> Command {
    let (arguments, environment) = (Vec::new(), BTreeMap::new());
    Command { program: "true".into(), arguments, directory: WorkspacePath::workspace(), environment }
}
