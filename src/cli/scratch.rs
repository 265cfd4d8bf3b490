//! `cofferdam scratch …`: a person looks into the folders that runs keep between calls, takes things out, and empties them.

use std::{
    ffi::OsStr,
    path::{Component, Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::{Args, Subcommand};
use cofferdam_contract::Ended;
use cofferdam_sandboxes::{
    Cancel, ExportError, Exported, Intention, PersonError, PersonWaiting, ScratchHolder, ScratchSize, ScratchVolume,
    ScratchVolumes, Session,
};
use serde_json::{Value, json};

use super::{
    call::unusable,
    doctor::permit_to_run,
    exit::Exit,
    terminal::{Colour, Mark, causes, note, print},
};
use crate::{
    audit::{self, Event, Log, ScratchCleared, ScratchOrdered},
    config, plain,
    server::{Setup, Unusable, open_session},
};

/// Places that the audit log names.
const RECORDED: usize = 20;

/// What was left out of a copy and is named.
const NAMED: usize = 20;

const ABOUT: &str = "\
Builds and tests write to private volumes, which lie over your own folders and
never come back on their own. Look into them, take what was built, or have the
next run begin anew:

  cofferdam scratch list
  cofferdam scratch export target/debug/my-program
  cofferdam scratch clear target

While a run uses the volumes, each of these commands waits for its end, ten
minutes at most.";

/// Looks into scratch volumes, takes files out, and empties them.
#[derive(Debug, Subcommand)]
#[command(after_help = ABOUT)]
pub(super) enum Scratch {
    /// Lists the volumes of this workspace: where they are shown, what they hold of their own, when a run had them last
    List(List),
    /// Prints where a volume's own files lie on this machine
    ///
    /// Of a volume over a folder of yours these are only the files that runs wrote; a deleted one is a device 0:0. A root
    /// server's volumes lie in one image, which no path leads into: `export` takes files out of it.
    Path(Where),
    /// Copies a file or folder out of a volume, as programs saw it
    ///
    /// Nothing is overwritten. Devices, sockets, set-id bits and links that lead out of the copy stay behind, and are named.
    /// Where you are root, the copy belongs to the owner of the folder that it goes to. What comes out was built or written
    /// by code that ran for the agent: look at it before you run it.
    Export(Export),
    /// Removes volumes, so that the next run begins with your folders as they are
    Clear(Clear),
}

/// How to list.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Prints the list as JSON
    #[arg(long)]
    json: bool,
}

/// Which volume.
#[derive(Debug, Args)]
pub(super) struct Where {
    /// A volume's place, as `list` shows it; without one, what holds all of them
    place: Option<PathBuf>,
}

/// What to copy, and where.
#[derive(Debug, Args)]
pub(super) struct Export {
    /// A file or folder in a volume, as programs saw it: `target/debug/my-program`
    path: PathBuf,
    /// The new file or folder, or a folder that is there to copy into; without it the current folder
    #[arg(long, value_name = "DEST")]
    to: Option<PathBuf>,
}

/// Which volumes.
#[derive(Debug, Args)]
pub(super) struct Clear {
    /// Places of volumes, as `list` shows them; without any, all volumes and the image that holds them
    places: Vec<PathBuf>,
}

/// Runs the command.
#[must_use]
pub(super) fn run(command: &Scratch, setup: &Setup, colour: Colour) -> Exit {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            note(format_args!("cofferdam: failed to start threads: {error}"));
            return Exit::Failed;
        }
    };
    let cancel = Cancel::new();
    // So that what was half copied is removed, and nothing is half done.
    runtime.spawn({
        let cancel = cancel.clone();
        async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                cancel.cancel(Ended::Cancelled);
            }
        }
    });
    let desk = match Desk::open(setup, colour, cancel) {
        Ok(desk) => desk,
        Err(error) => {
            note(format_args!("cofferdam: failed to {}", causes(&error)));
            return unusable(&error);
        }
    };
    let done = match command {
        Scratch::List(list) => desk.list(list, setup),
        Scratch::Path(place) => desk.path(place),
        Scratch::Export(export) => desk.export(export),
        Scratch::Clear(clear) => desk.clear(clear),
    };
    done.unwrap_or_else(|exit| exit)
}

