//! Owns a round: it makes happen what the plan says, and keeps the books.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use testbed::{Fault as NetworkFault, Process, TopicAdmin, until};
use tokio::time::{Instant, sleep};

use super::books::{Books, Positions, Scene, duplicates};
use super::place::Place;
use super::plan::{Fault, Plan, Step};
use super::{GRACE, SESSION, STOP_MARGIN, WITHIN};
use crate::reading::Reading;
use crate::stage::{Message, Stage, key, plain, text};

/// Messages that wait when something is to happen, and as many that come then.
const LOAD: usize = 1_000;
/// One message of so many has a text; the others are answered without the model, which would be the slowest by far.
const A_TEXT_IN: usize = 3;
/// Sentences of a text: a kill has to find some in hand.
const SENTENCES: usize = 6;
/// SIGTERM, if nobody handles it yet.
const TERM: i32 = 15;

/// What became of a round.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) faults: BTreeMap<Fault, usize>,
    pub(crate) messages: usize,
    pub(crate) lost: usize,
    pub(crate) duplicates: usize,
    pub(crate) longest_stop: Duration,
    /// What should not be.
    pub(crate) findings: Vec<String>,
    /// The end of what the workers said; empty if all was well.
    pub(crate) logs: String,
}

/// A round that runs.
struct Round<'a> {
    place: &'a mut Place,
    plan: &'a Plan,
    stage: Stage,
    input: Reading,
    results: Reading,
    worker: Option<Process>,
    books: Books,
    outcome: Outcome,
}

/// Runs a round to its end.
pub(crate) async fn run(place: &mut Place, plan: &Plan) -> anyhow::Result<Outcome> {
    let broker = plain(place.kafka.bootstrap_servers());
    let stage = Stage::on(broker, &format!("soak-{}", plan.seed), plan.partitions).await;
    let mut round = Round {
        input: Reading::of(&stage.connection, &stage.input, plan.partitions)?,
        results: Reading::of(&stage.connection, &stage.output, plan.partitions)?,
        place,
        plan,
        stage,
        worker: None,
        books: Books::default(),
        outcome: Outcome::default(),
    };
    let went = round.go().await;
    // It may have been left so.
    round.place.network(NetworkFault::None);
    round.finish(went).await
}

