//! The laws of the ledger.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const P: Partition = Partition(0);

fn ledger(ordering: Ordering) -> Ledger<&'static str> {
    let mut ledger = Ledger::new(ordering);
    ledger.open(P, Some(0));
    ledger
}

fn take<T>(ledger: &mut Ledger<T>, partition: Partition, offset: i64) -> Ticket {
    match ledger.arrive(partition, offset, 10) {
        Arrival::Taken(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

/// Sends what leaves next.
fn send<T: Clone>(ledger: &mut Ledger<T>) -> Option<(Ticket, T)> {
    let (ticket, result) = ledger.next().map(|(ticket, result)| (ticket, result.clone()))?;
    ledger.sent(ticket);
    Some((ticket, result))
}

#[test]
fn a_position_waits_for_the_record_before() {
    let mut ledger = ledger(Ordering::None);
    let [a, b] = [0, 1].map(|offset| take(&mut ledger, P, offset));
    ledger.ready(b, "b", 5);
    assert_eq!(send(&mut ledger), Some((b, "b")));
    ledger.acknowledge(b);
    assert_eq!(
        (ledger.position(P), ledger.bytes(), ledger.rows()),
        (Some(0), 25, 2)
    );
    assert!(!ledger.any_moved());
    ledger.ready(a, "a", 5);
    send(&mut ledger);
    ledger.acknowledge(a);
    assert_eq!(
        (ledger.position(P), ledger.bytes(), ledger.rows()),
        (Some(2), 0, 0)
    );
    assert_eq!((ledger.take_moved(), ledger.take_moved()), (vec![(P, 2)], vec![]));
}

#[test]
fn in_order_a_result_waits_for_the_one_before() {
    let mut ledger = ledger(Ordering::Partition);
    let [a, b] = [0, 1].map(|offset| take(&mut ledger, P, offset));
    ledger.ready(b, "b", 0);
    assert_eq!(send(&mut ledger), None);
    ledger.ready(a, "a", 0);
    assert_eq!(
        [send(&mut ledger), send(&mut ledger)],
        [Some((a, "a")), Some((b, "b"))]
    );
}

#[test]
fn a_result_that_was_not_sent_stays() {
    let mut ledger = ledger(Ordering::Partition);
    let a = take(&mut ledger, P, 0);
    ledger.ready(a, "a", 0);
    assert_eq!([ledger.next(), ledger.next()], [Some((a, &"a")); 2]);
}

#[test]
fn gaps_do_not_hold_up_a_position() {
    let mut ledger = ledger(Ordering::None);
    let a = take(&mut ledger, P, 90);
    take(&mut ledger, P, 105);
    ledger.ready(a, "a", 0);
    send(&mut ledger);
    ledger.acknowledge(a);
    assert_eq!(
        ledger.position(P),
        Some(105),
        "there is nothing between 90 and 105"
    );
}

#[test]
fn a_record_below_the_next_one_is_not_taken() {
    let mut ledger = ledger(Ordering::None);
    take(&mut ledger, P, 5);
    assert_eq!(ledger.arrive(P, 5, 1), Arrival::Behind { expected: 6 });
    assert_eq!(ledger.arrive(Partition(9), 0, 1), Arrival::NotAssigned);
    assert_eq!(ledger.rows(), 1);
}

#[test]
fn a_partition_whose_position_is_not_known_begins_with_its_first_record() {
    let mut ledger = Ledger::<()>::new(Ordering::None);
    ledger.open(P, None);
    assert_eq!(ledger.expected().count(), 0);
    take(&mut ledger, P, 7);
    assert_eq!(ledger.take_moved(), [(P, 7)], "a restart must not begin after it");
}

#[test]
fn what_comes_for_a_closed_partition_is_ignored() {
    let mut ledger = ledger(Ordering::None);
    let a = take(&mut ledger, P, 0);
    ledger.close(P);
    ledger.open(P, Some(0));
    ledger.ready(a, "a", 1);
    assert!(!ledger.acknowledge(a));
    assert_eq!(ledger.refused(a), Sent::Forgotten);
    assert_eq!((ledger.next(), ledger.rows(), ledger.bytes()), (None, 0, 0));
}

#[test]
fn what_was_refused_in_a_batch_is_sent_again_by_itself() {
    let mut ledger = ledger(Ordering::Partition);
    let tickets = [0, 1, 2].map(|offset| take(&mut ledger, P, offset));
    for ticket in tickets {
        ledger.ready(ticket, "result", 0);
    }
    send(&mut ledger);
    send(&mut ledger);
    let [a, b, c] = tickets;
    assert_eq!(ledger.refused(a), Sent::WithOthers);
    assert_eq!(ledger.next(), None, "b is under way, and a leaves by itself");
    assert_eq!(ledger.refused(b), Sent::WithOthers);
    assert_eq!(send(&mut ledger), Some((a, "result")));
    assert_eq!(ledger.next(), None, "nothing leaves beside a");
    assert_eq!(ledger.refused(a), Sent::Alone);
    ledger.replace(a, "too large");
    assert_eq!(send(&mut ledger), Some((a, "too large")));
    ledger.acknowledge(a);
    assert_eq!(send(&mut ledger), Some((b, "result")));
    ledger.acknowledge(b);
    assert_eq!(send(&mut ledger), Some((c, "result")));
    ledger.acknowledge(c);
    assert_eq!(ledger.position(P), Some(3));
}

#[test]
fn a_closed_partition_holds_up_nobody_who_leaves_alone() {
    let (mut ledger, other) = (ledger(Ordering::None), Partition(1));
    ledger.open(other, Some(0));
    let [a, b] = [P, other].map(|partition| take(&mut ledger, partition, 0));
    for ticket in [a, b] {
        ledger.ready(ticket, "result", 0);
        assert_eq!(send(&mut ledger), Some((ticket, "result")));
    }
    for ticket in [a, b] {
        assert_eq!(ledger.refused(ticket), Sent::WithOthers);
    }
    assert_eq!(send(&mut ledger), Some((a, "result")));
    ledger.close(P);
    assert_eq!(
        send(&mut ledger),
        None,
        "a may still share a batch with what is sent now"
    );
    assert!(!ledger.acknowledge(a));
    assert_eq!(send(&mut ledger), Some((b, "result")));
}

proptest! {
    /// Whatever the order of answers, refusals and acknowledgements, every result leaves, in order if asked and none
    /// was refused, and the position is always the first record that is not acknowledged.
    #[test]
    fn positions_follow_acknowledgements(
        ordered in any::<bool>(),
        answers in Just((0..30_usize).collect::<Vec<_>>()).prop_shuffle(),
        delays in prop::collection::vec(0..5_usize, 30),
        refused in prop::collection::vec(prop::bool::weighted(0.05), 200),
    ) {
        let ordering = if ordered { Ordering::Partition } else { Ordering::None };
        let mut ledger = Ledger::new(ordering);
        ledger.open(P, Some(0));
        let tickets: Vec<_> = (0..30).map(|offset| take(&mut ledger, P, offset)).collect();
        let mut refused = refused.into_iter();
        let (mut sent, mut refusals) = (Vec::new(), 0);
        let mut unacknowledged: BTreeSet<usize> = (0..30).collect();
        let mut on_their_way: Vec<usize> = Vec::new();
        let rounds = answers.iter().map(Some).zip(delays).chain(std::iter::repeat_n((None, 4), 100));
        for (answer, delay) in rounds {
            if let Some(answer) = answer {
                ledger.ready(tickets[*answer], *answer, 1);
            }
            while let Some((_, result)) = send(&mut ledger) {
                sent.push(result);
                on_their_way.push(result);
            }
            for _ in 0..delay.min(on_their_way.len()) {
                let reported = on_their_way.remove(delay % on_their_way.len());
                if refused.next() == Some(true) {
                    refusals += 1;
                    prop_assert_ne!(ledger.refused(tickets[reported]), Sent::Forgotten);
                } else {
                    ledger.acknowledge(tickets[reported]);
                    unacknowledged.remove(&reported);
                }
            }
            let first = unacknowledged.first().copied().unwrap_or(30);
            prop_assert_eq!(ledger.position(P), Some(i64::try_from(first).unwrap()));
        }
        prop_assert_eq!((unacknowledged.len(), ledger.rows(), ledger.bytes()), (0, 0, 0));
        if refusals == 0 {
            prop_assert!(!ordered || sent.is_sorted());
            prop_assert_eq!(sent.len(), 30);
        }
    }
}
