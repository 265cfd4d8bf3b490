//! What the steps of discovery write to, one after another.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    Host, HostRoot, Missing, Store, Toolchain, Written, environment, etc,
    pins::{self, Pin},
    places::{Hidden, Homes, Places},
    system,
};

/// Notes kept, at most: they are read by a person.
const MAX_NOTES: usize = 100;

/// Variables that name tool homes. A place that the operator's environment names may hold toolchains outside the home.
const TOOL_HOMES: [&str; 16] = [
    "ASDF_DATA_DIR",
    "BUN_INSTALL",
    "CARGO_HOME",
    "DENO_INSTALL",
    "FNM_DIR",
    "GOMODCACHE",
    "GOPATH",
    "MISE_DATA_DIR",
    "NVM_DIR",
    "N_PREFIX",
    "PYENV_ROOT",
    "RUSTUP_HOME",
    "SDKMAN_DIR",
    "UV_PYTHON_INSTALL_DIR",
    "VOLTA_HOME",
    "XDG_DATA_HOME",
];

/// The findings so far.
pub(super) struct Survey<'a> {
    pub(super) host: &'a Host,
    pub(super) workspace: &'a Path,
    /// What the workspace's version files ask for.
    pub(super) pins: Vec<Pin>,
    /// What the user's own `.tool-versions` asks for where the workspace asks for nothing.
    pub(super) defaults: Vec<Pin>,
    pub(super) places: Places,
    /// Folders of chosen toolchains, in the order of PATH.
    pub(super) path: Vec<PathBuf>,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) stores: Vec<Store>,
    pub(super) written: Vec<Written>,
    pub(super) toolchains: Vec<Toolchain>,
    pub(super) missing: Vec<Missing>,
    notes: Vec<String>,
}

impl<'a> Survey<'a> {
    pub(super) fn new(host: &'a Host, workspace: &'a Path) -> Self {
        let named: Vec<PathBuf> = TOOL_HOMES.iter().filter_map(|name| host.named_home(name)).collect();
        let cargo = host.tool_home("CARGO_HOME", ".cargo");
        let file = "~/.tool-versions";
        let text = super::read::text(&host.home.join(".tool-versions"));
        Self {
            host,
            workspace,
            pins: pins::of_workspace(workspace),
            defaults: text.map(|text| pins::tool_versions(file, &text)).unwrap_or_default(),
            places: Places::new(Homes { user: &host.home, cargo: &cargo }, &[workspace, &host.state], &named),
            path: Vec::new(),
            environment: environment::fixed(host),
            stores: Vec::new(),
            written: Vec::new(),
            toolchains: Vec::new(),
            missing: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Notes why something that is there is not shown. What is not there is no news.
    pub(super) fn note_hidden(&mut self, path: &Path, hidden: &Hidden) {
        match hidden {
            Hidden::Absent => {}
            Hidden::OtherKind
            | Hidden::Unusable
            | Hidden::Links
            | Hidden::Never(_)
            | Hidden::Credential(_)
            | Hidden::Elsewhere(_)
            | Hidden::TooMany => self.note(format!("{} is not shown: {hidden}", path.display())),
        }
    }

    /// Notes one sentence for `doctor`. A path in it may have any character; what would move a terminal's cursor is
    /// spelled out.
    pub(super) fn note(&mut self, note: String) {
        let plain =
            |letter: char| if letter.is_control() { letter.escape_default().to_string() } else { letter.into() };
        let note: String = note.chars().map(plain).collect();
        if self.notes.len() < MAX_NOTES && !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Shows a folder of programs and puts it on PATH. Whether it was done.
    pub(super) fn show_on_path(&mut self, folder: &Path) -> bool {
        match self.places.show_folder(folder) {
            Ok(real) => {
                self.put_on_path(real);
                true
            }
            Err(hidden) => {
                self.note_hidden(folder, &hidden);
                false
            }
        }
    }

    /// Puts a folder that is shown on PATH, once. One that PATH cannot name is left out.
    pub(super) fn put_on_path(&mut self, folder: PathBuf) {
        if !system::is_nameable(&folder) {
            self.note(format!("{} cannot be on the PATH inside", folder.display()));
        } else if !self.path.contains(&folder) {
            self.path.push(folder);
        }
    }

    /// PATH as it is so far, with the system's folders at its end.
    pub(super) fn whole_path(&self) -> Vec<PathBuf> {
        let mut path = self.path.clone();
        for folder in system::path(self.host, &self.places) {
            if !path.contains(&folder) {
                path.push(folder);
            }
        }
        path
    }

    pub(super) fn finish(mut self) -> HostRoot {
        let path = self.whole_path();
        let texts: Vec<&str> = path.iter().filter_map(|folder| folder.to_str()).collect();
        self.environment.insert("PATH".to_owned(), texts.join(":"));
        let etc = etc::entries(Path::new("/etc"), &self.places);
        let inner = |path: &Path, places: &Places| places.is_shown(path);
        self.stores.retain(|store| !inner(&store.path, &self.places));
        let in_store = |path: &Path| self.stores.iter().any(|store| path.starts_with(&store.path));
        self.written.retain(|written| !inner(&written.path, &self.places) && !in_store(&written.path));
        let (shown, links) = self.places.finish();
        HostRoot {
            shown,
            links,
            etc,
            written: self.written,
            stores: self.stores,
            path,
            environment: self.environment,
            toolchains: self.toolchains,
            missing: self.missing,
            notes: self.notes,
        }
    }
}
