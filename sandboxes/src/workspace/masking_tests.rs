//! Files with credentials are found wherever they come from, and found again when they change.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    sync::Arc,
    time::Duration,
};

use cofferdam_policy::Secrets;

use cofferdam_contract::HandBack;

use super::{
    Bond, Masks, OnTop, Order, Origin,
    playground::{Playground, only, origin, patient},
};

const SECRET: &str = "A=s3cr3t-1234567890\n";

fn masks(ground: &Playground) -> Arc<Masks> {
    ground.workspace.masks(&Arc::new(Secrets::default())).unwrap()
}

fn found(ground: &Playground) -> Vec<String> {
    masks(ground).paths().map(ToString::to_string).collect()
}

#[test]
fn every_way_to_come_is_seen_by_the_next_call() {
    let ground = Playground::new();
    ground.write("a/notes", SECRET);
    assert_eq!(found(&ground), [""; 0]);
    // Made, renamed to, in a new folder, in a folder of a folder that was moved in, and in another case.
    ground.write(".env", SECRET);
    assert_eq!(found(&ground), [".env"]);
    fs::rename(ground.host("a/notes"), ground.host("a/.env")).unwrap();
    assert_eq!(found(&ground), [".env", "a/.env"]);
    ground.write("b/c/d/.Env", SECRET);
    assert_eq!(found(&ground), [".env", "a/.env", "b/c/d/.Env"]);
    fs::rename(ground.host("b/c"), ground.host("moved")).unwrap();
    assert_eq!(found(&ground), [".env", "a/.env", "moved/d/.Env"]);
    let outside = ground.folder.path().join("outside/deep");
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join(".env"), SECRET).unwrap();
    fs::rename(ground.folder.path().join("outside"), ground.host("inside")).unwrap();
    assert_eq!(found(&ground), [".env", "a/.env", "inside/deep/.env", "moved/d/.Env"]);
    // A folder under its new name is still listened to.
    ground.write("moved/d/.env.local", SECRET);
    ground.write("inside/deep/.env.local", SECRET);
    for gone in [".env", "a/.env", "inside/deep/.env", "moved/d/.Env"] {
        fs::remove_file(ground.host(gone)).unwrap();
    }
    assert_eq!(found(&ground), ["inside/deep/.env.local", "moved/d/.env.local"]);
}

#[test]
fn nothing_is_made_anew_while_nothing_changes() {
    let ground = Playground::new();
    ground.write(".env", SECRET);
    let first = masks(&ground);
    ground.write("other/file", "x");
    ground.write("another", "x");
    assert_eq!(masks(&ground).number(), first.number());
    ground.settle();
    ground.write(".env", "B=an0ther-1234567890\n");
    let second = masks(&ground);
    assert_ne!(second.number(), first.number());
    assert_eq!(second.redactor().redact("an0ther-1234567890").count, 1);
    assert!(second.beyond(&first).is_empty());
}

#[test]
fn links_and_other_names_of_the_same_file_are_masked_with_it() {
    let ground = Playground::new();
    ground.write("config/production", SECRET);
    ground.write("cloud/credentials", SECRET);
    symlink("config/production", ground.host(".env")).unwrap();
    symlink("cloud", ground.host(".aws")).unwrap();
    symlink("../outside", ground.host(".env.out")).unwrap();
    symlink(".env.loop", ground.host(".env.loop")).unwrap();
    assert_eq!(found(&ground), ["cloud/credentials", "config/production"]);
    // The link is turned, and the file gets another name where nobody would look.
    ground.write("config/staging", SECRET);
    fs::remove_file(ground.host(".env")).unwrap();
    symlink(ground.host("config/staging"), ground.host(".env")).unwrap();
    fs::create_dir_all(ground.host("node_modules/x")).unwrap();
    fs::hard_link(ground.host("config/staging"), ground.host("node_modules/x/readme")).unwrap();
    assert_eq!(found(&ground), ["cloud/credentials", "config/staging", "node_modules/x/readme"]);
}

