//! Views of a large workspace that show its own folders over an overlay.

use std::{
    collections::BTreeSet,
    os::unix::fs::{PermissionsExt, symlink},
};

use cofferdam_contract::{Entry, EntryKind, Ignoring, ListFiles};

use super::*;
use crate::{open::Appeared, workspace::Plain};

const SECRET: &str = "s3cr3t-1234567890";

/// Enough names for folders to be shown so, and something masked in every way.
fn large(pool_size: usize) -> House {
    let house = House::new(pool_size);
    let work = house.work();
    let write = |name: &str, text: &str| {
        fs::create_dir_all(work.join(name).parent().unwrap()).unwrap();
        fs::write(work.join(name), text).unwrap();
    };
    for folder in 0..10 {
        let folder = work.join(format!("many/{folder}"));
        fs::create_dir_all(&folder).unwrap();
        for number in 0..2_000 {
            // Names are what counts, and they cost less than files.
            fs::hard_link(work.join("hello.txt"), folder.join(format!("file{number}"))).unwrap();
        }
    }
    for name in
        ["src/main.rs", "src/deep/er/lib.rs", "one/a", "two/b/c", "three/x", "four/y", "four/five/six", "seven/z"]
    {
        write(name, name);
    }
    write("deploy/prod/eu/.env", &format!("API_KEY={SECRET}\n"));
    write("deploy/prod/eu/main.tf", "plain");
    write("deploy/prod/us/main.tf", "plain");
    write("keep/one.txt", "x");
    fs::hard_link(work.join("deploy/prod/eu/.env"), work.join("keep/twin.txt")).unwrap();
    fs::create_dir(work.join("links")).unwrap();
    symlink("../deploy/prod/eu/.env", work.join("links/to-env")).unwrap();
    symlink("../deploy/prod/eu/.env", work.join("links/.env.local")).unwrap();
    symlink("../src", work.join("links/to-src")).unwrap();
    fs::set_permissions(work.join("seven"), fs::Permissions::from_mode(0o750)).unwrap();
    house
}

fn plain(house: &House) -> Vec<String> {
    let workspace = house.session.workspace();
    let masks = workspace.masks(permit(Work::ReadFiles, HandBack::Nothing, Limits::FILES).secrets()).unwrap();
    let plain = Plain::find(workspace, &house.session.layers().unwrap(), &masks);
    let mut names: Vec<String> = plain.folders().map(|(path, _)| path.to_string()).collect();
    names.sort();
    names
}

/// Everything that is seen, with its content but for the many empty files, and what its mode lets be done.
fn seen(sandbox: &mut OpenSandbox) -> Vec<(Entry, String)> {
    let request = |offset| ListFiles {
        path: path("."),
        glob: None,
        depth: 100,
        offset,
        max_entries: 1_000,
        ignoring: Ignoring::Nowhere,
    };
    let mut seen = Vec::new();
    loop {
        let listing = match sandbox.file(FileRequest::List(request(seen.len() as u64))).unwrap() {
            FileReply::Listing(listing) => listing,
            other => panic!("{other:?}"),
        };
        for entry in listing.entries {
            let is_read =
                matches!(entry.kind, EntryKind::File | EntryKind::Link(_)) && !entry.path.starts_with("many/");
            let content = match is_read {
                true => format!("{:?}", read(sandbox, &entry.path)),
                false => String::new(),
            };
            seen.push((entry, content));
        }
        if listing.omitted == 0 {
            return seen;
        }
    }
}

/// Holds what a script does to the workspace.
fn hold(house: &House, script: &str) {
    let draft = "version = 1\n[limits]\nmode = \"draft\"";
    let permit = permit_under(draft, Work::Execute, HandBack::Tree, Limits::FILES);
    let mut sandbox = house.yard.open(permit, &house.session, &Cancel::new()).unwrap();
    let (exit, text) = execute(&mut sandbox, "sh", &["-ec", script]).unwrap();
    assert_eq!(exit, Exit::Code(0), "{text}");
    let handed = house.session.hand_back_closed(&sandbox.close().unwrap(), "call", &Cancel::new()).unwrap();
    assert_eq!((handed.applied, handed.left), (vec![], vec![]));
}

