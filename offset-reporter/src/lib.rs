//! What Spark has processed, as a Kafka consumer group.
