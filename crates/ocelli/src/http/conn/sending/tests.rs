use axum::http::{Method, Request};
use proptest::prelude::*;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use crate::http::conn::sending::*;
use crate::http::conn::stream::{ClientTimes, Clock};

const TIMEOUT: Duration = Duration::from_secs(30);

fn sending(bytes: u64) -> Sending {
    let limits = SendingLimits {
        timeout: TIMEOUT,
        bytes,
    };
    Sending::new(limits, Arc::default())
}

fn body(sending: &Sending, length: usize) -> WatchedBody {
    sending.body(vec![7; length].into(), Kept::default(), FIRST_PIECE)
}

fn bytes(sending: &Sending) -> u64 {
    let table = sending.shared.table.lock();
    assert_eq!(sending.shared.metrics.response_bytes.get(), table.bytes as i64);
    table.bytes
}

async fn piece(body: &mut WatchedBody) -> Option<Result<usize, axum::Error>> {
    let frame = body.frame().await?;
    Some(frame.map(|frame| frame.into_data().map_or(0, |data| data.len())))
}

#[tokio::test]
async fn a_response_counts_until_it_has_been_taken() {
    const LENGTH: usize = 3 * FIRST_PIECE + 5;
    let sending = sending(1 << 20);
    let mut body = body(&sending, LENGTH);
    let mut taken = 0;
    for wanted in [FIRST_PIECE, 2 * FIRST_PIECE, 5] {
        assert_eq!(body.size_hint().exact(), Some((LENGTH - taken) as u64));
        assert_eq!(piece(&mut body).await.unwrap().unwrap(), wanted);
        // The library has the piece, and the client has not.
        assert_eq!(bytes(&sending), (LENGTH - taken) as u64);
        taken += wanted;
    }
    assert!(body.is_end_stream() && piece(&mut body).await.is_none());
    drop(body);
    assert_eq!(bytes(&sending), 0);
    assert!(sending.shared.table.lock().waiting.is_empty());
}

#[tokio::test]
async fn pieces_grow_to_the_largest_and_no_further() {
    let sending = sending(1 << 20);
    let mut body = body(&sending, 10 * LARGEST_PIECE);
    let mut sizes = Vec::new();
    while let Some(size) = piece(&mut body).await {
        sizes.push(size.unwrap());
    }
    assert!(
        sizes.starts_with(&[FIRST_PIECE, 2 * FIRST_PIECE, 4 * FIRST_PIECE]),
        "{sizes:?}"
    );
    assert_eq!(sizes.iter().max(), Some(&LARGEST_PIECE));
    assert_eq!(sizes.iter().sum::<usize>(), 10 * LARGEST_PIECE);
}

#[tokio::test]
async fn a_response_that_is_not_taken_in_time_is_dropped() {
    let sending = sending(1 << 20);
    let (mut slow, mut other) = (body(&sending, 10), body(&sending, FIRST_PIECE + 5));
    let now = Instant::now();
    sending.sweep(now + TIMEOUT / 2);
    assert_eq!(bytes(&sending), FIRST_PIECE as u64 + 15, "there is time left");
    piece(&mut other).await.unwrap().unwrap();
    // The clock cannot be turned, so what the other one took is dated later.
    let date =
        |table: &mut ResponseTable| table.waiting.get_mut(&other.turn).unwrap().progress = now + TIMEOUT;
    date(&mut sending.shared.table.lock());
    sending.sweep(now + TIMEOUT + Duration::from_secs(1));
    assert_eq!(
        bytes(&sending),
        FIRST_PIECE as u64 + 5,
        "a response that gets on stays"
    );
    assert!(piece(&mut slow).await.unwrap().is_err(), "its stream fails");
    assert_eq!(piece(&mut other).await.unwrap().unwrap(), 5);
    drop(slow);
    drop(other);
    assert_eq!(bytes(&sending), 0);
    assert_eq!(sending.shared.metrics.dropped_responses.get(), 1);
}