#[test]
fn contents_decide_where_names_do_not() {
    let ground = Playground::new();
    ground.write(".npmrc", "save-exact=true\n");
    ground.write("cert.pem", "-----BEGIN CERTIFICATE-----\n");
    ground.write("node_modules/x/.env", SECRET);
    assert_eq!(found(&ground), [""; 0]);
    ground.settle();
    ground.write(".npmrc", "//r.example/:_authToken=abcdef1234567890\n");
    assert_eq!(found(&ground), [".npmrc"]);
    ground.settle();
    fs::write(ground.host("cert.pem"), ["-----BEGIN PRIVATE", "KEY-----\n"].join(" ")).unwrap();
    assert_eq!(found(&ground), [".npmrc", "cert.pem"]);
}

#[test]
fn more_than_the_queue_of_events_holds_is_not_lost() {
    let ground = Playground::new();
    assert_eq!(found(&ground), [""; 0]);
    // fs.inotify.max_queued_events is 16,384 as a rule; equal events in a row are merged, so names differ.
    for number in 0..17_000 {
        fs::File::create(ground.host(&format!("f{number}"))).unwrap();
    }
    ground.write("late/.env", SECRET);
    assert_eq!(found(&ground), ["late/.env"]);
}

#[test]
fn a_layer_shows_the_masked_copy_with_the_modes_of_what_it_hides() {
    let ground = Playground::new();
    ground.write("a/b/.env", SECRET);
    fs::set_permissions(ground.host("a"), fs::Permissions::from_mode(0o750)).unwrap();
    fs::set_permissions(ground.host("a/b/.env"), fs::Permissions::from_mode(0o640)).unwrap();
    let masks = masks(&ground);
    let layer = masks.layer_path().unwrap();
    assert_eq!(super::playground::list(layer), ["a/", "a/b/", "a/b/.env = A=masked\n"]);
    let mode = |name: &str| fs::metadata(layer.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("a"), mode("a/b/.env")), (0o750, 0o640));
}

#[test]
fn whatever_happens_to_a_listed_name_is_heard_though_all_is_as_before() {
    let ground = Playground::new();
    ground.write("a/.env", SECRET);
    ground.write("config/production", SECRET);
    ground.write("plain/file", "x");
    symlink("config/production", ground.host(".env")).unwrap();
    let quiet = || ground.workspace.look_for_secrets(&Arc::new(Secrets::default())).unwrap().quiet;
    let rename = |from: &str, to: &str| fs::rename(ground.host(from), ground.host(to)).unwrap();
    let there_and_back = |name: &str, other: &str| {
        rename(name, other);
        rename(other, name);
    };
    let mut before = quiet();
    let mut stirs = |what: &str, act: &dyn Fn()| {
        act();
        let now = quiet();
        let stirred = now != std::mem::replace(&mut before, now);
        assert_eq!((stirred, quiet() == now), (!what.starts_with("nothing"), true), "{what}");
    };
    stirs("nothing", &|| {});
    stirs("nothing listed", &|| there_and_back("plain/file", "plain/other"));
    stirs("nothing listed in a new folder", &|| ground.write("new/deep/file", "x"));
    stirs("a file, moved away and back", &|| there_and_back("a/.env", "plain/x"));
    stirs("its folder", &|| there_and_back("a", "b"));
    stirs("what a link leads to", &|| there_and_back("config/production", "plain/x"));
    stirs("the folder of that", &|| there_and_back("config", "plain/x"));
    stirs("the link", &|| there_and_back(".env", "plain/x"));
    stirs("out of the workspace", &|| {
        let outside = ground.folder.path().join("outside");
        fs::rename(ground.host("a"), &outside).unwrap();
        fs::rename(&outside, ground.host("a")).unwrap();
    });
    stirs("another name for a moment", &|| {
        fs::hard_link(ground.host("a/.env"), ground.host("plain/x")).unwrap();
        fs::remove_file(ground.host("plain/x")).unwrap();
    });
    stirs("a new one for a moment", &|| {
        ground.write("plain/.env", SECRET);
        fs::remove_file(ground.host("plain/.env")).unwrap();
    });
    stirs("more than the queue of events holds", &|| {
        for number in 0..17_000 {
            fs::File::create(ground.host(&format!("plain/f{number}"))).unwrap();
        }
    });
}

