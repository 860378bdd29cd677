//! Files on a disk that loses power, is shared, and has no links.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard};
use std::time::SystemTime;

use super::*;
use crate::store::Put;

const FILE: &str = "/data/a/checkpoint/offsets/7";

type Hook = Box<dyn FnOnce() + Send>;

#[derive(Clone, PartialEq, Debug)]
enum Node {
    Folder,
    File(usize),
}

#[derive(Default)]
struct State {
    /// The content of each file as it is, and as it is on the disk.
    contents: Vec<(Vec<u8>, Vec<u8>)>,
    names: BTreeMap<PathBuf, Node>,
    /// The names that are on the disk.
    durable: BTreeMap<PathBuf, Node>,
    calls: usize,
    /// From this call on the power is off.
    power_until: Option<usize>,
    /// What happens before a call.
    hook: Option<(usize, Hook)>,
    has_no_links: bool,
    /// From this call on there is no room for another name or file.
    full_from: Option<usize>,
    /// Whether its files were just written, and not long ago.
    is_new: bool,
}

/// A disk of which clones share the content.
#[derive(Clone, Default)]
struct FakeDisk(Arc<Mutex<State>>);

impl FakeDisk {
    /// With the folder `/data`.
    fn new() -> Self {
        let disk = Self::default();
        disk.make_folder(Path::new("/data")).unwrap();
        disk.sync(Path::new("/")).unwrap();
        disk.state().calls = 0;
        disk
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn files(&self) -> Files<Self> {
        Files::new(self.clone(), "/data/a/checkpoint".into())
    }

    /// What is on the disk when the power comes back.
    fn after_power_cut(&self) -> Self {
        let state = self.state();
        let is_there = |path: &Path| {
            let mut above = path.ancestors().filter(|above| *above != Path::new("/"));
            above.all(|above| state.durable.contains_key(above))
        };
        let names: BTreeMap<_, _> = state.durable.iter().filter(|(path, _)| is_there(path)).collect();
        let names: BTreeMap<PathBuf, Node> = names
            .into_iter()
            .map(|(path, node)| (path.clone(), node.clone()))
            .collect();
        let contents = state
            .contents
            .iter()
            .map(|(_, durable)| (durable.clone(), durable.clone()));
        Self(Arc::new(Mutex::new(State {
            contents: contents.collect(),
            durable: names.clone(),
            names,
            has_no_links: state.has_no_links,
            ..State::default()
        })))
    }

    fn content(&self, path: &str) -> Option<Vec<u8>> {
        self.read(Path::new(path)).ok().map(|file| file.content)
    }

    /// Counts a call and lets happen what is to happen before it.
    fn call(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        state.calls += 1;
        if state.power_until.is_some_and(|until| state.calls > until) {
            return Err(io::Error::other("the power is off"));
        }
        let calls = state.calls;
        if let Some((_, hook)) = state.hook.take_if(|(at, _)| *at == calls) {
            drop(state);
            hook();
            return Ok(self.state());
        }
        Ok(state)
    }
}

impl State {
    fn has_room(&self) -> io::Result<()> {
        if self.full_from.is_some_and(|from| self.calls >= from) {
            return Err(ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        match self.names.get(path) {
            Some(Node::File(file)) => Ok(*file),
            Some(Node::Folder) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    fn add(&mut self, path: &Path, node: Node) -> io::Result<()> {
        if self.names.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let folder = path.parent().unwrap();
        if folder != Path::new("/") && self.names.get(folder) != Some(&Node::Folder) {
            return Err(ErrorKind::NotFound.into());
        }
        self.names.insert(path.to_owned(), node);
        Ok(())
    }
}

impl Disk for FakeDisk {
    fn read(&self, path: &Path) -> io::Result<StoredFile> {
        let state = self.call()?;
        let content = state.contents[state.file(path)?].0.clone();
        let modified = Some(if state.is_new {
            SystemTime::now()
        } else {
            SystemTime::UNIX_EPOCH
        });
        Ok(StoredFile { content, modified })
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.call()?;
        let inside = state.names.keys().filter(|path| path.parent() == Some(folder));
        Ok(inside.map(|path| name(path)).collect())
    }

    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        self.call()?.add(folder, Node::Folder)
    }

    fn create(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut state = self.call()?;
        state.has_room()?;
        let file = state.contents.len();
        state.add(path, Node::File(file))?;
        state.contents.push((content.to_vec(), Vec::new()));
        Ok(())
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let mut state = self.call()?;
        match state.names.get(path).cloned() {
            Some(Node::File(file)) => {
                let (content, durable) = &mut state.contents[file];
                durable.clone_from(content);
            }
            None if path != Path::new("/") => return Err(ErrorKind::NotFound.into()),
            _ => {
                state.durable.retain(|name, _| name.parent() != Some(path));
                let inside = state.names.iter().filter(|(name, _)| name.parent() == Some(path));
                let inside: Vec<_> = inside.map(|(name, node)| (name.clone(), node.clone())).collect();
                state.durable.extend(inside);
            }
        }
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.call()?;
        if state.has_no_links {
            return Err(ErrorKind::Unsupported.into());
        }
        state.has_room()?;
        let file = state.file(from)?;
        state.add(to, Node::File(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.call()?;
        let file = state.file(from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), Node::File(file));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.call()?;
        state.file(path)?;
        state.names.remove(path);
        Ok(())
    }
}

fn put(disk: &FakeDisk, expected: Option<&[u8]>, content: &[u8]) -> io::Result<Put> {
    disk.files().put_if(Path::new(FILE), expected, content)
}

#[test]
fn a_file_that_was_written_is_there_after_a_loss_of_power() {
    for has_no_links in [false, true] {
        let disk = FakeDisk::new();
        disk.state().has_no_links = has_no_links;
        assert_eq!(put(&disk, None, b"new").unwrap(), Put::Done);
        assert_eq!(disk.after_power_cut().content(FILE).unwrap(), b"new");
        assert_eq!(put(&disk, Some(b"new"), b"newer").unwrap(), Put::Done);
        assert_eq!(disk.after_power_cut().content(FILE).unwrap(), b"newer");
    }
}

#[test]
fn folders_that_a_killed_writer_made_are_there_after_a_loss_of_power() {
    let disk = FakeDisk::new();
    for folder in ["/data/a", "/data/a/checkpoint", "/data/a/checkpoint/offsets"] {
        disk.make_folder(Path::new(folder)).unwrap();
    }
    disk.sync(Path::new("/data")).unwrap();
    assert_eq!(put(&disk, None, b"new").unwrap(), Put::Done);
    assert_eq!(disk.after_power_cut().content(FILE).unwrap(), b"new");
}

#[test]
fn a_loss_of_power_at_any_call_leaves_a_whole_file_or_none_and_nothing_that_stays() {
    for before in [None, Some(&b"old"[..])] {
        for calls in 0.. {
            let mut disk = FakeDisk::new();
            if let Some(old) = before {
                assert_eq!(put(&disk, None, old).unwrap(), Put::Done);
                disk.state().calls = 0;
            }
            disk.state().power_until = Some(calls);
            let done = put(&disk, before, b"new");
            // A process that is killed loses nothing of what it wrote; a machine may.
            let killed = disk.clone();
            killed.state().power_until = None;
            disk = disk.after_power_cut();
            for disk in [killed, disk] {
                let there = disk.content(FILE);
                let is_whole =
                    there.is_none() || there.as_deref() == before || there.as_deref() == Some(b"new");
                assert!(is_whole, "{calls}: {there:?}");
                assert!(
                    done.is_err() || there.as_deref() == Some(b"new"),
                    "{calls}: {there:?}"
                );
                assert_eq!(
                    put(&disk, there.as_deref(), b"next").unwrap(),
                    Put::Done,
                    "{calls}"
                );
                let names = disk.names(Path::new("/data/a/checkpoint/offsets")).unwrap();
                assert_eq!(names, ["7"], "{calls}");
            }
            if done.is_ok() {
                break;
            }
            assert!(calls < 50, "it never ends");
        }
    }
}

#[test]
fn a_disk_that_fills_up_at_any_call_keeps_the_file_that_was_to_be_replaced() {
    for has_no_links in [false, true] {
        for call in 0.. {
            let disk = FakeDisk::new();
            disk.state().has_no_links = has_no_links;
            assert_eq!(put(&disk, None, b"old").unwrap(), Put::Done);
            let calls = disk.state().calls;
            disk.state().full_from = Some(calls + call);
            let replaced = put(&disk, Some(b"old"), b"new");
            disk.state().full_from = None;
            if replaced.is_ok() {
                break;
            }
            assert_eq!(disk.content(FILE).unwrap(), b"old", "{call}");
            assert!(call < 50, "it never ends");
        }
    }
}

#[test]
fn of_two_writers_one_wins_wherever_the_other_is() {
    for (before, has_no_links) in [
        (None, false),
        (None, true),
        (Some(&b"old"[..]), false),
        (Some(b"old"), true),
    ] {
        for call in 1..20 {
            let disk = FakeDisk::new();
            if let Some(old) = before {
                assert_eq!(put(&disk, None, old).unwrap(), Put::Done);
                disk.state().calls = 0;
            }
            disk.state().has_no_links = has_no_links;
            disk.state().is_new = true;
            let (second, outcome) = (disk.clone(), Arc::new(Mutex::new(None)));
            let told = outcome.clone();
            let hook = move || *told.lock().unwrap() = Some(put(&second, before, b"second").unwrap());
            disk.state().hook = Some((call, Box::new(hook)));
            let first = put(&disk, before, b"first").unwrap();
            let Some(second) = outcome.lock().unwrap().take() else {
                assert!(call > 5, "the first writer makes more calls");
                break;
            };
            let won = match (&first, &second) {
                (Put::Done, Put::Unexpected(_)) => &b"first"[..],
                (Put::Unexpected(_), Put::Done) => b"second",
                both => panic!("{call}: {both:?}"),
            };
            assert_eq!(disk.content(FILE).unwrap(), won, "{call}");
        }
    }
}

#[test]
fn a_file_that_was_placed_and_not_synced_is_lasting_when_it_is_found() {
    let disk = FakeDisk::new();
    let total = {
        let disk = FakeDisk::new();
        put(&disk, None, b"new").unwrap();
        disk.state().calls
    };
    // The last calls are the sync of the folder and the end of the unfinished file.
    disk.state().power_until = Some(total - 2);
    put(&disk, None, b"new").unwrap_err();
    disk.state().power_until = None;
    assert_eq!(disk.after_power_cut().content(FILE), None);
    assert!(matches!(
        put(&disk, None, b"new").unwrap(),
        Put::Unexpected(Some(_))
    ));
    assert_eq!(disk.after_power_cut().content(FILE).unwrap(), b"new");
}

#[test]
fn only_unfinished_files_of_our_own_are_deleted() {
    let disk = FakeDisk::new();
    put(&disk, None, b"new").unwrap();
    let folder = Path::new("/data/a/checkpoint/offsets");
    let id = "b3e11b54-04b9-4fa7-9c69-1953185a8107";
    let ours = [format!(".7.outrigger-{id}.new"), format!(".8.outrigger-{id}.old")];
    let others = [
        format!(".8.{id}.tmp"),
        format!(".8.{id}.TID7.tmp"),
        ".8.crc".to_owned(),
        ".8.outrigger-x.new".to_owned(),
        format!(".8.outrigger-{id}.new.tmp"),
    ];
    for name in ours.iter().chain(&others) {
        disk.create(&folder.join(name), b"").unwrap();
    }
    let next = folder.join("8");
    assert_eq!(disk.files().put_if(&next, None, b"next").unwrap(), Put::Done);
    let names = disk.names(folder).unwrap();
    for name in &ours {
        assert!(!names.contains(name), "{name}");
    }
    // The checksum was of a file that is not there any more.
    for name in others.iter().filter(|name| *name != ".8.crc") {
        assert!(names.contains(name), "{name}");
    }
}

#[test]
fn a_checksum_goes_with_its_file() {
    let disk = FakeDisk::new();
    put(&disk, None, b"old").unwrap();
    let checksum = Path::new("/data/a/checkpoint/offsets/.7.crc");
    disk.create(checksum, b"crc of old").unwrap();
    assert_eq!(put(&disk, Some(b"old"), b"new").unwrap(), Put::Done);
    assert_eq!(disk.content(".7.crc"), None);
    disk.create(checksum, b"crc of new").unwrap();
    disk.files().delete(Path::new(FILE)).unwrap();
    assert_eq!(disk.names(checksum.parent().unwrap()).unwrap(), [""; 0]);
}
