//! Version 2: a delegated subtree, given from outside or lent by a service manager (`cgroups(7)`, "Delegation").
//!
//! Below the cgroup that is ours, `cofferdam/server` holds the server and `cofferdam/OWNER` one yard's sandboxes:
//! controllers can only be handed on by a cgroup without processes ("no internal processes").
//!
//! A cgroup that this user may write to is not yet ours: systemd keeps the tree below each of its units to itself unless
//! the unit says `Delegate=`, and takes back what others changed there at its next reload.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    path::{Component, Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::{OURS, make_and_try, remove, scope};

/// The cgroup that servers themselves are in.
const SERVER: &str = "server";

/// By which systemd marks what it gave away (its `cgroup-util.c`, `cg_is_delegated`). Only root can read the first, and a
/// user's manager of version 252 sets neither (measured).
const MARKS: [&str; 2] = ["trusted.delegate", "user.delegate"];

/// A subtree for one yard's sandboxes.
#[derive(Debug, Clone)]
pub(crate) struct Lent {
    /// Where sandboxes' cgroups are made.
    pub(super) folder: PathBuf,
    /// What was delegated, as the kernel names it.
    pub(super) from: PathBuf,
    /// Whether the CPU controller was lent too. Older systemd lends a user memory and processes only.
    pub(super) has_cpu: bool,
}

/// Our own place in the hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Where the hierarchy is mounted.
    pub(super) mount: PathBuf,
    /// Our own cgroup below it, without a slash in front.
    pub(super) own: PathBuf,
}

/// Finds a subtree for `owner`, or gets one from the service manager.
///
/// # Errors
/// Why there is none, in words.
pub(super) fn find(owner: &str, environment: &BTreeMap<OsString, OsString>) -> Result<Lent, String> {
    // This process moves: a second yard must not look while the first is on its way.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let place = Place::read()?;
    let why = match delegated(&place, environment).and_then(|()| settle(&place, owner)) {
        Ok(lent) => return Ok(lent),
        Err(why) => why,
    };
    has_controllers(&place.mount).map_err(|lacks| format!("{why}; this machine's {lacks}"))?;
    scope::enter(&place, owner, environment).map_err(|other| format!("{why}; {other}"))?;
    settle(&Place::read()?, owner)
}

impl Place {
    fn read() -> Result<Self, String> {
        let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path} is unreadable: {error}"));
        Self::parse(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?)
    }

    /// From the texts of `/proc/self/cgroup` (`cgroups(7)`) and `mountinfo` (`proc_pid_mountinfo(5)`).
    fn parse(own: &str, mounts: &str) -> Result<Self, String> {
        let own = own.lines().find_map(|line| line.strip_prefix("0::")).ok_or("no cgroup v2")?;
        let mut mounts = mounts.lines().filter_map(|line| {
            let (place, _) = line.split_once(" - ").filter(|(_, kind)| kind.starts_with("cgroup2 "))?;
            let mut fields = place.split(' ').skip(3);
            Some((fields.next()?, fields.next()?))
        });
        // A container may be shown a part of the tree, or none that it is in (`/..`), or several.
        let is_below = |path: &Path| path.components().all(|part| matches!(part, Component::Normal(_)));
        let found = mounts.find_map(|(root, mount)| {
            let own = Path::new(own).strip_prefix(root).ok().filter(|own| is_below(own))?;
            Some((own, mount))
        });
        let (own, mount) = found.ok_or("our own cgroup v2 is not in what is mounted of it")?;
        // Another yard of this process was here first.
        let own = match own.ends_with(Path::new(OURS).join(SERVER)) {
            true => own.parent().and_then(Path::parent).expect("it has at least these two parts"),
            false => own,
        };
        Ok(Self { mount: mount.into(), own: own.into() })
    }

    /// The folder of our own cgroup.
    pub(super) fn folder(&self) -> PathBuf {
        self.mount.join(&self.own)
    }

    /// The systemd unit that our own cgroup is or lies in, as a path below the mount.
    pub(super) fn unit(&self) -> Option<&Path> {
        self.own.ancestors().find(|path| path.extension().is_some_and(|kind| kind == "scope" || kind == "service"))
    }
}

/// Refuses a cgroup that the service manager keeps to itself. Outside of any unit (in a container, or without systemd)
/// whoever may write there may have it.
fn delegated(place: &Place, environment: &BTreeMap<OsString, OsString>) -> Result<(), String> {
    let Some(unit) = place.unit() else { return Ok(()) };
    let folder = place.mount.join(unit);
    let mut value = [0_u8; 8];
    let is_marked =
        MARKS.iter().any(|mark| matches!(rustix::fs::getxattr(&folder, *mark, &mut value), Ok(1) if value[0] == b'1'));
    if is_marked || scope::is_delegated(place, unit, environment) {
        Ok(())
    } else {
        Err(format!("{} is not delegated (Delegate=yes)", name(unit)))
    }
}