impl Round<'_> {
    async fn go(&mut self) -> anyhow::Result<()> {
        for step in &self.plan.steps {
            self.produce().await;
            self.take(*step)
                .await
                .with_context(|| format!("{:?}", step.fault))?;
        }
        self.produce().await;
        self.settle().await
    }

    async fn produce(&mut self) {
        let numbers = self.outcome.messages..self.outcome.messages + LOAD;
        self.outcome.messages = numbers.end;
        self.stage.produce(numbers.map(message)).await;
    }

    /// The worker, ready and with messages in hand.
    async fn under_load(&mut self, step: Step) -> anyhow::Result<Process> {
        let mut worker = match self.worker.take() {
            Some(worker) => worker,
            None => self.place.worker(&self.stage, self.plan.keeping).await,
        };
        worker.ready().await?;
        self.produce().await;
        // The moment itself is what is tested.
        sleep(step.after).await;
        Ok(worker)
    }

    async fn take(&mut self, step: Step) -> anyhow::Result<()> {
        *self.outcome.faults.entry(step.fault).or_default() += 1;
        match step.fault {
            Fault::Kill => {
                let worker = self.under_load(step).await?;
                self.kill(worker).await
            }
            Fault::Stop => {
                let worker = self.under_load(step).await?;
                self.stop(worker).await
            }
            Fault::EarlyStop => {
                if let Some(worker) = self.worker.take() {
                    self.kill(worker).await?;
                }
                let worker = self.place.worker(&self.stage, self.plan.keeping).await;
                sleep(step.after).await;
                self.stop(worker).await
            }
            Fault::SecondStop => {
                let mut worker = self.under_load(step).await?;
                worker.signal("TERM")?;
                sleep(step.lasts).await;
                // It may have ended by then.
                drop(worker.signal("TERM"));
                let status = self.ended(&mut worker, STOP_MARGIN).await?;
                self.account(status).await
            }
            Fault::Freeze => self.freeze(step).await,
            Fault::BrokerKill | Fault::BrokerFreeze | Fault::SwallowedAnswers => self.outage(step).await,
        }
    }

    async fn kill(&mut self, mut worker: Process) -> anyhow::Result<()> {
        worker.kill()?;
        self.forgive().await?;
        self.audit(false).await
    }

    async fn stop(&mut self, mut worker: Process) -> anyhow::Result<()> {
        worker.signal("TERM")?;
        let status = self.ended(&mut worker, GRACE + STOP_MARGIN).await?;
        if !status.success() && status.signal() != Some(TERM) {
            self.outcome
                .findings
                .push(format!("SIGTERM made it end with {status}"));
        }
        self.account(status).await
    }

    /// Waits for the end of a worker that was asked to end.
    async fn ended(&mut self, worker: &mut Process, within: Duration) -> anyhow::Result<ExitStatus> {
        let began = Instant::now();
        let status = worker.exit().await?;
        let took = began.elapsed();
        self.outcome.longest_stop = self.outcome.longest_stop.max(took);
        if took > within {
            self.outcome
                .findings
                .push(format!("a stop took {took:?}, but {within:?} is the most"));
        }
        Ok(status)
    }

    /// Keeps the books of a worker that has ended.
    async fn account(&mut self, status: ExitStatus) -> anyhow::Result<()> {
        if !status.success() {
            self.forgive().await?;
        }
        self.audit(status.success()).await
    }

    async fn freeze(&mut self, step: Step) -> anyhow::Result<()> {
        let worker = self.under_load(step).await?;
        worker.signal("STOP")?;
        if self.plan.keeping.is_group() {
            let frozen_at = self.committed().await?;
            let mut rival = self.place.worker(&self.stage, self.plan.keeping).await;
            let all = f64::from(self.plan.partitions) - 0.5;
            let has_all = until(WITHIN + SESSION, async || {
                rival
                    .metric("inference_partitions")
                    .await
                    .filter(|&partitions| partitions > all)
            });
            has_all
                .await
                .context("no other member took over from the one that is frozen")?;
            rival.ready().await?;
            self.produce().await;
            sleep(step.lasts).await;
            worker.signal("CONT")?;
            sleep(step.lasts).await;
            self.read().await?;
            self.books.forgive(&frozen_at, self.input.records());
            rival.signal("TERM")?;
            let status = self.ended(&mut rival, GRACE + STOP_MARGIN).await?;
            if !status.success() {
                self.outcome
                    .findings
                    .push(format!("SIGTERM made the other member end with {status}"));
            }
        } else {
            sleep(step.lasts).await;
            worker.signal("CONT")?;
        }
        self.goes_on(worker).await
    }

    /// The broker or the network is away for a while.
    async fn outage(&mut self, step: Step) -> anyhow::Result<()> {
        let worker = self.under_load(step).await?;
        let before = self.committed().await?;
        match step.fault {
            Fault::BrokerKill => {
                self.place.kafka.kill().await?;
                self.place.kafka.restart().await?;
            }
            Fault::BrokerFreeze => {
                self.place.kafka.signal("STOP")?;
                sleep(step.lasts).await;
                self.place.kafka.signal("CONT")?;
            }
            _ => {
                self.place.network(NetworkFault::SwallowAnswers);
                sleep(step.lasts).await;
                self.place.network(NetworkFault::None);
            }
        }
        if self.plan.keeping.is_group() {
            // Its session may be over, by the clock of one side or the other.
            self.read().await?;
            self.books.forgive(&before, self.input.records());
        }
        self.goes_on(worker).await
    }

    /// The worker has to be well after what it was through.
    async fn goes_on(&mut self, mut worker: Process) -> anyhow::Result<()> {
        worker.ready().await?;
        self.worker = Some(worker);
        self.audit(false).await
    }

    /// Everything is answered and committed; then the worker stops.
    async fn settle(&mut self) -> anyhow::Result<()> {
        let mut worker = match self.worker.take() {
            Some(worker) => worker,
            None => self.place.worker(&self.stage, self.plan.keeping).await,
        };
        worker.ready().await?;
        let keys = (0..self.outcome.messages).map(key);
        self.results.until_all(keys, WITHIN).await?;
        let ends = self.input.read_to_end(WITHIN).await?;
        let deadline = Instant::now() + WITHIN;
        loop {
            let committed = self.committed().await?;
            if ends
                .iter()
                .all(|(of, &end)| end == 0 || committed.get(of) == Some(&end))
            {
                break;
            }
            ensure!(
                Instant::now() < deadline,
                "{committed:?} is committed, and {ends:?} answered"
            );
            sleep(super::LOOK).await;
        }
        self.stop(worker).await
    }

    async fn committed(&self) -> anyhow::Result<Positions> {
        self.place.committed(&self.stage, self.plan.keeping).await
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        self.input.read_to_end(WITHIN).await?;
        self.results.read_to_end(WITHIN).await.map(drop)
    }

    async fn forgive(&mut self) -> anyhow::Result<()> {
        let committed = self.committed().await?;
        self.read().await?;
        self.books.forgive(&committed, self.input.records());
        Ok(())
    }

    async fn audit(&mut self, is_settled: bool) -> anyhow::Result<()> {
        let committed = self.committed().await?;
        self.read().await?;
        self.books.audit(Scene {
            committed: &committed,
            input: self.input.records(),
            results: self.results.records(),
            is_settled,
        });
        Ok(())
    }

    /// Closes the books, and removes the topics so that two hundred rounds are no load.
    async fn finish(mut self, went: anyhow::Result<()>) -> anyhow::Result<Outcome> {
        drop(self.worker);
        self.outcome.duplicates = duplicates(self.results.records());
        self.outcome.lost = self.books.lost;
        self.outcome.findings.extend(self.books.findings);
        self.outcome
            .findings
            .extend(went.err().map(|error| format!("{error:#}")));
        if !self.outcome.findings.is_empty() {
            self.outcome.logs = logs(self.stage.folder.path())?;
        }
        drop((self.input, self.results));
        let topics = TopicAdmin::new(&self.stage.connection)?;
        for topic in [&self.stage.input, &self.stage.output] {
            topics.delete(topic).await?;
        }
        Ok(self.outcome)
    }
}

/// The last lines of each log in a folder.
fn logs(folder: &std::path::Path) -> anyhow::Result<String> {
    /// Of each log.
    const LINES: usize = 25;
    let mut logs = String::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let text = std::fs::read_to_string(&path)?;
            let lines: Vec<_> = text.lines().collect();
            let last = lines[lines.len().saturating_sub(LINES)..].join("\n");
            writeln!(logs, "--- {}\n{last}", path.display())?;
        }
    }
    Ok(logs)
}

/// Most messages are answered at once, by an error; some go through the model.
fn message(number: usize) -> Message {
    let value = match number % A_TEXT_IN {
        0 => {
            let sentence = format!("Maria Silva sold {number} boats in Lisbon last Friday. ");
            return text(number, &sentence.repeat(SENTENCES));
        }
        1 => None,
        2 if number.is_multiple_of(2) => Some("{\"uuid\": \"no text\"}"),
        _ => Some("{\"text\": \"cut o"),
    };
    Message {
        key: key(number),
        value: value.map(str::to_owned),
    }
}
