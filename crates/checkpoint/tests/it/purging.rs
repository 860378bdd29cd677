//! Old batches go, beside the commits; where they cannot, nothing else suffers.

use std::time::Duration;

use checkpoint::{BatchId, Checkpoint, CheckpointWriter, RETAINED_BATCHES, StoreErrorKind};
use tokio::time::timeout;

use crate::fakes::{Fault, MemoryStore, at};

async fn writer(store: &MemoryStore) -> CheckpointWriter<MemoryStore> {
    let checkpoint = Checkpoint::read(store.clone()).await.unwrap();
    checkpoint.take_over().await.unwrap()
}

/// Commits batches up to `last`; batch N ends at N.
async fn commit_until(writer: &mut CheckpointWriter<MemoryStore>, last: i64) {
    let next = writer.last_batch().map_or(0, |batch| batch.0 + 1);
    for batch in next..=last {
        assert_eq!(
            writer.commit(&at(&[(0, batch)]), 7).await.unwrap(),
            BatchId(batch)
        );
        tokio::task::yield_now().await;
    }
}

fn count(store: &MemoryStore, folder: &str) -> usize {
    store.files().keys().filter(|key| key.starts_with(folder)).count()
}

#[tokio::test]
async fn old_batches_are_deleted_as_spark_deletes_them() {
    let store = MemoryStore::default();
    commit_until(&mut writer(&store).await, RETAINED_BATCHES + 5).await;
    for folder in ["offsets/", "commits/"] {
        assert_eq!(count(&store, folder), 101, "{folder}");
        assert!(store.get(&format!("{folder}4")).is_none() && store.get(&format!("{folder}5")).is_some());
    }
}

#[tokio::test]
async fn what_a_start_finds_is_deleted_a_few_batches_behind_each_commit() {
    let store = MemoryStore::default();
    commit_until(&mut writer(&store).await, 0).await;
    for batch in 1..600 {
        store.put(
            &format!("offsets/{batch}"),
            store.get("offsets/0").unwrap().as_bytes(),
        );
        store.put(&format!("commits/{batch}"), b"v1\n{}");
    }
    let mut writer = writer(&store).await;
    assert_eq!(
        count(&store, "offsets/"),
        600,
        "nothing is deleted before the first commit"
    );
    for _ in 0..40 {
        let before = count(&store, "offsets/");
        let last = writer.last_batch().unwrap();
        commit_until(&mut writer, last.0 + 1).await;
        assert!(count(&store, "offsets/") + 16 > before, "at most 16 batches");
    }
    assert_eq!(count(&store, "offsets/"), 101);
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_never_answers_holds_up_no_commit() {
    struct Hanging(MemoryStore);
    impl checkpoint::Store for Hanging {
        async fn read(&self, key: &str) -> Result<Option<checkpoint::StoredFile>, checkpoint::StoreError> {
            self.0.read(key).await
        }
        async fn list(&self, folder: &str) -> Result<Vec<String>, checkpoint::StoreError> {
            self.0.list(folder).await
        }
    }
    impl checkpoint::WritableStore for Hanging {
        async fn put_if(
            &self,
            key: &str,
            expected: Option<&[u8]>,
            content: &[u8],
        ) -> Result<checkpoint::Put, checkpoint::StoreError> {
            self.0.put_if(key, expected, content).await
        }
        async fn delete(&self, _key: &str) -> Result<(), checkpoint::StoreError> {
            std::future::pending().await
        }
    }
    let checkpoint = Checkpoint::read(Hanging(MemoryStore::default())).await.unwrap();
    let mut writer = checkpoint.take_over().await.unwrap();
    let commits = async {
        for batch in 0..300 {
            writer.commit(&at(&[(0, batch)]), 7).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(1), commits).await.unwrap();
}

#[tokio::test]
async fn a_store_that_allows_no_deleting_is_asked_seldom_and_leaves_no_gap() {
    let store = MemoryStore::default();
    store.fail(|request| {
        request
            .starts_with("delete ")
            .then_some(Fault::Refused(StoreErrorKind::Denied))
    });
    commit_until(&mut writer(&store).await, 300).await;
    assert_eq!(count(&store, "offsets/"), 301);
    let deletes = store
        .requests()
        .iter()
        .filter(|request| request.starts_with("delete "))
        .count();
    assert!((1..=2).contains(&deletes), "{deletes}");
    // Somebody grants the right.
    store.heal();
    let mut writer = writer(&store).await;
    store.fail(|request| (request == "delete offsets/150").then_some(Fault::Refused(StoreErrorKind::Denied)));
    commit_until(&mut writer, 1200).await;
    let mut left: Vec<i64> = store
        .files()
        .keys()
        .filter_map(|key| key.strip_prefix("offsets/")?.parse().ok())
        .collect();
    left.sort_unstable();
    assert_eq!(left, (150..=1200).collect::<Vec<_>>());
    store.heal();
    commit_until(&mut writer, 1500).await;
    assert_eq!(count(&store, "offsets/"), 101);
}

/// A store of S3 lists `10` before `9`, and a thousand names at a time.
#[tokio::test]
async fn a_checkpoint_with_more_batches_than_can_be_listed_is_read_with_few_requests() {
    let store = MemoryStore::default();
    store.put("metadata", b"{\"id\":\"a\"}");
    for (batches, listed) in [(20_000_i64, 1000), (20_000, 3), (12_345, 1), (1001, 1000)] {
        for batch in 0..batches {
            let content = format!("v1\n{{}}\n{{\"documents\":{{\"0\":{batch}}}}}");
            store.put(&format!("offsets/{batch}"), content.as_bytes());
            store.put(&format!("commits/{batch}"), b"v1\n{}");
        }
        for batch in batches..20_000 {
            store.remove(&format!("offsets/{batch}"));
            store.remove(&format!("commits/{batch}"));
        }
        store.list_at_most(listed);
        store.requests();
        let checkpoint = Checkpoint::read(store.clone()).await.unwrap();
        assert_eq!(checkpoint.last_batch(), Some(BatchId(batches - 1)), "{listed}");
        assert_eq!(*checkpoint.positions(), at(&[(0, batches - 1)]));
        let requests = store.requests().len();
        assert!(requests < 60, "{requests}");
        let mut writer = checkpoint.take_over().await.unwrap();
        assert_eq!(
            writer.commit(&at(&[(0, batches)]), 7).await.unwrap(),
            BatchId(batches)
        );
        store.requests();
        for batch in batches + 1..batches + 300 {
            writer.commit(&at(&[(0, batch)]), 7).await.unwrap();
            tokio::task::yield_now().await;
        }
        let deletes = store
            .requests()
            .into_iter()
            .filter(|request| request.starts_with("delete "));
        assert_eq!(deletes.count(), 0, "it would make a gap");
        for batch in batches..batches + 300 {
            store.remove(&format!("offsets/{batch}"));
            store.remove(&format!("commits/{batch}"));
        }
    }
}
