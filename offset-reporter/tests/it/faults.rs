//! The process beside a store on S3 that fails: the right result or a clear metric, never a wrong commit.

use std::time::Duration;

use kafka_admin::{Admin, TopicPartition};
use kafka_io::MockBroker;
use testbed::{Process, connection, group_offset, until};

use crate::fake_s3::{FakeS3, Fault};

const PATIENCE: Duration = Duration::from_mins(1);

/// A reporter between a mock cluster and a store, which has batch 5 committed; batch N ends at 10 N.
struct Place {
    broker: MockBroker,
    s3: FakeS3,
    process: Process,
    _folder: tempfile::TempDir,
}

fn commit(s3: &FakeS3, batch: i64) {
    s3.put(
        &format!("c/offsets/{batch}"),
        &format!(
            "v1\n{{\"batchTimestampMs\":1}}\n{{\"t\":{{\"0\":{}}}}}",
            10 * batch
        ),
    );
    s3.put(&format!("c/commits/{batch}"), "v1\n{\"nextBatchWatermarkMs\":0}");
}

impl Place {
    async fn new() -> Self {
        let broker = MockBroker::start(1).unwrap();
        broker.create_topic("t", 1).unwrap();
        let s3 = FakeS3::start().await;
        s3.put("c/metadata", "{\"id\":\"1f3a99c2-0195-4220-ade2-7cf05b9724bc\"}");
        commit(&s3, 4);
        commit(&s3, 5);
        let config = format!(
            "kafka.bootstrap_servers = \"{}\"\nreport.poll_interval = \"100ms\"\nreport.list_interval = \"200ms\"\n\
             s3.endpoint = \"{}\"\ns3.path_style = true\ns3.request_timeout = \"300ms\"\n\
             [[streams]]\nname = \"g\"\ncheckpoint = \"s3://b/c\"\n",
            broker.bootstrap_servers(),
            s3.endpoint()
        );
        let folder = tempfile::tempdir().unwrap();
        let keys = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_offset-reporter"));
        let process = Process::start(program, folder.path(), &config, &keys).unwrap();
        let place = Self {
            broker,
            s3,
            process,
            _folder: folder,
        };
        place.comes_to_have(50).await;
        place
    }

    async fn has(&self) -> Option<i64> {
        let admin = Admin::new(&connection(&self.broker.bootstrap_servers()).unwrap());
        let has = group_offset(&admin, "g", &TopicPartition::new("t", 0)).await;
        has.ok().flatten()
    }

    async fn comes_to_have(&self, offset: i64) {
        let has = until(PATIENCE, async || {
            (self.has().await == Some(offset)).then_some(())
        })
        .await;
        assert!(
            has.is_some(),
            "it has {:?}; {}",
            self.has().await,
            self.process.log()
        );
    }

    async fn tells(&self, what: &str) {
        let tells = until(PATIENCE, async || {
            let (_, page) = self.process.get("/metrics").await?;
            page.contains(what).then_some(())
        });
        assert!(tells.await.is_some(), "{what}: {}", self.process.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_a_store_is_told_commits_nothing_wrong_and_passes() {
    for (fault, requests, failures, words) in [
        (
            Fault::Status(403, "AccessDenied"),
            "{code=\"403\",",
            "{reason=\"denied\",",
            "s3:ListBucket",
        ),
        (
            Fault::Status(503, "SlowDown"),
            "{code=\"503\",",
            "{reason=\"passing\",",
            "SlowDown",
        ),
        (
            Fault::Status(404, "NoSuchBucket"),
            "{code=\"404\",",
            "{reason=\"permanent\",",
            "check the bucket's name",
        ),
        (
            Fault::Hang,
            "{code=\"timeout\",",
            "{reason=\"passing\",",
            "check s3.endpoint and the network",
        ),
        (Fault::Cut, "{code=\"", "{reason=\"passing\",", "s3://b/c"),
    ] {
        let place = Place::new().await;
        place.s3.fail(Some(fault));
        commit(&place.s3, 6);
        place
            .tells(&format!("offset_reporter_storage_requests_total{requests}"))
            .await;
        place
            .tells(&format!("offset_reporter_failures_total{failures}"))
            .await;
        // A failure is counted when it happens, and told when its turn is over.
        let told = until(PATIENCE, async || {
            let (_, page) = place.process.get("/readyz?verbose").await?;
            page.contains(words).then_some(())
        });
        told.await
            .unwrap_or_else(|| panic!("{fault:?}: {}", place.process.log()));
        assert_eq!(place.has().await, Some(50), "{fault:?}");
        place.s3.fail(None);
        place.comes_to_have(60).await;
        place.process.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_lacks_the_newest_batch_takes_nothing_back() {
    let place = Place::new().await;
    place.s3.fail(Some(Fault::OldListing));
    place
        .tells("offset_reporter_holds_total{reason=\"unconfirmed\"")
        .await;
    commit(&place.s3, 6);
    place.comes_to_have(60).await;
    assert_eq!(place.process.metric("offset_reporter_rewinds_total").await, None);
    place.process.stop().await.unwrap();
}
