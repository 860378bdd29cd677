//! Owns the seam out: where results go. The real one is Kafka; the loop's tests have their own.

use kafka_io::{Outgoing, Producer, SendError};

/// Where results go. Deliveries are reported as [`kafka_io::Delivery`]s on a channel.
pub trait Sink: Send + 'static {
    /// Sends a result; its delivery is reported with the tag, unless this fails.
    ///
    /// # Errors
    /// Where it was not taken.
    fn send(&self, tag: usize, result: &Outgoing) -> Result<(), SendError>;
}

impl Sink for Producer {
    fn send(&self, tag: usize, result: &Outgoing) -> Result<(), SendError> {
        Self::send(self, tag, result)
    }
}
