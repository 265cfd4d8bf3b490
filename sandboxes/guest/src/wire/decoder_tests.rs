//! The decoder's claims, as properties.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "a test may panic")]

use std::collections::BTreeMap;

use cofferdam_contract::{Command, FileRequest, ReadFile, Stream, Window, WorkspacePath};
use proptest::prelude::*;

use super::super::{FromGuest, MAX_FRAME_BYTES, ToGuest, encode};
use super::*;

fn messages() -> impl Strategy<Value = Vec<FromGuest>> {
    let message = prop_oneof![
        any::<u32>().prop_map(|version| FromGuest::Hello { version }),
        (any::<u32>(), prop::collection::vec(any::<u8>(), 0..300)).prop_map(|(id, bytes)| FromGuest::Output {
            id,
            stream: Stream::Stderr,
            bytes
        }),
        (any::<u32>(), prop::option::of(".{0,20}")).prop_map(|(id, path)| FromGuest::Program { id, path }),
    ];
    prop::collection::vec(message, 0..8)
}

fn take_all(decoder: &mut Decoder) -> Result<Vec<FromGuest>, FrameError> {
    let mut taken = Vec::new();
    while let Some(message) = decoder.take()? {
        taken.push(message);
    }
    Ok(taken)
}

proptest! {
    #[test]
    fn any_split_of_the_bytes_gives_the_same_messages(messages in messages(), sizes in prop::collection::vec(1usize..50, 1..40)) {
        let bytes: Vec<u8> = messages.iter().flat_map(|message| encode(message).unwrap()).collect();
        let (mut decoder, mut taken, mut rest) = (Decoder::new(), Vec::new(), bytes.as_slice());
        for size in sizes.into_iter().cycle() {
            let (piece, after) = rest.split_at(size.min(rest.len()));
            decoder.push(piece);
            taken.extend(take_all(&mut decoder).unwrap());
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(taken, messages);
        prop_assert_eq!(decoder.finish(), Ok(()));
    }

    #[test]
    fn random_bytes_never_panic_and_an_error_stays(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20)) {
        let mut decoder = Decoder::new();
        let mut failed = None;
        for piece in &pieces {
            decoder.push(piece);
            match (take_all(&mut decoder), &failed) {
                (Err(error), None) => failed = Some(error),
                (result, Some(error)) => prop_assert_eq!(result, Err(error.clone())),
                (Ok(_), None) => {}
            }
        }
    }

    #[test]
    fn damaged_messages_never_panic(messages in messages(), place in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes: Vec<u8> = messages.iter().flat_map(|message| encode(message).unwrap()).collect();
        if !bytes.is_empty() {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let mut decoder = Decoder::new();
        decoder.push(&bytes);
        let _ = take_all(&mut decoder);
    }

    #[test]
    fn what_ends_inside_a_frame_is_truncated(messages in messages(), place in any::<prop::sample::Index>()) {
        let frames: Vec<Vec<u8>> = messages.iter().map(|message| encode(message).unwrap()).collect();
        let bytes = frames.concat();
        prop_assume!(!bytes.is_empty());
        let end = place.index(bytes.len());
        let mut ends = frames.iter().scan(0, |sum, frame| { *sum += frame.len(); Some(*sum) });
        let whole = end == 0 || ends.any(|boundary| boundary == end);
        let mut decoder = Decoder::new();
        decoder.push(&bytes[..end]);
        take_all(&mut decoder).unwrap();
        prop_assert_eq!(decoder.finish(), if whole { Ok(()) } else { Err(FrameError::Truncated) });
    }
}

#[test]
fn a_lying_length_allocates_nothing() {
    let mut decoder = Decoder::new();
    decoder.push(&u32::try_from(MAX_FRAME_BYTES).unwrap().to_le_bytes());
    assert_eq!(decoder.take::<FromGuest>(), Ok(None));
    assert!(decoder.buffer.capacity() < 64);
}

#[test]
fn a_length_over_the_bound_is_an_error_before_its_bytes_arrive() {
    let mut decoder = Decoder::new();
    decoder.push(&u32::MAX.to_le_bytes());
    let error = FrameError::TooLong { bytes: u32::MAX as usize, bound: MAX_FRAME_BYTES };
    assert_eq!(decoder.take::<FromGuest>(), Err(error));

    let mut decoder = Decoder::new();
    decoder.set_bound(8);
    decoder.push(&9u32.to_le_bytes());
    assert_eq!(decoder.take::<FromGuest>(), Err(FrameError::TooLong { bytes: 9, bound: 8 }));
}

#[test]
fn bytes_after_a_message_are_an_error() {
    let mut frame = encode(&FromGuest::Hello { version: 1 }).unwrap();
    frame.push(0);
    frame[0] += 1;
    let mut decoder = Decoder::new();
    decoder.push(&frame);
    assert_eq!(decoder.take::<FromGuest>(), Err(FrameError::Trailing { bytes: 1 }));
}

#[test]
fn more_waiting_bytes_than_two_frames_are_an_error() {
    let mut decoder = Decoder::new();
    let piece = vec![0xff; MAX_FRAME_BYTES];
    for _ in 0..3 {
        decoder.push(&piece);
    }
    assert_eq!(decoder.take::<FromGuest>(), Err(FrameError::Backlog));
    assert_eq!(decoder.buffer.capacity(), 0);
}

#[test]
fn a_message_longer_than_a_frame_is_not_made() {
    let message = FromGuest::Output { id: 1, stream: Stream::Stdout, bytes: vec![0; MAX_FRAME_BYTES] };
    assert!(matches!(encode(&message), Err(super::super::EncodeError::TooLong { .. })));
}

#[test]
fn requests_read_back_as_they_were_written() {
    let path = WorkspacePath::parse("src/lib.rs", "/work").unwrap();
    let window = Window::Lines { first: 3, count: u64::MAX };
    for message in [
        ToGuest::File { id: 7, request: FileRequest::Read(ReadFile { path: path.clone(), window, max_bytes: 9 }) },
        ToGuest::Execute {
            id: 8,
            command: Command {
                program: "cargo".into(),
                arguments: vec!["a b".into(), "\n".into()],
                directory: WorkspacePath::workspace(),
                environment: BTreeMap::from([("A".into(), "b".into())]),
            },
            output_limit: 1,
        },
        ToGuest::Kill { id: u32::MAX },
    ] {
        let mut decoder = Decoder::new();
        decoder.push(&encode(&message).unwrap());
        assert_eq!(decoder.take(), Ok(Some(message)));
    }
}
