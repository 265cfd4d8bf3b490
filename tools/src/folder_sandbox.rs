//! For tests: a sandbox that is a temporary folder and confines nothing, and recordings of what real runners print.
//!
//! File operations are a short, plain version of the guest's. Programs are not executed: their output is played back
//! from `tests/recorded/NAME.json`, and a test fails when a tool asks for other arguments than were recorded. With
//! `COFFERDAM_RECORD=1` they are executed, and the recording is written anew.

use std::{
    collections::BTreeMap,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::Read,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Mutex, mpsc},
};

use cofferdam_contract::{
    Command, Digest, Ended, Entry, EntryKind, Exit, Expected, FileContent, FileRefusal, FileReply, FileRequest,
    Ignoring, LeftOut, Listing, MatchLine, OutputMode, RefusalKind, Repository, Sandbox, SandboxError, SearchHit,
    SearchReply, Status, Stream, Window, WorkspacePath, Written,
};
use grep_regex::RegexMatcherBuilder;
use grep_searcher::{SearcherBuilder, sinks::Lossy};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Failure, Output, Project, Tool, Toolbox};

/// A workspace of a test.
pub(crate) struct FolderSandbox {
    folder: TempDir,
    root: String,
    recording: Mutex<Recording>,
}

#[derive(Default)]
struct Recording {
    name: Option<String>,
    programs: BTreeMap<String, String>,
    executions: Vec<Execution>,
    played: usize,
    omitted: u64,
    ended: Option<Ended>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Recorded {
    programs: BTreeMap<String, String>,
    executions: Vec<Execution>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Execution {
    program: String,
    arguments: Vec<String>,
    directory: String,
    output: Vec<(Stream, String)>,
    exit: Exit,
}

/// Plans and runs a tool that must succeed.
pub(crate) fn call(sandbox: &FolderSandbox, tool: &str, arguments: Value) -> Output {
    attempt(sandbox, tool, arguments).unwrap_or_else(|failure| panic!("{failure:?}"))
}

/// Plans and runs a tool that must fail.
pub(crate) fn call_failing(sandbox: &FolderSandbox, tool: &str, arguments: Value) -> Failure {
    attempt(sandbox, tool, arguments).expect_err("the call fails")
}

fn attempt(sandbox: &FolderSandbox, tool: &str, arguments: Value) -> Result<Output, Failure> {
    let toolbox = Toolbox::default();
    attempt_with(sandbox, toolbox.find(tool).unwrap(), arguments)
}

/// Plans and runs a tool that may succeed.
pub(crate) fn attempt_with(sandbox: &FolderSandbox, tool: &dyn Tool, arguments: Value) -> Result<Output, Failure> {
    let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
    let project = Project { workspace: sandbox.root.clone() };
    let plan = tool.plan(&arguments, &project).unwrap_or_else(|error| panic!("{error}"));
    let output = tool.run(&plan, &mut &*sandbox)?;
    crate::portability_tests::assert_matches(&output.structured, &tool.output_schema());
    Ok(output)
}

impl FolderSandbox {
    /// A workspace with these files.
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap().to_str().unwrap().to_owned();
        let sandbox = Self { folder, root, recording: Mutex::default() };
        for (path, content) in files {
            sandbox.write(path, content.as_bytes());
        }
        sandbox
    }

    /// A copy of `tests/projects/PROJECT`, whose programs print what was recorded as NAME.
    pub(crate) fn recorded(project: &str, name: &str) -> Self {
        let sandbox = Self::new(&[]);
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        copy(&tests.join("projects").join(project), sandbox.folder.path());
        let mut recording = Recording { name: Some(name.to_owned()), ..Recording::default() };
        if !is_recording() {
            let text = fs::read_to_string(recorded_path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
            let recorded: Recorded = serde_json::from_str(&text).unwrap();
            recording.programs = recorded.programs;
            recording.executions = recorded.executions;
        }
        *sandbox.recording.lock().unwrap() = recording;
        sandbox
    }

    /// The next execution ends the sandbox after its output.
    pub(crate) fn ends_with(self, ended: Ended) -> Self {
        self.recording.lock().unwrap().ended = Some(ended);
        self
    }

    /// Only the first `bytes` bytes of each execution's output are handed on.
    pub(crate) fn keeps(self, bytes: usize) -> Self {
        for execution in &mut self.recording.lock().unwrap().executions {
            let mut left = bytes;
            for (_, text) in &mut execution.output {
                text.truncate(text.floor_char_boundary(left));
                left -= text.len();
            }
        }
        self
    }

    /// Only the output up to the line that holds `words` first is handed on, of each execution.
    pub(crate) fn until(self, words: &str) -> Self {
        for execution in &mut self.recording.lock().unwrap().executions {
            let mut over = false;
            for (_, text) in &mut execution.output {
                if over {
                    text.clear();
                } else if let Some(at) = text.find(words) {
                    text.truncate(text[at..].find('\n').map_or(text.len(), |end| at + end + 1));
                    over = true;
                }
            }
        }
        self
    }

    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    pub(crate) fn write(&self, path: &str, content: &[u8]) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn link(&self, path: &str, target: &str) {
        std::os::unix::fs::symlink(target, self.folder.path().join(path)).unwrap();
    }

    pub(crate) fn content(&self, path: &str) -> Vec<u8> {
        fs::read(self.folder.path().join(path)).unwrap()
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.folder.path().join(path).symlink_metadata().is_ok()
    }

    fn at(&self, path: &WorkspacePath) -> PathBuf {
        self.folder.path().join(path.as_str())
    }

    fn list(&self, request: &cofferdam_contract::ListFiles) -> Result<FileReply, SandboxError> {
        let base = self.at(&request.path);
        if base.canonicalize().is_ok_and(|real| !real.starts_with(&self.root)) {
            return Err(refusal(RefusalKind::LeadsOut, format!("`{}` leads out", request.path)));
        }
        if !base.is_dir() {
            return Err(refusal(RefusalKind::WrongKind, format!("`{}` is not a folder", request.path)));
        }
        let glob = request.glob.as_ref().map(|glob| {
            let anywhere = if glob.contains('/') { glob.clone() } else { format!("**/{glob}") };
            globset::GlobBuilder::new(&anywhere).literal_separator(true).build().map(|glob| glob.compile_matcher())
        });
        let glob = glob.transpose().map_err(|error| refusal(RefusalKind::Invalid, error.to_string()))?;
        let mut found = Vec::new();
        let mut closed = Vec::new();
        self.walk(&base, request.depth, request.ignoring, &mut found, &mut closed);
        found.retain(|path| glob.as_ref().is_none_or(|glob| glob.is_match(path.strip_prefix(&base).unwrap())));
        let found: Vec<_> = found.into_iter().skip(usize::try_from(request.offset).unwrap()).collect();
        let limit = usize::try_from(request.max_entries).unwrap();
        let omitted = u64::try_from(found.len().saturating_sub(limit)).unwrap();
        let entries = found.into_iter().take(limit).map(|path| self.entry(&path)).collect();
        let closed = closed.iter().map(|path| self.entry(path).path).collect();
        Ok(FileReply::Listing(Listing { entries, omitted, left_out: LeftOut::default(), closed }))
    }

    fn walk(&self, folder: &Path, depth: u32, ignoring: Ignoring, found: &mut Vec<PathBuf>, closed: &mut Vec<PathBuf>) {
        let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let is_closed = name.starts_with('.') || name == "ignored";
            let (is_shown, below) = match ignoring {
                Ignoring::Nowhere => (true, Some(ignoring)),
                Ignoring::BelowTheTop => (true, (!is_closed).then_some(Ignoring::Everywhere)),
                Ignoring::Everywhere => (!is_closed, (!is_closed).then_some(ignoring)),
            };
            if is_shown {
                found.push(path.clone());
            }
            if depth > 1 && path.symlink_metadata().unwrap().is_dir() {
                match below {
                    Some(below) => self.walk(&path, depth - 1, below, found, closed),
                    None if is_shown => closed.push(path),
                    None => {}
                }
            }
        }
    }

    fn entry(&self, path: &Path) -> Entry {
        let status = path.symlink_metadata().unwrap();
        Entry {
            path: path.strip_prefix(self.folder.path()).unwrap().to_str().unwrap().to_owned(),
            exact: true,
            kind: kind(path),
            size: if status.is_file() { status.len() } else { 0 },
        }
    }

    fn search(&self, request: &cofferdam_contract::SearchFiles) -> Result<FileReply, SandboxError> {
        let matcher = RegexMatcherBuilder::new()
            .case_insensitive(request.case_insensitive)
            .multi_line(true)
            .build(&request.pattern)
            .map_err(|error| refusal(RefusalKind::Invalid, error.to_string()))?;
        let mut files = Vec::new();
        let base = self.at(&request.path);
        if base.is_dir() {
            self.walk(&base, 32, request.ignoring, &mut files, &mut Vec::new())
        } else {
            files.push(base)
        }
        let glob =
            request.glob.as_ref().map(|glob| globset::Glob::new(&format!("**/{glob}")).unwrap().compile_matcher());
        let (mut reply, mut position) = (
            SearchReply {
                hits: Vec::new(),
                omitted: 0,
                total_matches: 0,
                total_files: 0,
                left_out: LeftOut::default(),
                guessed: 0,
            },
            0,
        );
        for file in files.iter().filter(|file| file.is_file()) {
            if glob.as_ref().is_some_and(|glob| !glob.is_match(file)) {
                continue;
            }
            let mut lines = Vec::new();
            let sink = Lossy(|number, text| {
                lines.push(MatchLine { number, text: text.trim_end_matches('\n').to_owned(), matched: true });
                Ok(true)
            });
            SearcherBuilder::new().build().search_path(&matcher, file, sink).unwrap();
            if lines.is_empty() {
                continue;
            }
            let matches = u64::try_from(lines.len()).unwrap();
            reply.total_matches += matches;
            reply.total_files += 1;
            let path = file.strip_prefix(self.folder.path()).unwrap().to_str().unwrap().to_owned();
            let last = request.offset + request.head_limit;
            if request.mode == OutputMode::Content {
                lines.retain(|_| {
                    position += 1;
                    position > request.offset && position <= last
                });
            } else {
                position += 1;
                lines.clear();
            }
            reply.omitted = u64::saturating_sub(position, last);
            let kept = if request.mode == OutputMode::Content {
                !lines.is_empty()
            } else {
                position > request.offset && position <= last
            };
            if kept {
                reply.hits.push(SearchHit { path, matches, lines });
            }
        }
        Ok(FileReply::Search(reply))
    }

    fn read(&self, request: &cofferdam_contract::ReadFile) -> Result<FileReply, SandboxError> {
        let path = self.at(&request.path);
        let bytes = fs::read(&path)
            .map_err(|_| refusal(RefusalKind::NotFound, format!("`{}` does not exist", request.path)))?;
        let mut window: Vec<u8> = match request.window {
            Window::Bytes => bytes.clone(),
            Window::Lines { first, count } => bytes
                .split_inclusive(|byte| *byte == b'\n')
                .skip(usize::try_from(first - 1).unwrap())
                .take(usize::try_from(count).unwrap())
                .flatten()
                .copied()
                .collect(),
        };
        let limit = usize::try_from(request.max_bytes).unwrap();
        let cut = window.len() > limit;
        window.truncate(limit);
        Ok(FileReply::Read(FileContent {
            bytes: window,
            head: bytes[..bytes.len().min(1024)].to_vec(),
            size: u64::try_from(bytes.len()).unwrap(),
            total_lines: Some(u64::try_from(bytes.split_inclusive(|byte| *byte == b'\n').count()).unwrap()),
            cut,
            digest: Some(digest(&bytes)),
            mode: 0o644,
        }))
    }

    fn save(&self, request: &cofferdam_contract::WriteFile) -> Result<FileReply, SandboxError> {
        let path = self.at(&request.path);
        let before = fs::read(&path).ok();
        if let Expected::Content(expected) = request.expected
            && before.as_deref().map(digest) != Some(expected)
        {
            return Err(refusal(RefusalKind::Changed, format!("`{}` changed", request.path)));
        }
        if path.is_dir() {
            return Err(refusal(RefusalKind::WrongKind, format!("`{}` is a folder", request.path)));
        }
        self.write(request.path.as_str(), &request.content);
        Ok(FileReply::Written(Written {
            created: before.is_none(),
            real_path: request.path.clone(),
            previous_size: before.map_or(0, |bytes| u64::try_from(bytes.len()).unwrap()),
        }))
    }

    fn play(&self, command: &Command, output: &mut dyn FnMut(Stream, &[u8])) -> Result<Exit, SandboxError> {
        let mut recording = self.recording.lock().unwrap();
        if is_recording() {
            let execution = self.execute_really(command, output);
            let exit = execution.exit;
            recording.executions.push(execution);
            return Ok(exit);
        }
        let execution = recording.executions.get(recording.played).cloned();
        let execution = execution.unwrap_or_else(|| panic!("not recorded: {command:?}"));
        recording.played += 1;
        let asked = (command.program.clone(), self.scrub_all(&command.arguments), command.directory.to_string());
        assert_eq!(asked, (execution.program, execution.arguments, execution.directory));
        for (stream, text) in &execution.output {
            output(*stream, text.replace("{workspace}", &self.root).replace("{home}", "/home/user").as_bytes());
        }
        match recording.ended {
            Some(ended) if recording.played == recording.executions.len() => Err(ended.into()),
            _ => Ok(execution.exit),
        }
    }

    fn execute_really(&self, command: &Command, output: &mut dyn FnMut(Stream, &[u8])) -> Execution {
        let program = match command.program.strip_prefix("./") {
            Some(below) => self.folder.path().join(below).to_str().unwrap().to_owned(),
            None => command.program.clone(),
        };
        let mut child = std::process::Command::new(program)
            .args(&command.arguments)
            .current_dir(self.at(&command.directory))
            .envs(&command.environment)
            .env_remove("RUST_BACKTRACE")
            .env("CARGO_TARGET_DIR", "target")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, chunks) = mpsc::channel();
        let pipes: [(Stream, Box<dyn Read + Send>); 2] = [
            (Stream::Stdout, Box::new(child.stdout.take().unwrap())),
            (Stream::Stderr, Box::new(child.stderr.take().unwrap())),
        ];
        for (stream, mut pipe) in pipes {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let mut buffer = [0; 65536];
                while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                    sender.send((stream, buffer[..count].to_vec())).unwrap();
                }
            });
        }
        drop(sender);
        let mut told = Vec::new();
        for (stream, bytes) in chunks {
            output(stream, &bytes);
            told.push((stream, self.scrub(&String::from_utf8(bytes).unwrap())));
        }
        let status = child.wait().unwrap();
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        Execution {
            program: command.program.clone(),
            arguments: self.scrub_all(&command.arguments),
            directory: command.directory.to_string(),
            output: told,
            exit: status.code().map_or_else(|| Exit::Signal(signal.unwrap()), Exit::Code),
        }
    }

    fn scrub(&self, text: &str) -> String {
        let home = std::env::var("HOME").unwrap_or_else(|_| "/home/user".to_owned());
        let text = text.replace(&self.root, "{workspace}").replace(&home, "{home}");
        if text.starts_with("\"\"\"Runs ") {
            "{recorder}".to_owned()
        } else if let Some((option, _)) = text.split_once("=data:") {
            format!("{option}={{recorder}}")
        } else {
            text
        }
    }

    fn scrub_all(&self, texts: &[String]) -> Vec<String> {
        texts.iter().map(|text| self.scrub(text)).collect()
    }
}