#[test]
fn the_top_of_a_build_folder_is_looked_at() {
    let ground = Playground::new();
    let token = "//r.example/:_authToken=abcdef1234567890\n";
    ground.write("node_modules/.npmrc", token);
    ground.write("packages/a/Node_Modules/.npmrc", token);
    ground.write("node_modules/package/.npmrc", token);
    ground.write(".git/.env", SECRET);
    assert_eq!(found(&ground), ["node_modules/.npmrc", "packages/a/Node_Modules/.npmrc"]);
    ground.write(
        ".venv/pip.conf",
        "index-url = https://u:abcdef1234567890@r.example/simple\npassword=abcdef1234567890\n",
    );
    assert_eq!(found(&ground), [".venv/pip.conf", "node_modules/.npmrc", "packages/a/Node_Modules/.npmrc"]);
}

#[test]
fn a_name_from_outside_of_the_workspace_is_found_when_its_folder_comes() {
    let ground = Playground::new();
    ground.write(".env", SECRET);
    fs::create_dir(ground.host("target")).unwrap();
    for (name, to) in [("one", "plain"), ("two", "target/deep")] {
        let outside = ground.folder.path().join(name);
        fs::create_dir(&outside).unwrap();
        fs::hard_link(ground.host(".env"), outside.join("copy")).unwrap();
        let before = found(&ground);
        fs::rename(&outside, ground.host(to)).unwrap();
        let after = found(&ground);
        assert!(!before.contains(&format!("{to}/copy")) && after.contains(&format!("{to}/copy")), "{after:?}");
    }
}

#[test]
fn too_many_names_are_told_with_the_folder_that_has_the_most() {
    let ground = Playground::new();
    ground.write("other/.env", SECRET);
    fs::create_dir(ground.host("certificates")).unwrap();
    for number in 0..10_000 {
        fs::File::create(ground.host(&format!("certificates/c{number}.pem"))).unwrap();
    }
    let error = ground.workspace.masks(&Arc::new(Secrets::default())).unwrap_err().to_string();
    assert!(error.contains("10001 files") && error.contains("10000 of them are in certificates"), "{error}");
    fs::rename(ground.host("certificates"), ground.folder.path().join("certificates")).unwrap();
    assert_eq!(found(&ground), ["other/.env"]);
}

/// What is seen at a path, and the inode of the layer's file.
fn seen(masks: &Masks, path: &str) -> (String, u64) {
    let file = masks.layer_path().unwrap().join(path);
    (fs::read_to_string(&file).unwrap(), fs::metadata(&file).unwrap().ino())
}

#[test]
fn only_what_changed_is_read_again() {
    let ground = Playground::new();
    ground.write("a/.env", SECRET);
    ground.write("b/.env", SECRET);
    ground.write("c/.npmrc", "a=b\n");
    // What is as young as a file system's coarsest time is read again.
    std::thread::sleep(Duration::from_millis(3_100));
    let first = masks(&ground);
    ground.write("b/.env", "B=an0ther-1234567890\n");
    let second = masks(&ground);
    assert_eq!(seen(&second, "a/.env"), seen(&first, "a/.env"));
    assert_eq!(seen(&second, "b/.env").0, "B=masked\n");
    // And once more, from a layer that was made of another.
    ground.write("c/.npmrc", "_authToken=th1rd-1234567890\n");
    drop(first);
    let third = masks(&ground);
    drop(second);
    assert_eq!(seen(&third, "a/.env").0, "A=masked\n");
    assert_eq!(third.redactor().redact("s3cr3t-1234567890 an0ther-1234567890 th1rd-1234567890").count, 3);
    assert_eq!(found(&ground), ["a/.env", "b/.env", "c/.npmrc"]);
    // As it was, under another mode: the layer's file has that mode.
    fs::set_permissions(ground.host("a/.env"), fs::Permissions::from_mode(0o440)).unwrap();
    let fourth = masks(&ground);
    let mode = fs::metadata(fourth.layer_path().unwrap().join("a/.env")).unwrap().permissions().mode() & 0o777;
    assert_eq!((seen(&fourth, "a/.env").0.as_str(), mode), ("A=masked\n", 0o440));
    // What is gone is gone from the layer, and leaves nothing to be looked for.
    ground.settle();
    fs::remove_file(ground.host("c/.npmrc")).unwrap();
    assert_eq!(found(&ground), ["a/.env", "b/.env"]);
    assert_eq!(masks(&ground).redactor().redact("th1rd-1234567890").count, 0);
    assert_eq!(third.left_out(), 0);
}

