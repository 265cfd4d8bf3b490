//! Scratch volumes as a person gets at them, on the real kernel.

use std::os::unix::fs::{MetadataExt, symlink};

use rustix::fs::{FileType, Mode, XattrFlags};

use super::{
    tests::{Site, is_root, loop_devices_on, reached},
    *,
};
use crate::{cancel::Cancel, workspace::Workspace};

/// A workspace with a folder of each kind: one that is seeded, and one that begins empty.
struct Person {
    site: Site,
    workspace: Workspace,
    /// Where copies go.
    desk: tempfile::TempDir,
    _own_state: tempfile::TempDir,
}

impl Person {
    fn at(site: Site) -> Self {
        let packages = site.workspace.path().join("node_modules");
        fs::create_dir_all(packages.join("whole/deep")).unwrap();
        fs::create_dir_all(packages.join("hidden")).unwrap();
        for (name, text) in [("whole/index.js", "one"), ("whole/deep/a.js", "two"), ("hidden/old.js", "old")] {
            fs::write(packages.join(name), text).unwrap();
        }
        fs::write(packages.join("gone.js"), "gone").unwrap();
        let own_state = tempfile::tempdir().unwrap();
        let home = own_state.path().join("home");
        let workspace = Workspace::open(site.workspace.path(), &own_state.path().join("state"), &home).unwrap();
        Self { site, workspace, desk: tempfile::tempdir().unwrap(), _own_state: own_state }
    }

    /// The same of each kind that volumes are held in on this machine.
    fn everywhere() -> [Self; 2] {
        [Site::new(), Site::without_loop_devices()].map(Self::at)
    }

    /// Does to the upper folder of the volume at `place` what a run would.
    fn as_a_run(&self, place: &str, work: impl FnOnce(&Path)) {
        let volumes = self.site.take().unwrap();
        let at = self.site.workspace.path().join(place);
        let scratch = volumes.scratch().iter().find(|scratch| scratch.at == at).unwrap();
        work(&reached(&volumes, scratch));
    }

    fn look(&self, intention: Intention) -> Result<ScratchVolumes, PersonError> {
        // Long enough for an image that a server keeps for a moment.
        self.look_for(intention, LINGER * 2, &mut |_| {})
    }

    fn look_for(
        &self,
        intention: Intention,
        longest: Duration,
        tell: &mut dyn FnMut(&str),
    ) -> Result<ScratchVolumes, PersonError> {
        let waiting = PersonWaiting { cancel: &Cancel::new(), tell };
        ScratchVolumes::take_with(self.site.state.path(), intention, waiting, longest, &self.site.means)
    }

    fn export(&self, path: &str, name: &str, cancel: &Cancel) -> Result<Exported, ExportError> {
        let volumes = self.look(Intention::Look).unwrap();
        let absolute = self.site.workspace.path().join(path);
        let found = volumes.find(&absolute).expect("a volume has the place");
        let waiting = PersonWaiting { cancel, tell: &mut |_| {} };
        volumes.export(&self.workspace, found, (self.desk.path(), name.as_ref()), waiting)
    }

    fn desk(&self, name: &str) -> PathBuf {
        self.desk.path().join(name)
    }

    fn names_on_the_desk(&self) -> Vec<String> {
        let entries = fs::read_dir(self.desk.path()).unwrap().map(|entry| entry.unwrap().file_name());
        entries.map(|name| name.into_string().unwrap()).collect()
    }
}

