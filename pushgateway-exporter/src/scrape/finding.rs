//! Owns the search for a page that may be at several ports: begun where it was found last, and bounded by whoever asks.

use std::fmt;
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::AsyncReadExt;

use super::NoPage;
use crate::target::{Place, parse_ports};

/// The most that is read of a file that names ports.
const MAX_PORTS_FILE_BYTES: u64 = 4096;

/// A search that remembers how far it is.
#[derive(Debug)]
pub(super) struct Finding {
    place: Place,
    /// Which of the addresses is tried first.
    first: AtomicUsize,
}

impl Finding {
    pub(super) fn new(place: Place) -> Self {
        Self {
            place,
            first: AtomicUsize::new(0),
        }
    }

    /// The first page that `page` gives for one of the addresses.
    pub(super) async fn find<P: Future<Output = Result<Vec<u8>, NoPage>>>(
        &self,
        page: impl Fn(String) -> P,
    ) -> Result<Vec<u8>, NoPage> {
        let urls = self.urls().await?;
        let first = self.first.load(Ordering::Relaxed);
        let mut told = None;
        for step in 0..urls.len() {
            let place = (first + step) % urls.len();
            self.first.store(place, Ordering::Relaxed);
            match page(urls[place].clone()).await {
                Ok(body) => return Ok(body),
                // It took all the time that there is.
                Err(error @ NoPage::TimedOut { .. }) => {
                    self.go_on();
                    return Err(error);
                }
                Err(error) => told = Some(more_telling(told, error)),
            }
        }
        self.first.store(first, Ordering::Relaxed);
        match told {
            Some(NoPage::Unreachable { why, .. }) if urls.len() > 1 => Err(NoPage::Unreachable {
                url: self.to_string(),
                why: format!("no port of {} has the page: {why}", urls.len()),
            }),
            told => Err(told.unwrap_or_else(|| NoPage::NoPlace(format!("{self}: no port is known")))),
        }
    }

    /// Begins after the address that took all the time.
    pub(super) fn go_on(&self) {
        self.first.fetch_add(1, Ordering::Relaxed);
    }

    async fn urls(&self) -> Result<Vec<String>, NoPage> {
        match &self.place {
            Place::Url(url) => Ok(vec![url.clone()]),
            Place::Ports {
                host,
                ports,
                file: None,
                path,
            } => Ok(Place::urls(host, ports, path)),
            Place::Ports {
                host,
                ports,
                file: Some(file),
                path,
            } => match read_ports(file).await {
                Ok(named) => Ok(Place::urls(host, &named, path)),
                Err(_) if !ports.is_empty() => Ok(Place::urls(host, ports, path)),
                Err(why) => Err(NoPage::NoPlace(format!("ports_file {}: {why}", file.display()))),
            },
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Url(url) => formatter.write_str(url),
            Place::Ports {
                host,
                ports,
                file,
                path,
            } => {
                let ports: Vec<_> = ports.iter().map(NonZeroU16::to_string).collect();
                let ports = match (ports.as_slice(), file) {
                    (_, Some(file)) => format!("PORT of {}", file.display()),
                    ([first, .., last], None) => format!("{first}…{last}"),
                    (_, None) => ports.concat(),
                };
                write!(formatter, "http://{host}:{ports}{path}")
            }
        }
    }
}

async fn read_ports(file: &Path) -> Result<Vec<NonZeroU16>, String> {
    let opened = tokio::fs::File::open(file)
        .await
        .map_err(|error| error.to_string())?;
    let mut text = String::new();
    let read = opened.take(MAX_PORTS_FILE_BYTES).read_to_string(&mut text).await;
    read.map_err(|error| error.to_string())?;
    parse_ports(&text)
}

/// The first error that came from a server, else the first.
fn more_telling(told: Option<NoPage>, error: NoPage) -> NoPage {
    match told {
        Some(told) if told.is_telling() || !error.is_telling() => told,
        _ => error,
    }
}