/// A workspace whose volumes a person looks after.
struct Desk {
    session: Arc<Session>,
    state: PathBuf,
    current_folder: PathBuf,
    colour: Colour,
    cancel: Cancel,
}

impl Desk {
    fn open(setup: &Setup, colour: Colour, cancel: Cancel) -> Result<Self, Unusable> {
        let state = config::prepare_state(&setup.folders.state)?;
        let session = open_session(setup, &state)?;
        Ok(Self { session, state, current_folder: setup.environment.current_folder.clone(), colour, cancel })
    }

    fn take(&self, intention: Intention) -> Result<ScratchVolumes, Exit> {
        let mut tell = |words: &str| self.tell(words);
        let waiting = PersonWaiting { cancel: &self.cancel, tell: &mut tell };
        ScratchVolumes::take(self.session.workspace(), intention, waiting).map_err(|error| failed(&error))
    }

    fn tell(&self, words: &str) {
        note(self.colour.paint(Mark::Dim, format_args!("… {words}")));
    }

    fn list(&self, List { json }: &List, setup: &Setup) -> Result<Exit, Exit> {
        let volumes = self.take(Intention::Look)?;
        let holder = volumes.holder();
        let total = sum(volumes.volumes());
        let limit = match &holder {
            ScratchHolder::Image { used: Ok((_, all)), .. } => Some(*all),
            ScratchHolder::Image { used: Err(_), .. } | ScratchHolder::Folders(_) => {
                let permit = permit_to_run(setup, &self.session).ok();
                permit.map(|permit| ScratchSize::allowed(&permit.limits()))
            }
        };
        if *json {
            print(plain::json(&self.as_json(volumes.volumes(), &holder, total, limit)));
            return Ok(Exit::Success);
        }
        for volume in volumes.volumes() {
            print(self.line(volume));
        }
        if volumes.volumes().is_empty() {
            print("there are no scratch volumes: the first run makes them");
        }
        let held = match &holder {
            // An image holds more than the volumes' files: the file system's own.
            ScratchHolder::Image { file, used: Ok((used, all)) } => {
                format!("in an image that uses {} of {}: {}", words(*used), words(*all), file.display())
            }
            ScratchHolder::Image { file, used: Err(why) } => {
                note(format_args!("cofferdam: {} cannot be mounted: {}", file.display(), plain::lines(why)));
                "beside it".to_owned()
            }
            ScratchHolder::Folders(folder) => format!("in folders: {}", folder.display()),
        };
        let of = match (&holder, limit) {
            (ScratchHolder::Folders(_) | ScratchHolder::Image { used: Err(_), .. }, Some(limit)) => {
                format!(", of {} at most", words(limit))
            }
            (ScratchHolder::Folders(_) | ScratchHolder::Image { .. }, _) => String::new(),
        };
        let least = if volumes.volumes().iter().all(|volume| volume.is_whole) { "" } else { "at least " };
        print(self.colour.paint(Mark::Dim, format_args!("together {least}{}{of}; {held}", words(total))));
        Ok(Exit::Success)
    }

    fn line(&self, volume: &ScratchVolume) -> String {
        let least = if volume.is_whole { "" } else { "at least " };
        let seeded = if volume.is_seeded { "over your folder" } else { "began empty" };
        let used = volume.last_used.map_or_else(|| "unknown".to_owned(), audit::time::rfc3339);
        format!(
            "{} {least}{}  {}",
            self.colour.paint(Mark::Bold, format_args!("{:<24}", self.shown(volume))),
            words(volume.size),
            self.colour.paint(Mark::Dim, format_args!("{seeded}, last used {used}"))
        )
    }