#[test]
fn a_view_with_plain_folders_shows_what_the_overlay_alone_shows() {
    let house = large(0);
    let same = |what: &str| {
        let mut with = house.open(Work::ReadFiles, HandBack::Nothing);
        // What may be written to is the overlay alone.
        let mut without = house.open(Work::WriteFiles, HandBack::Nothing);
        let (seen_with, seen_without) = (seen(&mut with), seen(&mut without));
        assert!(seen_with.len() > 20_000 && seen_with == seen_without, "{what}: {seen_with:?}\n{seen_without:?}");
        assert!(with.close().unwrap().appeared.unwrap().is_nothing());
        let text: String =
            seen_with.into_iter().map(|(entry, content)| format!("{}={content}\n", entry.path)).collect();
        assert!(!text.contains(SECRET) && text.contains("API_KEY=masked"), "{text}");
        text
    };
    let text = same("masks alone");
    for name in ["deploy/prod/eu/.env", "keep/twin.txt", "links/to-env"] {
        assert!(text.contains(&format!("{name}=Ok(\"API_KEY=masked")), "{name}: {text}");
    }
    let masked = ["deploy/prod/us", "four", "many", "one", "seven", "src", "three", "two"];
    assert_eq!(plain(&house), masked);
    hold(
        &house,
        "rm -r one; rm -r two; mkdir two; echo new > two/d; rm -r three; echo file > three; chmod 700 seven; \
         ln -s ../src four/link; mkdir new; echo x > new/f; echo more >> src/deep/er/lib.rs",
    );
    let text = same("held changes");
    for (is, line) in [
        (false, "one="),
        (false, "two/b="),
        (true, "two/d=Ok(\"new"),
        (true, "three=Ok(\"file"),
        (true, "new/f="),
        (true, "more"),
    ] {
        assert_eq!(text.contains(line), is, "{line}: {text}");
    }
    assert_eq!(plain(&house), ["deploy/prod/us", "four/five", "many"]);
    // Put over it, the layer of a second call.
    hold(&house, "rm -r four/five; rm src/main.rs; rm three; mkdir three; echo folder > three/f");
    same("held changes in two layers");
}

#[test]
fn a_folder_that_is_replaced_before_a_call_is_shown_as_it_is_then() {
    let house = large(1);
    drop(house.open(Work::ReadFiles, HandBack::Nothing));
    for round in 0..4 {
        // Long enough for one to be prepared.
        std::thread::sleep(Duration::from_millis(300));
        fs::rename(house.work().join("one"), house.folder.path().join(format!("old{round}"))).unwrap();
        fs::create_dir(house.work().join("one")).unwrap();
        fs::write(house.work().join("one/a"), round.to_string()).unwrap();
        let mut sandbox = house.open(Work::ReadFiles, HandBack::Nothing);
        assert_eq!(read(&mut sandbox, "one/a").unwrap(), round.to_string());
        assert!(sandbox.close().unwrap().appeared.unwrap().is_nothing(), "{round}");
    }
}

#[test]
fn a_folder_that_is_moved_during_a_call_is_told_at_its_end_and_so_is_a_file_that_appears_in_one() {
    let house = large(0);
    let mut sandbox = house.open(Work::ReadFiles, HandBack::Nothing);
    let away = house.folder.path().join("away");
    fs::rename(house.work().join("src"), &away).unwrap();
    fs::write(away.join("notes"), SECRET).unwrap();
    // It is shown as it is, wherever it is: that is what must be told.
    assert_eq!(read(&mut sandbox, "src/notes").unwrap(), SECRET);
    assert_eq!(sandbox.close().unwrap().appeared.unwrap(), Appeared::Stirred);
    fs::rename(&away, house.work().join("src")).unwrap();
    let mut sandbox = house.open(Work::ReadFiles, HandBack::Nothing);
    fs::write(house.work().join("src/.env"), format!("A={SECRET}\n")).unwrap();
    assert!(read(&mut sandbox, "src/.env").unwrap().contains(SECRET));
    assert_eq!(sandbox.close().unwrap().appeared.unwrap(), Appeared::Files(vec![TreePath::new("src/.env").unwrap()]));
    let mut sandbox = house.open(Work::ReadFiles, HandBack::Nothing);
    assert_eq!(read(&mut sandbox, "src/.env").unwrap(), "A=masked\n");
    assert!(sandbox.close().unwrap().appeared.unwrap().is_nothing());
}

#[test]
fn nothing_can_be_written_in_a_plain_folder() {
    let house = large(0);
    let sandbox = house.open(Work::ReadFiles, HandBack::Nothing);
    let mounts = mounts(&house, sandbox.pid());
    let root = String::new();
    assert_eq!(mounts.keys().cloned().collect::<Vec<_>>(), [vec![root], plain(&house)].concat());
    for (at, flags) in mounts {
        let flags: Vec<&str> = flags.split(',').collect();
        assert!(["ro", "nosuid", "nodev"].iter().all(|flag| flags.contains(flag)), "{at} {flags:?}");
    }
}

/// What is mounted in the view of a sandbox, and how.
fn mounts(house: &House, pid: u32) -> BTreeMap<String, String> {
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let below = fields.filter_map(|fields| {
        let at = std::path::Path::new(fields[4]).strip_prefix(house.session.workspace().root()).ok()?;
        Some((at.to_str()?.to_owned(), fields[5].to_owned()))
    });
    below.collect()
}