#[tokio::test]
async fn the_longest_waiting_make_room() {
    let sending = sending(10 * 2000);
    let mut bodies: Vec<WatchedBody> = (0..10).map(|_| body(&sending, 2000)).collect();
    assert_eq!(bytes(&sending), 20_000, "exactly full is allowed");
    assert_eq!(piece(&mut bodies[0]).await.unwrap().unwrap(), FIRST_PIECE);
    bodies.push(body(&sending, 5000));
    assert_eq!(bytes(&sending), 19_000);
    for (index, body) in bodies.iter_mut().enumerate() {
        let dropped = (1..=3).contains(&index);
        assert_eq!(piece(body).await.unwrap().is_err(), dropped, "{index}");
    }
    let mut large = body(&sending, 100_000);
    assert!(piece(&mut large).await.unwrap().is_ok(), "the newest one stays");
}

#[tokio::test]
async fn a_dropped_response_is_freed_though_the_library_still_has_a_piece_of_it() {
    let sending = sending(1 << 20);
    for length in [FIRST_PIECE, 3 * FIRST_PIECE] {
        let memory: Arc<[u8]> = vec![7; length].into();
        let response = Bytes::from_owner(Arc::clone(&memory));
        let mut body = sending.body(response, Kept::default(), FIRST_PIECE);
        let _piece = body.frame().await.unwrap().unwrap();
        sending.sweep(Instant::now() + TIMEOUT);
        assert_eq!(Arc::strong_count(&memory), 1, "{length}");
    }
}

#[tokio::test]
async fn what_a_response_keeps_goes_with_it() {
    let times = ClientTimes {
        head: TIMEOUT,
        idle: TIMEOUT,
        take: TIMEOUT,
    };
    let kept = || {
        let clock = Clock::new(times);
        let request = Request::builder().method(Method::GET).body(()).unwrap();
        let line = AccessLine::begin(true, &request, || None).unwrap();
        let kept = Kept {
            guard: Some(clock.request()),
            line: Some(Arc::clone(&line)),
            connection: None,
        };
        line.note(|facts| facts.response = Some((3000, 3000)));
        (kept, clock, line)
    };
    let unsent = |line: &AccessLine| {
        let mut found = None;
        line.note(|facts| found = facts.response);
        found
    };
    // Nothing taken, a part taken, all taken; each dropped by the library, or by the server before that.
    for (pieces, left) in [(0, 3000), (1, 3000 - FIRST_PIECE as u64), (2, 0)] {
        for by_server in [false, true] {
            let sending = sending(1 << 20);
            let (kept, clock, line) = kept();
            let mut body = sending.body(vec![7; 3000].into(), kept, FIRST_PIECE);
            for _ in 0..pieces {
                piece(&mut body).await.unwrap().unwrap();
            }
            assert_eq!(Arc::strong_count(&clock), 2, "the connection is busy");
            if by_server {
                sending.sweep(Instant::now() + TIMEOUT);
                assert_eq!(sending.shared.metrics.dropped_responses.get(), 1);
            } else {
                drop(body);
            }
            assert_eq!(Arc::strong_count(&clock), 1, "it idles now");
            assert_eq!(unsent(&line), Some((3000, left)), "{pieces} pieces, {by_server}");
            assert_eq!(Arc::strong_count(&line), 1, "the line can be written");
            assert_eq!(bytes(&sending), 0);
        }
    }
}

#[tokio::test]
async fn a_connection_ends_with_the_response_that_it_needs_only_if_the_client_did_not_take_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for cut_off in [false, true] {
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let socket = Arc::new(listener.accept().await.unwrap().0);
        let kept = Kept {
            connection: Some(Arc::clone(&socket)),
            ..Kept::default()
        };
        let sending = sending(1 << 20);
        let body = sending.body(vec![7; 3000].into(), kept, LARGEST_PIECE);
        if cut_off {
            sending.sweep(Instant::now() + TIMEOUT);
            let read = client.read(&mut [0]).await;
            assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
        }
        drop(body);
        assert_eq!(
            socket.try_write(b"more").is_err(),
            cut_off,
            "others use the connection"
        );
    }
}

