//! Owns what Prometheus' remote-write protocol, version 1.0, says: its messages, their encoding, and which series are
//! to be marked as ended. It sends nothing.

mod message;
mod tracker;

use std::collections::BTreeMap;

pub use message::{Label, TimeSeries, Value, WriteRequest};
pub use tracker::Tracker;

use prost::Message;

use crate::exposition::{Labels, Sample};

/// The label under which a series' name stands.
const NAME: &str = "__name__";

/// The value that says that a series has ended: a NaN that no calculation gives.
pub const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// The headers that a request has.
pub const HEADERS: [(&str, &str); 3] = [
    ("content-type", "application/x-protobuf"),
    ("content-encoding", "snappy"),
    ("x-prometheus-remote-write-version", "0.1.0"),
];

/// The body of a request: the samples, all of this time, each with the labels given here besides its own. Where both
/// have a label, the one given here holds, as a gateway's grouping key does.
pub fn encode(samples: &[Sample], extra_labels: &BTreeMap<String, String>, timestamp_ms: i64) -> Vec<u8> {
    // Messages of the format, put one after another, are one message with the series of all. So thousands of series
    // need not be held as messages together.
    let mut request = Vec::new();
    for sample in samples {
        let timeseries = vec![series(sample, extra_labels, timestamp_ms)];
        request.extend(WriteRequest { timeseries }.encode_to_vec());
    }
    compress(&request)
}

fn series(sample: &Sample, extra_labels: &BTreeMap<String, String>, timestamp_ms: i64) -> TimeSeries {
    let mut labels = sample.labels.clone();
    for (name, value) in extra_labels {
        labels.insert(name, value);
    }
    labels.insert(NAME, &sample.name);
    TimeSeries {
        labels: in_order(&labels),
        samples: vec![Value {
            value: sample.value,
            timestamp: timestamp_ms,
        }],
    }
}

fn in_order(labels: &Labels) -> Vec<Label> {
    let label = |(name, value): (&str, &str)| Label {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    labels.iter().map(label).collect()
}

#[expect(
    clippy::expect_used,
    reason = "snappy takes up to 4 GiB, and the bound on series is far below"
)]
fn compress(request: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new()
        .compress_vec(request)
        .expect("a request is smaller than 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(body: &[u8]) -> WriteRequest {
        let request = snap::raw::Decoder::new().decompress_vec(body).unwrap();
        WriteRequest::decode(request.as_slice()).unwrap()
    }

    #[test]
    fn a_series_has_all_its_labels_in_order_and_those_of_the_group_hold() {
        let samples = [
            Sample::new("x", [("a", "1"), ("job", "other"), ("Z", "2")], 0.5),
            Sample::new("y", Labels::new(), STALE),
        ];
        let extra = BTreeMap::from([
            ("job".to_owned(), "mine".to_owned()),
            ("none".to_owned(), String::new()),
        ]);
        let request = decoded(&encode(&samples, &extra, 1_795_337_280_790));
        let told: Vec<_> = request.timeseries.iter().map(told).collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        Z=2 __name__=x a=1 job=mine: 0.5 at 1795337280790
        __name__=y job=mine: NaN at 1795337280790
        ");
        let stale = request.timeseries[1].samples[0].value;
        assert_eq!(stale.to_bits(), 0x7ff0_0000_0000_0002);
    }

    fn told(series: &TimeSeries) -> String {
        let labels: Vec<_> = series
            .labels
            .iter()
            .map(|label| format!("{}={}", label.name, label.value))
            .collect();
        let values: Vec<_> = series
            .samples
            .iter()
            .map(|sample| format!("{} at {}", sample.value, sample.timestamp))
            .collect();
        format!("{}: {}", labels.join(" "), values.join(" "))
    }

    #[test]
    fn a_message_has_the_bytes_that_the_protocol_says() {
        let samples = [Sample::new("x", Labels::new(), 1.0)];
        let request = snap::raw::Decoder::new()
            .decompress_vec(&encode(&samples, &BTreeMap::new(), 3))
            .unwrap();
        let label = b"\x0a\x0d\x0a\x08__name__\x12\x01x";
        let value = b"\x12\x0b\x09\x00\x00\x00\x00\x00\x00\xf0\x3f\x10\x03";
        let series = [label.as_slice(), value].concat();
        assert_eq!(
            request,
            [&[0x0a, u8::try_from(series.len()).unwrap()], series.as_slice()].concat()
        );
    }
}