#[test]
fn what_is_kept_of_very_many_values_and_lines_has_bounds() {
    let ground = Playground::new();
    let long =
        |file: usize| (0..1_000).map(|at| format!("V{at}=l0ng-{file}-{at}-{}\n", "x1".repeat(490))).collect::<String>();
    for file in 0..4 {
        ground.write(&format!("{file}/.env"), &long(file));
    }
    ground.write("short/.env", SECRET);
    let masks = masks(&ground);
    assert!(masks.left_out() >= 1_500, "{}", masks.left_out());
    assert_eq!(masks.redactor().redact("s3cr3t-1234567890").count, 1);
    // As many names as fit are seen, and of the other files a notice.
    let ground = Playground::new();
    let names = (0..60_000).map(|at| format!("NAME_{at}=1\n")).collect::<String>();
    for file in 0..6 {
        ground.write(&format!("{file}/.env"), &names);
    }
    let masks = self::masks(&ground);
    let all: Vec<String> = (0..6).map(|file| seen(&masks, &format!("{file}/.env")).0).collect();
    let notices = all.iter().filter(|seen| seen.starts_with("# masked")).count();
    assert!((1..6).contains(&notices), "{notices}");
    assert!(all.iter().map(String::len).sum::<usize>() <= (4 << 20) + 6 * 100);
    assert_eq!(masks.paths().count(), 6);
}

#[test]
fn what_an_agent_wrote_takes_no_line_out_of_answers_and_what_a_person_wrote_does() {
    let ground = Playground::new();
    const LINE: &str = "The quick brown fox jumps over the dog";
    ground.write("theirs/.env", SECRET);
    let session = ground.session();
    let make = |text: &str| {
        let (stamp, upper) = (ground.stamp(), ground.upper());
        upper.write("mine/.env", text);
        ground.hand_back(&session, &upper, &HandBack::Tree, &stamp)
    };
    // A copy of the real one, as from git's history, says nothing of the real one.
    assert_eq!(make(&format!("X='{LINE}'\n{SECRET}")).applied.len(), 2);
    assert_eq!(found(&ground), ["mine/.env", "theirs/.env"]);
    assert_eq!(masks(&ground).redactor().redact(LINE).count, 0);
    assert_eq!(masks(&ground).redactor().redact("s3cr3t-1234567890").count, 1);
    // What a person adds makes it theirs.
    ground.settle();
    ground.write("mine/.env", &format!("X='{LINE}'\nY=an0ther-1234567890\n"));
    assert_eq!(masks(&ground).redactor().redact(&format!("{LINE} an0ther-1234567890")).count, 2);
    // And what was there before a call is nobody's to claim.
    let (stamp, upper) = (ground.stamp(), ground.upper());
    upper.write("theirs/.env", SECRET);
    ground.hand_back(&session, &upper, &HandBack::Tree, &stamp);
    assert_eq!(masks(&ground).redactor().redact("s3cr3t-1234567890").count, 1);
}

/// A password that no example has, so that an example with it does not count.
const CHOSEN: &str = "CHOSEN=hunter2\n";

#[test]
fn one_listed_name_of_which_a_file_does_not_count_takes_no_other_from_it() {
    // The names are looked at in their order; the first of each does not count.
    for (target, listed) in [(".env.example", vec![".env.local"]), ("conf/x", vec!["a/appsettings.json", "b/.env"])] {
        let ground = Playground::new();
        ground.write(target, CHOSEN);
        for name in &listed {
            fs::create_dir_all(ground.host(name).parent().unwrap()).unwrap();
            symlink(ground.host(target), ground.host(name)).unwrap();
        }
        assert_eq!(found(&ground), [target]);
        // What is as young as a file system's coarsest time is read again; once it is not, nothing is.
        std::thread::sleep(Duration::from_millis(3_100));
        for _ in 0..2 {
            ground.write(&format!("{target}.env"), SECRET);
            assert!(found(&ground).contains(&target.to_owned()), "{target}");
            fs::remove_file(ground.host(&format!("{target}.env"))).unwrap();
            assert_eq!(found(&ground), [target]);
        }
    }
}

