//! Files of the workspace that hold credentials: what a sandbox finds of them, and what it can do to them.

use std::{fs, os::unix::fs::PermissionsExt as _};

use cofferdam_contract::Sandbox as _;

use super::{Row, ensure, row, surroundings::shown_places};
use crate::{
    report::Report,
    stage::{Ask, Site, Stage, close, read_file, run, write_file},
    table::Cell,
};

pub(super) const ROWS: &[Row] = &[
    row("P85f", "values in the workspace's credential files are nowhere inside", values_are_nowhere),
    row("P85m", "a file that is elsewhere for a moment is noticed, and no agent locks or blinds others", moments),
    row("P85s", "scratch volumes and closed folders show no value", scratch_and_closed),
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

/// What a shell inside says.
fn said(site: &Site<'_>, script: &str) -> String {
    let mut open = site.open(&Ask::execute());
    let report = run(&mut open, "sh", &["-c", script], |_, _| {});
    drop(close(open));
    text(&report)
}

fn text(report: &Report) -> String {
    String::from_utf8_lossy(&[report.stdout.as_slice(), &report.stderr].concat()).into_owned()
}

fn scratch_and_closed(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P85s");
    let value = value();
    site.write_on_host(".env", &format!("A={value}\n"));
    for folder in ["node_modules", ".venv"] {
        site.write_on_host(&format!("{folder}/.npmrc"), &format!("//r.example/:_authToken={value}\n"));
        site.write_on_host(&format!("{folder}/deep/other"), "");
        fs::hard_link(site.workspace.join(".env"), site.workspace.join(folder).join("deep/copy"))
            .map_err(|error| error.to_string())?;
    }
    let shut = site.workspace.join("node_modules/deep/shut");
    fs::create_dir(&shut).map_err(|error| error.to_string())?;
    fs::hard_link(site.workspace.join(".env"), shut.join("copy")).map_err(|error| error.to_string())?;
    let modes = [0o000, 0o111, 0o311, 0o444, 0o600];
    for mode in modes {
        site.write_on_host(&format!("closed{mode:o}/deep/.env"), &format!("A={value}\n"));
        site.write_on_host(&format!("closed{mode:o}/.env"), &format!("A={value}\n"));
    }
    let closed = |mode: u32| site.workspace.join(format!("closed{mode:o}"));
    let set = |folder: &std::path::Path, mode| fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
    set(&shut, 0o000);
    // Half of them are closed before anybody looks, half when they are known.
    modes.iter().step_by(2).for_each(|mode| set(&closed(*mode), *mode));
    drop(close(site.open(&Ask::read())));
    modes.iter().for_each(|mode| set(&closed(*mode), *mode));
    let script = "chmod -R 777 closed* node_modules; cat node_modules/deep/shut/copy closed*/.env closed*/deep/.env node_modules/.npmrc .venv/deep/copy; \
                  grep -rs s3cr3t . && echo found; mkdir -p closed111; echo planted > closed111/.env";
    let mut open = site.open(&Ask::execute().keeping_all());
    let report = run(&mut open, "sh", &["-c", script], |_, _| {});
    let handed = site.hand_back(close(open))?;
    modes.iter().for_each(|mode| set(&closed(*mode), 0o755));
    set(&shut, 0o755);
    let said_then = text(&report);
    ensure(!said_then.contains(&value) && said_then.contains("masked"), || said_then)?;
    for mode in modes {
        let real = fs::read_to_string(closed(mode).join(".env")).unwrap_or_default();
        ensure(real.contains(&value), || format!("closed{mode:o}/.env became {real}: {handed:?}"))?;
    }
    // What a call could not look into it sees when it is opened.
    let shown = said(&site, "cat closed0/.env");
    ensure(shown.contains("A=masked"), || shown.clone())?;
    site.discard_held()?;
    Ok(Cell::Holds)
}

fn moments(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P85m");
    site.write_on_host("deploy/.env", &format!("A={}\n", value()));
    let mut open = site.open(&Ask::read());
    let rename = |from: &str, to: &str| fs::rename(site.workspace.join(from), site.workspace.join(to)).unwrap();
    rename("deploy", "elsewhere");
    let _ = read_file(&mut open, "elsewhere/.env");
    rename("elsewhere", "deploy");
    let appeared = close(open).appeared.map_err(|error| error.to_string())?;
    ensure(!appeared.is_nothing(), || format!("{appeared:?}"))?;
    // What an agent makes: too many listed names, links of such names, folders that nobody may look into.
    let script = "mkdir many closed; touch closed/x; for n in $(seq 1200); do echo A=1 > many/$n.env; done; \
                  ln -s ../README many/x.env; ln -s . .aws; ln -s README .env; chmod 000 closed; chmod 111 folder";
    let mut open = site.open(&Ask::execute().keeping_all());
    let report = run(&mut open, "sh", &["-c", script], |_, _| {});
    let handed = site.hand_back(close(open))?;
    ensure(handed.held.iter().any(|held| held.change.path.to_string() == "many/x.env"), || text(&report))?;
    site.discard_held()?;
    for ask in [Ask::read(), Ask::write()] {
        let mut open = site.try_open(&ask)?;
        let readme = read_file(&mut open, "README").map_err(|error| error.to_string())?;
        ensure(readme == b"readme\n", || String::from_utf8_lossy(&readme).into_owned())?;
    }
    let shown = said(&site, "cat README deploy/.env");
    ensure(shown.contains("readme") && shown.contains("A=masked"), || shown.clone())?;
    for folder in ["closed", "folder"] {
        let _ = fs::set_permissions(site.workspace.join(folder), fs::Permissions::from_mode(0o755));
    }
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
        "cp .env .env.copy; chmod 600 .env; cp .npmrc .env; sed -i s/TOKEN/OTHER/ services/api/.env.production",
        "mkdir t; mv .env t; rm -r deploy; mkdir -p deploy/.aws; echo planted > deploy/.aws/credentials",
    ];
    for script in scripts {
        let mut open = site.open(&Ask::execute().keeping_all());
        run(&mut open, "sh", &["-c", script], |_, _| {});
        let handed = site.hand_back(close(open))?;
        ensure(handed.held.iter().any(|held| held.reason.is_about_secrets()), || format!("{script}: {handed:?}"))?;
        ensure(real() == before, || format!("{script} reached the real files"))?;
        // Nor does an order about everything, whatever came meanwhile.
        site.apply_held()?;
        site.apply_held()?;
        ensure(real() == before, || format!("{script} reached the real files by an order"))?;
        for copy in ["other", ".env.copy", "moved/.aws/credentials", "services/web/.env.production", "t/.env"] {
            let text = site.host_text(copy).unwrap_or_default();
            ensure(!text.contains("masked"), || format!("{script}: {copy} is masked text"))?;
        }
        site.discard_held()?;
    }
    let mut open = site.open(&Ask::write());
    write_file(&mut open, ".env", "planted").map_err(|error| error.to_string())?;
    site.hand_back(close(open))?;
    ensure(real() == before, || "a write reached the real file".into())?;
    site.discard_held()?;
    Ok(Cell::Holds)
}
