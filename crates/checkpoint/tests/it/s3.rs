//! S3 as it answers on a bad day: a server that says what the test wants.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use checkpoint::{Put, RawS3, S3, S3Folder, S3Request, Store, StoreError, StoreErrorKind, WritableStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A server that gives the next of its answers to each request, then closes the connection.
struct Server {
    endpoint: String,
    requests: Arc<Mutex<Vec<String>>>,
    _task: JoinSet<()>,
}

impl Server {
    async fn with(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (mut task, seen) = (JoinSet::new(), requests.clone());
        task.spawn(async move {
            for answer in answers {
                let (mut connection, _) = listener.accept().await.unwrap();
                let request = read_request(&mut connection).await;
                seen.lock().unwrap().push(request);
                connection.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self {
            endpoint,
            requests,
            _task: task,
        }
    }

    async fn folder(&self) -> S3Folder {
        folder(&self.endpoint, Duration::from_secs(20)).await
    }

    /// The heads of the requests, in small letters.
    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn folder(endpoint: &str, request_timeout: Duration) -> S3Folder {
    let settings = RawS3 {
        endpoint: Some(endpoint.to_owned()),
        path_style: true,
        request_timeout,
        ..RawS3::default()
    };
    let s3 = S3::new(settings, Arc::new(|_: S3Request| {})).with_keys("key", "secret");
    s3.folder("bucket", "c").await
}

/// Reads a request with its body; gives its head.
async fn read_request(connection: &mut TcpStream) -> String {
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    loop {
        let read = connection.read(&mut buffer).await.unwrap();
        text.push_str(&String::from_utf8_lossy(&buffer[..read]).to_lowercase());
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
        if body.len() >= length || read == 0 {
            return head.to_owned();
        }
    }
}

/// A whole answer.
fn answer(status: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Status\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
}

fn error(status: u16, code: &str) -> String {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>why</Message></Error>");
    answer(status, "Content-Type: application/xml\r\n", &body)
}

/// An answer of which the end is missing.
fn torn(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} Status\r\nContent-Length: 1000\r\n\r\n{body}")
}

async fn read_with(answer: String) -> StoreError {
    Server::with(vec![answer])
        .await
        .folder()
        .await
        .read("metadata")
        .await
        .unwrap_err()
}

async fn list_with(answer: String) -> StoreError {
    Server::with(vec![answer])
        .await
        .folder()
        .await
        .list("commits")
        .await
        .unwrap_err()
}

#[tokio::test]
async fn what_passes_is_not_final() {
    for answer in [
        error(400, "RequestTimeout"),
        error(400, "ExpiredToken"),
        error(403, "ExpiredToken"),
        error(400, "IncompleteBody"),
        error(403, "QuotaExceeded"),
        error(409, "ConditionalRequestConflict"),
        error(429, "TooManyRequests"),
        error(500, "InternalError"),
        error(503, "SlowDown"),
        error(507, "XMinioStorageFull"),
        String::new(),
        "HTTP/1.1 200 OK\r\nContent-".to_owned(),
        torn(200, "v1\n"),
        torn(404, "<?xml version=\"1.0\"?><Error><Co"),
        torn(400, "<?xml"),
        answer(404, "", ""),
        answer(404, "", "<html>no such page</html>"),
    ] {
        let failure = read_with(answer.clone()).await;
        assert_eq!(
            failure.kind,
            StoreErrorKind::Passing,
            "{answer}: {}",
            failure.source
        );
    }
    for answer in [
        String::new(),
        torn(200, "<?xml version=\"1.0\"?><ListBucketResult>"),
        answer(200, "", "<ListB"),
    ] {
        let failure = list_with(answer.clone()).await;
        assert_eq!(
            failure.kind,
            StoreErrorKind::Passing,
            "{answer}: {}",
            failure.source
        );
    }
}

#[tokio::test]
async fn what_a_person_must_mend_is_final() {
    for (answer, expected) in [
        (error(403, "AccessDenied"), StoreErrorKind::Denied),
        (error(403, "InvalidAccessKeyId"), StoreErrorKind::Denied),
        (error(404, "NoSuchBucket"), StoreErrorKind::Permanent),
        (error(301, "PermanentRedirect"), StoreErrorKind::Permanent),
        (error(400, "InvalidRequest"), StoreErrorKind::Permanent),
    ] {
        let failure = read_with(answer.clone()).await;
        assert_eq!(failure.kind, expected, "{answer}: {}", failure.source);
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_passes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let silent = folder(&endpoint, Duration::from_millis(200)).await;
    assert_eq!(
        silent.read("metadata").await.unwrap_err().kind,
        StoreErrorKind::Passing
    );
    drop(listener);
    let gone = folder(&endpoint, Duration::from_secs(20)).await;
    assert_eq!(
        gone.read("metadata").await.unwrap_err().kind,
        StoreErrorKind::Passing
    );
}

#[tokio::test]
async fn a_missing_object_is_no_error() {
    let server = Server::with(vec![error(404, "NoSuchKey")]).await;
    assert_eq!(server.folder().await.read("metadata").await.unwrap(), None);
}

#[tokio::test]
async fn a_condition_that_is_not_met_shows_what_is_there() {
    let answers = vec![
        error(404, "NoSuchKey"),
        error(412, "PreconditionFailed"),
        answer(200, "ETag: \"1\"\r\n", "other"),
    ];
    let server = Server::with(answers).await;
    let put = server
        .folder()
        .await
        .put_if("offsets/7", None, b"ours")
        .await
        .unwrap();
    assert!(matches!(put, Put::Unexpected(Some(file)) if file.content == b"other"));
    let requests = server.requests();
    assert!(
        requests[1].starts_with("put /bucket/c/offsets/7") && requests[1].contains("if-none-match: *"),
        "{requests:?}"
    );
}

#[tokio::test]
async fn what_is_replaced_is_named_by_its_tag() {
    let answers = vec![answer(200, "ETag: \"abc\"\r\n", "old"), answer(200, "", "")];
    let server = Server::with(answers).await;
    let put = server
        .folder()
        .await
        .put_if("offsets/7", Some(b"old"), b"new")
        .await
        .unwrap();
    assert_eq!(put, Put::Done);
    assert!(
        server.requests()[1].contains("if-match: \"abc\""),
        "{:?}",
        server.requests()
    );
    let server = Server::with(vec![answer(200, "ETag: \"abc\"\r\n", "newer")]).await;
    let put = server
        .folder()
        .await
        .put_if("offsets/7", Some(b"old"), b"new")
        .await
        .unwrap();
    assert!(matches!(put, Put::Unexpected(Some(_))));
}

#[tokio::test]
async fn a_store_without_conditions_is_looked_at_first_and_then_written() {
    let missing = || error(404, "NoSuchKey");
    let answers = vec![
        missing(),
        error(501, "NotImplemented"),
        answer(200, "", ""),
        missing(),
        answer(200, "", ""),
        answer(200, "", "other"),
    ];
    let server = Server::with(answers).await;
    let folder = server.folder().await;
    assert_eq!(folder.put_if("offsets/0", None, b"a").await.unwrap(), Put::Done);
    assert_eq!(folder.put_if("offsets/1", None, b"a").await.unwrap(), Put::Done);
    assert!(matches!(
        folder.put_if("offsets/2", None, b"a").await.unwrap(),
        Put::Unexpected(Some(_))
    ));
    let conditions: Vec<_> = server
        .requests()
        .iter()
        .map(|request| request.contains("if-none-match"))
        .collect();
    assert_eq!(conditions, [false, true, false, false, false, false]);
}

#[tokio::test]
async fn a_501_that_is_not_the_stores_own_passes_and_keeps_the_conditions() {
    let missing = || error(404, "NoSuchKey");
    let server = Server::with(vec![
        missing(),
        answer(501, "", "busy"),
        missing(),
        answer(200, "", ""),
    ])
    .await;
    let folder = server.folder().await;
    let failure = folder.put_if("offsets/0", None, b"a").await.unwrap_err();
    assert_eq!(failure.kind, StoreErrorKind::Passing);
    assert_eq!(folder.put_if("offsets/0", None, b"a").await.unwrap(), Put::Done);
    assert!(server.requests()[3].contains("if-none-match"));
}

#[tokio::test]
async fn a_list_that_breaks_off_is_no_list() {
    let entry = "<Contents><Key>checkpoint/commits/1</Key></Contents>";
    for end in ["", "<IsTruncated>true</IsTruncated></ListBucketResult>"] {
        let list = answer(200, "", &format!("<ListBucketResult>{entry}{end}"));
        let server = Server::with(vec![list]).await;
        let failure = server.folder().await.list("commits").await.unwrap_err();
        assert_eq!(failure.kind, StoreErrorKind::Passing, "{end}");
    }
}

#[tokio::test]
async fn a_conflict_passes_and_is_tried_again_later() {
    let answers = vec![error(404, "NoSuchKey"), error(409, "ConditionalRequestConflict")];
    let server = Server::with(answers).await;
    let failure = server
        .folder()
        .await
        .put_if("offsets/7", None, b"ours")
        .await
        .unwrap_err();
    assert_eq!(failure.kind, StoreErrorKind::Passing);
}