fn whiteout(at: &Path) {
    rustix::fs::mknodat(rustix::fs::CWD, at, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
}

#[test]
fn a_person_sees_each_volume_with_its_place_its_size_and_its_seed() {
    for person in Person::everywhere() {
        let begun = std::time::SystemTime::now() - Duration::from_secs(2);
        person.as_a_run("target", |upper| fs::write(upper.join("big"), vec![1; 1 << 20]).unwrap());
        let volumes = person.look(Intention::Look).unwrap();
        let shown: Vec<_> = volumes.volumes().iter().map(|volume| (volume.place.clone(), volume.is_seeded)).collect();
        let at = |name: &str| Some(person.site.workspace.path().join(name));
        assert_eq!(shown, [(at("node_modules"), true), (at("target"), false)]);
        let [packages, target] = volumes.volumes() else { unreachable!() };
        assert_eq!((packages.size.files, target.size.files), (0, 1), "the seed's files are not its own");
        assert!((1 << 20..2 << 20).contains(&target.size.bytes) && target.is_whole, "{target:?}");
        assert!(target.last_used.unwrap() >= begun);
        match volumes.holder() {
            ScratchHolder::Image { used: Ok((used, all)), .. } => {
                assert!(used.bytes >= 1 << 20 && used.bytes < all.bytes && target.folder.is_none(), "{used:?}");
            }
            ScratchHolder::Folders(_) => assert!(target.folder.as_ref().unwrap().join("big").exists()),
            holder @ ScratchHolder::Image { .. } => panic!("{holder:?}"),
        }
    }
}

#[test]
fn what_is_copied_out_is_what_programs_saw() {
    for person in Person::everywhere() {
        person.as_a_run("node_modules", |upper| {
            fs::create_dir_all(upper.join("whole")).unwrap();
            fs::write(upper.join("whole/index.js"), "changed").unwrap();
            fs::write(upper.join("whole/new.js"), "new").unwrap();
            whiteout(&upper.join("gone.js"));
            fs::create_dir(upper.join("hidden")).unwrap();
            rustix::fs::setxattr(upper.join("hidden"), "user.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
            fs::write(upper.join("hidden/only.js"), "only").unwrap();
        });
        let exported = person.export("node_modules", "copy", &Cancel::new()).unwrap();
        assert_eq!((exported.files, exported.left_out), (4, 0), "{exported:?}");
        let read = |name: &str| fs::read_to_string(person.desk("copy").join(name)).ok();
        assert_eq!(read("whole/index.js").as_deref(), Some("changed"));
        assert_eq!(read("whole/new.js").as_deref(), Some("new"));
        assert_eq!(read("whole/deep/a.js").as_deref(), Some("two"), "from the seed");
        assert_eq!(read("hidden/only.js").as_deref(), Some("only"));
        assert_eq!((read("gone.js"), read("hidden/old.js")), (None, None));
        // A single file, from the seed and from the volume, and what is deleted.
        person.export("node_modules/whole/deep/a.js", "a.js", &Cancel::new()).unwrap();
        assert_eq!(fs::read_to_string(person.desk("a.js")).unwrap(), "two");
        for gone in ["node_modules/gone.js", "node_modules/hidden/old.js", "node_modules/whole/../whole/new.js"] {
            assert!(matches!(person.export(gone, "x", &Cancel::new()), Err(ExportError::Absent(_))), "{gone}");
        }
        assert_eq!(person.names_on_the_desk().len(), 2);
    }
}

#[test]
fn what_could_act_by_itself_stays_behind_and_is_named() {
    for person in Person::everywhere() {
        let secret = person.site.state.path().join("secret");
        fs::write(&secret, "secret").unwrap();
        person.as_a_run("target", |upper| {
            let out = upper.join("out");
            fs::create_dir_all(out.join("sub")).unwrap();
            fs::write(out.join("program"), "x").unwrap();
            fs::set_permissions(out.join("program"), fs::Permissions::from_mode(0o6777)).unwrap();
            symlink("../program", out.join("sub/inside")).unwrap();
            symlink(&secret, out.join("absolute")).unwrap();
            symlink("../../../../..", out.join("up")).unwrap();
            symlink("sub/../../x", out.join("around")).unwrap();
            rustix::fs::mknodat(rustix::fs::CWD, out.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
            symlink(secret.parent().unwrap(), upper.join("elsewhere")).unwrap();
        });
        let exported = person.export("target/out", "out", &Cancel::new()).unwrap();
        let left: std::collections::BTreeMap<_, _> =
            exported.skipped.iter().map(|skipped| (skipped.path.to_str().unwrap(), skipped.why)).collect();
        let wanted = [
            ("absolute", SkipReason::Link),
            ("around", SkipReason::Link),
            ("pipe", SkipReason::Pipe),
            ("program", SkipReason::ModeBits),
            ("up", SkipReason::Link),
        ];
        assert_eq!(left.into_iter().collect::<Vec<_>>(), wanted);
        let program = fs::metadata(person.desk("out/program")).unwrap();
        assert_eq!(program.mode() & 0o7022, 0, "no set-id bits, and nobody else may write to it");
        assert_eq!(program.mode() & 0o111, 0o111);
        assert_eq!(program.uid(), fs::metadata(person.desk.path()).unwrap().uid());
        assert_eq!(fs::read_to_string(person.desk("out/sub/inside")).unwrap(), "x");
        // Neither a link nor a way through one.
        assert!(matches!(person.export("target/out/absolute", "x", &Cancel::new()), Err(ExportError::Kind { .. })));
        assert!(matches!(person.export("target/elsewhere/secret", "x", &Cancel::new()), Err(ExportError::Absent(_))));
        assert_eq!(person.names_on_the_desk(), ["out"]);
    }
}

#[test]
fn a_copy_overwrites_nothing_and_one_that_ends_leaves_nothing() {
    for person in Person::everywhere() {
        person.as_a_run("target", |upper| fs::write(upper.join("new"), "new").unwrap());
        fs::write(person.desk("taken"), "mine").unwrap();
        let there = person.export("target/new", "taken", &Cancel::new());
        assert!(matches!(there, Err(ExportError::Exists(_))), "{there:?}");
        symlink("nowhere", person.desk("link")).unwrap();
        assert!(matches!(person.export("target/new", "link", &Cancel::new()), Err(ExportError::Exists(_))));
        let cancel = Cancel::new();
        cancel.cancel(Ended::Cancelled);
        let ended = person.export("target", "copy", &cancel);
        assert!(matches!(ended, Err(ExportError::Ended(Ended::Cancelled))), "{ended:?}");
        assert_eq!(fs::read_to_string(person.desk("taken")).unwrap(), "mine");
        let mut names = person.names_on_the_desk();
        names.sort();
        assert_eq!(names, ["link", "taken"]);
        // Into itself.
        let volumes = person.look(Intention::Look).unwrap();
        let packages = person.site.workspace.path().join("node_modules");
        let inside = volumes.export(
            &person.workspace,
            volumes.find(&packages).unwrap(),
            (&packages.join("whole"), "copy".as_ref()),
            PersonWaiting { cancel: &Cancel::new(), tell: &mut |_| {} },
        );
        assert!(matches!(inside, Err(ExportError::Inside(_))), "{inside:?}");
    }
}

#[test]
fn a_person_waits_for_the_run_that_has_the_volumes_and_is_told() {
    let person = Person::at(Site::new());
    let run = person.site.take().unwrap();
    for intention in [Intention::Look, Intention::Change] {
        let mut told = Vec::new();
        let busy = person.look_for(intention, Duration::from_secs(1), &mut |words| told.push(words.to_owned()));
        assert!(matches!(busy, Err(PersonError::Busy { waited_seconds: 1 })), "{busy:?}");
        assert_eq!(told, ["waiting for another run on this workspace to end"]);
    }
    drop(run);
    let looked = person.look(Intention::Look).unwrap();
    assert!(matches!(person.site.take(), Err(ScratchError::Busy { .. })), "and the run waits for the person");
    drop(looked);
    person.site.take().unwrap();
}

#[test]
fn named_volumes_are_removed_and_the_others_stay() {
    for person in Person::everywhere() {
        for place in ["target", "node_modules"] {
            person.as_a_run(place, |upper| fs::write(upper.join("kept"), "x").unwrap());
        }
        let cleared = person.look(Intention::Change).unwrap().clear(&["target"]).unwrap();
        assert_eq!(cleared.iter().map(|volume| volume.name.as_str()).collect::<Vec<_>>(), ["target"]);
        person.as_a_run("target", |upper| assert!(!upper.join("kept").exists()));
        person.as_a_run("node_modules", |upper| assert!(upper.join("kept").exists()));
        let cleared = person.look(Intention::Change).unwrap().clear_all().unwrap();
        assert_eq!(cleared.len(), 2);
        assert!(!person.site.scratch_folder().join("image").exists());
        assert_eq!(person.look(Intention::Look).unwrap().volumes(), []);
        person.as_a_run("node_modules", |upper| assert!(!upper.join("kept").exists()));
        drop(person.site.closer);
        assert_eq!(loop_devices_on(person.site.state.path()), 0);
    }
}

#[test]
fn looking_destroys_nothing_not_even_what_the_next_run_will_throw_away() {
    let person = Person::at(Site::new());
    let image = person.site.scratch_folder().join("image");
    let stopped = person.desk("stopped");
    person.as_a_run("target", |upper| {
        fs::write(upper.join("kept"), "x").unwrap();
        rustix::fs::syncfs(File::open(upper).unwrap()).unwrap();
        // As the disk is when the machine stops now: not unmounted in order.
        if is_root() {
            fs::copy(&image, &stopped).unwrap();
        }
    });
    if !is_root() {
        assert!(matches!(person.look(Intention::Look).unwrap().holder(), ScratchHolder::Folders(_)));
        return;
    }
    drop(person.look(Intention::Look).unwrap());
    fs::rename(&stopped, &image).unwrap();
    fs::write(person.site.scratch_folder().join("image.made"), "another boot").unwrap();
    let before = fs::read(&image).unwrap();
    person.export("target/kept", "kept", &Cancel::new()).unwrap();
    assert_eq!(fs::read_to_string(person.desk("kept")).unwrap(), "x");
    assert!(fs::read(&image).unwrap() == before, "not a byte of it changed");
    // Single volumes cannot be removed from it any more, all of it can.
    let volumes = person.look(Intention::Change).unwrap();
    assert!(matches!(volumes.reachable(), Err(PersonError::Image { .. })));
    assert!(fs::read(&image).unwrap() == before);
    volumes.clear_all().unwrap();
    assert!(!image.exists());
    assert_eq!(loop_devices_on(person.site.state.path()), 0);
}
