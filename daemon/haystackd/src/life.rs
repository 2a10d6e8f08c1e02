//! The life file on disk: `state_dir/life`, for one daemon at a time, replaced as a whole and never half written.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use haystack_core::directory::life::Life;
use haystack_core::node::Identity;
use haystack_wire::ids::{Boot, NodeId};
use rustix::fs::FlockOperation;

use crate::error::Failure;
use crate::random;

/// Longest life file in bytes, far above what a life can hold.
const LIFE_LIMIT: u64 = 1024 * 1024;

/// The life file of this daemon, which no other can open while this value lives.
#[derive(Debug)]
pub(crate) struct LifeFile {
    path: PathBuf,
    /// The state directory, locked. The lock is on the directory and not on the file: every store puts another file
    /// in its place, and a lock on the old one would keep nobody out.
    dir: File,
}

impl LifeFile {
    /// Takes the state directory for this process, making it if need be, and reads the life file. A directory that
    /// has none gives a fresh life under `name`.
    ///
    /// # Errors
    /// If another daemon has the directory, if it cannot be used, or if the file is damaged.
    pub(crate) fn open(state_dir: &Path, name: &str) -> Result<(Self, Life), Failure> {
        let unusable = |source: io::Error| Failure::StateDir { dir: state_dir.to_owned(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o750).create(state_dir).map_err(unusable)?;
        let dir = File::open(state_dir).map_err(unusable)?;
        match rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(Failure::Locked { dir: state_dir.to_owned(), holder: lock_holder(&dir) });
            }
            Err(error) => return Err(unusable(error.into())),
        }
        let file = Self { path: state_dir.join("life"), dir };
        let life = match file.read().map_err(unusable)? {
            None => Life::fresh(name),
            Some(bytes) => Life::decode(&bytes).map_err(|error| Failure::LifeDamaged {
                path: file.path.clone(),
                problem: error.to_string(),
            })?,
        };
        Ok((file, life))
    }

    /// Begins a new life: an identity that nobody ever had, on disk before anybody hears of it.
    ///
    /// # Errors
    /// If there is no randomness, or the file cannot be written.
    pub(crate) fn begin(&self, mut life: Life) -> Result<Identity, Failure> {
        let node = NodeId(random::bytes()?);
        life.begin(node);
        self.store(&life.encode())?;
        Ok(Identity { node, boot: Boot::default(), life })
    }

    /// Replaces the contents; they are on disk when this returns.
    ///
    /// # Errors
    /// If that is not sure. The process must end then: a later `fsync` may succeed without having written.
    pub(crate) fn store(&self, bytes: &[u8]) -> Result<(), Failure> {
        self.replace(bytes).map_err(|source| Failure::LifeWrite { path: self.path.clone(), source })
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let next = self.path.with_extension("next");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&next)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&next, &self.path)?;
        self.dir.sync_all()
    }

    fn read(&self) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let mut bytes = Vec::new();
        // One byte more than a life file can have makes it a damaged one, whatever follows.
        file.take(LIFE_LIMIT + 1).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }
}

/// The process that holds the lock of `dir`, where the kernel tells (proc(5), `/proc/locks`).
fn lock_holder(dir: &File) -> Option<u32> {
    let inode = format!(":{}", dir.metadata().ok()?.ino());
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        // `1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF`
        let fields: Vec<&str> = line.split_whitespace().collect();
        let ours = fields.get(1) == Some(&"FLOCK") && fields.get(5)?.ends_with(&inode);
        if ours { fields.get(4)?.parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_on_disk_before_it_begins_and_the_next_succeeds_it() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("made/on/the/way");
        let (file, life) = LifeFile::open(&state, "n1").unwrap();
        let first = file.begin(life).unwrap();
        assert_eq!(Life::decode(&std::fs::read(state.join("life")).unwrap()).unwrap(), first.life);
        drop(file);
        let (file, life) = LifeFile::open(&state, "n1").unwrap();
        assert_eq!(life, first.life);
        let second = file.begin(life).unwrap();
        assert_ne!(first.node, second.node);
        assert_eq!(second.life.predecessors().collect::<Vec<_>>(), [first.node]);
    }

    #[test]
    fn one_state_directory_serves_one_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let (file, life) = LifeFile::open(dir.path(), "n1").unwrap();
        file.begin(life).unwrap();
        let refused = LifeFile::open(dir.path(), "n1").unwrap_err();
        assert!(matches!(&refused, Failure::Locked { .. }), "{refused}");
        drop(file);
        LifeFile::open(dir.path(), "n1").unwrap();
    }

    #[test]
    fn a_damaged_life_file_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (file, life) = LifeFile::open(dir.path(), "n1").unwrap();
        file.begin(life).unwrap();
        drop(file);
        let path = dir.path().join("life");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.pop();
        for damaged in [bytes, Vec::new(), b"hello".to_vec()] {
            std::fs::write(&path, &damaged).unwrap();
            let refused = LifeFile::open(dir.path(), "n1").unwrap_err();
            assert!(matches!(&refused, Failure::LifeDamaged { .. }), "{refused}");
            assert_eq!(std::fs::read(&path).unwrap(), damaged);
        }
    }

    #[test]
    fn a_state_directory_that_is_none_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let refused = LifeFile::open(&file, "n1").unwrap_err();
        assert!(refused.to_string().contains(&file.display().to_string()), "{refused}");
    }
}
