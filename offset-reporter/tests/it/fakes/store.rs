//! A checkpoint in memory, with the faults of real stores.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use checkpoint::{COMMITS, METADATA, OFFSETS, Store, StoreError, StoreErrorKind, StoredFile};

/// What the store says to a request instead of the truth.
pub(crate) type Fault = fn(&str) -> Option<StoreErrorKind>;

#[derive(Default)]
struct Files {
    /// Their content, and when they were written.
    content: BTreeMap<String, (Vec<u8>, SystemTime)>,
    /// Files that are listed and cannot be read for so many reads.
    late: BTreeMap<String, usize>,
    /// What listings show instead of the truth, one after the other.
    old_listings: Vec<Vec<String>>,
    fault: Option<Fault>,
    /// Requests are not answered.
    hangs: bool,
    requests: Vec<String>,
}

/// A store in memory. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct FakeStore(Arc<Mutex<Files>>);

impl FakeStore {
    /// A new query of this id.
    pub(crate) fn of_query(id: &str) -> Self {
        let store = Self::default();
        store.put(METADATA, &format!("{{\"id\":\"{id}\"}}"));
        store
    }

    /// What a folder on disk has.
    pub(crate) fn of_fixture(name: &str) -> Self {
        let store = Self::default();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures")
            .join(name);
        for part in ["", "offsets", "commits", "sources/0"] {
            for entry in std::fs::read_dir(root.join(part)).into_iter().flatten() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_file() {
                    let name = entry.file_name().into_string().unwrap();
                    let key = format!("{part}/{name}");
                    let content = std::fs::read(entry.path()).unwrap();
                    store.0.lock().unwrap().content.insert(
                        key.trim_start_matches('/').to_owned(),
                        (content, SystemTime::now()),
                    );
                }
            }
        }
        store
    }

    pub(crate) fn put(&self, key: &str, content: &str) {
        self.0
            .lock()
            .unwrap()
            .content
            .insert(key.to_owned(), (content.as_bytes().to_vec(), SystemTime::now()));
    }

    pub(crate) fn remove(&self, key: &str) {
        self.0.lock().unwrap().content.remove(key);
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap().content.clear();
    }

    /// Plans a batch that ends at `line`, a source line.
    pub(crate) fn plan(&self, batch: i64, line: &str) {
        self.put(
            &format!("{OFFSETS}/{batch}"),
            &format!("v1\n{{\"batchTimestampMs\":{}}}\n{line}", 1000 + batch),
        );
    }

    /// Plans and commits a batch that ends at `offset` of partition 0 of `t`.
    pub(crate) fn commit(&self, batch: i64, offset: i64) {
        self.plan(batch, &format!("{{\"t\":{{\"0\":{offset}}}}}"));
        self.put(&format!("{COMMITS}/{batch}"), "v1\n{}");
    }

    /// The file is listed, but `times` reads do not find it.
    pub(crate) fn delay(&self, key: &str, times: usize) {
        self.0.lock().unwrap().late.insert(key.to_owned(), times);
    }

    /// The next listing shows these names.
    pub(crate) fn list_once(&self, names: &[&str]) {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        self.0.lock().unwrap().old_listings.push(names);
    }

    pub(crate) fn fail(&self, fault: Option<Fault>) {
        self.0.lock().unwrap().fault = fault;
    }

    /// Nobody answers a request.
    pub(crate) fn hang(&self, hangs: bool) {
        self.0.lock().unwrap().hangs = hangs;
    }

    /// The requests since the last call.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().requests)
    }

    async fn asked(&self, request: String) -> Result<(), StoreError> {
        let hangs = self.0.lock().unwrap().hangs;
        if hangs {
            std::future::pending::<()>().await;
        }
        let mut files = self.0.lock().unwrap();
        let fault = files.fault.and_then(|fault| fault(&request));
        files.requests.push(request.clone());
        match fault {
            None => Ok(()),
            Some(kind) => Err(StoreError {
                action: "read",
                place: request,
                kind,
                source: "the store is ill".into(),
            }),
        }
    }
}

impl Store for FakeStore {
    async fn read(&self, key: &str) -> Result<Option<StoredFile>, StoreError> {
        self.asked(format!("get {key}")).await?;
        let mut files = self.0.lock().unwrap();
        if let Some(times) = files.late.get_mut(key).filter(|times| **times > 0) {
            *times -= 1;
            return Ok(None);
        }
        let content = files.content.get(key).cloned();
        Ok(content.map(|(content, modified)| StoredFile {
            content,
            modified: Some(modified),
        }))
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        self.asked(format!("list {folder}")).await?;
        let mut files = self.0.lock().unwrap();
        if !files.old_listings.is_empty() {
            return Ok(files.old_listings.remove(0));
        }
        let prefix = format!("{folder}/");
        Ok(files
            .content
            .keys()
            .filter_map(|key| key.strip_prefix(&prefix))
            .map(str::to_owned)
            .collect())
    }
}
