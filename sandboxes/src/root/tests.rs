//! Discovery of whole homes: synthetic ones, one per manager, and this machine's own.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// A home, a workspace and a state folder of a test.
struct Machine {
    _folder: TempDir,
    host: Host,
    workspace: PathBuf,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        let host = Host {
            home: base.join("home/me"),
            state: base.join("home/me/.local/state/cofferdam"),
            environment: BTreeMap::new(),
        };
        let workspace = base.join("home/me/project");
        for path in [&host.home, &host.state, &workspace] {
            fs::create_dir_all(path).unwrap();
        }
        Self { _folder: folder, host, workspace }
    }

    fn home(&self, path: &str) -> PathBuf {
        self.host.home.join(path)
    }

    /// Programs below the home.
    fn programs(&self, paths: &[&str]) {
        for path in paths {
            let path = self.home(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "#!/bin/sh\n").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    /// A file below the home.
    fn file(&self, path: &str, contents: &str) {
        let path = self.home(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    /// A link below the home.
    fn link(&self, place: &str, target: impl AsRef<Path>) {
        let place = self.home(place);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        symlink(target, place).unwrap();
    }

    fn variable(&mut self, name: &str, value: impl Into<OsString>) {
        self.host.environment.insert(name.into(), value.into());
    }

    fn discover(&self) -> HostRoot {
        let root = discover(&self.host, &self.workspace);
        assert_safe(&root, &self.host, &self.workspace);
        root
    }

    /// The shown places below the home, relative to it.
    fn shown(&self, root: &HostRoot) -> Vec<String> {
        let below = root.shown.iter().filter_map(|shown| shown.path.strip_prefix(&self.host.home).ok());
        below.map(|path| path.to_str().unwrap().to_owned()).collect()
    }

    /// The folders of PATH below the home, relative to it.
    fn path(&self, root: &HostRoot) -> Vec<String> {
        let below = root.path.iter().filter_map(|folder| folder.strip_prefix(&self.host.home).ok());
        below.map(|path| path.to_str().unwrap().to_owned()).collect()
    }
}

/// The promises of [`HostRoot`] that hold on every host.
fn assert_safe(root: &HostRoot, host: &Host, workspace: &Path) {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let cargo = host.tool_home("CARGO_HOME", ".cargo");
    let mut never: Vec<PathBuf> =
        ["/", "/root", "/home", "/etc", "/var", "/run", "/proc", "/sys", "/dev", "/tmp", "/etc/ssl/private"]
            .map(PathBuf::from)
            .to_vec();
    let below_home = [".ssh", ".aws", ".gnupg", ".config", ".kube", ".docker", ".netrc", ".npmrc", ".pypirc"];
    never.extend(below_home.iter().map(|name| host.home.join(name)));
    never.extend(["credentials.toml", "credentials", "config.toml", "config"].map(|name| cargo.join(name)));
    let ours = [workspace.to_path_buf(), real(workspace), host.state.clone(), real(&host.state)];
    never.extend([host.home.clone(), real(&host.home)]);
    never.extend(ours.clone());
    let shown: Vec<&Path> = root.shown.iter().map(|shown| shown.path.as_path()).collect();
    let etc = root.etc.iter().filter_map(|entry| match entry {
        EtcEntry::Shown { path, .. } => Some(path.as_path()),
        EtcEntry::Linked { .. } | EtcEntry::Written(_) => None,
    });
    let stores = root.stores.iter().map(|store| store.path.as_path());
    for path in shown.iter().copied().chain(stores.clone()).chain(etc) {
        for never in &never {
            assert!(!never.starts_with(path), "{} shows {}", path.display(), never.display());
        }
        for ours in &ours {
            assert!(!path.starts_with(ours), "{} lies in {}", path.display(), ours.display());
        }
        assert!(!path.to_str().unwrap().chars().any(char::is_control));
    }
    for path in shown.iter().copied().chain(stores) {
        assert_eq!(real(path), path, "a shown place is real");
    }
    let mut sorted = shown.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(shown, sorted, "sorted, without duplicates");
    for (outer, inner) in shown.iter().flat_map(|outer| shown.iter().map(move |inner| (outer, inner))) {
        assert!(outer == inner || !inner.starts_with(outer), "{} is in {}", inner.display(), outer.display());
    }
    let covered = |path: &Path| shown.iter().any(|shown| path.starts_with(shown));
    for (place, target) in &root.links {
        assert_eq!(&fs::read_link(place).unwrap(), target, "links are the host's own");
        assert!(!covered(place) && !place.starts_with("/etc"), "{} is shown already", place.display());
    }
    for written in &root.written {
        assert!(!covered(&written.path), "{} lies in a shown place", written.path.display());
    }
    for store in &root.stores {
        assert!(!covered(&store.path), "{} lies in a shown place", store.path.display());
    }
    for folder in &root.path {
        assert!(folder.is_absolute() && !folder.starts_with(workspace), "{}", folder.display());
    }
    let texts: Vec<&str> = root.path.iter().map(|folder| folder.to_str().unwrap()).collect();
    assert_eq!(root.environment["PATH"], texts.join(":"));
    for toolchain in &root.toolchains {
        assert!(read::is_program(&toolchain.program) || toolchain.program.is_dir(), "{toolchain:?}");
    }
}

#[test]
fn an_empty_home_gives_the_systems_folders_and_none_of_its_own() {
    let machine = Machine::new();
    let root = machine.discover();
    assert_eq!(machine.shown(&root), [""; 0]);
    assert!(root.shown.contains(&Shown { path: "/usr".into(), kind: Kind::Folder }));
    assert!(root.path.ends_with(&["/usr/bin", "/sbin", "/bin"].map(PathBuf::from)));
    assert_eq!((root.stores, root.written), (vec![], vec![]));
    assert_eq!(root.environment["HOME"], "/home/agent");
}

#[test]
fn pyenv_shows_the_version_of_the_workspace_and_no_other_and_never_its_shims() {
    let machine = Machine::new();
    machine.programs(&[
        ".pyenv/versions/3.11.7/bin/python3",
        ".pyenv/versions/3.12.1/bin/python3",
        ".pyenv/shims/python3",
    ]);
    machine.file(".pyenv/versions/3.12.1/lib/python3.12/os.py", "");
    machine.file(".pyenv/versions/3.12.1/pip.conf", "[global]\nindex-url = https://me:secret@mirror.example/\n");
    machine.file(".pyenv/version", "3.11.7\n");
    let root = machine.discover();
    assert_eq!(machine.path(&root), [".pyenv/versions/3.11.7/bin"]);
    machine.file("project/.python-version", "3.12\n");
    let root = machine.discover();
    assert_eq!(machine.shown(&root), [".pyenv/versions/3.12.1/bin", ".pyenv/versions/3.12.1/lib"]);
    assert_eq!(machine.path(&root), [".pyenv/versions/3.12.1/bin"]);
    let python = root.toolchains.iter().find(|toolchain| toolchain.name == "python").unwrap();
    let expected = Toolchain {
        name: "python".to_owned(),
        version: Some("3.12.1".to_owned()),
        program: machine.home(".pyenv/versions/3.12.1/bin/python3"),
        found_by: "pyenv".to_owned(),
        chosen_by: ".python-version".to_owned(),
    };
    assert_eq!(python, &expected);
}

#[test]
fn a_version_that_is_not_installed_is_missing_and_the_default_is_taken() {
    let machine = Machine::new();
    machine.programs(&[".pyenv/versions/3.11.7/bin/python3"]);
    machine.file(".pyenv/version", "3.11.7\n");
    machine.file("project/.python-version", "3.99.1\n");
    let root = machine.discover();
    assert_eq!(machine.path(&root), [".pyenv/versions/3.11.7/bin"]);
    let missing = root.missing.iter().find(|missing| missing.what.starts_with("python")).unwrap();
    assert_eq!(missing.what, "python 3.99.1, which .python-version names");
    assert_eq!(missing.mend, "pyenv install 3.99.1");
    assert_eq!(missing.looked_in[0], machine.home(".pyenv/versions"));
}

#[test]
fn an_environment_of_pyenv_virtualenv_brings_its_base() {
    let machine = Machine::new();
    machine.programs(&[".pyenv/versions/3.11.7/bin/python3", ".pyenv/versions/3.11.7/envs/work/bin/python3"]);
    let home = machine.home(".pyenv/versions/3.11.7/bin");
    machine.file(".pyenv/versions/3.11.7/envs/work/pyvenv.cfg", &format!("home = {}\n", home.display()));
    machine.link(".pyenv/versions/work", "3.11.7/envs/work");
    machine.file("project/.python-version", "work\n");
    let root = machine.discover();
    let environment = ".pyenv/versions/3.11.7/envs/work";
    assert_eq!(machine.path(&root), [format!("{environment}/bin")]);
    let shown =
        [".pyenv/versions/3.11.7/bin".into(), format!("{environment}/bin"), format!("{environment}/pyvenv.cfg")];
    assert_eq!(machine.shown(&root), shown);
    assert!(root.links.contains(&(machine.home(".pyenv/versions/work"), PathBuf::from("3.11.7/envs/work"))));
}

#[test]
fn a_virtual_environment_brings_its_interpreter_from_a_known_place() {
    let machine = Machine::new();
    let uv = ".local/share/uv/python/cpython-3.13.1-linux-x86_64-gnu";
    machine.programs(&[&format!("{uv}/bin/python3.13")]);
    machine.programs(&[&format!("{uv}/bin/python3")]);
    machine.link(".local/bin/python3.13", machine.home(uv).join("bin/python3.13"));
    machine.file(".local/bin/secret", "");
    let named = machine.home(".local/bin");
    machine.file("project/.venv/pyvenv.cfg", &format!("home = {}\n", named.display()));
    machine.link("project/.venv/bin/python", named.join("python3.13"));
    let root = machine.discover();
    assert_eq!(machine.shown(&root), [format!("{uv}/bin")]);
    let link = (machine.home(".local/bin/python3.13"), machine.home(uv).join("bin/python3.13"));
    assert_eq!(
        root.links.iter().filter(|(place, _)| place.starts_with(&machine.host.home)).collect::<Vec<_>>(),
        [&link]
    );
    assert!(!root.missing.iter().any(|missing| missing.what.contains(".venv")));
}

#[test]
fn a_virtual_environment_cannot_name_a_place_of_its_own() {
    let machine = Machine::new();
    machine.programs(&["tools/bin/python3", ".ssh/bin/python3", ".pyenv/versions/3.11.7/bin/python3"]);
    for home in
        ["tools/bin", ".ssh/bin", ".pyenv/versions/../../tools/bin", ".pyenv/versions/3.11.7/../../../tools/bin", ""]
    {
        let home = machine.home(home);
        machine.file("project/.venv/pyvenv.cfg", &format!("home = {}\n", home.display()));
        fs::create_dir_all(machine.workspace.join(".venv/bin")).unwrap();
        let _ = fs::remove_file(machine.workspace.join(".venv/bin/python"));
        machine.link("project/.venv/bin/python", home.join("python3"));
        let shown = machine.shown(&machine.discover());
        let known = shown.iter().all(|path| path == ".pyenv/versions/3.11.7/bin");
        assert!(known, "{}: {shown:?}", home.display());
    }
    machine.file("project/.venv/pyvenv.cfg", &format!("home = {}\n", machine.home("tools/bin").display()));
    let root = machine.discover();
    assert!(root.missing.iter().any(|missing| missing.what == "the interpreter of the workspace's .venv"));
}

#[test]
fn a_conda_environment_is_shown_without_its_settings_and_neighbours() {
    let mut machine = Machine::new();
    machine.programs(&["miniforge3/bin/python", "miniforge3/envs/work/bin/python", "miniforge3/envs/other/bin/python"]);
    machine.file("miniforge3/.condarc", "channels: [https://me:secret@mirror.example]\n");
    machine.file("miniforge3/pkgs/urls.txt", "");
    machine.variable("CONDA_PREFIX", machine.home("miniforge3/envs/work"));
    let root = machine.discover();
    assert_eq!(machine.shown(&root), ["miniforge3/envs/work/bin"]);
    assert_eq!(machine.path(&root), ["miniforge3/envs/work/bin"]);
    machine.variable("CONDA_PREFIX", machine.home("miniforge3"));
    assert_eq!(machine.shown(&machine.discover()), ["miniforge3/bin"]);
}

#[test]
fn nvm_follows_aliases_to_an_installed_version() {
    let machine = Machine::new();
    machine.programs(&[".nvm/versions/node/v20.11.0/bin/node", ".nvm/versions/node/v22.3.0/bin/node"]);
    machine.file(".nvm/versions/node/v20.11.0/etc/npmrc", "//mirror.example/:_authToken=secret\n");
    machine.file(".nvm/alias/default", "lts/*\n");
    machine.file(".nvm/alias/lts/*", "lts/iron\n");
    machine.file(".nvm/alias/lts/iron", "v20.19.4\n");
    let root = machine.discover();
    assert_eq!(machine.path(&root), [".nvm/versions/node/v20.11.0/bin"]);
    assert_eq!(machine.shown(&root), [".nvm/versions/node/v20.11.0/bin"]);
    for (wish, version) in [("22", "v22.3.0"), ("v20.11.0", "v20.11.0"), ("node", "v22.3.0"), ("lts/jod", "v22.3.0")] {
        machine.file("project/.nvmrc", wish);
        assert_eq!(machine.path(&machine.discover()), [format!(".nvm/versions/node/{version}/bin")], "{wish}");
    }
    machine.file("project/.nvmrc", "system");
    assert_eq!(machine.path(&machine.discover()), [""; 0]);
}

#[test]
fn aliases_that_lead_around_end() {
    let machine = Machine::new();
    machine.programs(&[".nvm/versions/node/v20.11.0/bin/node"]);
    machine.file(".nvm/alias/default", "one\n");
    machine.file(".nvm/alias/one", "two\n");
    machine.file(".nvm/alias/two", "one\n");
    let root = machine.discover();
    let system = root.toolchains.iter().any(|toolchain| toolchain.name == "node" && toolchain.found_by == "system");
    let newest = machine.path(&root) == [".nvm/versions/node/v20.11.0/bin"];
    assert!(system != newest, "the system's own, else the newest: {:?}", root.toolchains);
}

#[test]
fn fnm_and_volta_have_defaults_of_their_own() {
    let machine = Machine::new();
    let installation = ".local/share/fnm/node-versions/v20.1.0/installation";
    machine.programs(&[&format!("{installation}/bin/node")]);
    machine.link(".local/share/fnm/aliases/default", machine.home(installation));
    assert_eq!(machine.path(&machine.discover()), [format!("{installation}/bin")]);

    let machine = Machine::new();
    machine.programs(&[".volta/tools/image/node/22.1.0/bin/node", ".volta/bin/node"]);
    machine.file(".volta/tools/user/platform.json", r#"{"node":{"runtime":"22.1.0","npm":null}}"#);
    assert_eq!(machine.path(&machine.discover()), [".volta/tools/image/node/22.1.0/bin"]);
}

#[test]
fn what_the_servers_path_has_active_comes_before_the_default() {
    let mut machine = Machine::new();
    machine.programs(&[".nvm/versions/node/v20.11.0/bin/node", ".nvm/versions/node/v22.3.0/bin/node"]);
    machine.file(".nvm/alias/default", "20\n");
    machine.variable("PATH", machine.home(".nvm/versions/node/v22.3.0/bin"));
    assert_eq!(machine.path(&machine.discover()), [".nvm/versions/node/v22.3.0/bin"]);
}

#[test]
fn folders_that_path_cannot_name_are_left_out_with_a_note() {
    let mut machine = Machine::new();
    let gobin = machine.home("go:bin");
    fs::create_dir_all(&gobin).unwrap();
    machine.variable("GOBIN", gobin);
    machine.variable("PATH", "/usr/bin:/usr/new\nline:/bin");
    let root = machine.discover();
    let notes: Vec<&String> = root.notes.iter().filter(|note| note.contains("PATH")).collect();
    let expected = [
        "/usr/new\\nline of the server's PATH cannot be on the PATH inside".to_owned(),
        format!("{} cannot be on the PATH inside", machine.home("go:bin").display()),
    ];
    assert_eq!(notes, expected.iter().collect::<Vec<_>>());
}

#[test]
fn asdf_and_mise_answer_tool_versions_for_every_language() {
    let machine = Machine::new();
    machine.programs(&[
        ".asdf/installs/nodejs/20.1.0/bin/node",
        ".asdf/installs/ruby/3.3.0/bin/ruby",
        ".local/share/mise/installs/python/3.12.4/bin/python3",
        ".local/share/mise/installs/go/1.22.1/bin/go",
    ]);
    machine.link(".local/share/mise/installs/python/3.12", "./3.12.4");
    machine.file("project/.tool-versions", "nodejs 20.1.0\nruby 3.3.0\npython 3.12\ngolang path:/etc\n");
    machine.file(".tool-versions", "golang 1.22.1\n");
    let root = machine.discover();
    assert_eq!(
        machine.path(&root),
        [
            ".local/share/mise/installs/python/3.12.4/bin",
            ".asdf/installs/nodejs/20.1.0/bin",
            ".local/share/mise/installs/go/1.22.1/bin",
            ".asdf/installs/ruby/3.3.0/bin",
        ]
    );
}

#[test]
fn rustup_shows_every_toolchain_and_puts_the_workspaces_own_first() {
    let machine = Machine::new();
    let name = |channel: &str| format!("{channel}-{}-unknown-linux-gnu", std::env::consts::ARCH);
    let folder = |channel: &str| format!(".rustup/toolchains/{}", name(channel));
    for channel in ["stable", "nightly"] {
        machine.programs(&[&format!("{}/bin/rustc", folder(channel))]);
    }
    machine.link(&folder("1.95.0"), machine.home(&folder("stable")));
    machine.file(&format!("{}/lib/libLLVM-22-rust-1.97.0-nightly.so", folder("nightly")), "");
    machine.programs(&[".cargo/bin/rustup"]);
    machine.link(".cargo/bin/cargo", "rustup");
    machine.file(".cargo/credentials.toml", "[registry]\ntoken = \"secret\"\n");
    let settings = format!("default_toolchain = \"{}\"\n[overrides]\n\"/other\" = \"x\"\n", name("stable"));
    machine.file(".rustup/settings.toml", &settings);

    let root = machine.discover();
    assert_eq!(machine.path(&root), [format!("{}/bin", folder("stable")), ".cargo/bin".to_owned()]);
    assert_eq!(machine.shown(&root), [".cargo/bin".to_owned(), folder("nightly"), folder("stable")]);
    assert!(root.links.contains(&(machine.home(&folder("1.95.0")), machine.home(&folder("stable")))));
    assert_eq!(root.environment["RUSTUP_TOOLCHAIN"], name("stable"));
    let written: Vec<&PathBuf> = root.written.iter().map(|written| &written.path).collect();
    assert_eq!(written, [&machine.home(".rustup/settings.toml")]);
    assert!(!root.written[0].contents.contains("/other"), "other projects' folders are not told");

    machine.file("project/rust-toolchain.toml", "[toolchain]\nchannel = \"nightly\"\n");
    let root = machine.discover();
    assert_eq!(root.environment["RUSTUP_TOOLCHAIN"], name("nightly"));
    let rust = root.toolchains.iter().find(|toolchain| toolchain.name == "rust").unwrap();
    assert_eq!(rust.version.as_deref(), Some("1.97.0-nightly"));
    assert_eq!(rust.chosen_by, "rust-toolchain.toml");

    machine.file("project/rust-toolchain.toml", "[toolchain]\nchannel = \"1.2.3\"\n");
    let root = machine.discover();
    assert_eq!(root.environment["RUSTUP_TOOLCHAIN"], name("stable"));
    assert!(root.missing.iter().any(|missing| missing.mend == "rustup toolchain install 1.2.3"));
}

#[test]
fn a_linked_toolchain_is_shown_where_it_really_is_unless_that_is_no_place_for_one() {
    let machine = Machine::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let compiler = |folder: &Path| {
        fs::create_dir_all(folder.join("bin")).unwrap();
        fs::write(folder.join("bin/rustc"), "").unwrap();
        fs::set_permissions(folder.join("bin/rustc"), fs::Permissions::from_mode(0o755)).unwrap();
    };
    compiler(elsewhere.path());
    compiler(&machine.home("build/stage1"));
    compiler(&machine.home(".config/rust"));
    compiler(&machine.host.home);
    compiler(&machine.workspace.join("stage1"));
    compiler(&machine.home("with-keys"));
    machine.file("with-keys/.netrc", "");
    machine.link(".rustup/toolchains/a-good", machine.home("build/stage1"));
    machine.link(".rustup/toolchains/b-elsewhere", elsewhere.path());
    machine.link(".rustup/toolchains/c-credential", machine.home(".config/rust"));
    machine.link(".rustup/toolchains/d-home", &machine.host.home);
    machine.link(".rustup/toolchains/e-workspace", machine.workspace.join("stage1"));
    machine.link(".rustup/toolchains/f-keys", machine.home("with-keys"));
    machine.link(".rustup/toolchains/g-root", "/");
    let stage2 = machine.home("build/stage2");
    compiler(&stage2);
    machine.link(".rustup/toolchains/h-kernel", Path::new("/proc/self/root").join(stage2.strip_prefix("/").unwrap()));
    let root = machine.discover();
    assert_eq!(machine.shown(&root), ["build/stage1"]);
    for name in ["b-elsewhere", "c-credential", "d-home", "e-workspace", "f-keys", "h-kernel"] {
        assert!(root.notes.iter().any(|note| note.contains(name)), "{name}: {:?}", root.notes);
    }
}

#[test]
fn stores_are_found_without_what_is_beside_them() {
    let machine = Machine::new();
    machine.file(".cargo/registry/index/x", "");
    machine.file(".cargo/credentials.toml", "");
    machine.file(".cargo/config.toml", "[source.crates-io]\nreplace-with = \"m\"\n[registry]\ntoken = \"secret\"\n");
    machine.file("go/pkg/mod/cache/x", "");
    machine.file(".local/lib/python3.11/site-packages/x.py", "");
    machine.file(".local/lib/python/site-packages/x.py", "");
    let root = machine.discover();
    let store = |path: &str, name: &str| Store { path: machine.home(path), name: name.to_owned() };
    assert_eq!(
        root.stores,
        [
            store(".cargo/registry", "cargo-registry"),
            store("go/pkg/mod", "go-modules"),
            store(".local/lib/python3.11/site-packages", "python3.11-user-site"),
        ]
    );
    assert_eq!(root.environment["CARGO_HOME"], machine.home(".cargo").to_str().unwrap());
    assert_eq!(root.environment["GOMODCACHE"], machine.home("go/pkg/mod").to_str().unwrap());
    assert_eq!(root.environment["PYTHONUSERBASE"], machine.home(".local").to_str().unwrap());
    let expected = "[source.crates-io]\nreplace-with = \"m\"\n";
    assert_eq!(root.written, [Written { path: machine.home(".cargo/config.toml"), contents: expected.to_owned() }]);
    assert_eq!(machine.shown(&root), [""; 0]);
}

#[test]
fn a_home_that_is_reached_by_a_link_works_under_both_names() {
    let mut machine = Machine::new();
    machine.programs(&[".pyenv/versions/3.11.7/bin/python3"]);
    machine.file(".pyenv/version", "3.11.7\n");
    let base = machine.host.home.parent().unwrap().parent().unwrap().to_path_buf();
    symlink("home", base.join("users")).unwrap();
    let real = machine.host.home.clone();
    machine.host.home = base.join("users/me");
    let root = machine.discover();
    assert!(root.shown.iter().any(|shown| shown.path == real.join(".pyenv/versions/3.11.7/bin")));
    assert!(root.links.contains(&(base.join("users"), PathBuf::from("home"))));
}

#[test]
fn tool_homes_that_would_show_everything_show_nothing() {
    for place in ["/", "/etc", "/root", "/home", "/var", "/proc/self/root", "relative"] {
        let mut machine = Machine::new();
        for name in
            ["CARGO_HOME", "RUSTUP_HOME", "PYENV_ROOT", "N_PREFIX", "GOBIN", "GOMODCACHE", "BUN_INSTALL", "NVM_DIR"]
        {
            machine.variable(name, place);
        }
        let root = machine.discover();
        assert_eq!(machine.shown(&root), [""; 0], "{place}");
        assert!(!root.shown.iter().any(|shown| shown.path.starts_with("/etc") || shown.path.starts_with("/proc")));
    }
    let mut machine = Machine::new();
    machine.host.home = PathBuf::from("/");
    machine.discover();
}

#[test]
fn a_workspace_in_a_system_folder_is_left_out_of_it() {
    let machine = Machine::new();
    let root = discover(&machine.host, Path::new("/usr/share"));
    assert_safe(&root, &machine.host, Path::new("/usr/share"));
    assert!(root.shown.contains(&Shown { path: "/usr/bin".into(), kind: Kind::Folder }));
    assert!(!root.shown.iter().any(|shown| shown.path.starts_with("/usr/share")));
}

#[test]
fn a_cargo_home_in_a_system_folder_is_gone_around() {
    let mut machine = Machine::new();
    machine.variable("CARGO_HOME", "/usr/share");
    let root = machine.discover();
    assert!(root.shown.contains(&Shown { path: "/usr/bin".into(), kind: Kind::Folder }));
    assert!(!root.shown.iter().any(|shown| shown.path.starts_with("/usr/share")));
}

#[test]
fn a_pin_that_the_system_itself_meets_is_not_missing() {
    let machine = Machine::new();
    let root = machine.discover();
    for found in root.toolchains.iter().filter(|found| matches!(found.name.as_str(), "python" | "node")) {
        let file = if found.name == "python" { ".python-version" } else { ".nvmrc" };
        let version = found.version.clone().unwrap_or_else(|| "system".to_owned());
        machine.file(&format!("project/{file}"), &version);
    }
    let root = machine.discover();
    let missing: Vec<&Missing> = root.missing.iter().filter(|missing| missing.what.contains("which .")).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn etc_is_the_fixed_list_and_our_own_files() {
    let machine = Machine::new();
    let root = machine.discover();
    let find = |path: &str| root.etc.iter().find(|entry| entry.path() == Path::new(path));
    for path in ["passwd", "group", "hosts", "resolv.conf", "nsswitch.conf", "machine-id", "hostname"] {
        let entry = find(&format!("/etc/{path}"));
        assert!(matches!(entry, Some(EtcEntry::Written(_))), "{path}: {entry:?}");
    }
    for path in ["shadow", "gshadow", "sudoers", "ssh", "ssl", "ssl/private", "pki", "npmrc", "pip.conf", "gitconfig"] {
        assert_eq!(find(&format!("/etc/{path}")), None);
    }
    let mut paths: Vec<&Path> = root.etc.iter().map(EtcEntry::path).collect();
    let given = paths.clone();
    paths.sort();
    paths.dedup();
    assert_eq!(given, paths, "sorted, each once");
}

#[test]
fn an_etc_of_links_keeps_those_that_lead_to_what_is_shown() {
    let machine = Machine::new();
    let homes = places::Homes { user: &machine.host.home, cargo: &machine.home(".cargo") };
    let mut places = places::Places::new(homes, &[&machine.workspace, &machine.host.state], &[]);
    places.show_system(Path::new("/usr")).unwrap();
    machine.file("etc/pki/tls/certs/bundle.pem", "");
    machine.file("etc/pki/tls/private/key.pem", "");
    machine.link("etc/os-release", "/usr/bin/env");
    machine.link("etc/localtime", "../pki/secret");
    machine.link("etc/timezone", "/etc/passwd");
    machine.link("etc/ssl/cert.pem", "../pki/tls/certs/bundle.pem");
    machine.link("etc/ssl/certs", "../pki/tls/private");
    machine.file("etc/ld.so.conf", "");
    fs::set_permissions(machine.home("etc/ld.so.conf"), fs::Permissions::from_mode(0o600)).unwrap();
    let entries = etc::entries(&machine.home("etc"), &places);
    let hosts: Vec<EtcEntry> = entries.into_iter().filter(|entry| !matches!(entry, EtcEntry::Written(_))).collect();
    let linked = |path: &str, target: &str| EtcEntry::Linked { path: path.into(), target: target.into() };
    assert_eq!(
        hosts,
        [
            linked("/etc/os-release", "/usr/bin/env"),
            EtcEntry::Shown { path: "/etc/pki/tls/certs".into(), kind: Kind::Folder },
            linked("/etc/ssl/cert.pem", "../pki/tls/certs/bundle.pem"),
        ]
    );
}

/// This machine, as the process that runs the tests knows it.
fn this_machine() -> Host {
    let environment: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
    let home = PathBuf::from(&environment[OsStr::new("HOME")]);
    Host { state: home.join(".local/state/cofferdam"), home, environment }
}

#[test]
fn this_machines_compiler_is_found_and_shown() {
    let host = this_machine();
    let workspace = tempfile::tempdir().unwrap();
    let root = discover(&host, workspace.path());
    assert_safe(&root, &host, workspace.path());
    // The cargo that built this test, which is not in a sandbox's way by accident.
    let cargo = Path::new(env!("CARGO")).canonicalize().unwrap();
    assert!(root.shown.iter().any(|shown| cargo.starts_with(&shown.path)), "{}: {root:#?}", cargo.display());
    for name in ["rust", "gcc"] {
        assert!(root.toolchains.iter().any(|toolchain| toolchain.name == name), "{name}: {:#?}", root.toolchains);
    }
    assert!(root.environment.values().all(|value| !value.contains('\n')));
}

#[test]
fn a_bare_path_finds_what_the_users_own_path_finds() {
    let mut host = this_machine();
    let workspace = tempfile::tempdir().unwrap();
    let found =
        |host: &Host| discover(host, workspace.path()).toolchains.into_iter().find(|found| found.name == "rust");
    let with_path = found(&host);
    host.environment.insert("PATH".into(), "/usr/bin:/bin".into());
    assert_eq!(found(&host), with_path);
}

/// Texts that try to leave a folder of versions, among them some that are honest.
fn hostile_text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("..".to_owned()),
        Just("3.11.7".to_owned()),
        Just("v20.11.0".to_owned()),
        Just("secret".to_owned()),
        Just(".ssh".to_owned()),
        Just("/".to_owned()),
        Just("lts".to_owned()),
        Just("*".to_owned()),
        Just("python".to_owned()),
        Just("nodejs".to_owned()),
        Just(" ".to_owned()),
        Just("\n".to_owned()),
        Just("path:".to_owned()),
        Just("HOME".to_owned()),
        Just("[toolchain]\nchannel = \"".to_owned()),
        Just("home = ".to_owned()),
        Just("\"".to_owned()),
        "\\PC{0,6}",
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn no_text_in_a_version_file_shows_anything_but_an_installed_version(
        texts in prop::collection::vec(hostile_text(), 7),
        links in prop::collection::vec(hostile_text(), 2),
    ) {
        let machine = Machine::new();
        let rust = format!(".rustup/toolchains/stable-{}-unknown-linux-gnu", std::env::consts::ARCH);
        machine.programs(&[
            ".pyenv/versions/3.11.7/bin/python3",
            ".nvm/versions/node/v20.11.0/bin/node",
            ".asdf/installs/python/3.11.7/bin/python3",
            &format!("{rust}/bin/rustc"),
            "secret/bin/python3",
            "secret/bin/node",
            "secret/bin/rustc",
            ".ssh/bin/python3",
            "bin/python3",
        ]);
        let files = [".python-version", ".nvmrc", ".node-version", "rust-toolchain", "rust-toolchain.toml", ".tool-versions", ".venv/pyvenv.cfg"];
        for (file, text) in files.iter().zip(&texts) {
            let text = text.replace("HOME", machine.host.home.to_str().unwrap());
            machine.file(&format!("project/{file}"), &text);
        }
        for (name, target) in ["python", "python3"].iter().zip(&links) {
            let target = target.replace("HOME", machine.host.home.to_str().unwrap());
            fs::create_dir_all(machine.workspace.join(".venv/bin")).unwrap();
            // A text with a null or none at all cannot be a link.
            let _ = symlink(target, machine.workspace.join(".venv/bin").join(name));
        }
        let root = machine.discover();
        let known = [
            ".pyenv/versions/3.11.7/bin",
            ".nvm/versions/node/v20.11.0/bin",
            ".asdf/installs/python/3.11.7/bin",
            rust.as_str(),
        ];
        for path in machine.shown(&root) {
            prop_assert!(known.contains(&path.as_str()), "{path}");
        }
        let outside = root.shown.iter().filter(|shown| !shown.path.starts_with(&machine.host.home));
        for shown in outside {
            prop_assert!(system::is_system(&shown.path) || shown.path.starts_with("/lib"), "{}", shown.path.display());
        }
    }
}
