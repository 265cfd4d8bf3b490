//! Searching file contents, with the libraries that ripgrep is made of.
//!
//! Several threads search ([`super::search_threads`]), and what they find is put together in the order of the files' paths:
//! the same tree gives the same answer. A file that turns out to be binary counts as passed over, with whatever was found
//! in it before.

use std::{os::fd::AsFd, path::Path};

use cofferdam_contract::{FileRefusal, LeftOut, OutputMode, RefusalKind, SearchFiles, SearchHit, SearchReply};
use cofferdam_guest::wire::MAX_LISTING_BYTES;
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use ignore::types::{Types, TypesBuilder};
use rustix::fs::FileType;

use super::{
    channel::Lifeline,
    file_search::{FileSearch, Found, Searched, Wanted},
    list::{ENTRY_BYTES, shown},
    read::must_be_file,
    refusal::refusal,
    search_threads::{self, FoundFile},
    walk::{Filter, Glob, Order, Walk},
    workspace::{Workspace, open_file},
};

/// Searches a folder or one file.
pub(crate) fn search(
    workspace: &Workspace,
    lifeline: &Lifeline<'_>,
    request: &SearchFiles,
) -> Result<SearchReply, FileRefusal> {
    let path = &request.path;
    let glob = request.glob.as_deref().map(Glob::parse).transpose()?;
    let types = request.file_type.as_deref().map(file_type).transpose()?;
    let matcher = matcher(request)?;
    let mut collector = Collector::new(request);
    let mut again = FileSearch::new(request, &matcher, *lifeline);
    let (place, kind) = workspace.existing(path)?;
    if kind != FileType::Directory {
        must_be_file(kind, path)?;
        // Named by the caller: neither glob nor type filters it.
        let searched = again.search(place.open_file(), collector.wanted());
        collector.add(path.as_str(), searched, |_| Searched::Nothing);
        return Ok(collector.finish());
    }
    let filter = Filter::of(request.ignoring, glob.as_ref());
    let walk = Walk { lifeline: *lifeline, filter, order: Order::Paths, depth: u32::MAX };
    let left_out = search_threads::search(
        (request, &matcher, *lifeline),
        |found| {
            walk.run(workspace, path, &place, |visited| {
                let is_wanted = visited.kind == FileType::RegularFile
                    && glob.as_ref().is_none_or(|glob| glob.matches(visited.below))
                    && types.as_ref().is_none_or(|types| types.matched(visited.below, false).is_whitelist());
                if is_wanted {
                    found(FoundFile {
                        folder: visited.folder.clone(),
                        name: visited.name.to_owned(),
                        below: visited.below.to_owned(),
                    });
                }
            })
        },
        |file, searched| {
            let shown = shown(Path::new(path.as_str()).join(&file.below).as_os_str());
            collector.add(&shown, searched, |wanted| again.search(open_file(file.folder.as_fd(), &file.name), wanted))
        },
    )?;
    collector.passed_over(left_out);
    Ok(collector.finish())
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

fn file_type(name: &str) -> Result<Types, FileRefusal> {
    TypesBuilder::new().add_defaults().select(name).build().map_err(|_| {
        let example = "ripgrep's names are known, such as rust, py, js, ts, go, java, c, cpp, md, json, yaml, toml";
        refusal(RefusalKind::Invalid, format!("`{name}` is no file type; {example}"))
    })
}

/// Whether more results can be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Left,
    /// From now on results are only counted.
    Used,
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
        let reply = SearchReply {
            hits: Vec::new(),
            omitted: 0,
            total_matches: 0,
            total_files: 0,
            left_out: LeftOut::default(),
            guessed: 0,
        };
        Self { request, seen: 0, room: MAX_LISTING_BYTES - 2 * ENTRY_BYTES, reply }
    }

    /// Which results of the next file are wanted.
    fn wanted(&self) -> Wanted {
        let end = self.request.offset.saturating_add(self.request.head_limit);
        // After the first that was left out none is kept: what is returned has no gap.
        let end = if self.reply.omitted == 0 { end.saturating_sub(self.seen) } else { 0 };
        let first = self.request.offset.saturating_sub(self.seen).min(end);
        Wanted { results: first..end, room: self.room }
    }

    /// Adds the next file. What was `searched` kept results from the file's first on, as far as a thread had room for them; `again`
    /// searches it anew for others.
    fn add(&mut self, path: &str, searched: Searched, again: impl FnOnce(Wanted) -> Searched) -> Room {
        let left_out = &mut self.reply.left_out;
        match searched {
            Searched::Nothing => {}
            Searched::Binary => left_out.binary += 1,
            Searched::Unreadable => left_out.unreadable += 1,
            Searched::TooLarge => left_out.too_large += 1,
            Searched::Found(found) => self.found(path, found, again),
        }
        let is_over = self.seen >= self.request.offset.saturating_add(self.request.head_limit);
        if is_over || self.reply.omitted > 0 { Room::Used } else { Room::Left }
    }

    fn found(&mut self, path: &str, found: Found, again: impl FnOnce(Wanted) -> Searched) {
        let mut wanted = self.wanted();
        wanted.room = wanted.room.saturating_sub(path.len() + ENTRY_BYTES);
        let Found { mut matches, results, mut kept, guessed } = found;
        let (results, shown) = match self.request.mode {
            OutputMode::FilesWithMatches | OutputMode::Count => {
                let is_shown = wanted.results.contains(&0) && wanted.room > 0;
                (1, u64::from(is_shown))
            }
            OutputMode::Content => {
                let (first, end) = (wanted.results.start, wanted.results.end.min(results));
                let mut total = results;
                if first < end && end > kept.len() as u64 {
                    // The file may have changed meanwhile: what is true of it now counts.
                    match again(wanted.clone()) {
                        Searched::Found(found) => (matches, total, kept) = (found.matches, found.results, found.kept),
                        Searched::Nothing | Searched::Binary | Searched::Unreadable | Searched::TooLarge => return,
                    }
                } else {
                    let first = usize::try_from(first).unwrap_or(usize::MAX).min(kept.len());
                    kept.drain(..first);
                    kept.truncate(usize::try_from(end.saturating_sub(first as u64)).unwrap_or(usize::MAX));
                    let fitting = kept.iter().take_while(|line| {
                        wanted.room = wanted.room.saturating_sub(line.text.len() + ENTRY_BYTES);
                        wanted.room > 0
                    });
                    let fitting = fitting.count();
                    kept.truncate(fitting);
                }
                (total, kept.len() as u64)
            }
        };
        self.reply.total_files += 1;
        self.reply.total_matches += matches;
        self.reply.guessed += u64::from(guessed);
        let before_offset = self.request.offset.saturating_sub(self.seen).min(results);
        self.seen += results;
        self.reply.omitted += results - before_offset - shown;
        if shown > 0 {
            let bytes: usize = kept.iter().map(|line| line.text.len() + ENTRY_BYTES).sum();
            self.room = self.room.saturating_sub(path.len() + ENTRY_BYTES + bytes);
            self.reply.hits.push(SearchHit { path: path.to_owned(), matches, lines: kept });
        }
    }

    fn passed_over(&mut self, walked: LeftOut) {
        let found = &mut self.reply.left_out;
        found.ignored += walked.ignored;
        found.hidden += walked.hidden;
        found.unreadable += walked.unreadable;
    }

    fn finish(self) -> SearchReply {
        self.reply
    }
}
