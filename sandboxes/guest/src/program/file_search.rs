//! Searching one file.
//!
//! A file of up to 8 MiB is read in one piece: one call of the kernel's less than in blocks, and the searcher is quicker on
//! it. What is neither UTF-8 nor UTF-16 is taken for Windows-1252 then, which has a letter for nearly every byte; that is a guess, and
//! counted. A larger file is read in blocks and searched byte by byte.

use std::{
    fs::File,
    io::{self, Read},
    ops::Range,
};

use cofferdam_contract::{MatchLine, OutputMode, SearchFiles};
use grep_regex::RegexMatcher;
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder, Sink, SinkContext, SinkFinish, SinkMatch};
use rustix::io::Errno;

use super::{channel::Lifeline, list::ENTRY_BYTES};

/// What one file may take in memory, in bytes: its longest line, or all of it when a match may span lines. A file that
/// needs more is passed over.
const MAX_HEAP_BYTES: usize = 64 << 20;

/// A file up to this size, in bytes, is read in one piece. Each thread may hold two of them.
const WHOLE_BYTES: u64 = 8 << 20;

/// Searches files one after another.
pub(super) struct FileSearch<'a> {
    request: &'a SearchFiles,
    matcher: &'a RegexMatcher,
    searcher: Searcher,
    lifeline: Lifeline<'a>,
    /// The file at hand.
    whole: Vec<u8>,
}

/// What came of one file.
#[derive(Debug)]
pub(super) enum Searched {
    /// It does not match.
    Nothing,
    /// It is binary.
    Binary,
    /// It could not be read.
    Unreadable,
    /// It needs more memory than it may have.
    TooLarge,
    /// It matches.
    Found(Found),
}

/// What was found in one file.
#[derive(Debug)]
pub(super) struct Found {
    /// Matching lines.
    pub(super) matches: u64,
    /// Results: matching lines with their context.
    pub(super) results: u64,
    /// Results from the first that was wanted, without a gap, as far as there was room.
    pub(super) kept: Vec<MatchLine>,
    /// Whether its encoding was guessed.
    pub(super) guessed: bool,
}

/// Which results of a file are kept.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// Their numbers, from 0.
    pub(super) results: Range<u64>,
    /// Bytes that they may take.
    pub(super) room: usize,
}

impl<'a> FileSearch<'a> {
    /// Prepares for a request.
    pub(super) fn new(request: &'a SearchFiles, matcher: &'a RegexMatcher, lifeline: Lifeline<'a>) -> Self {
        Self { request, matcher, searcher: searcher(request), lifeline, whole: Vec::new() }
    }

    /// Searches a file.
    pub(super) fn search(&mut self, file: Result<File, Errno>, wanted: Wanted) -> Searched {
        let Ok(mut file) = file else { return Searched::Unreadable };
        let Ok(size) = file.metadata().map(|metadata| metadata.len()) else { return Searched::Unreadable };
        if size > WHOLE_BYTES {
            return self.blocks(file, wanted);
        }
        let mut whole = std::mem::take(&mut self.whole);
        let searched = match read_whole(&mut file, size, &mut whole) {
            // It has grown meanwhile.
            Ok(Whole::Longer) => self.blocks(Read::chain(whole.as_slice(), file), wanted),
            Ok(Whole::Read) => self.slice(&whole, wanted),
            Err(_) => Searched::Unreadable,
        };
        self.whole = whole;
        searched
    }

    fn slice(&mut self, whole: &[u8], wanted: Wanted) -> Searched {
        if is_utf16(whole) {
            return self.blocks(whole, wanted);
        }
        if memchr::memchr(0, whole).is_some() {
            return Searched::Binary;
        }
        let decoded;
        let (text, guessed) = match std::str::from_utf8(whole) {
            Ok(_) => (whole, false),
            Err(_) => {
                decoded = encoding_rs::WINDOWS_1252.decode_without_bom_handling(whole).0;
                (decoded.as_bytes(), true)
            }
        };
        let mut sink = FileSink::new(self.request, wanted, guessed);
        match self.searcher.search_slice(self.matcher, text, &mut sink) {
            Ok(()) => sink.searched(),
            // From a slice only a line that is too long for the searcher's memory.
            Err(_) => Searched::TooLarge,
        }
    }

    fn blocks(&mut self, file: impl Read, wanted: Wanted) -> Searched {
        let mut reader = Watched {
            file,
            lifeline: self.lifeline,
            start: [0; 2],
            read: 0,
            has_nul: false,
            failed: false,
            is_text: true,
        };
        let mut sink = FileSink::new(self.request, wanted, false);
        let searched = self.searcher.search_reader(self.matcher, &mut reader, &mut sink);
        sink.is_binary |= reader.is_binary();
        sink.guessed = !reader.is_text && !reader.is_utf16();
        match searched {
            _ if sink.is_binary => Searched::Binary,
            Ok(()) => sink.searched(),
            Err(_) if reader.failed => Searched::Unreadable,
            Err(_) => Searched::TooLarge,
        }
    }
}

fn searcher(request: &SearchFiles) -> Searcher {
    let context = match request.mode {
        OutputMode::Content => usize::try_from(request.context).unwrap_or(usize::MAX).min(1 << 20),
        OutputMode::FilesWithMatches | OutputMode::Count => 0,
    };
    let mut builder = SearcherBuilder::new();
    builder
        .line_number(true)
        .before_context(context)
        .after_context(context)
        .multi_line(request.multiline)
        .binary_detection(BinaryDetection::quit(0))
        .heap_limit(Some(MAX_HEAP_BYTES));
    if !request.multiline {
        builder.line_terminator(grep_matcher::LineTerminator::crlf());
    }
    builder.build()
}

