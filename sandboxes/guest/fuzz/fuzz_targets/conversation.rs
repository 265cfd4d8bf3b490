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
    Command, FileReply, FileRequest, Ignoring, ListFiles, OutputMode, ReadFile, SearchFiles, Window, WorkspacePath,
};
use cofferdam_guest::wire::{FromGuest, MAX_FRAME_BYTES, VERSION};
use libfuzzer_sys::fuzz_target;

use self::conversation::{Conversation, Event, NotReady};

const LIMIT: u64 = 5;

fuzz_target!(|data: &[u8]| {
    let mut conversation = Conversation::new();
    let hello = conversation.accept(FromGuest::Hello { version: VERSION });
    assert_eq!(hello, Ok(Event::Ready));
    let mut broken = false;
    // Ids count the requests that were asked.
    let mut id = 0;
    let mut rest = data;
    while let Some((act, after)) = rest.split_first() {
        rest = after;
        assert!(conversation.frame_bound() <= MAX_FRAME_BYTES);
        let asked = match act % 16 {
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
                // The guest speaks: a message without a frame, which the other target is about. Mostly under the right id,
                // which mutation would rarely hit.
                let Ok((said, after)) = postcard::take_from_bytes::<FromGuest>(rest) else {
                    return;
                };
                rest = after;
                let said = if act % 16 > 9 { under(id, said) } else { said };
                broken |= hear(&mut conversation, said, broken);
                continue;
            }
        };
        id += u32::from(asked.is_ok() && act % 16 != 8);
        assert!(!broken || matches!(asked, Err(NotReady::Broken)));
    }
});

/// The same message as an answer to request `right`.
fn under(right: u32, mut said: FromGuest) -> FromGuest {
    match &mut said {
        FromGuest::Hello { .. } => {}
        FromGuest::FileReply { id, .. }
        | FromGuest::Output { id, .. }
        | FromGuest::Exited { id, .. }
        | FromGuest::NotStarted { id, .. }
        | FromGuest::Program { id, .. } => *id = right,
    }
    said
}

/// Lets the guest say something. Says whether it was a violation.
fn hear(conversation: &mut Conversation, said: FromGuest, broken: bool) -> bool {
    let Ok(event) = conversation.accept(said) else {
        return true;
    };
    assert!(!broken);
    match event {
        Event::Output(_, bytes) => assert!(bytes.len() as u64 <= LIMIT),
        Event::File(Ok(FileReply::Listing(listing))) => {
            assert!(listing.entries.len() <= 2);
            assert!(listing.entries.iter().all(|entry| !entry.path.starts_with('/')));
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
    FileRequest::List(ListFiles {
        path: path("."),
        glob: None,
        depth: 1,
        offset: 0,
        max_entries: 2,
        ignoring: Ignoring::Everywhere,
    })
}

fn search(mode: OutputMode) -> FileRequest {
    FileRequest::Search(SearchFiles {
        pattern: "x".into(),
        path: path("."),
        glob: None,
        file_type: None,
        mode,
        context: 0,
        case_insensitive: false,
        multiline: false,
        offset: 0,
        head_limit: 2,
        max_line_bytes: 3,
        ignoring: Ignoring::Everywhere,
    })
}

fn command() -> Command {
    let (arguments, environment) = (Vec::new(), BTreeMap::new());
    Command { program: "true".into(), arguments, directory: WorkspacePath::workspace(), environment }
}
