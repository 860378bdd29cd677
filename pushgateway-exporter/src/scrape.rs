//! Owns the seam in: the page of a target, or why there is none.
//!
//! A page is what a server sends whole, with status 200, as plain text. Anything else is no page, however much it looks
//! like one: Spark answers with its pages for people, and 200, where metrics are off.

mod search;

use std::time::Duration;

use tokio::time::timeout;

use self::search::Search;
use crate::client::{Answer, Client, Limits, NoAnswer};
use crate::config::Security;
use crate::target::{Place, Role, Target};

/// What we can read.
const ACCEPT: &str = "text/plain;version=0.0.4";

/// Gets the pages of targets.
pub trait Scrape: Send + Sync + 'static {
    /// The page of the target of this number.
    fn scrape(&self, target: usize) -> impl Future<Output = Result<Vec<u8>, NoPage>> + Send;
}

/// Why there is no page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPage {
    /// Nobody answers.
    #[error("{url}: {why}; does it run, and there?")]
    Unreachable {
        /// Where.
        url: String,
        /// What is known.
        why: String,
    },
    /// It took too long.
    #[error("{url}: no page within {after:?}; is it stuck, or should scrape.timeout be longer?")]
    TimedOut {
        /// Where.
        url: String,
        /// How long it was given.
        after: Duration,
    },
    /// The server is there, and does not serve metrics.
    #[error("{url} answers {status} {content_type}: this endpoint is off; {setting}")]
    EndpointDisabled {
        /// Where.
        url: String,
        /// The status.
        status: u16,
        /// The content type.
        content_type: String,
        /// What to do.
        setting: &'static str,
    },
    /// The status is not 200.
    #[error("{url} answers {status}: {why}")]
    Status {
        /// Where.
        url: String,
        /// The status.
        status: u16,
        /// What is known.
        why: String,
    },
    /// It is not plain text.
    #[error("{url} answers with {content_type:?}, not with metrics in text/plain; is it the right address?")]
    NotText {
        /// Where.
        url: String,
        /// The content type.
        content_type: String,
    },
    /// It is greater than may be.
    #[error("{url}: the page has more than {limit} bytes (scrape.max_body_bytes)")]
    TooLarge {
        /// Where.
        url: String,
        /// The most that is read.
        limit: usize,
    },
    /// It breaks off.
    #[error("{url}: the page breaks off: {why}")]
    Interrupted {
        /// Where.
        url: String,
        /// What is known.
        why: String,
    },
    /// It is not known where to look.
    #[error("{0}")]
    NoPlace(String),
}

impl NoPage {
    /// The kind of failure, as metrics name it.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::TimedOut { .. } => "timeout",
            Self::EndpointDisabled { .. } => "endpoint_disabled",
            Self::Status { .. } => "status",
            Self::NotText { .. } => "content_type",
            Self::TooLarge { .. } => "too_large",
            Self::Interrupted { .. } => "interrupted",
            Self::NoPlace(_) => "no_place",
        }
    }

    /// Whether a server is there that said something: this tells more than that elsewhere nobody is.
    fn is_telling(&self) -> bool {
        !matches!(self, Self::Unreachable { .. } | Self::TimedOut { .. })
    }
}

/// Gets pages over HTTP.
#[derive(Debug)]
pub struct HttpScrape {
    probes: Vec<Probe>,
    searches: Vec<Sought>,
    timeout: Duration,
}

#[derive(Debug)]
struct Probe {
    role: Role,
    at: Location,
    client: Client,
}

/// An application, or something else that is looked for at several ports, and the targets whose pages it has.
#[derive(Debug)]
struct Sought {
    search: Search,
    of_application: bool,
    targets: Vec<usize>,
}

/// Where a target's page is.
#[derive(Debug)]
enum Location {
    Url(String),
    /// Where a search finds it: the search's number, and the page's in it.
    Found(usize, usize),
}

