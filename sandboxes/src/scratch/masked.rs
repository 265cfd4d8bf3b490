//! Shows masks over what volumes begin with.
//!
//! A volume shows a folder of the host beside the view, so the view's layer of masks does not lie over it. What of that layer is
//! for the folder becomes a layer of the volume's own overlay.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{Holder, Volumes, remove_all};
use crate::{
    namespace::Seed,
    workspace::{Masks, TreePath},
};

/// The file in a volume that says what was masked in its seed.
const MASKED: &str = "masked";

impl Volumes {
    /// Lays masks over the seeds of the volumes in the workspace. A volume is emptied where others were masked before: what was
    /// written to it may be a copy of what is masked now.
    pub(crate) fn mask(&mut self, workspace: &Path, masks: &Masks) -> io::Result<()> {
        for scratch in &mut self.scratch {
            let (Ok(at), Seed::Folder(_)) = (scratch.at.strip_prefix(workspace), &scratch.seed) else { continue };
            let Some(at) = TreePath::new(at) else { continue };
            let below: Vec<&TreePath> = masks.hidden_below(&at).collect();
            let volume = match &self.holder {
                Holder::Image { image: Some(image), .. } => image.folder().join(&scratch.volume),
                Holder::Image { image: None, .. } | Holder::Folders { .. } => scratch.volume.clone(),
            };
            settle(&volume, &below)?;
            scratch.masks = masks.layer_path().filter(|_| !below.is_empty()).map(|layer| layer.join(at.as_path()));
        }
        Ok(())
    }
}

/// Empties a volume that was written over other masks.
fn settle(volume: &Path, masked: &[&TreePath]) -> io::Result<()> {
    let noted = volume.join(MASKED);
    let now = (!masked.is_empty()).then(|| digest(masked));
    let before = match fs::read_to_string(&noted) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if before == now {
        return Ok(());
    }
    for folder in ["upper", "work"].map(|name| volume.join(name)) {
        let owner = fs::metadata(&folder)?;
        remove_all(&folder)?;
        fs::create_dir(&folder)?;
        if rustix::process::geteuid().is_root() {
            chown(&folder, Some(owner.uid()), Some(owner.gid()))?;
        }
    }
    remove_if_there(&volume.join(super::COPIED))?;
    match now {
        Some(now) => fs::write(&noted, now),
        None => remove_if_there(&noted),
    }
}

fn remove_if_there(file: &PathBuf) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn digest(paths: &[&TreePath]) -> String {
    let mut hash = Sha256::new();
    for path in paths {
        hash.update(path.as_path().as_os_str().as_encoded_bytes());
        hash.update([0]);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
