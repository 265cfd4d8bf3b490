//! Files of the workspace that hold credentials: what a sandbox finds of them, and what it can do to them.

use std::fs;

use cofferdam_contract::Sandbox as _;

use super::{Row, ensure, row, surroundings::shown_places};
use crate::{
    stage::{Ask, Site, Stage, close, read_file, run, write_file},
    table::Cell,
};

pub(super) const ROWS: &[Row] = &[
    row("P85f", "values in the workspace's credential files are nowhere inside", values_are_nowhere),
    row("P85w", "no act on a masked file reaches the real one", real_files_stay),
];

/// A value that is in no other file, and not in this program's text as it is.
fn value() -> String {
    ["s3cr3t", "of", "the", "workspace", "0123456789"].join("-")
}

/// Names that the list has, each with its content; a link and a second name beside them.
fn plant(site: &Site<'_>) -> Vec<&'static str> {
    let value = value();
    let key = ["-----BEGIN PRIVATE", &format!("KEY-----\n{value}\n")].join(" ");
    let files = [
        (".env", format!("# {value}\nA={value}\nB=\"x\n{value}\n\"\n")),
        ("services/api/.env.production", format!("export TOKEN='{value}'\n")),
        (".npmrc", format!("save-exact=true\n//r.example/:_authToken={value}\n")),
        ("deploy/.aws/credentials", format!("[default]\naws_secret_access_key = {value}\n")),
        ("deploy/server.KEY", key.clone()),
        ("deploy/id_ed25519", key),
        (".netrc", format!("machine h login l password {value}\n")),
        ("infra/prod.tfvars", format!("password = \"{value}\"\n")),
        ("cloud/production", format!("A={value}\n")),
    ];
    for (path, content) in &files {
        site.write_on_host(path, content);
    }
    site.link_on_host("cloud/.env", "production");
    let _ = fs::hard_link(site.workspace.join(".env"), site.workspace.join("notes.txt"));
    files.map(|(path, _)| path).into_iter().chain(["notes.txt"]).collect()
}

fn values_are_nowhere(stage: &Stage) -> Result<Cell, String> {
    let backwards: String = value().chars().rev().collect();
    let site = stage.site("P85f");
    let prepared = stage.prepared_yard();
    drop((site.open_in(&prepared, &Ask::read()), site.open_in(&prepared, &Ask::write())));
    std::thread::sleep(std::time::Duration::from_millis(300));
    let planted = plant(&site);
    // The last two were prepared before there was anything to mask.
    let opened = [
        site.open(&Ask::read()),
        site.open(&Ask::write()),
        site.open_in(&prepared, &Ask::read()),
        site.open_in(&prepared, &Ask::write()),
    ];
    for mut open in opened {
        for path in &planted {
            let bytes = read_file(&mut open, path).map_err(|error| format!("{path}: {error}"))?;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            ensure(text.contains("masked") && !text.contains(&value()), || format!("{path} shows {text:?}"))?;
        }
    }
    let mut skipped = shown_places(stage);
    skipped.extend(["/proc", "/sys", "/dev"].map(String::from));
    let mut open = site.open(&Ask::execute().keeping_all());
    let skipped: Vec<&str> = skipped.iter().map(String::as_str).collect();
    let arguments: Vec<&str> = [["P85", &backwards].as_slice(), &skipped].concat();
    let report = run(&mut open, "./probe", &arguments, |_, _| {});
    report.expect(&[("files looked into", "some"), ("found in", "")])?;
    ensure(open.workspace() == site.workspace.display().to_string(), || "another workspace".into())?;
    drop(close(open));
    Ok(Cell::Holds)
}

fn real_files_stay(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P85w");
    let planted = plant(&site);
    let real = || planted.iter().map(|path| site.host_text(path)).collect::<Vec<_>>();
    let before = real();
    let scripts = [
        "for f in .env .npmrc deploy/id_ed25519; do echo planted > $f; done",
        "rm -rf .env deploy services notes.txt",
        "mv deploy moved; mv .env other; mv services/api services/web",
        "ln -f README .env; chmod 600 .npmrc; ln -sf README cloud/production",
        "mkdir t; mv .env t; rm -r deploy; mkdir -p deploy/.aws; echo planted > deploy/.aws/credentials",
    ];
    for script in scripts {
        let mut open = site.open(&Ask::execute().keeping_all());
        run(&mut open, "sh", &["-c", script], |_, _| {});
        let handed = site.hand_back(close(open))?;
        ensure(handed.held.iter().any(|held| held.reason.is_about_secrets()), || format!("{script}: {handed:?}"))?;
        ensure(real() == before, || format!("{script} reached the real files"))?;
        site.discard_held()?;
    }
    let mut open = site.open(&Ask::write());
    write_file(&mut open, ".env", "planted").map_err(|error| error.to_string())?;
    site.hand_back(close(open))?;
    ensure(real() == before, || "a write reached the real file".into())?;
    site.discard_held()?;
    Ok(Cell::Holds)
}