    fn as_json(
        &self,
        volumes: &[ScratchVolume],
        holder: &ScratchHolder,
        total: ScratchSize,
        limit: Option<ScratchSize>,
    ) -> Value {
        let (kind, at, problem) = match holder {
            ScratchHolder::Image { file, used } => ("image", file, used.as_ref().err()),
            ScratchHolder::Folders(folder) => ("folders", folder, None),
        };
        let used = match holder {
            ScratchHolder::Image { used: Ok((used, _)), .. } => Some(*used),
            ScratchHolder::Image { used: Err(_), .. } | ScratchHolder::Folders(_) => None,
        };
        let size = |size: ScratchSize| json!({ "bytes": size.bytes, "files": size.files });
        let one = |volume: &ScratchVolume| {
            json!({
                "place": self.shown(volume),
                "path": volume.place,
                "own": size(volume.size),
                "own_is_whole": volume.is_whole,
                "seeded": volume.is_seeded,
                "last_used_ms": volume.last_used.map(ms),
                "folder": volume.folder,
            })
        };
        json!({
            "workspace": self.session.workspace().root(),
            "held_in": kind,
            "holder": at,
            "cannot_mount": problem,
            "total": size(total),
            "image_used": used.map(size),
            "limit": limit.map(size),
            "volumes": volumes.iter().map(one).collect::<Vec<_>>(),
        })
    }

    fn path(&self, Where { place }: &Where) -> Result<Exit, Exit> {
        let volumes = self.take(Intention::Look)?;
        let holder = volumes.holder();
        let Some(place) = place else {
            let (ScratchHolder::Image { file: at, .. } | ScratchHolder::Folders(at)) = &holder;
            print(at.display());
            self.explain(&holder);
            return Ok(Exit::Success);
        };
        let volume = self.named(&volumes, place)?;
        match (&volume.folder, &holder) {
            (Some(folder), _) => print(folder.display()),
            (None, ScratchHolder::Image { file, .. } | ScratchHolder::Folders(file)) => {
                print(file.display());
                self.explain(&holder);
            }
        }
        Ok(Exit::Success)
    }

    fn explain(&self, holder: &ScratchHolder) {
        match holder {
            ScratchHolder::Image { .. } => {
                let words =
                    "an ext4 image that holds all volumes: `cofferdam scratch export PATH` copies files out of it";
                note(self.colour.paint(Mark::Dim, words));
            }
            ScratchHolder::Folders(_) => {}
        }
    }

    fn export(&self, Export { path, to }: &Export) -> Result<Exit, Exit> {
        let Some(absolute) = absolute(path, self.session.workspace().root(), &self.current_folder) else {
            note(format_args!("cofferdam: {} is no path that programs see", path.display()));
            return Err(Exit::Usage);
        };
        let (folder, name) = self.destination(&absolute, to.as_deref())?;
        let volumes = self.take(Intention::Look)?;
        let Some((volume, inside)) = volumes.find(&absolute) else {
            volumes.reachable().map_err(|error| failed(&error))?;
            note(format_args!(
                "cofferdam: {} lies in no scratch volume; `cofferdam scratch list` names them",
                plain::name(&absolute.to_string_lossy())
            ));
            return Err(Exit::Failed);
        };
        let mut tell = |words: &str| self.tell(words);
        let waiting = PersonWaiting { cancel: &self.cancel, tell: &mut tell };
        let exported = volumes
            .export(self.session.workspace(), (volume, inside), (&folder, &name), waiting)
            .map_err(|error| not_exported(&error))?;
        self.tell_exported(&exported, &folder.join(name));
        Ok(Exit::Success)
    }

