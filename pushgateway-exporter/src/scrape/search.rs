//! Owns the search for an application that may be at several ports, and for all of its pages at a time: a driver and its
//! executors are of one application, so their pages are taken from one port.
//!
//! A search settles on the first port that has all pages, else on the first that has the most. It stays there until the
//! port has none of them. Whoever asks bounds its time; one that is cut off goes on where it was.

use std::num::NonZeroU16;
use std::path::Path;

use tokio::io::AsyncReadExt;
use tokio::sync::Mutex;

use super::NoPage;
use crate::target::{Place, UiPlace, parse_ports};

/// The most that is read of a file that names ports.
const MAX_PORTS_FILE_BYTES: u64 = 4096;

/// A search for the pages of an application.
#[derive(Debug)]
pub(super) struct Search {
    place: UiPlace,
    /// The paths of its pages.
    paths: Vec<String>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    settled: Option<Settled>,
    /// The best port of a search that is not over.
    best: Option<Settled>,
    /// At which of the ports the next search begins, and which one is asked now.
    first: usize,
    asked: usize,
}

/// A port, and which pages it had when they were asked for last.
#[derive(Debug, Clone)]
struct Settled {
    port: NonZeroU16,
    has: Vec<bool>,
}

impl Settled {
    fn pages(&self) -> usize {
        self.has.iter().filter(|&&has| has).count()
    }
}

impl Search {
    pub(super) fn new(place: UiPlace) -> Self {
        Self {
            place,
            paths: Vec::new(),
            state: Mutex::default(),
        }
    }

    /// Whether it looks for this place.
    pub(super) fn is_at(&self, place: &UiPlace) -> bool {
        self.place == *place
    }

    /// Looks for the page at this path, too; returns its number.
    pub(super) fn add(&mut self, path: &str) -> usize {
        self.paths.push(path.to_owned());
        self.paths.len() - 1
    }

    /// The page of this number, as `get` gives pages by number and address.
    pub(super) async fn find<P: Future<Output = Result<Vec<u8>, NoPage>>>(
        &self,
        page: usize,
        get: impl Fn(usize, String) -> P,
    ) -> Result<Vec<u8>, NoPage> {
        let ports = self.ports().await?;
        let mut state = self.state.lock().await;
        if let Some(Settled { port, .. }) = state.settled.clone().filter(|at| ports.contains(&at.port)) {
            drop(state);
            let found = get(page, self.url(port, page)).await;
            state = self.state.lock().await;
            if !state.is_lost(port, page, found.is_ok()) {
                return found;
            }
        }
        let port = self.settle(&mut state, &ports, page, &get).await?;
        drop(state);
        get(page, self.url(port, page)).await
    }

    /// The time for the page of this number is over.
    pub(super) fn cut_off(&self, page: usize) {
        // If it is locked, another page is being looked for.
        let Ok(mut state) = self.state.try_lock() else {
            return;
        };
        match state.settled.as_ref().map(|at| at.port) {
            Some(port) => _ = state.is_lost(port, page, false),
            None => state.settled = state.best.take(),
        }
        state.first = state.asked + 1;
    }

    /// Where it looks, for people.
    pub(super) fn describe(&self, page: usize) -> String {
        let UiPlace { host, ports, file } = &self.place;
        let ports = match (ports.as_slice(), file) {
            (_, Some(file)) => format!("PORT of {}", file.display()),
            ([first, .., last], None) => format!("{first}…{last}"),
            ([port], None) => port.to_string(),
            ([], None) => "PORT".to_owned(),
        };
        format!("http://{host}:{ports}{}", self.paths[page])
    }

    /// Asks port after port; `page` is asked for first.
    async fn settle<P: Future<Output = Result<Vec<u8>, NoPage>>>(
        &self,
        state: &mut State,
        ports: &[NonZeroU16],
        page: usize,
        get: &impl Fn(usize, String) -> P,
    ) -> Result<NonZeroU16, NoPage> {
        (state.settled, state.best) = (None, None);
        let (first, pages) = (state.first, self.paths.len());
        let mut error = None;
        for step in 0..ports.len() {
            state.asked = (first + step) % ports.len();
            let (at, failure) = self.ask(ports[state.asked], page, get).await;
            let is_over = matches!(failure, Some(NoPage::TimedOut { .. }));
            error = failure
                .map(|failure| more_telling(error.take(), failure))
                .or(error);
            if at.pages() > state.best.as_ref().map_or(0, Settled::pages) {
                state.best = Some(at);
            }
            if is_over {
                state.first = state.asked + 1;
            }
            if is_over || state.best.as_ref().is_some_and(|best| best.pages() == pages) {
                break;
            }
        }
        if let Some(best) = state.best.take() {
            let port = best.port;
            tracing::info!(
                host = self.place.host,
                port,
                pages = best.pages(),
                of = pages,
                "settled on a port"
            );
            state.settled = Some(best);
            return Ok(port);
        }
        Err(match error {
            Some(NoPage::Unreachable { why, .. }) if ports.len() > 1 => NoPage::Unreachable {
                url: self.describe(page),
                why: format!("no port of {} has the page: {why}", ports.len()),
            },
            Some(error) => error,
            None => NoPage::NoPlace(format!("{}: no port is known", self.describe(page))),
        })
    }

    /// Which of the pages a port has; `page` is asked for first. And why it does not have `page`, or that a page took all
    /// the time.
    async fn ask<P: Future<Output = Result<Vec<u8>, NoPage>>>(
        &self,
        port: NonZeroU16,
        page: usize,
        get: &impl Fn(usize, String) -> P,
    ) -> (Settled, Option<NoPage>) {
        let pages = self.paths.len();
        let has = vec![false; pages];
        let (mut at, mut failure) = (Settled { port, has }, None);
        for number in (page..pages).chain(0..page) {
            match get(number, self.url(port, number)).await {
                Ok(_) => at.has[number] = true,
                Err(error @ NoPage::TimedOut { .. }) => return (at, Some(error)),
                Err(error) => {
                    let is_closed = matches!(error, NoPage::Unreachable { .. });
                    failure = failure.or((number == page).then_some(error));
                    if is_closed {
                        break;
                    }
                }
            }
        }
        (at, failure)
    }

    fn url(&self, port: NonZeroU16, page: usize) -> String {
        Place::url(&self.place.host, port, &self.paths[page])
    }

    async fn ports(&self) -> Result<Vec<NonZeroU16>, NoPage> {
        let UiPlace { ports, file, .. } = &self.place;
        let Some(file) = file else {
            return Ok(ports.clone());
        };
        match read_ports(file).await {
            Ok(named) => Ok(named),
            Err(_) if !ports.is_empty() => Ok(ports.clone()),
            Err(why) => Err(NoPage::NoPlace(format!("ports_file {}: {why}", file.display()))),
        }
    }
}

impl State {
    /// Records whether the port that is settled on has a page; whether it has none any more, so that it is given up.
    fn is_lost(&mut self, port: NonZeroU16, page: usize, has: bool) -> bool {
        if let Some(at) = self.settled.as_mut().filter(|at| at.port == port) {
            at.has[page] = has;
            if at.pages() == 0 {
                self.settled = None;
            }
        }
        !has && self.settled.is_none()
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
fn more_telling(first: Option<NoPage>, error: NoPage) -> NoPage {
    match first {
        Some(first) if first.is_telling() || !error.is_telling() => first,
        _ => error,
    }
}