#[test]
fn all_names_of_one_file_are_masked_if_it_counts_by_one() {
    for listed in [vec![".env.example", ".env.local"], vec!["a/.env", "b/appsettings.json"], vec!["a.pem", "b/.env"]] {
        let ground = Playground::new();
        ground.write("z/notes", CHOSEN);
        for name in &listed {
            fs::create_dir_all(ground.host(name).parent().unwrap()).unwrap();
            fs::hard_link(ground.host("z/notes"), ground.host(name)).unwrap();
        }
        assert_eq!(found(&ground), [listed.as_slice(), &["z/notes"]].concat());
        let masks = masks(&ground);
        for name in found(&ground) {
            assert_eq!(seen(&masks, &name).0, "CHOSEN=masked\n", "{name}");
        }
    }
}

#[test]
fn what_was_left_out_for_a_crowd_is_looked_for_when_the_crowd_is_gone() {
    let ground = Playground::new();
    let many =
        |file: usize| (0..1_000).map(|at| format!("V{at}=l0ng-{file}-{at}-{}\n", "x1".repeat(380))).collect::<String>();
    let names = (0..60_000).map(|at| format!("NAME_{at}=1\n")).collect::<String>();
    for file in 0..4 {
        ground.write(&format!("{file}/.env"), &many(file));
        ground.write(&format!("names{file}/.env"), &names);
    }
    let longest = format!("l0ngest-{}", "y2".repeat(500));
    ground.write("their/.env", &format!("A={longest}\n"));
    ground.write("zlast/.env", &names);
    std::thread::sleep(Duration::from_millis(3_100));
    let crowded = masks(&ground);
    assert!(crowded.left_out() > 0);
    assert_eq!(crowded.redactor().redact(&longest).count, 0);
    assert!(seen(&crowded, "zlast/.env").0.starts_with("# masked"));
    for file in 0..4 {
        fs::remove_dir_all(ground.host(&file.to_string())).unwrap();
        fs::remove_dir_all(ground.host(&format!("names{file}"))).unwrap();
    }
    let alone = masks(&ground);
    assert_eq!((alone.redactor().redact(&longest).count, alone.left_out()), (1, 0));
    assert!(seen(&alone, "zlast/.env").0.starts_with("NAME_0=masked\n"));
}

#[test]
fn values_of_one_file_beyond_those_that_are_looked_for_are_counted() {
    let ground = Playground::new();
    ground.write(".env", &(0..1_500).map(|at| format!("V{at}=s3cr3t-1234-{at}\n")).collect::<String>());
    assert_eq!(masks(&ground).left_out(), 1_500 - 1_024);
}

#[test]
fn what_a_file_tool_moves_and_what_a_run_unpacks_are_no_text_of_an_agent() {
    let ground = Playground::new();
    ground.write("settings.txt", SECRET);
    let session = ground.session();
    let (stamp, upper) = (ground.stamp(), ground.upper());
    upper.delete("settings.txt").write(".env", SECRET);
    let back = ground.hand_back(&session, &upper, &only(&["settings.txt", ".env"]), &stamp);
    assert_eq!(back.applied.len(), 2, "{back:?}");
    assert_eq!(masks(&ground).redactor().redact("s3cr3t-1234567890").count, 1);
    let (stamp, upper) = (ground.stamp(), ground.upper());
    upper.write("unpacked/.env", "A=an0ther-1234567890\n");
    let (changeset, masks) = (upper.changeset(), ground.masks());
    let order = Order {
        changeset: &changeset,
        admission: ground.admission(&HandBack::Tree),
        masks: &masks,
        on_top: OnTop::Held,
        stamp: &stamp,
        seen: None,
        masked_then: None,
        masks_then: None,
        // A run: its changes are no act of a file tool.
        origin: &Origin { bond: Bond::None, ..origin("run") },
    };
    let back = session.hand_back(&order, &patient(&|| false)).unwrap();
    assert_eq!(back.applied.len(), 2, "{back:?}");
    assert_eq!(self::masks(&ground).redactor().redact("an0ther-1234567890").count, 1);
}
