//! The machine's system: Debian with a service manager and a bus, its own kernel, and one ordinary user.
//!
//! Made with the package manager's own mirrors, for this machine's release, so that what was built here runs there.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
};

use crate::step::{Error, error, execute, output, program};

/// What the system has beside the essential packages.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,util-linux,busybox-static,kmod";

/// The package that depends on the current kernel for virtual machines.
const KERNEL: &str = "linux-image-cloud-amd64";

/// Drivers of the machine's disks, in an order in which each finds what it needs.
const DRIVERS: [&str; 6] =
    ["virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk"];

/// Mounts both disks and hands over. There is no udev: the kernel makes the devices, and nothing waits for them later.
const START: &str = "#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for driver in DRIVERS; do /bin/busybox insmod /$driver.ko; done
while ! [ -b /dev/vda ] || ! [ -b /dev/vdb ]; do /bin/busybox sleep 0.1; done
/bin/busybox mount -t ext4 /dev/vda /root
/bin/busybox mount -t ext4 -o ro /dev/vdb /root/check
exec /bin/busybox switch_root /root /sbin/init
";

/// Plays the check after everything that a login needs, and switches the machine off whatever came of it.
const SERVICE: &str = "[Unit]
Wants=dbus.service systemd-logind.service
After=dbus.service systemd-logind.service systemd-user-sessions.service

[Service]
Type=oneshot
TimeoutStartSec=infinity
ExecStart=/bin/sh /check/run
ExecStopPost=/bin/systemctl poweroff --force --force
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
";

/// A system to boot.
#[derive(Debug)]
pub(super) struct System {
    pub(super) kernel: PathBuf,
    /// What the kernel starts with, until the disk is there.
    pub(super) start: PathBuf,
    pub(super) disk: PathBuf,
}

/// Makes the system, unless the same one is there.
///
/// # Errors
/// Those of each step. Root is needed: files of the system belong to its users.
pub(super) fn prepare(folder: &Path) -> Result<System, Error> {
    let system =
        System { kernel: folder.join("kernel"), start: folder.join("start.cpio"), disk: folder.join("system.img") };
    let recipe = format!("{PACKAGES}\n{KERNEL}\n{DRIVERS:?}\n{START}\n{SERVICE}");
    let made_by = folder.join("recipe");
    if fs::read_to_string(&made_by).is_ok_and(|made_by| made_by == recipe) {
        return Ok(system);
    }
    if output(program("id").arg("-u"))?.trim() != "0" {
        return Err(error("make the machine's system: run this as root"));
    }
    fresh(folder)?;
    let root = folder.join("root");
    execute(
        program("mmdebstrap")
            .args(["--mode=root", "--variant=minbase", "--quiet"])
            .arg(format!("--include={PACKAGES}"))
            .arg(release()?)
            .arg(&root),
    )?;
    let version = kernel(folder, &root, &system.kernel)?;
    execute(program("chroot").arg(&root).args(["useradd", "--create-home", "--shell", "/bin/sh", "agent"]))?;
    fs::create_dir_all(root.join("check")).map_err(|why| error(format!("make a folder: {why}")))?;
    write(&root.join("etc/systemd/system/check.service"), SERVICE)?;
    start(folder, &root, &version, &system.start)?;
    disk(&root, &system.disk, "1500M")?;
    fs::remove_dir_all(&root).map_err(|why| error(format!("remove {}: {why}", root.display())))?;
    write(&made_by, &recipe)?;
    Ok(system)
}

/// Makes a folder anew.
pub(super) fn fresh(folder: &Path) -> Result<(), Error> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(|why| error(format!("remove {}: {why}", folder.display())))?;
    }
    fs::create_dir_all(folder).map_err(|why| error(format!("make {}: {why}", folder.display())))
}

/// Writes a file.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|why| error(format!("write {}: {why}", path.display())))
}