/// Makes a view, between whose look and whose mounts the host does something: what it shows plainly, and what it was to show so.
fn prepared_after(house: &House, act: &dyn Fn()) -> (BTreeSet<String>, BTreeSet<String>) {
    let (ground, workspace, limits) = (&house.yard.ground, house.session.workspace(), Limits::FILES);
    let masks = workspace.masks(permit(Work::ReadFiles, HandBack::Nothing, limits).secrets()).unwrap();
    let layers = house.session.layers().unwrap();
    let held = view::between(&layers, &masks);
    let parts = (&**workspace, &layers, &*masks);
    let mut stage = Stage::make(ViewMechanism::Overlay, parts, Access::Read, limits, &[], &|| None).unwrap();
    stage.show_plainly(Access::Read, workspace, &layers, &masks);
    let looked_at = stage.plain().folders().map(|(path, _)| path.to_string()).collect();
    act();
    let place = Place {
        workspace: workspace.root(),
        workspace_id: workspace.id(),
        view: stage.view(Access::Read, &held),
        root: Root::Bare,
        scratch: &[],
        holding: Holding::Nothing,
        limits,
        environment: &BTreeMap::new(),
    };
    let started = ground.namespaces.start("after", &place).unwrap();
    let ready = Ready::new(started, layers, masks, stage).unwrap();
    let mut shown = mounts(house, ready.guard.pid().as_raw_nonzero().get().unsigned_abs());
    shown.remove("");
    (shown.into_keys().collect(), looked_at)
}

#[test]
fn a_folder_that_was_away_for_a_moment_during_a_call_is_told_and_one_that_came_elsewhere_is_not() {
    let house = large(0);
    let away = house.folder.path().join("away");
    for name in ["src", "deploy", "deploy/prod/us"] {
        let mut sandbox = house.open(Work::ReadFiles, HandBack::Nothing);
        fs::rename(house.work().join(name), &away).unwrap();
        fs::rename(&away, house.work().join(name)).unwrap();
        read(&mut sandbox, "keep/one.txt").unwrap();
        assert_eq!(sandbox.close().unwrap().appeared.unwrap(), Appeared::Stirred, "{name}");
    }
    let sandbox = house.open(Work::ReadFiles, HandBack::Nothing);
    fs::create_dir(house.work().join("fresh")).unwrap();
    fs::create_dir(house.work().join("src/fresh")).unwrap();
    fs::rename(house.work().join("src/deep"), house.work().join("src/deeper")).unwrap();
    assert!(sandbox.close().unwrap().appeared.unwrap().is_nothing());
    // More than are remembered.
    let sandbox = house.open(Work::ReadFiles, HandBack::Nothing);
    for number in 0..1_100 {
        fs::create_dir(house.work().join(format!("fresh/{number}"))).unwrap();
    }
    assert_eq!(sandbox.close().unwrap().appeared.unwrap(), Appeared::Stirred);
}

#[test]
fn what_is_put_in_the_place_of_a_folder_before_the_view_is_made_is_not_shown_plainly() {
    let house = large(0);
    let work = house.work();
    for instead in ["a link out", "a link in", "another folder", "a file", "nothing", "one above is a link", "the same"]
    {
        let outside = house.folder.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("main.rs"), SECRET).unwrap();
        let (one, away) = (work.join("src"), house.folder.path().join("away"));
        let replace = || match instead {
            "the same" => {}
            "one above is a link" => {
                fs::rename(work.join("deploy"), &away).unwrap();
                symlink(&away, work.join("deploy")).unwrap();
            }
            _ => {
                fs::rename(&one, &away).unwrap();
                match instead {
                    "a link out" => symlink(&outside, &one).unwrap(),
                    "a link in" => symlink("one", &one).unwrap(),
                    "another folder" => fs::rename(&outside, &one).unwrap(),
                    "a file" => fs::write(&one, "x").unwrap(),
                    _ => {}
                }
            }
        };
        let (shown, expected) = prepared_after(&house, &replace);
        let expected = expected.into_iter().filter(|name| match instead {
            "the same" => true,
            "one above is a link" => !name.starts_with("deploy"),
            _ => name != "src",
        });
        assert_eq!(shown, expected.collect::<BTreeSet<_>>(), "{instead}");
        let replaced = if instead == "one above is a link" { work.join("deploy") } else { one };
        if away.exists() {
            let _ = fs::remove_file(&replaced).or_else(|_| fs::remove_dir_all(&replaced));
            fs::rename(&away, &replaced).unwrap();
        }
        let _ = fs::remove_dir_all(outside);
    }
}
