//! `cargo xtask projects`: fetches the real projects on which `run_tests` is compared with the runner itself.
//!
//! Each is a published package with its own tests, at a pinned version and digest, fetched by its ecosystem's own
//! client from wherever that client is configured to look. They are prepared as a person would: dependencies installed
//! on the host beforehand. Nothing of them is committed; they lie in the target folder until it is cleaned.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::step::{Error, cargo, error, execute, output, program, target};

/// A published package.
struct Project {
    ecosystem: Ecosystem,
    name: &'static str,
    version: &'static str,
    /// SHA-256 of the published archive.
    sha256: &'static str,
    /// Packages that its tests need, installed into the project's own folder on the host. Empty: none, or the
    /// ecosystem's client finds them itself.
    needs: &'static [&'static str],
}

#[derive(Clone, Copy)]
enum Ecosystem {
    Rust,
    Python,
    Node,
}

/// At least two for each language, each with at least 50 tests in the published archive.
const PROJECTS: [Project; 7] = [
    Project {
        ecosystem: Ecosystem::Rust,
        name: "strsim",
        version: "0.11.1",
        sha256: "7da8b5736845d9f2fcb837ea5d9e2628564b3b043a70948a3f0b778838c5fb4f",
        needs: &[],
    },
    Project {
        ecosystem: Ecosystem::Rust,
        name: "smallvec",
        version: "1.16.6",
        sha256: "3244542535d5de959d90ec55d1b5ff0fd2bb7b1310223907d5f11932847f7b59",
        needs: &[],
    },
    Project {
        ecosystem: Ecosystem::Python,
        name: "pycparser",
        version: "3.12",
        sha256: "f03387877eab82ce01bbdfd0ba7252ee55a90b1c708d5129e2ce915475cf1db6",
        needs: &[],
    },
    Project {
        ecosystem: Ecosystem::Python,
        name: "humanize",
        version: "4.17.0",
        sha256: "1d6a36c453dbfbb3f0b34601d2e0b4ce5d48d780305cd45714843f0068fde6ac",
        needs: &["pytest==9.2.0", "freezegun==1.5.5", "pytest-codspeed==5.0.4"],
    },
    Project {
        ecosystem: Ecosystem::Node,
        name: "@fastify/merge-json-schemas",
        version: "0.2.2",
        sha256: "fabcf6f570e0874273e1933b800cc0e17d69750227be0288f137f308199d5745",
        needs: &["dequal@2.0.3"],
    },
    Project {
        ecosystem: Ecosystem::Node,
        name: "find-my-way",
        version: "9.10.1",
        sha256: "907610bef845fbaadd76b3e84b67aa719098d0791f20bb9cc1a8cca3ce9e066e",
        needs: &[
            "fast-deep-equal@3.1.3",
            "fast-querystring@1.1.2",
            "safe-regex2@5.0.0",
            "rfdc@1.4.1",
            "proxyquire@2.1.3",
        ],
    },
    // Its tests speak the words that mocha, jest and vitest share, and find chai's themselves.
    Project {
        ecosystem: Ecosystem::Node,
        name: "object-path",
        version: "0.11.8",
        sha256: "5818c97461a154c7aa717b4b38687f58d4a1e7636a4753269ae79e416c2b7593",
        needs: &["mocha@11.7.4", "chai@4.5.0", "jest@29.7.0", "vitest@3.2.4"],
    },
];