/// Makes a disk of a folder's content.
pub(super) fn disk(content: &Path, disk: &Path, size: &str) -> Result<(), Error> {
    // mke2fs asks before it overwrites.
    let _ = fs::remove_file(disk);
    execute(program("mke2fs").args(["-q", "-t", "ext4", "-O", "^has_journal", "-d"]).args([content, disk]).arg(size))
}

/// This machine's release, by its code name.
fn release() -> Result<String, Error> {
    let about = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let is_debian = about.lines().any(|line| line == "ID=debian");
    let name = about.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    name.filter(|_| is_debian).map(str::to_owned).ok_or_else(|| error("make the machine's system: this is not Debian"))
}

/// Puts the kernel beside the system and its modules into it. Unpacked, not installed: installing would make a start-up
/// archive of all drivers. Returns its version.
fn kernel(folder: &Path, root: &Path, kernel: &Path) -> Result<String, Error> {
    let depends = output(program("apt-cache").args(["depends", KERNEL]))?;
    let package = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
    let version = package.ok_or_else(|| error(format!("find the kernel of {KERNEL}")))?.to_owned();
    let unpacked = folder.join("unpacked");
    fresh(&unpacked)?;
    execute(program("apt-get").args(["download", "--quiet", &format!("linux-image-{version}")]).current_dir(folder))?;
    let files = fs::read_dir(folder).map_err(|why| error(format!("list {}: {why}", folder.display())))?;
    let package =
        files.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|kind| kind == "deb"));
    let package = package.ok_or_else(|| error("find the kernel that was fetched"))?;
    execute(program("dpkg-deb").arg("--extract").args([&package, &unpacked]))?;
    execute(program("cp").arg(unpacked.join(format!("boot/vmlinuz-{version}"))).arg(kernel))?;
    execute(program("cp").arg("-a").arg(unpacked.join("lib/modules")).arg(root.join("lib/")))?;
    execute(program("chroot").arg(root).args(["/sbin/depmod", &version]))?;
    for done in [&unpacked, &package] {
        execute(program("rm").arg("-r").arg(done))?;
    }
    Ok(version)
}

/// Makes the archive that the kernel starts with: a shell, the disks' drivers, and what to do.
fn start(folder: &Path, root: &Path, version: &str, archive: &Path) -> Result<(), Error> {
    let content = folder.join("start");
    for name in ["bin", "dev", "root"] {
        fresh(&content.join(name))?;
    }
    let busybox = root.join("bin/busybox");
    execute(program("cp").args([&busybox, &content.join("bin/busybox")]))?;
    let modules = output(program("find").arg(root.join("lib/modules").join(version)).args(["-name", "virtio*.ko"]))?;
    for driver in DRIVERS {
        let file = format!("/{driver}.ko");
        let module = modules.lines().find(|line| line.ends_with(&file));
        let module = module.ok_or_else(|| error(format!("find the driver {driver}")))?;
        execute(program("cp").arg(module).arg(&content))?;
    }
    let init = content.join("init");
    write(&init, &START.replace("DRIVERS", &DRIVERS.join(" ")))?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).map_err(|why| error(format!("mark init: {why}")))?;
    let names = folder.join("names");
    let drivers = DRIVERS.map(|driver| format!("{driver}.ko"));
    let all = ["bin", "bin/busybox", "dev", "root", "init"].into_iter().chain(drivers.iter().map(String::as_str));
    write(&names, &all.collect::<Vec<_>>().join("\n"))?;
    let open = |path: &Path| fs::File::open(path).map_err(|why| error(format!("open {}: {why}", path.display())));
    let made = fs::File::create(archive).map_err(|why| error(format!("make {}: {why}", archive.display())))?;
    execute(
        program(&busybox)
            .args(["cpio", "-o", "-H", "newc"])
            .current_dir(&content)
            .stdin(Stdio::from(open(&names)?))
            .stdout(Stdio::from(made)),
    )?;
    fs::remove_file(&names).map_err(|why| error(format!("remove {}: {why}", names.display())))?;
    fs::remove_dir_all(&content).map_err(|why| error(format!("remove {}: {why}", content.display())))
}
