//! Owns how a client of librdkafka ends: on threads of its own, so that neither a task, nor the end of a runtime, nor
//! somebody who takes no more events waits for a broker.

use std::future::Future;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use crate::KafkaError;

/// Runs what may block for long on a thread of its own. `None` if the thread could not be had or panicked.
///
/// A runtime that ends waits for its blocking tasks, however long they take; it does not wait for this.
pub(crate) fn on_thread<T: Send + 'static, W: FnOnce() -> T + Send + 'static>(
    name: &str,
    work: W,
) -> impl Future<Output = Option<T>> + Send + use<T, W> {
    let (done, finished) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || drop(done.send(work())));
    if let Err(error) = &thread {
        tracing::warn!(%error, name, "cannot start a thread");
    }
    async move { finished.await.ok() }
}

/// Hands the last of a shared client to a thread: a field that stands behind the client, and so is dropped after it.
#[derive(Default)]
pub(crate) struct LastHeld(Option<SyncSender<()>>);

impl LastHeld {
    /// Runs `drop_it` on a thread, once the owner of this was dropped.
    pub(crate) fn then<W: FnOnce() + Send + 'static>(
        &mut self,
        name: &str,
        drop_it: W,
    ) -> impl Future<Output = Option<()>> + Send + use<W> {
        let (held, dropped) = sync_channel::<()>(0);
        self.0 = Some(held);
        on_thread(name, move || {
            // Nothing is ever sent; it is disconnected.
            let _disconnected = dropped.recv();
            drop_it();
        })
    }
}

/// Says to a client's threads that nobody waits for their events any more.
pub(crate) struct End(watch::Sender<bool>);

/// The threads' side of an [`End`]. They are never a runtime's.
pub(crate) struct Life {
    ended: watch::Receiver<bool>,
    /// Absent only while this is dropped.
    runtime: Option<Runtime>,
}

impl End {
    /// An end that has not come, and the side that waits for it.
    pub(crate) fn new() -> Result<(Self, Life), KafkaError> {
        let runtime = Builder::new_current_thread().enable_time().build();
        let runtime =
            runtime.map_err(|error| KafkaError::new("cannot make a runtime to wait with", error))?;
        let (end, ended) = watch::channel(false);
        let runtime = Some(runtime);
        Ok((Self(end), Life { ended, runtime }))
    }

    /// It has come.
    pub(crate) fn come(&self) {
        self.0.send_replace(true);
    }
}

impl Life {
    pub(crate) fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// Waits for so long, or until the end.
    pub(crate) fn wait(&self, time: Duration) {
        let mut ended = self.ended.clone();
        self.block_on(async { drop(timeout(time, ended.wait_for(|ended| *ended)).await) });
    }

    /// Sends, and waits while the channel is full, until the end. What nobody takes is dropped.
    pub(crate) fn send<T>(&self, sender: &Sender<T>, value: T) {
        if self.has_ended() {
            return;
        }
        let Err(TrySendError::Full(value)) = sender.try_send(value) else {
            return;
        };
        let mut ended = self.ended.clone();
        self.block_on(async {
            tokio::select! {
                sent = sender.send(value) => drop(sent),
                _ = ended.wait_for(|ended| *ended) => {}
            }
        });
    }

    fn block_on(&self, work: impl Future<Output = ()>) {
        if let Some(runtime) = &self.runtime {
            runtime.block_on(work);
        }
    }
}

/// A client that cannot be made is dropped where it should have been made, which may be a task.
impl Drop for Life {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[test]
    fn who_waits_for_room_goes_on_at_the_end() {
        let (end, life) = End::new().unwrap();
        let (sender, receiver) = mpsc::channel(1);
        let waiting = std::thread::spawn(move || {
            life.send(&sender, 1);
            life.send(&sender, 2);
            life.wait(Duration::from_mins(10));
        });
        while receiver.is_empty() {
            std::thread::yield_now();
        }
        end.come();
        waiting.join().unwrap();
    }

    #[tokio::test]
    async fn what_was_not_needed_can_be_dropped_by_a_task() {
        drop(End::new().unwrap());
    }
}
