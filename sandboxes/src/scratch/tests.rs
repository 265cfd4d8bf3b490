//! Scratch volumes on the real kernel: lent, filled, thrown away.

use std::os::unix::fs::MetadataExt;

use super::*;
use crate::cancel::Cancel;

/// A disk budget that is soon used up.
const SMALL_MB: u64 = 16;

pub(super) struct Site {
    pub(super) workspace: tempfile::TempDir,
    pub(super) state: tempfile::TempDir,
    pub(super) means: Means,
    pub(super) closer: Arc<Closer>,
}

impl Site {
    pub(super) fn new() -> Self {
        Self::with(Means::default())
    }

    /// A machine where no image can be had, whoever the server is.
    pub(super) fn without_loop_devices() -> Self {
        Self::with(Means { control: PathBuf::from("/dev/absent/loop-control"), ..Means::default() })
    }

    fn with(means: Means) -> Self {
        let (workspace, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(workspace.path().join("Cargo.toml"), "").unwrap();
        Self { workspace, state, means, closer: Arc::new(Closer::start(LINGER).unwrap()) }
    }

    pub(super) fn take(&self) -> Result<Volumes, ScratchError> {
        self.take_of(SMALL_MB)
    }

    pub(super) fn take_of(&self, disk_mb: u64) -> Result<Volumes, ScratchError> {
        self.take_for("", disk_mb, &mut |_| {})
    }

    /// As a call that names `folder`.
    fn take_for(&self, folder: &str, disk_mb: u64, tell: &mut dyn FnMut(&str)) -> Result<Volumes, ScratchError> {
        let root = HostRoot {
            shown: Vec::new(),
            links: Vec::new(),
            etc: Vec::new(),
            written: Vec::new(),
            stores: Vec::new(),
            path: Vec::new(),
            environment: std::collections::BTreeMap::new(),
            toolchains: Vec::new(),
            missing: Vec::new(),
            notes: Vec::new(),
        };
        let request = Request {
            workspace: self.workspace.path(),
            workspace_id: "abcdef",
            folder: Path::new(folder),
            state: self.state.path(),
            root: &root,
            limits: Limits { disk_mb, ..Limits::FILES },
            means: &self.means,
            closer: &self.closer,
            seeding: Seeding::Layer,
        };
        Volumes::take(request, Waiting { longest: LINGER * 2, cancel: &Cancel::new(), tell })
    }

    pub(super) fn scratch_folder(&self) -> PathBuf {
        self.state.path().join("scratch")
    }
}

/// Where this process reaches the upper folder of a workspace's only volume.
fn upper(volumes: &Volumes) -> PathBuf {
    let [scratch] = volumes.scratch() else { panic!("one volume: {volumes:?}") };
    reached(volumes, scratch)
}

pub(super) fn reached(volumes: &Volumes, scratch: &Scratch) -> PathBuf {
    let folder = match &volumes.holder {
        Holder::Image { image, .. } => image.as_ref().unwrap().folder(),
        Holder::Folders { .. } => PathBuf::new(),
    };
    folder.join(&scratch.volume).join("upper")
}

fn fill(volumes: &Volumes, mebibytes: usize) {
    for number in 0..mebibytes {
        let path = upper(volumes).join(format!("{number}"));
        fs::write(&path, vec![1; 1 << 20]).unwrap();
        // So that its blocks are counted.
        File::open(&path).unwrap().sync_all().unwrap();
    }
}

pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Loop devices whose file lies below `folder`.
pub(super) fn loop_devices_on(folder: &Path) -> usize {
    let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let files = devices.filter_map(|device| fs::read_to_string(device.path().join("loop/backing_file")).ok());
    files.filter(|file| Path::new(file.trim_end()).starts_with(folder)).count()
}

#[test]
fn a_seeded_volume_is_emptied_when_its_seed_changes_and_only_then() {
    let site = Site::new();
    fs::remove_file(site.workspace.path().join("Cargo.toml")).unwrap();
    fs::create_dir(site.workspace.path().join("node_modules")).unwrap();
    let volumes = site.take().unwrap();
    fs::write(upper(&volumes).join("kept"), "x").unwrap();
    drop(volumes);
    let volumes = site.take().unwrap();
    assert!(upper(&volumes).join("kept").exists());
    assert_eq!(volumes.notes, []);
    drop(volumes);
    fs::create_dir(site.workspace.path().join("node_modules/new")).unwrap();
    let volumes = site.take().unwrap();
    assert!(!upper(&volumes).join("kept").exists());
}

#[test]
fn target_is_scratch_before_it_exists_and_a_link_never_is() {
    let site = Site::new();
    std::os::unix::fs::symlink("/etc", site.workspace.path().join("node_modules")).unwrap();
    let volumes = site.take().unwrap();
    let places: Vec<_> = volumes.scratch().iter().map(|scratch| scratch.at.clone()).collect();
    assert_eq!(places, [site.workspace.path().join("target")]);
}

#[test]
fn calls_take_turns_and_a_waiting_one_says_so_and_waits_no_longer_than_it_may() {
    let site = Site::new();
    let first = site.take().unwrap();
    let mut told = Vec::new();
    let second = site.take_for("", SMALL_MB, &mut |line| told.push(line.to_owned()));
    let Err(error @ ScratchError::Busy { waited_seconds: 4 }) = second else { panic!("{second:?}") };
    assert!(error.to_string().contains("another run has this workspace") && error.to_string().contains("cancel_run"));
    assert_eq!(told, ["waiting for another run on this workspace to end"]);
    drop(first);
    let mut told = Vec::new();
    site.take_for("", SMALL_MB, &mut |line| told.push(line.to_owned())).unwrap();
    assert_eq!(told, [""; 0]);
}

#[test]
fn a_waiting_call_ends_when_it_is_cancelled() {
    let (mut waited, file) = (Vec::new(), tempfile::NamedTempFile::new().unwrap());
    let lock = || File::options().write(true).open(file.path()).unwrap();
    let (first, second, cancel) = (lock(), lock(), Cancel::new());
    rustix::fs::flock(&first, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let switch = cancel.clone();
    let mut tell = |line: &str| {
        waited.push(line.to_owned());
        switch.cancel(Ended::Cancelled);
    };
    let mut waiting = Waiting { longest: LONGEST_WAIT, cancel: &cancel, tell: &mut tell };
    assert!(matches!(waiting.lock(&second, file.path(), "words"), Err(ScratchError::Ended(Ended::Cancelled))));
    assert_eq!(waited, ["words"]);
}

/// Where the volumes are that a call for `folder` has, relative to the workspace.
fn places(site: &Site, folder: &str) -> Vec<String> {
    let volumes = site.take_for(folder, SMALL_MB, &mut |_| {}).unwrap();
    let names: std::collections::BTreeSet<_> = volumes.scratch().iter().map(|scratch| &scratch.volume).collect();
    assert_eq!(names.len(), volumes.scratch().len(), "each has its own: {volumes:?}");
    let odd = |letter: char| !(letter.is_ascii_alphanumeric() || "/._-".contains(letter));
    assert!(!names.iter().any(|name| name.to_str().unwrap().contains(odd)), "{names:?}");
    let below = |scratch: &Scratch| scratch.at.strip_prefix(site.workspace.path()).unwrap().to_owned();
    volumes.scratch().iter().map(|scratch| below(scratch).to_str().unwrap().to_owned()).collect()
}

#[test]
fn the_project_that_a_call_names_has_volumes_and_so_has_each_folder_above_it() {
    let site = Site::new();
    let at = |name: &str| site.workspace.path().join(name);
    let odd = "sub/odd, name:\"x";
    fs::create_dir_all(at(odd).join("src")).unwrap();
    fs::create_dir_all(at(odd).join("node_modules/package/node_modules")).unwrap();
    for marker in ["sub/Cargo.toml".to_owned(), format!("{odd}/Cargo.toml"), format!("{odd}/src/lib.rs")] {
        fs::write(at(&marker), "").unwrap();
    }
    for (name, inside) in [("sub/.venv", true), ("sub/venv", true), ("other/target", false)] {
        fs::create_dir_all(at(name)).unwrap();
        assert_eq!(places(&site, "sub").contains(&name.to_owned()), inside, "{name}");
    }
    assert_eq!(places(&site, ""), ["target"]);
    let sub = ["target", "sub/target", "sub/.venv", "sub/venv"];
    assert_eq!(places(&site, "sub"), sub);
    let all: Vec<String> = sub
        .iter()
        .map(ToString::to_string)
        .chain(["target", "node_modules"].map(|name| format!("{odd}/{name}")))
        .collect();
    for named in [odd.to_owned(), format!("{odd}/src/lib.rs"), format!("{odd}/absent/too")] {
        assert_eq!(places(&site, &named), all);
    }
    // What is in a volume is no project of its own.
    assert_eq!(places(&site, &format!("{odd}/node_modules/package")), all);
}

#[test]
fn no_link_and_no_dots_lead_out_of_the_workspace() {
    let site = Site::new();
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir_all(outside.path().join("deep/node_modules")).unwrap();
    fs::create_dir(site.workspace.path().join("sub")).unwrap();
    std::os::unix::fs::symlink(outside.path(), site.workspace.path().join("sub/link")).unwrap();
    std::os::unix::fs::symlink(
        outside.path().join("deep/node_modules"),
        site.workspace.path().join("sub/node_modules"),
    )
    .unwrap();
    for named in ["sub/link", "sub/link/deep", "sub/link/deep/node_modules"] {
        assert_eq!(places(&site, named), ["target"], "{named}");
    }
}

#[test]
fn a_deep_path_has_a_bounded_number_of_volumes() {
    let site = Site::without_loop_devices();
    let mut folder = String::new();
    for _ in 0..30 {
        folder.push_str("d/");
        fs::create_dir(site.workspace.path().join(&folder)).unwrap();
        fs::write(site.workspace.path().join(&folder).join("Cargo.toml"), "").unwrap();
    }
    assert_eq!(places(&site, &folder).len(), 1 + 16);
}

#[test]
fn volumes_that_a_call_does_not_have_stay_and_count() {
    for site in [Site::new(), Site::without_loop_devices()] {
        fs::create_dir(site.workspace.path().join("sub")).unwrap();
        fs::write(site.workspace.path().join("sub/Cargo.toml"), "").unwrap();
        let volumes = site.take_for("sub", SMALL_MB, &mut |_| {}).unwrap();
        let [_, sub] = volumes.scratch() else { panic!("{volumes:?}") };
        let kept = |volumes: &Volumes| reached(volumes, sub).join("kept");
        fs::write(kept(&volumes), vec![1; 8 << 20]).unwrap();
        File::open(kept(&volumes)).unwrap().sync_all().unwrap();
        let without = {
            let sub = sub.clone();
            drop(volumes);
            let mut volumes = site.take().unwrap();
            assert!(reached(&volumes, &sub).join("kept").exists());
            fill(&volumes, 3);
            assert_eq!(volumes.exceeded(), None);
            if let Holder::Folders { .. } = volumes.holder {
                fill(&volumes, SMALL_MB as usize - 7);
                let ended = (0..100).any(|_| {
                    std::thread::sleep(Duration::from_millis(50));
                    volumes.exceeded().is_some()
                });
                assert!(ended, "the bound is for all together");
            }
            drop(volumes);
            sub
        };
        let volumes = site.take_for("sub", SMALL_MB, &mut |_| {}).unwrap();
        assert_eq!(volumes.notes, []);
        assert!(reached(&volumes, &without).join("kept").exists());
    }
}

#[test]
fn nearly_full_volumes_begin_empty() {
    for site in [Site::new(), Site::without_loop_devices()] {
        let volumes = site.take().unwrap();
        fill(&volumes, SMALL_MB as usize * 3 / 4);
        drop(volumes);
        let volumes = site.take().unwrap();
        assert_eq!(volumes.notes, [], "a quarter is left");
        assert!(upper(&volumes).join("0").exists());
        fs::remove_file(upper(&volumes).join("0")).unwrap();
        fill(&volumes, SMALL_MB as usize * 7 / 8);
        fs::write(upper(&volumes).join("more"), vec![1; 256 << 10]).unwrap();
        File::open(upper(&volumes).join("more")).unwrap().sync_all().unwrap();
        drop(volumes);
        let volumes = site.take().unwrap();
        assert_eq!(volumes.notes, [ScratchNote::BeganEmpty(BeganEmpty::NearlyFull)]);
        assert_eq!(fs::read_dir(upper(&volumes)).unwrap().count(), 0);
    }
}

#[test]
fn volumes_that_went_beyond_the_bound_are_emptied_and_the_call_ends() {
    let site = Site::without_loop_devices();
    let mut volumes = site.take().unwrap();
    assert_eq!(volumes.exceeded(), None);
    fill(&volumes, SMALL_MB as usize + 1);
    let before = Instant::now();
    while volumes.exceeded().is_none() {
        assert!(before.elapsed() < Duration::from_secs(5), "volumes are measured at least once a second");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(volumes.exceeded(), Some(Ended::DiskFull));
    assert_eq!(volumes.notes(), [ScratchNote::ThrownAway]);
    drop(volumes);
    assert!(!site.scratch_folder().join("target").exists());
    let volumes = site.take().unwrap();
    assert_eq!(volumes.notes, [], "the call before was told");
}

#[test]
fn the_reason_for_folders_is_told() {
    let site = Site::without_loop_devices();
    let volumes = site.take().unwrap();
    let Holding::Folders { why } = volumes.holding() else { panic!("{:?}", volumes.holding()) };
    let right = if is_root() { "/dev/absent/loop-control: No such file" } else { "only root" };
    assert!(why.contains(right), "{why}");
    let site = Site::with(Means { makers: Vec::new(), ..Means::default() });
    let volumes = site.take().unwrap();
    let Holding::Folders { why } = volumes.holding() else { panic!("{:?}", volumes.holding()) };
    assert!(why.contains(if is_root() { "mkfs.ext4" } else { "only root" }), "{why}");
}

#[test]
fn an_image_holds_its_size_and_no_device_outlives_it() {
    let site = Site::new();
    let volumes = site.take().unwrap();
    if !is_root() {
        assert!(matches!(volumes.holding(), Holding::Folders { .. }));
        return;
    }
    assert!(matches!(volumes.holding(), Holding::Image(_)), "{volumes:?}");
    let (user, group) = agent_of("abcdef");
    let metadata = fs::metadata(upper(&volumes)).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (user, group));
    let file = File::create(upper(&volumes).join("big")).unwrap();
    let mut written = 0;
    let error = loop {
        match io::Write::write(&mut &file, &vec![1; 1 << 20]) {
            Ok(bytes) => written += bytes,
            Err(error) => break error,
        }
        assert!(written <= (SMALL_MB as usize) << 20);
    };
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(written > (SMALL_MB as usize) << 19, "{written} bytes");
    drop(file);
    let mut volumes = volumes;
    assert_eq!(volumes.exceeded(), None, "the call goes on");
    assert_eq!(volumes.notes(), [ScratchNote::Full]);

    // The kernel holds the lock for as long as the image is mounted, whoever else is gone.
    let image = site.scratch_folder().join("image");
    let lock = || {
        let file = File::open(&image).unwrap();
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
    };
    assert_eq!(lock(), Err(rustix::io::Errno::WOULDBLOCK));
    assert_eq!(loop_devices_on(site.state.path()), 1);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains("/dev/loop"), "{mounts}");

    // What is removed is the host's again.
    let taken = || fs::metadata(&image).unwrap().blocks() * 512;
    File::open(upper(&volumes)).unwrap().sync_all().unwrap();
    let before = taken();
    fs::remove_file(upper(&volumes).join("big")).unwrap();
    drop(volumes);
    let Site { closer, state, .. } = site;
    drop(closer);
    assert_eq!(lock(), Ok(()));
    assert_eq!(loop_devices_on(state.path()), 0);
    assert!(taken() + (4 << 20) < before.max(8 << 20), "{before} bytes became {}", taken());
}

/// What `sysfs(5)` has of the file system in an image below `folder`.
fn kernels_word_on(folder: &Path, name: &str) -> PathBuf {
    let devices = fs::read_dir("/sys/block").unwrap().map(Result::unwrap);
    let file = |device: &fs::DirEntry| fs::read_to_string(device.path().join("loop/backing_file")).unwrap_or_default();
    let [device]: [_; 1] = devices
        .filter(|device| file(device).contains(folder.to_str().unwrap()))
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    Path::new("/sys/fs/ext4").join(device.file_name()).join(name)
}

#[test]
fn an_image_stays_mounted_for_the_next_call_and_no_longer_than_a_moment() {
    let mut site = Site::new();
    if !is_root() {
        assert!(matches!(site.take().unwrap().holding(), Holding::Folders { .. }));
        return;
    }
    let volumes = site.take().unwrap();
    fs::write(upper(&volumes).join("kept"), "x").unwrap();
    drop(volumes);
    // Now no other image could be mounted.
    let means = std::mem::replace(&mut site.means.control, PathBuf::from("/dev/absent/loop-control"));
    for _ in 0..3 {
        let volumes = site.take().unwrap();
        assert!(matches!(volumes.holding(), Holding::Image(_)), "{volumes:?}");
        assert!(upper(&volumes).join("kept").exists());
    }
    std::thread::sleep(LINGER / 2);
    assert_eq!(loop_devices_on(site.state.path()), 1);
    std::thread::sleep(LINGER);
    assert_eq!(loop_devices_on(site.state.path()), 0);
    assert!(matches!(site.take().unwrap().holding(), Holding::Folders { .. }), "there was nothing to take back");
    site.means.control = means;
    let volumes = site.take().unwrap();
    assert_eq!(volumes.notes, []);
    assert!(upper(&volumes).join("kept").exists());
}

#[test]
fn an_image_that_became_useless_while_it_was_mounted_is_replaced() {
    let site = Site::new();
    let use_it = || {
        let volumes = site.take().unwrap();
        let (notes, kept) = (volumes.notes.clone(), upper(&volumes).join("kept").exists());
        fs::write(upper(&volumes).join("kept"), "x").unwrap();
        (notes, kept)
    };
    assert_eq!(use_it(), (vec![], false));
    if !is_root() {
        assert_eq!(use_it(), (vec![], true));
        return;
    }
    // The kernel's own way to let a file system meet an error.
    fs::write(kernels_word_on(site.state.path(), "trigger_fs_error"), "a test").unwrap();
    assert_eq!(use_it(), (vec![ScratchNote::BeganEmpty(BeganEmpty::Damaged)], false));
    assert_eq!(use_it(), (vec![], true));
    fs::remove_file(site.scratch_folder().join("image")).unwrap();
    assert_eq!(use_it(), (vec![], false), "somebody wanted it gone");
    fs::write(site.scratch_folder().join("image.made"), "").unwrap();
    assert_eq!(use_it(), (vec![ScratchNote::BeganEmpty(BeganEmpty::OlderThanBoot)], false));
    assert_eq!(use_it(), (vec![], true));
    drop(site.closer);
    assert_eq!(loop_devices_on(site.state.path()), 0);
}

#[test]
fn a_server_that_ends_unmounts_at_once() {
    let mut site = Site::new();
    site.closer = Arc::new(Closer::start(Duration::from_secs(3600)).unwrap());
    drop(site.take().unwrap());
    assert_eq!(loop_devices_on(site.state.path()), usize::from(is_root()));
    let Site { closer, state, .. } = site;
    let begun = Instant::now();
    drop(closer);
    assert_eq!(loop_devices_on(state.path()), 0);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[test]
fn an_image_of_another_size_or_boot_or_in_disorder_is_replaced() {
    let site = Site::new();
    let image = site.scratch_folder().join("image");
    let made = site.scratch_folder().join("image.made");
    let again = |disk_mb: u64| {
        // Until the image is unmounted its lock is held, and it changes.
        let volumes = site.take_of(disk_mb).unwrap();
        let notes = volumes.notes.clone();
        let kept = upper(&volumes).join("kept").exists();
        fs::write(upper(&volumes).join("kept"), "x").unwrap();
        (notes, kept)
    };
    let settle = || {
        let file = File::open(&image).unwrap();
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    };
    assert_eq!(again(SMALL_MB), (vec![], false));
    if !is_root() {
        assert_eq!(again(2 * SMALL_MB), (vec![], true));
        return;
    }
    let fresh = |why: BeganEmpty| (vec![ScratchNote::BeganEmpty(why)], false);
    assert_eq!(again(SMALL_MB), (vec![], true));
    assert_eq!(again(2 * SMALL_MB), fresh(BeganEmpty::OtherBudget));
    assert_eq!(again(2 * SMALL_MB), (vec![], true));
    let noted = fs::read_to_string(&made).unwrap();
    fs::write(&made, noted.replacen(|letter: char| letter.is_ascii_hexdigit(), "x", 1)).unwrap();
    assert_eq!(again(2 * SMALL_MB), fresh(BeganEmpty::OlderThanBoot));
    for (at, bytes) in [(1024 + 0x38, [0_u8; 2]), (1024 + 0x3A, [0; 2]), (1024 + 0x3A, [3, 0])] {
        settle();
        let file = File::options().write(true).open(&image).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes, at).unwrap();
        assert_eq!(again(2 * SMALL_MB), fresh(BeganEmpty::Damaged), "{at}");
        assert_eq!(again(2 * SMALL_MB), (vec![], true));
    }
}

#[test]
fn folders_of_before_go_when_there_is_an_image_and_an_image_stays_when_there_are_folders() {
    let mut site = Site::without_loop_devices();
    let volumes = site.take().unwrap();
    fs::write(upper(&volumes).join("kept"), "x").unwrap();
    drop(volumes);
    site.means = Means::default();
    let volumes = site.take().unwrap();
    // An ordinary user's are folders then as before.
    assert_eq!(upper(&volumes).join("kept").exists(), !is_root());
    assert_eq!(site.scratch_folder().join("target").exists(), !is_root());
    fs::write(upper(&volumes).join("later"), "x").unwrap();
    drop(volumes);
    site.means.makers.clear();
    drop(site.take().unwrap());
    site.means = Means::default();
    let volumes = site.take().unwrap();
    assert_eq!(volumes.notes, []);
    assert!(upper(&volumes).join("later").exists());
}

#[test]
fn a_link_in_a_volume_to_a_masked_file_beside_it_needs_no_mask() {
    let site = Site::new();
    let (root, token) = (site.workspace.path(), "//r.example/:_authToken=abcdef1234567890\n");
    fs::create_dir(root.join("node_modules")).unwrap();
    fs::write(root.join(".npmrc"), token).unwrap();
    std::os::unix::fs::symlink("../.npmrc", root.join("node_modules/.npmrc")).unwrap();
    let (state, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let workspace = crate::workspace::Workspace::open(root, state.path(), home.path()).unwrap();
    let masks_of_volume = || {
        let masks = workspace.masks(&Arc::default()).unwrap();
        let mut volumes = site.take().unwrap();
        volumes.mask(root, &masks).unwrap();
        let volume = volumes.scratch().iter().find(|scratch| scratch.at.ends_with("node_modules")).unwrap();
        let shown = volume.masks.as_ref().map(|layer| fs::read_to_string(layer.join(".yarnrc.yml")).unwrap());
        let paths: Vec<String> = masks.paths().map(ToString::to_string).collect();
        (paths, shown)
    };
    assert_eq!(masks_of_volume(), (vec![".npmrc".to_owned()], None));
    fs::write(root.join("node_modules/.yarnrc.yml"), "npmAuthToken: abcdef1234567890\n").unwrap();
    let (paths, shown) = masks_of_volume();
    assert_eq!(paths, [".npmrc", "node_modules/.yarnrc.yml"]);
    assert!(shown.is_some_and(|shown| !shown.contains("abcdef")), "the layer has the volume's folder");
}
