use futures_util::FutureExt as _;

use crate::http::conn::receiving::*;

const LIMITS: ReceivingLimits = ReceivingLimits {
    requests: 4,
    bytes: 1000,
    timeout: Duration::from_secs(30),
    min_rate: 100,
    grace: Duration::from_secs(5),
};

fn receiving() -> Receiving {
    Receiving::new(LIMITS, Arc::new(Metrics::default()))
}

fn enter(receiving: &Receiving) -> (Arriving, Evicted) {
    receiving.enter(Instant::now()).expect("it is not stopped")
}

/// What ended a body, or `None` while it may go on.
fn ended(evicted: &mut Evicted) -> Option<&'static str> {
    evicted.try_recv().ok().map(|error| error.status().code)
}

#[test]
fn bytes_buy_time_at_the_minimum_rate_and_none_is_saved_up() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut body = ReceivingProgress::new(&LIMITS, start);
    assert_eq!(body.due, at(5));
    body.arrived(1_000_000, &LIMITS, start);
    assert_eq!(body.due, at(5), "a large piece buys no longer silence");
    body.arrived(100, &LIMITS, at(4));
    assert_eq!(body.due, at(6));
    body.arrived(200, &LIMITS, at(4));
    assert_eq!(body.due, at(8));
    // The process itself was held up: the bytes had been there.
    body.arrived(1, &LIMITS, at(60));
    assert_eq!(body.due, at(65));
    assert_eq!(body.bytes, 1_000_301);
}

#[test]
fn the_slowest_makes_room_for_the_next_request() {
    let receiving = receiving();
    let mut bodies: Vec<_> = (0..4).map(|_| enter(&receiving)).collect();
    // The first gets on, so the second is the one that has been silent for longest.
    bodies[0].0.arrived(10).expect("there is room");
    let mut more: Vec<_> = (0..2).map(|_| enter(&receiving)).collect();
    let ends = bodies
        .iter_mut()
        .chain(&mut more)
        .map(|(_, evicted)| ended(evicted));
    let slow = Some("body_timeout");
    assert_eq!(ends.collect::<Vec<_>>(), [None, slow, slow, None, None, None]);
    assert_eq!(receiving.shared.metrics.receiving_requests.get(), 4);
    drop((bodies, more));
    assert_eq!(receiving.shared.metrics.receiving_requests.get(), 0);
}

#[test]
fn bytes_are_taken_from_the_stalled_and_then_from_those_that_hold_more() {
    let now = Instant::now();
    let body = |due, bytes| ReceivingProgress {
        due: now + Duration::from_secs(due),
        bytes,
    };
    let stalled = now + Duration::from_secs(3);
    let pick = |bodies: &[ReceivingProgress], own| holder(bodies.iter().copied().enumerate(), own, stalled);
    let all = [body(5, 10), body(2, 1), body(1, 0), body(5, 90), body(5, 50)];
    assert_eq!(pick(&all, 20), Some(1), "stalled, however little it holds");
    assert_eq!(pick(&all[2..], 20), Some(1), "the largest that holds more");
    assert_eq!(pick(&all[2..], 90), None, "none holds more than it does itself");
    assert_eq!(pick(&all[..1], 20), None, "the smaller ones are spared");
}

#[test]
fn hoarders_make_room_and_without_them_the_newcomer_is_refused() {
    let receiving = receiving();
    let [
        (hoarder, mut hoarder_ends),
        (small, mut small_ends),
        (newcomer, _),
    ] = std::array::from_fn(|_| enter(&receiving));
    hoarder.arrived(900).expect("there is room");
    small.arrived(100).expect("exactly full is allowed");
    newcomer.arrived(200).expect("the hoarder makes room");
    assert_eq!(ended(&mut hoarder_ends), Some("body_timeout"));
    assert_eq!(receiving.shared.metrics.receiving_bytes.get(), 300);
    hoarder.arrived(500).expect("it hears of its end elsewhere");
    assert_eq!(receiving.shared.metrics.receiving_bytes.get(), 300);
    let refused = newcomer.arrived(701).expect_err("it is the largest");
    assert_eq!(refused.status().code, "queue_full");
    assert_eq!(
        refused.retry_after(),
        Some(3),
        "then those that stand still have stalled"
    );
    assert_eq!(ended(&mut small_ends), None);
    drop((hoarder, newcomer));
    assert_eq!(receiving.shared.metrics.receiving_bytes.get(), 100);
    drop(small);
    assert_eq!(receiving.shared.metrics.receiving_bytes.get(), 0);
}

#[tokio::test]
async fn a_server_that_stops_reads_no_more_bodies() {
    let receiving = receiving();
    let (body, evicted) = enter(&receiving);
    let why = Error::NotReady("it is stopping");
    receiving.stop(&why);
    let reading = std::future::pending::<Result<(), Error>>();
    assert_eq!(
        body.watch(evicted, reading).now_or_never(),
        Some(Err(why.clone()))
    );
    assert_eq!(receiving.enter(Instant::now()).unwrap_err(), why);
}

#[tokio::test]
async fn complete_bodies_are_not_ended_and_keep_counting() {
    let receiving = receiving();
    let (complete, evicted) = enter(&receiving);
    complete.arrived(900).expect("there is room");
    assert_eq!(complete.watch(evicted, std::future::ready(Ok(1))).await, Ok(1));
    let (other, _evicted) = enter(&receiving);
    assert!(
        other.arrived(101).is_err(),
        "it waits to be parsed, and has its bytes"
    );
    let mut others = Vec::new();
    for _ in 0..3 {
        let (body, evicted) = enter(&receiving);
        body.watch(evicted, std::future::ready(Ok(())))
            .await
            .expect("it is complete");
        others.push(body);
    }
    let refused = receiving.enter(Instant::now()).map(drop);
    assert_eq!(refused.unwrap_err().status().code, "queue_full");
    drop(complete);
    enter(&receiving);
}

#[tokio::test]
async fn a_body_that_was_ended_in_the_last_moment_has_ended() {
    let receiving = receiving();
    let (body, evicted) = enter(&receiving);
    receiving.stop(&Error::NotReady("it is stopping"));
    assert_eq!(
        body.watch(evicted, std::future::ready(Ok(()))).await,
        Err(Error::NotReady("it is stopping"))
    );
}

#[tokio::test]
async fn a_body_is_over_when_its_time_is_up_however_fast_it_is() {
    let limits = ReceivingLimits {
        timeout: Duration::ZERO,
        ..LIMITS
    };
    let receiving = Receiving::new(limits, Arc::new(Metrics::default()));
    let (body, evicted) = enter(&receiving);
    body.arrived(10).expect("there is room");
    let late = body
        .watch(evicted, std::future::pending::<Result<(), Error>>())
        .await;
    assert!(late.unwrap_err().to_string().contains("--body-timeout"));
    let (body, evicted) = enter(&receiving);
    let ready = body.watch(evicted, std::future::ready(Ok(1))).await;
    assert_eq!(ready, Ok(1), "what is there is not thrown away");
}