/// The last part of a cgroup's path, which names the unit.
pub(super) fn name(unit: &Path) -> String {
    unit.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn has_controllers(folder: &Path) -> Result<(), String> {
    let controllers = fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
    match ["memory", "pids"].into_iter().find(|needed| !lists(&controllers, needed)) {
        Some(lacking) => Err(format!("cgroup v2 has no controller {lacking}")),
        None => Ok(()),
    }
}

fn lists(controllers: &str, name: &str) -> bool {
    controllers.split_whitespace().any(|controller| controller == name)
}

/// Takes over our own cgroup: this server into one leaf, sandboxes beside it. Where that fails all is as before.
fn settle(place: &Place, owner: &str) -> Result<Lent, String> {
    let own = place.folder();
    has_controllers(&own).map_err(|lacks| format!("its {lacks}"))?;
    let has_cpu = lists(&fs::read_to_string(own.join("cgroup.controllers")).unwrap_or_default(), "cpu");
    // The kernel refuses to hand on controllers from a cgroup with processes (EBUSY), and others' are not ours to move.
    // The root of all, which has no type, may have both.
    let others = others(&fs::read_to_string(own.join("cgroup.procs")).unwrap_or_default(), std::process::id());
    if others > 0 && own.join("cgroup.type").exists() {
        return Err(format!("{others} other processes are in its cgroup v2, which hands nothing on while they are"));
    }
    let (all, server, folder) = (own.join(OURS), own.join(OURS).join(SERVER), own.join(OURS).join(owner));
    let controllers = if has_cpu { "+memory +pids +cpu" } else { "+memory +pids" };
    let enable = |folder: &Path| fs::write(folder.join("cgroup.subtree_control"), controllers);
    (|| {
        fs::create_dir_all(&server)?;
        fs::write(server.join("cgroup.procs"), "0")?;
        enable(&own)?;
        enable(&all)?;
        make_and_try(&folder)?;
        enable(&folder)
    })()
    .map_err(|error: io::Error| {
        // Whatever of it was done. What fails was not done, or another server still uses it.
        let _ = fs::write(own.join("cgroup.procs"), "0");
        [&folder, &server, &all].into_iter().for_each(|folder| remove(folder));
        format!("its cgroup v2 is not delegated to this user: {error}")
    })?;
    Ok(Lent { folder, from: Path::new("/").join(&place.own), has_cpu })
}

/// How many processes a cgroup holds beside us. One outside of our pid namespace is listed as 0.
pub(super) fn others(processes: &str, own: u32) -> usize {
    processes.lines().filter(|line| line.parse() != Ok(own)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "24 1 0:22 / /proc rw - proc proc rw\n\
                          25 1 0:23 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate";

    fn place(own: &str) -> Place {
        Place::parse(&format!("0::{own}\n"), MOUNTS).unwrap()
    }

    #[test]
    fn our_own_cgroup_is_found_below_the_mount() {
        let place = place("/user.slice/user-7.slice/session-1.scope");
        assert_eq!(place.folder(), Path::new("/sys/fs/cgroup/user.slice/user-7.slice/session-1.scope"));
    }

    #[test]
    fn a_second_yard_finds_the_cgroup_that_the_first_took_over() {
        assert_eq!(place("/a.scope/cofferdam/server"), place("/a.scope"));
        assert_eq!(place("/cofferdam/server"), place("/"));
    }

    #[test]
    fn a_container_that_is_shown_its_part_of_the_tree_finds_itself_there() {
        let mounts = "25 1 0:23 /docker/1 /cgroups rw - cgroup2 cgroup2 rw";
        let found = Place::parse("0::/docker/1/x\n", mounts).unwrap();
        assert_eq!(found.folder(), Path::new("/cgroups/x"));
    }

    #[test]
    fn of_several_mounts_the_one_that_shows_us_is_taken() {
        let mounts = "25 1 0:23 /../.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n\
                      26 1 0:23 / /own rw - cgroup2 cgroup2 rw";
        assert_eq!(Place::parse("0::/\n", mounts).unwrap().folder(), Path::new("/own"));
    }

    #[test]
    fn a_cgroup_that_is_not_shown_is_refused() {
        let elsewhere = "25 1 0:23 /docker/1 /cgroups rw - cgroup2 cgroup2 rw";
        Place::parse("0::/docker/2\n", elsewhere).unwrap_err();
        Place::parse("0::/../docker/2\n", MOUNTS).unwrap_err();
        Place::parse("0::/\n", "25 1 0:23 /../.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw").unwrap_err();
        Place::parse("4:memory:/x\n", MOUNTS).unwrap_err();
        Place::parse("0::/x\n", "24 1 0:22 / /proc rw - proc proc rw").unwrap_err();
    }

    #[test]
    fn the_innermost_unit_decides() {
        let in_app = place("/user.slice/user-7.slice/user@7.service/app.slice/app-x.scope/inner");
        assert_eq!(name(in_app.unit().unwrap()), "app-x.scope");
        assert_eq!(place("/").unit(), None);
        assert_eq!(place("/user.slice").unit(), None);
    }

    #[test]
    fn processes_of_other_namespaces_count_as_others() {
        assert_eq!(others("7\n", 7), 0);
        assert_eq!(others("0\n7\n12\n", 7), 2);
        assert_eq!(others("", 7), 0);
    }

    #[test]
    fn a_folder_that_is_no_cgroup_is_left_as_it_was() {
        let mount = tempfile::tempdir().unwrap();
        let place = Place { mount: mount.path().into(), own: "x".into() };
        fs::create_dir(place.folder()).unwrap();
        let why = settle(&place, "1-2-3").unwrap_err();
        assert!(why.contains("no controller memory"), "{why}");
        // A machine that lends controllers but no right to hand them on.
        fs::write(place.folder().join("cgroup.controllers"), "cpu memory pids\n").unwrap();
        fs::create_dir(place.folder().join("cgroup.subtree_control")).unwrap();
        let why = settle(&place, "1-2-3").unwrap_err();
        assert!(why.contains("not delegated"), "{why}");
    }
}