/// Fetches what is not there yet and prints all of them as one JSON array: language, name, version, folder.
///
/// # Errors
/// When a package cannot be fetched, or is not the one that was pinned.
pub(crate) fn run() -> Result<(), Error> {
    let all = target().join("real-projects");
    make(&all)?;
    // One fetch at a time: tests may ask side by side.
    let lock = File::create(all.join("lock")).map_err(|source| error(format!("make a lock: {source}")))?;
    lock.lock().map_err(|source| error(format!("wait for another fetch: {source}")))?;
    let mut found = Vec::new();
    for project in &PROJECTS {
        let folder = all.join(project.folder_name());
        // Last to be written, so a folder with it is whole.
        let ready = all.join(format!("{}.ready", project.folder_name()));
        let recipe = project.recipe();
        if fs::read_to_string(&ready).is_ok_and(|text| text == recipe) && folder.is_dir() {
            eprintln!("there already: {}", folder.display());
        } else {
            let _ = fs::remove_dir_all(&folder);
            let work = all.join(format!("{}.work", project.folder_name()));
            let _ = fs::remove_dir_all(&work);
            make(&work)?;
            project.fetch(&work, &folder)?;
            fs::write(&ready, recipe).map_err(|source| error(format!("write {}: {source}", ready.display())))?;
            let _ = fs::remove_dir_all(&work);
        }
        found.push(project.to_json(&folder));
    }
    print(&Value::Array(found));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the list is this chore's result, for a program to read")]
fn print(list: &Value) {
    println!("{list}");
}

impl Project {
    fn folder_name(&self) -> String {
        format!("{}-{}", self.name.trim_start_matches('@').replace('/', "-"), self.version)
    }

    /// What would make another folder of it.
    fn recipe(&self) -> String {
        format!("{} {}", self.sha256, self.needs.join(" "))
    }

    fn to_json(&self, folder: &Path) -> Value {
        let language = match self.ecosystem {
            Ecosystem::Rust => "rust",
            Ecosystem::Python => "python",
            Ecosystem::Node => "node",
        };
        json!({
            "language": language,
            "name": self.name,
            "version": self.version,
            "folder": folder,
            "third_party": self.needs,
        })
    }

    /// Makes `folder`, with the help of the empty folder `work` beside it.
    fn fetch(&self, work: &Path, folder: &Path) -> Result<(), Error> {
        match self.ecosystem {
            Ecosystem::Rust => self.fetch_crate(work, folder),
            Ecosystem::Python => self.fetch_source_distribution(work, folder),
            Ecosystem::Node => self.fetch_npm_package(work, folder),
        }
    }

    fn fetch_crate(&self, work: &Path, folder: &Path) -> Result<(), Error> {
        let manifest = format!(
            "[package]\nname = \"fetch\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
             [dependencies]\n{} = \"={}\"\n[workspace]\n",
            self.name, self.version
        );
        write(&work.join("Cargo.toml"), &manifest)?;
        make(&work.join("src"))?;
        write(&work.join("src/lib.rs"), "")?;
        // Its output is settings for a build that we do not make.
        output(cargo().args(["vendor", "--versioned-dirs"]).current_dir(work))?;
        let vendored = work.join("vendor").join(self.folder_name());
        let checksums = read_json(&vendored.join(".cargo-checksum.json"))?;
        // cargo compared the archive with this digest; here it is compared with the pinned one.
        self.expect_digest(checksums["package"].as_str().unwrap_or_default())?;
        remove(&vendored.join(".cargo-checksum.json"))?;
        // Test dependencies into the user's own store, as any build on this machine would leave them there. Not below
        // this repository: cargo would take the project for a member of our workspace.
        let elsewhere = std::env::temp_dir().join(format!("cofferdam-fetch-{}", std::process::id()));
        execute(program("cp").arg("-a").arg(&vendored).arg(&elsewhere))?;
        let fetched = execute(unpinned(program("cargo")).arg("fetch").current_dir(&elsewhere));
        let locked = fs::copy(elsewhere.join("Cargo.lock"), vendored.join("Cargo.lock"));
        let _ = fs::remove_dir_all(&elsewhere);
        fetched?;
        locked.map_err(|source| error(format!("keep the lock file of {}: {source}", self.name)))?;
        rename(&vendored, folder)
    }

    fn fetch_source_distribution(&self, work: &Path, folder: &Path) -> Result<(), Error> {
        let pinned = format!("{}=={}", self.name, self.version);
        execute(
            program("python3")
                .args(["-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", self.name, "--dest"])
                .arg(work)
                .arg(&pinned),
        )?;
        self.unpack(&only_archive(work)?, folder)?;
        if self.needs.is_empty() {
            return Ok(());
        }
        let environment = folder.join(".venv");
        execute(program("python3").args(["-m", "venv"]).arg(&environment))?;
        execute(
            program(environment.join("bin/python"))
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
                .args(self.needs),
        )
    }

    fn fetch_npm_package(&self, work: &Path, folder: &Path) -> Result<(), Error> {
        let pinned = format!("{}@{}", self.name, self.version);
        output(program("npm").args(["pack", "--silent", &pinned]).current_dir(work))?;
        self.unpack(&only_archive(work)?, folder)?;
        if self.needs.is_empty() {
            return Ok(());
        }
        // Beside the project, because its own manifest also asks for linters and the like.
        let installed = work.join("needs");
        make(&installed)?;
        write(&installed.join("package.json"), "{\"private\": true}\n")?;
        // Not shown: npm reports on standard output, which is this chore's own result.
        output(
            program("npm")
                .args(["install", "--ignore-scripts", "--no-audit", "--no-fund"])
                .args(self.needs)
                .current_dir(&installed),
        )?;
        rename(&installed.join("node_modules"), &folder.join("node_modules"))
    }

    fn unpack(&self, archive: &Path, folder: &Path) -> Result<(), Error> {
        let bytes = fs::read(archive).map_err(|source| error(format!("read {}: {source}", archive.display())))?;
        let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        self.expect_digest(&digest)?;
        make(folder)?;
        execute(
            program("tar")
                .arg("-xzf")
                .arg(archive)
                .arg("-C")
                .arg(folder)
                .args(["--strip-components=1", "--no-same-owner"]),
        )
    }

    fn expect_digest(&self, found: &str) -> Result<(), Error> {
        if found == self.sha256 {
            return Ok(());
        }
        Err(error(format!("trust {} {}: its digest is {found}, not {}", self.name, self.version, self.sha256)))
    }
}

/// The command as the user's own shell would start it: without the toolchain that this repository pins.
fn unpinned(mut command: std::process::Command) -> std::process::Command {
    command.env_remove("RUSTUP_TOOLCHAIN");
    command
}

fn only_archive(folder: &Path) -> Result<PathBuf, Error> {
    let entries = fs::read_dir(folder).map_err(|source| error(format!("list {}: {source}", folder.display())))?;
    let mut archives: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "gz" || extension == "tgz"))
        .collect();
    match (archives.pop(), archives.pop()) {
        (Some(archive), None) => Ok(archive),
        (_, Some(_)) | (None, None) => Err(error(format!("find one archive in {}", folder.display()))),
    }
}

fn read_json(path: &Path) -> Result<Value, Error> {
    let text = fs::read_to_string(path).map_err(|source| error(format!("read {}: {source}", path.display())))?;
    serde_json::from_str(&text).map_err(|source| error(format!("read {}: {source}", path.display())))
}

fn make(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(|source| error(format!("make {}: {source}", folder.display())))
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|source| error(format!("write {}: {source}", path.display())))
}

fn remove(path: &Path) -> Result<(), Error> {
    fs::remove_file(path).map_err(|source| error(format!("remove {}: {source}", path.display())))
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(|source| error(format!("move {} to {}: {source}", from.display(), to.display())))
}