/// What clients and the server do with responses.
#[derive(Clone, Debug)]
enum Step {
    Answer(usize),
    Take(prop::sample::Index),
    Leave(prop::sample::Index),
    Wait(u64),
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..40_usize).prop_map(Step::Answer),
        3 => any::<prop::sample::Index>().prop_map(Step::Take),
        1 => any::<prop::sample::Index>().prop_map(Step::Leave),
        2 => (1..20_u64).prop_map(Step::Wait),
        1 => Just(Step::Sweep),
    ]
}

/// A response as the test knows it: its place, its last progress, what counts and what is left.
type Known = (Turn, u64, u64, usize);

/// Takes out what the limit does not allow, by looking for the oldest of all but the newest.
fn drop_by_search(known: &mut Vec<Known>, limit: u64) -> usize {
    let mut dropped = 0;
    while known.len() > 1 && known.iter().map(|response| response.2).sum::<u64>() > limit {
        let newest = known.iter().map(|response| response.0).max();
        let others = known
            .iter()
            .enumerate()
            .filter(|(_, other)| Some(other.0) != newest);
        let oldest = others.min_by_key(|(_, other)| (other.1, other.0));
        let oldest = oldest.map(|(place, _)| place).unwrap();
        known.remove(oldest);
        dropped += 1;
    }
    dropped
}

proptest! {
    #[test]
    fn the_table_drops_what_a_search_for_the_oldest_would_find(steps in prop::collection::vec(step(), 1..80)) {
        const LIMIT: u64 = 100;
        const PIECE: usize = 8;
        let start = Instant::now();
        let (mut table, mut known, mut now) = (ResponseTable::default(), Vec::<Known>::new(), 0);
        let at = |seconds| start + Duration::from_secs(seconds);
        for step in steps {
            match step {
                Step::Answer(length) => {
                    let turn = table.append(PendingResponse {
                        progress: at(now),
                        bytes: length as u64,
                        left: vec![7; length].into(),
                        kept: Kept::default(),
                    });
                    known.push((turn, now, length as u64, length));
                    let dropped = table.over(LIMIT).len();
                    prop_assert_eq!(dropped, drop_by_search(&mut known, LIMIT));
                }
                Step::Take(index) if !known.is_empty() => {
                    let response = index.get_mut(&mut known);
                    let before = response.0;
                    let (turn, piece) = table.next_piece(before, PIECE, at(now)).unwrap();
                    let size = response.3.min(PIECE);
                    prop_assert_eq!(piece.len(), size);
                    prop_assert!(table.next_piece(before, PIECE, at(now)).is_none(), "it has another place now");
                    *response = (turn, now, response.3 as u64, response.3 - size);
                }
                Step::Leave(index) if !known.is_empty() => {
                    let (turn, ..) = known.remove(index.index(known.len()));
                    prop_assert!(table.remove(turn).is_some());
                }
                Step::Take(_) | Step::Leave(_) => {}
                Step::Wait(seconds) => now += seconds,
                Step::Sweep => {
                    let before = known.len();
                    known.retain(|response| now - response.1 < TIMEOUT.as_secs());
                    prop_assert_eq!(table.late(TIMEOUT, at(now)).len(), before - known.len());
                }
            }
            let turns: Vec<Turn> = table.waiting.keys().copied().collect();
            let mut expected: Vec<Turn> = known.iter().map(|response| response.0).collect();
            expected.sort_unstable();
            prop_assert_eq!(turns, expected);
            prop_assert_eq!(table.bytes, known.iter().map(|response| response.2).sum::<u64>());
        }
    }
}
