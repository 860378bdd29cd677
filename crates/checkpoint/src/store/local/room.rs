//! Owns whether a folder could be written, asked without writing.

use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, StatVfs, access, statvfs};

/// The free space that a checkpoint needs: its files are some kilobytes each, on a large cluster a megabyte.
const MIN_FREE_BYTES: u64 = 16 << 20;
/// The files that a checkpoint may need: two a batch for all that are kept, and some under way.
const MIN_FREE_FILES: u64 = 256;

/// Whether this process could write into `folder`, or make it.
///
/// # Errors
/// If not, and why.
pub(super) fn check(folder: &Path) -> Result<()> {
    let existing = existing(folder)?;
    let at = |error: Error| Error::new(error.kind(), format!("{}: {error}", existing.display()));
    access(&existing, Access::WRITE_OK | Access::EXEC_OK).map_err(|errno| at(errno.into()))?;
    let file_system = statvfs(&existing).map_err(|errno| at(errno.into()))?;
    room(&file_system).map_err(at)
}

/// The folder, or the nearest above it that exists.
fn existing(folder: &Path) -> Result<PathBuf> {
    for above in folder.ancestors() {
        let above = if above.as_os_str().is_empty() {
            Path::new(".")
        } else {
            above
        };
        match above.metadata() {
            Ok(metadata) if metadata.is_dir() => return Ok(above.to_owned()),
            Ok(_) => {
                let what = format!("{} is not a folder", above.display());
                return Err(Error::new(ErrorKind::NotADirectory, what));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Error::new(error.kind(), format!("{}: {error}", above.display()))),
        }
    }
    Err(ErrorKind::NotFound.into())
}

/// Whether enough is free. A file system that counts neither blocks nor files says zero of zero.
fn room(of: &StatVfs) -> Result<()> {
    let full = |what: String| Err(Error::new(ErrorKind::StorageFull, what));
    let free = of.f_bavail.saturating_mul(of.f_frsize);
    if of.f_blocks > 0 && free < MIN_FREE_BYTES {
        return full(format!(
            "{free} bytes are free; a checkpoint needs {MIN_FREE_BYTES}"
        ));
    }
    if of.f_files > 0 && of.f_favail < MIN_FREE_FILES {
        let free = of.f_favail;
        return full(format!(
            "{free} more files can be made; a checkpoint needs {MIN_FREE_FILES}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;

    use super::*;

    #[test]
    fn a_folder_that_can_be_written_or_made_is_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        check(folder.path()).unwrap();
        check(&folder.path().join("a/b/c")).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        check(Path::new("relative")).unwrap();
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = check(&file.path().join("checkpoint")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotADirectory);
    }

    /// Root may write everywhere, so the check is made by this very program as nobody.
    #[test]
    fn a_folder_that_this_user_may_not_write_is_denied() {
        const FOLDER: &str = "OUTRIGGER_TEST_FOLDER";
        const NOBODY: u32 = 65534;
        if let Some(folder) = std::env::var_os(FOLDER) {
            let folder = Path::new(&folder);
            check(&folder.join("open/checkpoint")).unwrap();
            let error = check(&folder.join("closed/checkpoint")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
            assert!(error.to_string().contains("/closed: "), "{error}");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        for (name, mode) in [("", 0o755), ("open", 0o777), ("closed", 0o555)] {
            let path = folder.path().join(name);
            drop(std::fs::create_dir(&path));
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let name = "store::local::room::tests::a_folder_that_this_user_may_not_write_is_denied";
        command.args(["--exact", name]).env(FOLDER, folder.path());
        if Path::new("/proc/self").metadata().unwrap().uid() == 0 {
            command.uid(NOBODY);
        }
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }

    #[test]
    fn a_file_system_without_room_is_full() {
        let here = statvfs(Path::new(".")).unwrap();
        let with = |blocks, free, files, free_files| StatVfs {
            f_frsize: 4096,
            f_blocks: blocks,
            f_bavail: free,
            f_files: files,
            f_favail: free_files,
            ..here
        };
        room(&with(1 << 20, 1 << 19, 1 << 20, 1 << 19)).unwrap();
        room(&with(0, 0, 0, 0)).unwrap();
        for full in [with(1 << 20, 7, 0, 0), with(1 << 20, 1 << 19, 1 << 20, 3)] {
            assert_eq!(room(&full).unwrap_err().kind(), ErrorKind::StorageFull);
        }
    }
}