impl Sandbox for &FolderSandbox {
    fn workspace(&self) -> &str {
        &self.root
    }

    fn file(&mut self, request: FileRequest) -> Result<FileReply, SandboxError> {
        match request {
            FileRequest::Read(request) => self.read(&request),
            FileRequest::Write(request) => self.save(&request),
            FileRequest::List(request) => self.list(&request),
            FileRequest::Search(request) => self.search(&request),
            FileRequest::Status(path) => {
                let status = self.at(&path).symlink_metadata();
                let status = status.map_err(|_| refusal(RefusalKind::NotFound, format!("`{path}` does not exist")))?;
                let kind = kind(&self.at(&path));
                Ok(FileReply::Status(Status { kind, size: status.len(), mode: 0o644 }))
            }
            FileRequest::Move { source, destination } => {
                let from = self.at(&source);
                if from.symlink_metadata().is_err() {
                    return Err(refusal(RefusalKind::NotFound, format!("`{source}` does not exist")));
                }
                if self.at(&destination).symlink_metadata().is_ok() {
                    return Err(refusal(RefusalKind::Exists, format!("`{destination}` exists already")));
                }
                fs::create_dir_all(self.at(&destination).parent().unwrap()).unwrap();
                fs::rename(from, self.at(&destination)).unwrap();
                Ok(FileReply::Moved(1))
            }
            FileRequest::Delete(path) => {
                let at = self.at(&path);
                match at.symlink_metadata() {
                    Err(_) => Err(refusal(RefusalKind::NotFound, format!("`{path}` does not exist"))),
                    Ok(status) if status.is_dir() => {
                        let mut below = Vec::new();
                        self.walk(&at, 32, Ignoring::Nowhere, &mut below, &mut Vec::new());
                        fs::remove_dir_all(at).unwrap();
                        Ok(FileReply::Deleted(1 + u64::try_from(below.len()).unwrap()))
                    }
                    Ok(_) => {
                        fs::remove_file(at).unwrap();
                        Ok(FileReply::Deleted(1))
                    }
                }
            }
        }
    }