/// Whether a file was read to its end.
enum Whole {
    Read,
    Longer,
}

/// Reads a file of `size` bytes into `whole`.
fn read_whole(file: &mut File, size: u64, whole: &mut Vec<u8>) -> io::Result<Whole> {
    // One byte more than it has: a read that does not fill the room has met the end, and none is needed to find that out.
    let room = usize::try_from(size).map_err(io::Error::other)? + 1;
    whole.clear();
    whole.resize(room, 0);
    let mut filled = 0;
    loop {
        let count = match file.read(whole.get_mut(filled..).unwrap_or_default()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        filled += count;
        if filled == room {
            return Ok(Whole::Longer);
        }
        if count == 0 || filled + 1 == room {
            whole.truncate(filled);
            return Ok(Whole::Read);
        }
    }
}

/// UTF-16 is text in spite of its NUL bytes; the searcher knows it by its byte order mark.
fn is_utf16(start: &[u8]) -> bool {
    start.starts_with(&[0xff, 0xfe]) || start.starts_with(&[0xfe, 0xff])
}

/// A file that looks at the lifeline with every block, and for the NUL byte of a binary file: where a match may span
/// lines the searcher looks for one at the beginning and in matches only.
struct Watched<'a, R> {
    file: R,
    lifeline: Lifeline<'a>,
    start: [u8; 2],
    read: usize,
    has_nul: bool,
    failed: bool,
    /// Whether no byte was seen that UTF-8 never has.
    is_text: bool,
}

impl<R> Watched<'_, R> {
    fn is_utf16(&self) -> bool {
        is_utf16(&self.start)
    }

    fn is_binary(&self) -> bool {
        self.has_nul && !self.is_utf16()
    }
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.lifeline.check();
        let count = match self.file.read(buffer) {
            Ok(count) => count,
            Err(error) => {
                self.failed |= error.kind() != io::ErrorKind::Interrupted;
                return Err(error);
            }
        };
        let bytes = buffer.get(..count).unwrap_or_default();
        for (place, byte) in self.start.iter_mut().skip(self.read).zip(bytes) {
            *place = *byte;
        }
        self.read += count;
        self.has_nul |= memchr::memchr(0, bytes).is_some();
        // A letter may lie across two blocks, so only what is wrong wherever a block ends counts.
        self.is_text &= std::str::from_utf8(bytes).is_ok() || !has_stray_byte(bytes);
        Ok(count)
    }
}

/// Whether a block that need not begin or end between letters has bytes that UTF-8 has nowhere.
fn has_stray_byte(bytes: &[u8]) -> bool {
    let continued = bytes.iter().take(3).take_while(|byte| (0x80..0xc0).contains(*byte)).count();
    match std::str::from_utf8(bytes.get(continued..).unwrap_or_default()) {
        Ok(_) => false,
        // The last letter goes on in the next block.
        Err(error) => error.error_len().is_some(),
    }
}

/// What is found in one file.
struct FileSink<'a> {
    request: &'a SearchFiles,
    wanted: Wanted,
    kept: Vec<MatchLine>,
    /// Results so far, kept or not.
    results: u64,
    matches: u64,
    is_binary: bool,
    guessed: bool,
}

impl<'a> FileSink<'a> {
    fn new(request: &'a SearchFiles, wanted: Wanted, guessed: bool) -> Self {
        Self { request, wanted, kept: Vec::new(), results: 0, matches: 0, is_binary: false, guessed }
    }

    fn line(&mut self, number: u64, line: &[u8], matched: bool) {
        if self.request.mode != OutputMode::Content {
            return;
        }
        if self.wanted.results.contains(&self.results) && self.wanted.room > 0 {
            let text = text(line, self.request.max_line_bytes);
            // Zero from the first line that does not fit, so that none after it is kept.
            self.wanted.room = self.wanted.room.saturating_sub(text.len() + ENTRY_BYTES);
            if self.wanted.room > 0 {
                self.kept.push(MatchLine { number, text, matched });
            }
        }
        self.results += 1;
    }

    fn searched(self) -> Searched {
        let Self { kept, results, matches, is_binary, guessed, .. } = self;
        match (is_binary, matches) {
            (true, _) => Searched::Binary,
            (false, 0) => Searched::Nothing,
            (false, _) => Searched::Found(Found { matches, results, kept, guessed }),
        }
    }
}

impl Sink for FileSink<'_> {
    type Error = io::Error;

    fn matched(&mut self, _searcher: &Searcher, found: &SinkMatch<'_>) -> io::Result<bool> {
        let first = found.line_number().unwrap_or(0);
        for (line, number) in found.lines().zip(first..) {
            self.matches += 1;
            self.line(number, line, true);
        }
        Ok(true)
    }

    fn context(&mut self, _searcher: &Searcher, context: &SinkContext<'_>) -> io::Result<bool> {
        self.line(context.line_number().unwrap_or(0), context.bytes(), false);
        Ok(true)
    }

    fn binary_data(&mut self, _searcher: &Searcher, _offset: u64) -> io::Result<bool> {
        self.is_binary = true;
        Ok(false)
    }

    fn finish(&mut self, _searcher: &Searcher, finish: &SinkFinish) -> io::Result<()> {
        self.is_binary |= finish.binary_byte_offset().is_some();
        Ok(())
    }
}

/// A line as text, without its end, of at most `max` bytes.
fn text(line: &[u8], max: u32) -> String {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    // One letter more than fits, so that a cut inside a letter is not taken for a broken one.
    let part = line.get(..max.saturating_add(4)).unwrap_or(line);
    let mut text = String::from_utf8_lossy(part).into_owned();
    text.truncate(text.floor_char_boundary(max));
    text
}
