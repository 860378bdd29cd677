//! Owns what becomes of a record: its result, the error in its place, and what is done if that cannot leave.

use anyhow::bail;
use kafka_io::{DeliveryError, Outgoing, SendError};

use super::Worker;
use super::origin::Origin;
use crate::consume::Source;
use crate::ledger::{Sent, Ticket};
use crate::model::Entity;
use crate::produce::Sink;
use crate::record::{Processed, Unreadable};
use crate::sessions::{Answer, Answered, Compute};

impl<C: Source, P: Sink, S: Compute> Worker<C, P, S> {
    /// A message without a text: a result with the error, or a dead letter.
    pub(super) fn on_unreadable(&mut self, ticket: Ticket, why: Unreadable, value: Option<Vec<u8>>) {
        let topics = &self.settings.topics;
        let Some(origin) = self.origins.get_mut(&ticket) else {
            return;
        };
        self.telemetry
            .metrics
            .failed(why.class(), &origin.place(&topics.input));
        let result = match &topics.dead_letter {
            Some(topic) => origin.dead_letter(topic, &topics.input, value, why),
            None => origin.result(
                &topics.output,
                &self.settings.fields,
                Processed::instant(),
                Err(&why.to_string()),
            ),
        };
        self.ready(ticket, result);
    }

    pub(super) fn on_answered(&mut self, answered: &Answered) {
        self.telemetry.metrics.model_took(answered.took, answered.spent);
        for answer in &answered.answers {
            self.on_answer(answer);
        }
    }

    fn on_answer(&mut self, answer: &Answer) {
        let Some(origin) = self.origins.get(&answer.ticket) else {
            return;
        };
        let topics = &self.settings.topics;
        let (outcome, error);
        match &answer.outcome {
            Ok(entities) => {
                self.telemetry.metrics.found(entities);
                outcome = Ok(entities.as_slice());
            }
            Err(failure) => {
                self.telemetry
                    .metrics
                    .failed(failure.class(), &origin.place(&topics.input));
                error = failure.to_string();
                outcome = Err(error.as_str());
            }
        }
        let result = self.result(origin, answer.processed, outcome);
        self.ready(answer.ticket, result);
    }

    fn result(&self, origin: &Origin, processed: Processed, outcome: Result<&[Entity], &str>) -> Outgoing {
        origin.result(
            &self.settings.topics.output,
            &self.settings.fields,
            processed,
            outcome,
        )
    }

    fn ready(&mut self, ticket: Ticket, mut result: Outgoing) {
        let topics = &self.settings.topics;
        if result.key.is_none()
            && self.wants_keys.contains(&result.topic)
            && let Some(origin) = self.origins.get_mut(&ticket)
        {
            let (why, place) = (DeliveryError::Invalid, origin.place(&topics.input));
            self.telemetry.metrics.failed("result_invalid", &place);
            result = origin.replacement(&topics.output, &topics.input, &self.settings.fields, &why);
        }
        let bytes = result.bytes();
        self.parts.ledger.ready(ticket, result, bytes);
    }

    pub(super) fn send_results(&mut self) -> anyhow::Result<()> {
        while let Some((ticket, result)) = self.parts.ledger.next() {
            match self.parts.sink.send(ticket.0, result) {
                Ok(()) => self.parts.ledger.sent(ticket),
                Err(SendError::QueueFull) => break,
                Err(SendError::Refused(error)) if error.is_of_the_record() => self.replace(ticket, &error)?,
                Err(SendError::Refused(error)) => return self.undeliverable(ticket, &error),
            }
        }
        Ok(())
    }

    /// A result that the broker refuses for what it is is replaced; with any other failure the worker ends, and what was not
    /// acknowledged is processed again.
    pub(super) fn on_undelivered(&mut self, ticket: Ticket, error: &DeliveryError) -> anyhow::Result<()> {
        if !self.parts.ledger.has(ticket) {
            // Its partition was lost. Nobody waits for it, but it is no longer under way.
            self.parts.ledger.acknowledge(ticket);
            return Ok(());
        }
        if !error.is_of_the_record() {
            return self.undeliverable(ticket, error);
        }
        match self.parts.ledger.refused(ticket) {
            Sent::Alone => self.replace(ticket, error),
            Sent::WithOthers | Sent::Forgotten => Ok(()),
        }
    }

    /// Puts the smallest error there is in the place of a result that is refused.
    fn replace(&mut self, ticket: Ticket, why: &DeliveryError) -> anyhow::Result<()> {
        let topics = &self.settings.topics;
        let Some(origin) = self.origins.get_mut(&ticket) else {
            return Ok(());
        };
        let place = origin.place(&topics.input);
        if origin.is_replaced() {
            bail!(
                "even a short error in place of the result for {place} is refused by {}: {why}; look at the topic's \
                 max.message.bytes and cleanup.policy",
                topics.output
            );
        }
        let class = if *why == DeliveryError::TooLarge {
            "result_too_large"
        } else {
            "result_invalid"
        };
        self.telemetry.metrics.failed(class, &place);
        if *why == DeliveryError::Invalid && origin.has_no_key() {
            // The next ones do not cost the results beside them another try.
            self.wants_keys.insert(origin.destination(topics).clone());
        }
        let result = origin.replacement(&topics.output, &topics.input, &self.settings.fields, why);
        self.parts.ledger.replace(ticket, result);
        Ok(())
    }

    fn undeliverable(&self, ticket: Ticket, error: &DeliveryError) -> anyhow::Result<()> {
        let Some(origin) = self.origins.get(&ticket) else {
            return Ok(());
        };
        let topics = &self.settings.topics;
        bail!(
            "the result for {} cannot be delivered to {}: {error}",
            origin.place(&topics.input),
            origin.destination(topics)
        )
    }
}
