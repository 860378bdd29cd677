//! Owns how a program's metrics come to be: each under the program's name, registered at once.

use prometheus::{
    CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, exponential_buckets,
};

/// Makes metrics named `<prefix>_<name>`. Each method fails where one of that name is registered already.
#[derive(Debug, Clone, Copy)]
pub struct Registrar<'a> {
    registry: &'a Registry,
    prefix: &'static str,
}

impl<'a> Registrar<'a> {
    /// For the program whose metrics begin with `prefix`.
    pub fn new(registry: &'a Registry, prefix: &'static str) -> Self {
        Self { registry, prefix }
    }

    fn opts(&self, name: &str, help: &str) -> Opts {
        Opts::new(format!("{}_{name}", self.prefix), help)
    }

    fn registered<M: prometheus::core::Collector + Clone + 'static>(
        &self,
        metric: M,
    ) -> prometheus::Result<M> {
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    /// A count.
    pub fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.registered(IntCounter::with_opts(self.opts(name, help))?)
    }

    /// Counts by labels.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
        self.registered(IntCounterVec::new(self.opts(name, help), labels)?)
    }

    /// Sums of seconds and the like, by labels.
    pub fn float_counters(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<CounterVec> {
        self.registered(CounterVec::new(self.opts(name, help), labels)?)
    }

    /// A whole number that goes up and down.
    pub fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.registered(IntGauge::with_opts(self.opts(name, help))?)
    }

    /// Whole numbers by labels.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        self.registered(IntGaugeVec::new(self.opts(name, help), labels)?)
    }

    /// A number that goes up and down.
    pub fn float_gauge(&self, name: &str, help: &str) -> prometheus::Result<Gauge> {
        self.registered(Gauge::with_opts(self.opts(name, help))?)
    }

    /// Numbers by labels.
    pub fn float_gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<GaugeVec> {
        self.registered(GaugeVec::new(self.opts(name, help), labels)?)
    }

    /// Durations, in buckets from half a millisecond to about a minute.
    pub fn seconds(&self, name: &str, help: &str) -> prometheus::Result<Histogram> {
        self.histogram(name, help, exponential_buckets(0.0005, 2.0, 18)?)
    }

    /// A distribution in buckets of these upper bounds.
    pub fn histogram(&self, name: &str, help: &str, buckets: Vec<f64>) -> prometheus::Result<Histogram> {
        let opts = HistogramOpts {
            common_opts: self.opts(name, help),
            buckets,
        };
        self.registered(Histogram::with_opts(opts)?)
    }
}
