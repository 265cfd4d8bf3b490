//! Searching file contents, with the libraries that ripgrep is made of.
//!
//! Files are searched one after another in the order of their paths: the same tree gives the same answer. A file that
//! turns out to be binary counts as passed over, with whatever was found in it before.

use std::{
    io::{self, Read},
    os::fd::AsFd,
    path::Path,
};

use cofferdam_contract::{FileRefusal, MatchLine, OutputMode, RefusalKind, SearchFiles, SearchHit, SearchReply};
use cofferdam_guest::wire::MAX_LISTING_BYTES;
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder, Sink, SinkContext, SinkFinish, SinkMatch};
use ignore::types::{Types, TypesBuilder};
use rustix::{fs::FileType, io::Errno};

use super::{
    channel::Lifeline,
    list::{ENTRY_BYTES, shown},
    read::must_be_file,
    refusal::refusal,
    walk::{Filter, Glob, Order, Walk},
    workspace::{Workspace, open_file},
};

/// What one file may take in memory, in bytes: its longest line, or all of it when a match may span lines. A file that
/// needs more is passed over.
const MAX_HEAP_BYTES: usize = 64 << 20;

/// Searches a folder or one file.
pub(crate) fn search(
    workspace: &Workspace,
    lifeline: &Lifeline<'_>,
    request: &SearchFiles,
) -> Result<SearchReply, FileRefusal> {
    let path = &request.path;
    let glob = request.glob.as_deref().map(Glob::parse).transpose()?;
    let types = request.file_type.as_deref().map(file_type).transpose()?;
    let mut search = Search {
        matcher: matcher(request)?,
        searcher: searcher(request),
        collector: Collector::new(request),
        lifeline: *lifeline,
    };
    let (place, kind) = workspace.existing(path)?;
    if kind != FileType::Directory {
        must_be_file(kind, path)?;
        // Named by the caller: neither glob nor type filters it.
        search.file(place.open_file(), path.as_str().to_owned());
        return Ok(search.collector.finish());
    }
    let filter = Filter::Ignored(Glob::hidden(glob.as_ref()));
    let walk = Walk { lifeline: *lifeline, filter, order: Order::Paths, depth: u32::MAX };
    let unreadable = walk.run(workspace, path, &place, |visited| {
        let is_wanted = visited.kind == FileType::RegularFile
            && glob.as_ref().is_none_or(|glob| glob.matches(visited.below))
            && types.as_ref().is_none_or(|types| types.matched(visited.below, false).is_whitelist());
        if is_wanted {
            let shown = shown(Path::new(path.as_str()).join(visited.below).as_os_str());
            search.file(open_file(visited.folder.as_fd(), visited.name), shown);
        }
    })?;
    search.collector.reply.skipped += unreadable;
    Ok(search.collector.finish())
}

fn matcher(request: &SearchFiles) -> Result<RegexMatcher, FileRefusal> {
    let mut builder = RegexMatcherBuilder::new();
    // `^` and `$` mean lines, as in ripgrep.
    builder.case_insensitive(request.case_insensitive).multi_line(true);
    if request.multiline {
        builder.dot_matches_new_line(true);
    } else {
        // Also `\r\n` ends a line: `$` matches before it.
        builder.crlf(true);
    }
    builder.build(&request.pattern).map_err(|error| {
        // The parser draws a picture over several lines; its last line says it in words.
        let error = error.to_string();
        let error = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
        refusal(RefusalKind::Invalid, format!("`{}` is no regular expression to search with: {error}", request.pattern))
    })
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

fn file_type(name: &str) -> Result<Types, FileRefusal> {
    TypesBuilder::new().add_defaults().select(name).build().map_err(|_| {
        let example = "ripgrep's names are known, such as rust, py, js, ts, go, java, c, cpp, md, json, yaml, toml";
        refusal(RefusalKind::Invalid, format!("`{name}` is no file type; {example}"))
    })
}

struct Search<'a> {
    matcher: RegexMatcher,
    searcher: Searcher,
    collector: Collector<'a>,
    lifeline: Lifeline<'a>,
}

