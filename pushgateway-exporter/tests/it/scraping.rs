//! The scraper against servers that behave well, and badly.

use std::collections::BTreeMap;
use std::io::Write;
use std::num::NonZeroU16;
use std::sync::LazyLock;
use std::time::Duration;

use pushgateway_exporter::config::Security;
use pushgateway_exporter::scrape::{HttpScrape, NoPage, Scrape};
use pushgateway_exporter::target::{Place, Role, Target, UiPlace};
use testbed::until;

use crate::server::{Asked, RawServer, Server, limits};

/// What a target is given that is to be waited for in vain.
const TIMEOUT: Duration = Duration::from_millis(500);
/// What a target is given that answers, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(20);

fn scraper(role: Role, place: Place) -> HttpScrape {
    scrapers(&[(role, place)], PATIENCE)
}

fn scrapers(targets: &[(Role, Place)], timeout: Duration) -> HttpScrape {
    let target = |(role, place): &(Role, Place)| {
        let target = Target {
            name: "t".to_owned(),
            role: *role,
            place: place.clone(),
            labels: BTreeMap::new(),
        };
        (target, Security::default())
    };
    let targets: Vec<_> = targets.iter().map(target).collect();
    HttpScrape::new(&targets, limits(timeout)).unwrap()
}

async fn scrape(server: &RawServer, role: Role, path: &str) -> Result<String, NoPage> {
    let page = scraper(role, Place::Url(server.url(path))).scrape(0).await?;
    Ok(String::from_utf8(page).unwrap())
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

const PLAIN: &str = "content-type: text/plain;charset=utf-8\r\n";
const HTML: &str = "content-type: text/html;charset=utf-8\r\n";

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// 64 MiB that are small when they come, made once.
static BOMB: LazyLock<Vec<u8>> = LazyLock::new(|| gzip(&vec![b'x'; 64 << 20]));

/// A Spark driver, and worse.
fn driver(path: &str, port: u16) -> Vec<u8> {
    match path {
        "/page/" => answer("200 OK", PLAIN, b"x 1\n"),
        "/empty/" => answer("200 OK", PLAIN, b""),
        "/page" => answer("302 Found", "location: /page/\r\n", b""),
        "/off" => answer("302 Found", "location: /jobs/\r\n", b""),
        "/jobs/" => answer("200 OK", HTML, b"<html>Spark</html>"),
        "/json" => answer("200 OK", "content-type: application/json\r\n", b"{}"),
        "/elsewhere" => answer(
            "302 Found",
            &format!("location: http://localhost:{port}/page/\r\n"),
            b"",
        ),
        "/round" => answer("302 Found", "location: /round\r\n", b""),
        "/large" => answer("200 OK", PLAIN, &vec![b'x'; 2 << 20]),
        "/bomb" => {
            let headers = format!("{PLAIN}content-encoding: gzip\r\n");
            answer("200 OK", &headers, &BOMB)
        }
        "/gzip" => answer(
            "200 OK",
            &format!("{PLAIN}content-encoding: gzip\r\n"),
            &gzip(b"x 1\n"),
        ),
        "/half" => b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 100\r\n\r\nx 12".to_vec(),
        "/half-unframed" => b"HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nx 1\ny 12".to_vec(),
        "/unframed" => b"HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nx 1\ny 12\n".to_vec(),
        "/error" => answer("500 Server Error", HTML, b"<html>"),
        "/secret" => answer("401 Unauthorized", PLAIN, b""),
        "/silence" => {
            b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 100\r\n\r\nx 1\n".to_vec()
        }
        _ => answer("404 Not Found", HTML, b"<html>"),
    }
}

async fn server() -> RawServer {
    RawServer::start(driver, false).await
}

#[tokio::test]
async fn pages_are_read_compressed_or_not_behind_a_slash_and_empty() {
    let server = server().await;
    for (path, page) in [
        ("/page/", "x 1\n"),
        ("/page", "x 1\n"),
        ("/gzip", "x 1\n"),
        ("/empty/", ""),
        ("/unframed", "x 1\ny 12\n"),
    ] {
        assert_eq!(scrape(&server, Role::Driver, path).await.unwrap(), page, "{path}");
    }
}

#[tokio::test]
async fn a_page_is_asked_for_compressed() {
    let server = Server::start(|_| (200, "x 1\n".to_owned())).await;
    let scraper = scraper(Role::Page, Place::Url(server.url.clone()));
    assert_eq!(scraper.scrape(0).await.unwrap(), b"x 1\n");
    let headers = &server.asked()[0].headers;
    assert!(headers["accept-encoding"].contains("gzip"), "{headers:?}");
}

#[tokio::test]
async fn a_page_for_people_is_no_page_and_the_setting_is_named() {
    let server = server().await;
    for (role, path, setting) in [
        (
            Role::Driver,
            "/off",
            "spark.metrics.conf.*.sink.prometheusServlet.path=/metrics/prometheus",
        ),
        (
            Role::Driver,
            "/missing",
            "spark.metrics.conf.*.sink.prometheusServlet.class=",
        ),
        (Role::Executors, "/off", "spark.ui.prometheus.enabled=true"),
        (
            Role::Worker,
            "/off",
            "worker.sink.prometheusServlet.path=/metrics/prometheus",
        ),
        (
            Role::Master,
            "/off",
            "master.sink.prometheusServlet.path=/metrics/master/prometheus",
        ),
        (
            Role::Applications,
            "/missing",
            "applications.sink.prometheusServlet.path=",
        ),
    ] {
        let error = scrape(&server, role, path).await.unwrap_err();
        assert_eq!(error.class(), "endpoint_disabled", "{role:?} {path}");
        assert!(
            error.to_string().contains(setting) && error.to_string().contains(path),
            "{error}"
        );
    }
}

#[tokio::test]
async fn whatever_else_is_no_page_is_named_by_its_class() {
    let server = server().await;
    for (path, class, part) in [
        ("/jobs/", "content_type", "text/html"),
        ("/json", "content_type", "application/json"),
        ("/missing", "status", "404"),
        ("/error", "status", "500"),
        ("/secret", "status", "say who we are"),
        ("/elsewhere", "status", "not followed"),
        ("/round", "status", "302"),
        ("/large", "too_large", "scrape.max_body_bytes"),
        ("/bomb", "too_large", "1048576 bytes"),
        ("/half", "interrupted", "breaks off"),
        ("/half-unframed", "interrupted", "its last line has no end"),
    ] {
        let error = scrape(&server, Role::Page, path).await.unwrap_err();
        assert_eq!(error.class(), class, "{path}: {error}");
        let told = error.to_string();
        assert!(told.contains(part) && told.contains(path), "{told}");
    }
}

#[tokio::test]
async fn a_server_that_falls_silent_costs_the_timeout_and_no_more() {
    for path in ["/silence", "/half"] {
        let server = RawServer::start(driver, true).await;
        let scraper = scrapers(&[(Role::Page, Place::Url(server.url(path)))], TIMEOUT);
        let error = scraper.scrape(0).await.unwrap_err();
        assert_eq!(error.class(), "timeout", "{error}");
        assert!(error.to_string().contains("no page within 500ms"), "{error}");
    }
}

#[tokio::test]
async fn nobody_at_the_port_is_named_with_the_address() {
    let url = format!("http://127.0.0.1:{}/x", closed_port());
    let error = scraper(Role::Page, Place::Url(url.clone()))
        .scrape(0)
        .await
        .unwrap_err();
    assert_eq!(error.class(), "unreachable");
    assert!(
        error.to_string().contains(&url) && error.to_string().contains("refused"),
        "{error}"
    );
}

/// A port at which nobody is, now and, since the system gives ports in turn, for a while.
fn closed_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn at(ports: &[u16], path: &str, file: Option<std::path::PathBuf>) -> Place {
    let ui = UiPlace {
        host: "127.0.0.1".to_owned(),
        ports: ports.iter().filter_map(|&port| NonZeroU16::new(port)).collect(),
        file,
    };
    let path = path.to_owned();
    Place::Ui { ui, path }
}

#[tokio::test]
async fn a_page_is_found_behind_closed_ports_and_pages_for_people() {
    let people = RawServer::start(|_, _| answer("200 OK", HTML, b"<html>"), false).await;
    let (driver, hanging) = (server().await, RawServer::start(|_, _| Vec::new(), true).await);
    let ports = [closed_port(), people.port, driver.port];
    let scraper = scraper(Role::Driver, at(&ports, "/page/", None));
    assert_eq!(scraper.scrape(0).await.unwrap(), b"x 1\n");
    let ports = [hanging.port, driver.port];
    let scraper = scrapers(&[(Role::Driver, at(&ports, "/page/", None))], TIMEOUT);
    assert_eq!(scraper.scrape(0).await.unwrap_err().class(), "timeout");
    assert_eq!(
        scraper.scrape(0).await.unwrap(),
        b"x 1\n",
        "the search goes on behind what hangs"
    );
    assert_eq!(
        scraper.scrape(0).await.unwrap(),
        b"x 1\n",
        "and stays where the page was"
    );
}

#[tokio::test]
async fn if_no_port_has_the_page_the_most_telling_answer_is_reported() {
    let people = RawServer::start(|_, _| answer("200 OK", HTML, b"<html>"), false).await;
    let scraper = scraper(
        Role::Driver,
        at(&[closed_port(), people.port, closed_port()], "/", None),
    );
    assert_eq!(scraper.scrape(0).await.unwrap_err().class(), "endpoint_disabled");
    let scraper = self::scraper(Role::Driver, at(&[closed_port(), closed_port()], "/", None));
    let first = scraper.scrape(0).await.unwrap_err();
    assert!(first.to_string().contains("no port of 2 has the page"), "{first}");
    assert_eq!(
        scraper.scrape(0).await.unwrap_err(),
        first,
        "the same error has the same words"
    );
}

#[tokio::test]
async fn a_file_may_name_the_port_late() {
    let (driver, folder) = (server().await, tempfile::tempdir().unwrap());
    let file = folder.path().join("port");
    let scraper = scraper(Role::Driver, at(&[], "/page/", Some(file.clone())));
    let error = scraper.scrape(0).await.unwrap_err();
    assert_eq!(error.class(), "no_place");
    assert!(error.to_string().contains("ports_file"), "{error}");
    std::fs::write(&file, format!("{}\n", driver.port)).unwrap();
    let found = until(PATIENCE, async || scraper.scrape(0).await.ok()).await;
    assert_eq!(found.unwrap(), b"x 1\n");
}

/// An application whose pages are at the paths that say so, and what it is called on them.
fn application(name: &'static str, has: &'static [&'static str]) -> impl Fn(&Asked) -> (u16, String) {
    move |asked| {
        if has.contains(&asked.path.as_str()) {
            (200, format!("{name} 1\n"))
        } else {
            (404, String::new())
        }
    }
}

fn port(server: &Server) -> u16 {
    server.url.rsplit(':').next().unwrap().parse().unwrap()
}

/// A driver and executors that are looked for at these ports.
fn pair(ports: &[u16], timeout: Duration) -> HttpScrape {
    let at = |path| at(ports, path, None);
    scrapers(&[(Role::Driver, at("/d")), (Role::Executors, at("/e"))], timeout)
}

/// What the driver's page and the executors' are, asked for at a time.
async fn both(scraper: &HttpScrape) -> [Option<String>; 2] {
    let (driver, executors) = tokio::join!(scraper.scrape(0), scraper.scrape(1));
    [driver, executors].map(|page| page.ok().map(|page| String::from_utf8(page).unwrap()))
}

fn pages(name: &str) -> [Option<String>; 2] {
    [Some(format!("{name} 1\n")), Some(format!("{name} 1\n"))]
}

#[tokio::test]
async fn a_driver_and_its_executors_are_of_one_application() {
    for has in [&["/d"], &["/e"]] {
        let half = Server::start(application("half", has)).await;
        let whole = Server::start(application("whole", &["/d", "/e"])).await;
        let other = Server::start(application("other", &["/d", "/e"])).await;
        let ports = [closed_port(), port(&half), port(&whole), port(&other)];
        let scraper = pair(&ports, PATIENCE);
        for _ in 0..3 {
            assert_eq!(both(&scraper).await, pages("whole"));
        }
    }
}

#[tokio::test]
async fn if_no_application_has_both_pages_one_is_missing_and_the_setting_is_named() {
    let driver = Server::start(application("one", &["/d"])).await;
    let executors = Server::start(application("two", &["/e"])).await;
    let scraper = pair(&[port(&driver), port(&executors)], PATIENCE);
    let missing = scraper.scrape(1).await.unwrap_err();
    assert_eq!(missing.class(), "endpoint_disabled", "{missing}");
    assert!(missing.to_string().contains(&driver.url), "{missing}");
    assert_eq!(both(&scraper).await, [Some("one 1\n".to_owned()), None]);
}

#[tokio::test]
async fn when_an_application_is_gone_both_pages_are_of_the_next_and_not_before() {
    let first = Server::start(application("first", &["/d", "/e"])).await;
    let second = Server::start(application("second", &["/d", "/e"])).await;
    let scraper = pair(&[port(&first), port(&second)], PATIENCE);
    assert_eq!(both(&scraper).await, pages("first"));
    first.set(application("first", &["/d"]));
    for _ in 0..3 {
        assert_eq!(both(&scraper).await, [Some("first 1\n".to_owned()), None]);
    }
    drop(first);
    let moved = until(PATIENCE, async || {
        (both(&scraper).await == pages("second")).then_some(())
    });
    assert!(moved.await.is_some());
}

#[tokio::test]
async fn a_port_that_hangs_behind_half_an_application_does_not_hide_it() {
    let half = Server::start(application("half", &["/d"])).await;
    let hanging = RawServer::start(|_, _| Vec::new(), true).await;
    let scraper = pair(&[port(&half), hanging.port], TIMEOUT);
    let found = until(PATIENCE, async || {
        (both(&scraper).await[0] == pages("half")[0]).then_some(())
    });
    assert!(found.await.is_some());
    assert_eq!(both(&scraper).await, [Some("half 1\n".to_owned()), None]);
}
