//! A store in memory with the faults of real ones.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use checkpoint::{Listing, Put, Store, StoreError, StoreErrorKind, StoredFile, TopicOffsets, WritableStore};

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is done.
    Refused(StoreErrorKind),
    /// It is done, and the answer is lost.
    AnswerLost,
}

type Faults = Box<dyn FnMut(&str) -> Option<Fault> + Send>;

#[derive(Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    requests: Vec<String>,
    faults: Option<Faults>,
    /// How many names a listing has at the most.
    listed: Option<usize>,
}

/// A store in memory. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct MemoryStore(Arc<Mutex<State>>);

impl MemoryStore {
    /// With the files of a fixture.
    pub(crate) fn of_fixture(name: &str) -> Self {
        let store = Self::default();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures")
            .join(name);
        for folder in ["", "offsets/", "commits/", "sources/0/"] {
            for entry in std::fs::read_dir(root.join(folder)).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    let name = path.file_name().unwrap().to_str().unwrap();
                    store.put(&format!("{folder}{name}"), &std::fs::read(&path).unwrap());
                }
            }
        }
        store
    }

    pub(crate) fn put(&self, key: &str, content: &[u8]) {
        self.0
            .lock()
            .unwrap()
            .files
            .insert(key.to_owned(), content.to_vec());
    }

    pub(crate) fn remove(&self, key: &str) {
        self.0.lock().unwrap().files.remove(key);
    }

    pub(crate) fn get(&self, key: &str) -> Option<String> {
        let content = self.0.lock().unwrap().files.get(key).cloned()?;
        Some(String::from_utf8(content).unwrap())
    }

    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.0.lock().unwrap().files.clone()
    }

    /// The requests since the last call.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().requests)
    }

    /// Asks `faults` about each request, such as `put offsets/7`.
    pub(crate) fn fail(&self, faults: impl FnMut(&str) -> Option<Fault> + Send + 'static) {
        self.0.lock().unwrap().faults = Some(Box::new(faults));
    }

    pub(crate) fn heal(&self) {
        self.0.lock().unwrap().faults = None;
    }

    pub(crate) fn list_at_most(&self, names: usize) {
        self.0.lock().unwrap().listed = Some(names);
    }

    /// Does `work`, with what happens to the request.
    fn request<T>(&self, request: String, work: impl FnOnce(&mut State) -> T) -> Result<T, StoreError> {
        let mut state = self.0.lock().unwrap();
        let fault = state.faults.as_mut().and_then(|faults| faults(&request));
        state.requests.push(request.clone());
        let failed = |kind| StoreError {
            action: "reach",
            place: request,
            kind,
            source: "the store is ill".into(),
        };
        match fault {
            None => Ok(work(&mut state)),
            Some(Fault::Refused(kind)) => Err(failed(kind)),
            Some(Fault::AnswerLost) => {
                drop(work(&mut state));
                Err(failed(StoreErrorKind::Passing))
            }
        }
    }
}

fn stored(content: Option<&Vec<u8>>) -> Option<StoredFile> {
    let content = content?.clone();
    Some(StoredFile {
        content,
        modified: None,
    })
}

impl Store for MemoryStore {
    async fn read(&self, key: &str) -> Result<Option<StoredFile>, StoreError> {
        self.request(format!("get {key}"), |state| stored(state.files.get(key)))
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        Ok(self.list_part(folder).await?.names)
    }

    /// In the order of S3: as texts.
    async fn list_part(&self, folder: &str) -> Result<Listing, StoreError> {
        let prefix = format!("{folder}/");
        self.request(format!("list {folder}"), |state| {
            let names = state.files.keys().filter_map(|key| key.strip_prefix(&prefix));
            let mut names: Vec<_> = names.map(str::to_owned).collect();
            let listed = state.listed.unwrap_or(usize::MAX);
            let is_complete = names.len() <= listed;
            names.truncate(listed);
            Listing { names, is_complete }
        })
    }
}

impl WritableStore for MemoryStore {
    async fn put_if(&self, key: &str, expected: Option<&[u8]>, content: &[u8]) -> Result<Put, StoreError> {
        self.request(format!("put {key}"), |state| {
            let there = state.files.get(key);
            if there.map(Vec::as_slice) != expected {
                return Put::Unexpected(stored(there));
            }
            state.files.insert(key.to_owned(), content.to_vec());
            Put::Done
        })
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.request(format!("delete {key}"), |state| drop(state.files.remove(key)))
    }
}

/// Positions in partitions of the topic `documents`.
pub(crate) fn at(positions: &[(i32, i64)]) -> TopicOffsets {
    let mut offsets = TopicOffsets::default();
    for (partition, position) in positions {
        offsets.set("documents", *partition, *position);
    }
    offsets
}