impl Search<'_> {
    fn file(&mut self, file: Result<std::fs::File, Errno>, path: String) {
        let Ok(file) = file else {
            self.collector.reply.skipped += 1;
            return;
        };
        let mut reader = Watched { file, lifeline: self.lifeline, start: [0; 2], read: 0, has_nul: false };
        let room = self.collector.room.saturating_sub(path.len() + ENTRY_BYTES);
        let mut sink =
            FileSink { collector: &self.collector, room, kept: Vec::new(), lines: 0, matches: 0, is_binary: false };
        let searched = self.searcher.search_reader(&self.matcher, &mut reader, &mut sink);
        let FileSink { kept, lines, matches, is_binary, room, .. } = sink;
        // The error is a file that cannot be read, or needs too much memory.
        if searched.is_err() || is_binary || reader.is_binary() {
            self.collector.reply.skipped += 1;
        } else if matches > 0 {
            self.collector.add(path, matches, kept, lines, room);
        }
    }
}

/// A file that looks at the lifeline with every block, and for the NUL byte of a binary file: where a match may span
/// lines the searcher looks for one at the beginning and in matches only.
struct Watched<'a> {
    file: std::fs::File,
    lifeline: Lifeline<'a>,
    start: [u8; 2],
    read: usize,
    has_nul: bool,
}

impl Watched<'_> {
    /// UTF-16 is text in spite of its NUL bytes; the searcher knows it by its byte order mark.
    fn is_binary(&self) -> bool {
        self.has_nul && self.start != [0xff, 0xfe] && self.start != [0xfe, 0xff]
    }
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.lifeline.check();
        let count = self.file.read(buffer)?;
        let bytes = buffer.get(..count).unwrap_or_default();
        for (place, byte) in self.start.iter_mut().skip(self.read).zip(bytes) {
            *place = *byte;
        }
        self.read += count;
        self.has_nul |= memchr::memchr(0, bytes).is_some();
        Ok(count)
    }
}

/// What is found in all files.
struct Collector<'a> {
    request: &'a SearchFiles,
    /// Results seen so far, those before the offset among them.
    seen: u64,
    /// Bytes that the reply has room for.
    room: usize,
    reply: SearchReply,
}

impl<'a> Collector<'a> {
    fn new(request: &'a SearchFiles) -> Self {
        let reply = SearchReply { hits: Vec::new(), omitted: 0, total_matches: 0, total_files: 0, skipped: 0 };
        Self { request, seen: 0, room: MAX_LISTING_BYTES - 2 * ENTRY_BYTES, reply }
    }

    /// Whether the result with this number, from 0, is among those that are wanted.
    fn wants(&self, result: u64) -> bool {
        // After the first that was left out none is kept: what is returned has no gap.
        self.reply.omitted == 0
            && result >= self.request.offset
            && result - self.request.offset < self.request.head_limit
    }

    /// Adds a matching file: `lines` results were seen in it, `kept` of them are wanted, which leaves `room`.
    fn add(&mut self, path: String, matches: u64, kept: Vec<MatchLine>, lines: u64, room: usize) {
        self.reply.total_files += 1;
        self.reply.total_matches += matches;
        let (results, wanted) = match self.request.mode {
            OutputMode::Content => (lines, kept.len() as u64),
            OutputMode::FilesWithMatches | OutputMode::Count => (1, u64::from(room > 0 && self.wants(self.seen))),
        };
        let before_offset = self.request.offset.saturating_sub(self.seen).min(results);
        self.seen += results;
        self.reply.omitted += results - before_offset - wanted;
        if wanted > 0 {
            self.room = room;
            self.reply.hits.push(SearchHit { path, matches, lines: kept });
        }
    }

    fn finish(self) -> SearchReply {
        self.reply
    }
}

/// What is found in one file.
struct FileSink<'a> {
    collector: &'a Collector<'a>,
    /// Bytes that the reply has room for.
    room: usize,
    kept: Vec<MatchLine>,
    /// Results so far, kept or not.
    lines: u64,
    matches: u64,
    is_binary: bool,
}

impl FileSink<'_> {
    fn line(&mut self, number: u64, line: &[u8], matched: bool) {
        if self.collector.request.mode != OutputMode::Content {
            return;
        }
        if self.collector.wants(self.collector.seen + self.lines) {
            let text = text(line, self.collector.request.max_line_bytes);
            // Zero from the first line that does not fit, so that none after it is kept.
            self.room = self.room.saturating_sub(text.len() + ENTRY_BYTES);
            if self.room > 0 {
                self.kept.push(MatchLine { number, text, matched });
            }
        }
        self.lines += 1;
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
