//! Metrics out of clusters that cannot be scraped.
