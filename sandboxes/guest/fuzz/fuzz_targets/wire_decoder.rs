//! The decoder: any split of any bytes gives the same messages and the same end, and a message reads back as written.
#![no_main]

use std::fmt::Debug;

use cofferdam_guest::wire::{Decoder, FrameError, FromGuest, ToGuest, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((piece, bytes)) = data.split_first() else {
        return;
    };
    both_ways::<ToGuest>(bytes, usize::from(*piece) + 1);
    both_ways::<FromGuest>(bytes, usize::from(*piece) + 1);
});

fn both_ways<T: serde::de::DeserializeOwned + serde::Serialize + PartialEq + Debug>(bytes: &[u8], piece: usize) {
    let (messages, end) = decode::<T>(bytes.chunks(piece));
    let (at_once, end_at_once) = decode::<T>(std::iter::once(bytes));
    assert_eq!(messages, at_once);
    assert_eq!(end, end_at_once);
    for message in messages {
        let frame = encode(&message).expect("what was read fits a frame");
        assert_eq!(decode::<T>(std::iter::once(frame.as_slice())), (vec![message], Ok(())));
    }
}

fn decode<'a, T: serde::de::DeserializeOwned>(
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<T>, Result<(), FrameError>) {
    let mut decoder = Decoder::new();
    let mut messages = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        while let Ok(Some(message)) = decoder.take() {
            messages.push(message);
        }
    }
    (messages, decoder.finish())
}
