//! Scratch volumes on the real kernel: lent, filled, thrown away.

use super::*;
use crate::cancel::Cancel;

/// A disk budget that is soon used up.
const SMALL_MB: u64 = 16;

struct Site {
    workspace: tempfile::TempDir,
    state: tempfile::TempDir,
    means: Means,
    closer: Arc<Closer>,
}

impl Site {
    fn new() -> Self {
        Self::with(Means::default())
    }

    /// A machine where no image can be had, whoever the server is.
    fn without_loop_devices() -> Self {
        Self::with(Means { control: PathBuf::from("/dev/absent/loop-control"), ..Means::default() })
    }

    fn with(means: Means) -> Self {
        let (workspace, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(workspace.path().join("Cargo.toml"), "").unwrap();
        Self { workspace, state, means, closer: Arc::new(Closer::start().unwrap()) }
    }

    fn take(&self) -> Result<Volumes, ScratchError> {
        self.take_of(SMALL_MB)
    }

    fn take_of(&self, disk_mb: u64) -> Result<Volumes, ScratchError> {
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
            state: self.state.path(),
            root: &root,
            limits: Limits { disk_mb, ..Limits::FILES },
            means: &self.means,
            closer: &self.closer,
            seeding: Seeding::Layer,
        };
        let deadline = Instant::now() + Duration::from_secs(2);
        Volumes::take(request, Waiting { deadline, cancel: &Cancel::new(), tell: None })
    }

    fn scratch_folder(&self) -> PathBuf {
        self.state.path().join("scratch")
    }
}

/// Where this process reaches the upper folder of a workspace's only volume.
fn upper(volumes: &Volumes) -> PathBuf {
    let [scratch] = volumes.scratch() else { panic!("one volume: {volumes:?}") };
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

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Loop devices whose file lies below `folder`.
fn loop_devices_on(folder: &Path) -> usize {
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
fn calls_take_turns_and_a_waiting_one_ends_at_its_deadline() {
    let site = Site::new();
    let first = site.take().unwrap();
    assert!(matches!(site.take(), Err(ScratchError::Ended(Ended::Deadline))));
    drop(first);
    site.take().unwrap();
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
    assert!(upper(&volumes).join("later").exists());
}
