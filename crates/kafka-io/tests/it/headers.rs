//! Headers as other clients write them: Kafka takes any bytes for a name.

#![expect(
    unsafe_code,
    reason = "rdkafka takes no name that is not UTF-8; librdkafka does"
)]

use std::ffi::CStr;

use kafka_admin::Partition;
use kafka_io::{Consumer, Header, Start};
use rdkafka::ClientConfig;
use rdkafka::bindings as native;
use rdkafka::producer::{BaseProducer, Producer as _};

use crate::kafka::{PATIENCE, next_record, produce};
use crate::mock;

/// Produces a record without a value with these headers.
fn produce_with(bootstrap_servers: &str, topic: &CStr, headers: &[(&CStr, Option<&str>)]) {
    let client: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap_servers)
        .create()
        .unwrap();
    let mut arguments = vec![native::rd_kafka_vu_s {
        vtype: native::rd_kafka_vtype_t::RD_KAFKA_VTYPE_TOPIC,
        u: native::rd_kafka_vu_s__bindgen_ty_1 { cstr: topic.as_ptr() },
    }];
    for (name, value) in headers {
        let header = native::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_2 {
            name: name.as_ptr(),
            val: value.map_or(std::ptr::null(), |value| value.as_ptr().cast()),
            size: value.map_or(-1, |value| value.len().cast_signed()),
        };
        arguments.push(native::rd_kafka_vu_s {
            vtype: native::rd_kafka_vtype_t::RD_KAFKA_VTYPE_HEADER,
            u: native::rd_kafka_vu_s__bindgen_ty_1 { header },
        });
    }
    // SAFETY: each argument has the member that its type names; all that they point to lives through the call, which
    // copies it.
    let error = unsafe {
        native::rd_kafka_produceva(client.client().native_ptr(), arguments.as_ptr(), arguments.len())
    };
    assert!(error.is_null(), "the record is not taken");
    client.flush(PATIENCE).unwrap();
}

#[tokio::test]
async fn a_name_that_is_not_utf8_costs_neither_its_record_nor_the_next() {
    let (broker, connection, topic) = mock("input", 1);
    let sent = [(c"caf\xe9", Some("a")), (c"empty", Some("")), (c"none", None)];
    produce_with(&broker.bootstrap_servers(), c"input", &sent);
    produce(&connection, &topic, &["next"]).await;
    let (consumer, mut events) =
        Consumer::assigned(&connection, &topic, &[(Partition(0), Start::At(0))]).unwrap();
    let read = next_record(&mut events).await.headers;
    let expected = sent.map(|(name, value)| Header {
        name: name.to_string_lossy().into_owned(),
        value: value.map(|value| value.as_bytes().to_vec()),
    });
    assert_eq!(read, expected);
    assert_eq!(read[0].name, "caf\u{fffd}");
    assert_eq!(
        next_record(&mut events).await.value.as_deref(),
        Some(&b"next"[..])
    );
    consumer.close().await;
}