    fn tell_exported(&self, exported: &Exported, to: &Path) {
        let Exported { files, bytes, length, skipped, left_out } = exported;
        let mut size = words(ScratchSize { bytes: *bytes, files: *files });
        // A page at each end of a hole is data.
        if length.saturating_sub(*bytes) >= 1 << 20 {
            size.push_str(&format!(", {} MiB long with the holes of sparse files", length >> 20));
        }
        print(format_args!("{} {}: {size}", self.colour.paint(Mark::Good, "copied to"), to.display()));
        for one in skipped.iter().take(NAMED) {
            let path = if one.path.as_os_str().is_empty() { to.display() } else { one.path.display() };
            let skipped = self.colour.paint(Mark::Warn, "left out");
            note(format_args!("{skipped} {}: {}", plain::name(&path.to_string()), one.why));
        }
        let named = skipped.len().min(NAMED) as u64;
        if *left_out > named {
            note(format_args!("… and {} more were left out", left_out - named));
        }
    }

    /// The folder and the name that a copy of `path` gets.
    fn destination(&self, path: &Path, to: Option<&Path>) -> Result<(PathBuf, std::ffi::OsString), Exit> {
        let own_name = path.file_name().unwrap_or(OsStr::new("scratch")).to_owned();
        let Some(to) = to else { return Ok((self.current_folder.clone(), own_name)) };
        let to = self.current_folder.join(to);
        if to.is_dir() {
            return Ok((to, own_name));
        }
        // `out/` means a folder, also where there is none yet.
        let means_folder = to.as_os_str().as_encoded_bytes().ends_with(b"/");
        match (to.parent(), to.file_name()) {
            _ if means_folder => {
                note(format_args!("cofferdam: there is no folder {}", to.display()));
                Err(Exit::Usage)
            }
            (Some(folder), Some(name)) if folder.is_dir() => Ok((folder.to_owned(), name.to_owned())),
            _ => {
                note(format_args!("cofferdam: {} is in no folder that is there", to.display()));
                Err(Exit::Usage)
            }
        }
    }

    fn clear(&self, Clear { places }: &Clear) -> Result<Exit, Exit> {
        let log = Log::open(&self.state, audit::time::system()).map_err(|error| {
            note(format_args!("cofferdam: failed to {}", causes(&error)));
            Exit::NoAudit
        })?;
        let workspace = self.session.workspace().root().to_string_lossy().into_owned();
        let volumes = self.take(Intention::Change)?;
        let named = places.iter().map(|place| self.named(&volumes, place).map(|volume| volume.name.clone()));
        let names: Vec<String> = named.collect::<Result<_, _>>()?;
        let ordered = Event::ScratchOrdered(ScratchOrdered {
            workspace: workspace.clone(),
            named: names.len() as u64,
            places: places.iter().take(RECORDED).map(|place| place.to_string_lossy().into_owned()).collect(),
        });
        log.append(vec![ordered]).map_err(|error| {
            note(format_args!("cofferdam: nothing was done: the order failed to be recorded: {}", causes(&error)));
            Exit::NoAudit
        })?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let cleared = if places.is_empty() { volumes.clear_all() } else { volumes.clear(&names) };
        let cleared = cleared.map_err(|error| failed(&error))?;
        for volume in &cleared {
            let done = self.colour.paint(Mark::Warn, "cleared");
            print(format_args!("{done} {}: {}", self.shown(volume), words(volume.size)));
        }
        if cleared.is_empty() {
            print("there were no scratch volumes");
        }
        let done = Event::ScratchCleared(ScratchCleared {
            workspace,
            done: cleared.len() as u64,
            places: cleared.iter().take(RECORDED).map(|volume| self.shown(volume)).collect(),
            bytes: sum(&cleared).bytes,
        });
        log.append(vec![done]).map_err(|error| {
            note(format_args!("cofferdam: it was done, but failed to be recorded: {}", causes(&error)));
            Exit::NoAudit
        })?;
        Ok(Exit::Success)
    }