    fn execute(&mut self, command: &Command, output: &mut dyn FnMut(Stream, &[u8])) -> Result<Exit, SandboxError> {
        self.play(command, output)
    }

    fn omitted_output_bytes(&self) -> u64 {
        self.recording.lock().unwrap().omitted
    }

    fn find_program(&mut self, name: &str) -> Result<Option<String>, SandboxError> {
        let mut recording = self.recording.lock().unwrap();
        if is_recording() {
            let path = std::env::var("PATH").unwrap();
            if path.split(':').any(|folder| Path::new(folder).join(name).is_file()) {
                recording.programs.insert(name.to_owned(), format!("/usr/bin/{name}"));
            }
        }
        Ok(recording.programs.get(name).cloned())
    }

    fn repository(&self) -> Option<&Repository> {
        None
    }

    fn progress(&mut self, _: &str) {}
}

impl Drop for FolderSandbox {
    fn drop(&mut self) {
        let recording = self.recording.get_mut().unwrap();
        if let (true, false, Some(name)) = (is_recording(), std::thread::panicking(), &recording.name) {
            let recorded = Recorded { programs: recording.programs.clone(), executions: recording.executions.clone() };
            let text = serde_json::to_string_pretty(&recorded).unwrap();
            fs::write(recorded_path(name), text + "\n").unwrap();
        }
    }
}

fn is_recording() -> bool {
    std::env::var_os("COFFERDAM_RECORD").is_some()
}

fn recorded_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded").join(format!("{name}.json"))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display())) {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { fs::copy(&path, &target).map(drop).unwrap() }
    }
}

fn kind(path: &Path) -> EntryKind {
    let status = path.symlink_metadata().unwrap();
    if status.is_symlink() {
        EntryKind::Link(fs::read_link(path).unwrap().to_str().unwrap().to_owned())
    } else if status.is_dir() {
        EntryKind::Folder
    } else {
        EntryKind::File
    }
}

/// Tells contents apart; the real digest is SHA-256.
fn digest(bytes: &[u8]) -> Digest {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    let mut digest = Digest::default();
    digest[..8].copy_from_slice(&hasher.finish().to_le_bytes());
    digest
}

fn refusal(kind: RefusalKind, message: String) -> SandboxError {
    FileRefusal { kind, message }.into()
}
