//! What was made of each file with credentials, to be used again while the file is as it was.
//!
//! Whoever changes one file would else make the server read all of them. What is kept has bounds, for what is in such files is
//! not ours: beyond [`MOST_SHOWN`] a file is masked by a notice, and beyond [`MOST_VALUE_BYTES`] the longest values are not
//! looked for. Neither is used again, so that it ends when there is room.

use std::{
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use cofferdam_policy::{MOST_VALUE_BYTES, Secret};

use super::{
    super::{beneath::Entry, tree_path::TreePath},
    find::Place,
    shown::ShownFile,
};

/// Bytes that are seen of all masked files of a workspace line by line. An ordinary one has some kilobytes.
pub(super) const MOST_SHOWN: usize = 4 << 20;

/// A file that changed less than this before it was read may change again without another time: FAT keeps two seconds.
const COARSEST_TIME: Duration = Duration::from_secs(2);

/// The files that were looked at, by their path.
#[derive(Debug, Default)]
pub(super) struct Readings {
    files: BTreeMap<TreePath, One>,
}

/// What was made of one file.
#[derive(Debug, Clone)]
pub(super) struct One {
    /// The name that was on the list.
    pub(super) listed: TreePath,
    /// What was there.
    pub(super) entry: Entry,
    /// When it was read; `None` when it was not, or not that, or when it had to give something up for what others have: then it is
    /// made anew, for they may be gone.
    pub(super) read: Option<SystemTime>,
    /// `None` when its content does not count.
    pub(super) made: Option<Made>,
}

/// A mask.
#[derive(Debug, Clone)]
pub(super) struct Made {
    /// The line of the list that the file is on.
    pub(super) pattern: String,
    /// What is seen of it, where that is not what it holds.
    pub(super) seen: Option<Arc<ShownFile>>,
    /// The values that are looked for.
    pub(super) values: Vec<Arc<str>>,
    /// How many more it has.
    pub(super) left_out: u64,
}

impl Readings {
    /// What was made of a file that is as it was.
    pub(super) fn of(&self, place: &Place) -> Option<&One> {
        let one = self.files.get(&place.target)?;
        let changed = one.entry.changed;
        let changed = UNIX_EPOCH + Duration::from_secs(u64::try_from(changed.seconds).unwrap_or(0) + 1);
        let is_settled = one.read.is_some_and(|read| changed + COARSEST_TIME < read);
        (is_settled && one.listed == place.listed && one.entry == place.entry).then_some(one)
    }

    /// Keeps what was made of files, with those of their values that there is room for.
    pub(super) fn new(files: BTreeMap<TreePath, One>) -> Self {
        let mut heap = Values::default();
        for (number, values) in files.values().map(One::values).enumerate() {
            values.iter().for_each(|value| heap.add(value.clone(), number));
        }
        let mut readings = Self { files };
        if heap.left_out > 0 {
            readings.prune(heap);
        }
        readings
    }

    /// The files, by their path.
    pub(super) fn files(self) -> BTreeMap<TreePath, One> {
        self.files
    }

    fn prune(&mut self, heap: Values) {
        let mut by_file: BTreeMap<usize, Vec<Arc<str>>> = BTreeMap::new();
        for (_, value, file) in heap.heap {
            by_file.entry(file).or_default().push(value);
        }
        for (number, one) in self.files.values_mut().enumerate() {
            if let Some(made) = &mut one.made {
                let values = by_file.remove(&number).unwrap_or_default();
                let left_out = made.values.len() - values.len();
                if left_out > 0 {
                    one.read = None;
                }
                made.left_out += left_out as u64;
                made.values = values;
            }
        }
    }

    /// Masks, by their path.
    pub(super) fn made(&self) -> impl Iterator<Item = (&TreePath, &Made)> {
        self.files.iter().filter_map(|(path, one)| Some((path, one.made.as_ref()?)))
    }

    /// The values, with the names of their files.
    pub(super) fn secrets(&self) -> Vec<Secret> {
        let of = |(path, made): (&TreePath, &Made)| {
            let file: Arc<str> = path.to_string().into();
            made.values.clone().into_iter().map(move |value| Secret { value, file: file.clone() })
        };
        self.made().flat_map(of).collect()
    }

    /// Values that are not looked for.
    pub(super) fn left_out(&self) -> u64 {
        self.made().map(|(_, made)| made.left_out).sum()
    }
}

impl One {
    fn values(&self) -> &[Arc<str>] {
        self.made.as_ref().map_or(&[], |made| &made.values)
    }
}

/// Values to look for, of which only the shorter are kept when there are too many.
#[derive(Debug, Default)]
pub(super) struct Values {
    /// The longest on top, each with the number of its file.
    heap: BinaryHeap<(usize, Arc<str>, usize)>,
    bytes: usize,
    left_out: u64,
}

impl Values {
    fn add(&mut self, value: Arc<str>, file: usize) {
        self.bytes += value.len();
        self.heap.push((value.len(), value, file));
        while self.bytes > MOST_VALUE_BYTES
            && let Some((length, ..)) = self.heap.pop()
        {
            self.bytes -= length;
            self.left_out += 1;
        }
    }
}