    /// The volume at a place, as a person writes it.
    fn named<'a>(&self, volumes: &'a ScratchVolumes, place: &Path) -> Result<&'a ScratchVolume, Exit> {
        let root = self.session.workspace().root();
        let wanted = absolute(place, root, &self.current_folder);
        let is_it = |volume: &&ScratchVolume| match &volume.place {
            Some(there) => wanted.as_ref() == Some(there),
            None => Path::new(&volume.name) == place,
        };
        if let Some(volume) = volumes.volumes().iter().find(is_it) {
            return Ok(volume);
        }
        volumes.reachable().map_err(|error| failed(&error))?;
        let there: Vec<String> = volumes.volumes().iter().map(|volume| self.shown(volume)).collect();
        let there =
            if there.is_empty() { "there are none".to_owned() } else { format!("there are {}", there.join(", ")) };
        note(format_args!("cofferdam: no scratch volume is shown at {}; {there}", place.display()));
        Err(Exit::Failed)
    }

    /// A volume's place: relative to the workspace if it lies there.
    fn shown(&self, volume: &ScratchVolume) -> String {
        let Some(place) = &volume.place else { return plain::name(&volume.name) };
        let shown = place.strip_prefix(self.session.workspace().root()).unwrap_or(place);
        plain::name(&shown.to_string_lossy())
    }
}

fn sum(volumes: &[ScratchVolume]) -> ScratchSize {
    volumes.iter().fold(ScratchSize::default(), |sum, volume| ScratchSize {
        bytes: sum.bytes.saturating_add(volume.size.bytes),
        files: sum.files.saturating_add(volume.size.files),
    })
}

/// A size as people read it.
fn words(ScratchSize { bytes, files }: ScratchSize) -> String {
    let size = match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{} KiB", bytes >> 10),
        1_048_576.. => format!("{} MiB", bytes >> 20),
    };
    let files = if files == 1 { "1 file".to_owned() } else { format!("{files} files") };
    format!("{size} in {files}")
}

/// Milliseconds since 1970.
fn ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    since.as_millis().try_into().unwrap_or(u64::MAX)
}

/// A path as a person writes it, absolute: from the current folder if that lies in the workspace, else from the workspace.
fn absolute(path: &Path, root: &Path, current_folder: &Path) -> Option<PathBuf> {
    let from = if current_folder.starts_with(root) { current_folder } else { root };
    let absolute = from.join(path);
    let goes_up = absolute.components().any(|component| component == Component::ParentDir);
    (!goes_up).then(|| absolute.components().collect())
}

fn failed(error: &PersonError) -> Exit {
    note(format_args!("cofferdam: {}", causes(error)));
    match error {
        PersonError::Ended(_) => Exit::Interrupted,
        PersonError::Busy { .. } | PersonError::Volumes { .. } | PersonError::Image { .. } => Exit::Failed,
    }
}

fn not_exported(error: &ExportError) -> Exit {
    note(format_args!("cofferdam: nothing was copied: {}", crate::plain::lines(&causes(error))));
    match error {
        ExportError::Ended(_) => Exit::Interrupted,
        ExportError::Absent(_)
        | ExportError::Kind { .. }
        | ExportError::Exists(_)
        | ExportError::Inside(_)
        | ExportError::TooMuch
        | ExportError::Copy { .. } => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_a_person_means_them() {
        let read = |path: &str, current: &str| absolute(Path::new(path), Path::new("/w"), Path::new(current));
        let wanted = Some(PathBuf::from("/w/a/target"));
        assert_eq!(read("a/target", "/elsewhere"), wanted);
        assert_eq!(read("./target/", "/w/a"), wanted);
        assert_eq!(read("/home/x/.cargo", "/"), Some(PathBuf::from("/home/x/.cargo")));
        assert_eq!(read("../target", "/w/a"), None);
    }

    #[test]
    fn sizes_are_for_people() {
        let shown = |bytes, files| words(ScratchSize { bytes, files });
        assert_eq!([shown(0, 0), shown(2048, 1)], ["0 B in 0 files", "2 KiB in 1 file"]);
        assert_eq!(shown(5 << 30, 1200), "5120 MiB in 1200 files");
    }
}