impl HttpScrape {
    /// For these targets.
    ///
    /// # Errors
    /// If a certificate cannot be read.
    pub fn new(targets: &[(Target, Security)], mut limits: Limits) -> anyhow::Result<Self> {
        limits.https = targets.iter().any(|(target, _)| target.place.is_https());
        let mut probes = Vec::new();
        let mut searches = Vec::new();
        let mut shared: Option<Client> = None;
        for (target, security) in targets {
            let client = match &shared {
                Some(client) if *security == Security::default() => client.clone(),
                _ => Client::new(security, &limits)?,
            };
            if *security == Security::default() {
                shared = Some(client.clone());
            }
            probes.push(Probe {
                role: target.role,
                at: locate(probes.len(), target, &mut searches),
                client,
            });
        }
        Ok(Self {
            probes,
            searches,
            timeout: limits.timeout,
        })
    }
}

/// Adds a target to the search for its application; all other pages are looked for by themselves.
fn locate(number: usize, target: &Target, searches: &mut Vec<Sought>) -> Location {
    let (ui, path) = match &target.place {
        Place::Url(url) => return Location::Url(url.clone()),
        Place::Ui { ui, path } => (ui, path),
    };
    let of_application = target.role.is_of_application();
    let shared = searches
        .iter()
        .position(|sought| of_application && sought.of_application && sought.search.is_at(ui));
    let place = shared.unwrap_or_else(|| {
        searches.push(Sought {
            search: Search::new(ui.clone()),
            of_application,
            targets: Vec::new(),
        });
        searches.len() - 1
    });
    searches[place].targets.push(number);
    Location::Found(place, searches[place].search.add(path))
}

impl Scrape for HttpScrape {
    async fn scrape(&self, target: usize) -> Result<Vec<u8>, NoPage> {
        let probe = &self.probes[target];
        let (place, page) = match &probe.at {
            Location::Url(url) => {
                let page = timeout(self.timeout, probe.page(url.clone())).await;
                return page.unwrap_or_else(|_elapsed| self.timed_out(url.clone()));
            }
            Location::Found(place, page) => (*place, *page),
        };
        let Sought { search, targets, .. } = &self.searches[place];
        let get = |page: usize, url| self.probes[targets[page]].page(url);
        let found = timeout(self.timeout, search.find(page, get)).await;
        match found {
            Ok(page) => page,
            Err(_elapsed) => {
                search.cut_off(page);
                self.timed_out(search.describe(page))
            }
        }
    }
}

impl HttpScrape {
    fn timed_out(&self, url: String) -> Result<Vec<u8>, NoPage> {
        let after = self.timeout;
        Err(NoPage::TimedOut { url, after })
    }
}

impl Probe {
    async fn page(&self, url: String) -> Result<Vec<u8>, NoPage> {
        match self.client.get(&url, ACCEPT).await {
            Ok(answer) => page(self.role, url, answer),
            Err(NoAnswer::TimedOut(after)) => Err(NoPage::TimedOut { url, after }),
            Err(NoAnswer::TooLarge(limit)) => Err(NoPage::TooLarge { url, limit }),
            Err(NoAnswer::Interrupted(why)) => Err(NoPage::Interrupted { url, why }),
            Err(error @ NoAnswer::Unreachable(_)) => Err(NoPage::Unreachable {
                url,
                why: error.to_string(),
            }),
        }
    }
}

/// The page that an answer is.
fn page(role: Role, url: String, answer: Answer) -> Result<Vec<u8>, NoPage> {
    let Answer {
        status, content_type, ..
    } = &answer;
    let is_html = content_type.starts_with("text/html");
    if let Some(setting) = role
        .setting()
        .filter(|_| *status == 404 || *status == 200 && is_html)
    {
        return Err(NoPage::EndpointDisabled {
            url,
            status: *status,
            content_type: content_type.clone(),
            setting,
        });
    }
    if *status != 200 {
        let why = match (&answer.location, status) {
            (Some(location), _) => {
                format!("it sends us to {location}, which is not followed; is that the right address?")
            }
            (None, 401 | 403) => "say who we are in the target's table security".to_owned(),
            (None, _) => "is it the right address?".to_owned(),
        };
        return Err(NoPage::Status {
            url,
            status: *status,
            why,
        });
    }
    if !content_type.starts_with("text/plain") {
        return Err(NoPage::NotText {
            url,
            content_type: content_type.clone(),
        });
    }
    // Without a length only the last line end shows that nothing is missing: 12 may have been 123.
    if !answer.has_end && answer.body.last().is_some_and(|&last| last != b'\n') {
        return Err(NoPage::Interrupted {
            url,
            why: "its last line has no end".to_owned(),
        });
    }
    Ok(answer.body)
}
