//! A steady, bounded load: clients that send their next photo shortly after each response, and never retry.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::client::{Answer, Between, Connection};
use crate::counts::{Counts, Outcome, Record};
use crate::photos;

/// Number of clients. Each has one request in progress.
const CLIENTS: usize = 24;

/// Pause between a response and the next request, which keeps the load steady even if requests are refused.
const PAUSE: Duration = Duration::from_millis(60);

/// Deadline of a request, in its header.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// Additional time to wait for a response.
const GRACE: Duration = Duration::from_secs(5);

/// Interval between attempts to find a web process.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The greys of the load; higher ones are for scenarios.
const GREYS: u8 = 60;

/// The web processes, as seen by a load balancer that skips missing ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Balancer {
    webs: Arc<Mutex<Vec<SocketAddr>>>,
}

/// A photo, and its correct labels.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) body: Arc<[u8]>,
    /// The label for each version of the model; `*` means any version.
    pub(crate) labels: Vec<(&'static str, String)>,
    pub(crate) deadline: Duration,
}

/// The running clients.
pub(crate) struct Load {
    stop: CancellationToken,
    clients: JoinSet<Counts>,
    seen: Arc<Mutex<Vec<Record>>>,
}

struct Client {
    index: usize,
    balancer: Balancer,
    questions: Arc<[Question]>,
    seen: Arc<Mutex<Vec<Record>>>,
    stop: CancellationToken,
}

impl Balancer {
    pub(crate) fn set(&self, webs: Vec<SocketAddr>) {
        *self.webs.lock() = webs;
    }

    /// A connection to one of them, preferably `first`; `None` while none accepts.
    async fn connect(&self, first: usize) -> Option<(SocketAddr, Connection)> {
        let webs = self.webs.lock().clone();
        for offset in 0..webs.len() {
            let web = webs[(first + offset) % webs.len()];
            if let Ok(connection) = Connection::open(web).await {
                return Some((web, connection));
            }
        }
        None
    }
}

impl Question {
    /// The default requests of the clients.
    pub(crate) fn usual() -> Vec<Self> {
        (1..=GREYS).map(Self::grey).collect()
    }

    /// A grey photo and its label by the fake engine.
    pub(crate) fn grey(level: u8) -> Self {
        let photo = photos::grey(level);
        Self {
            labels: vec![("*", photo.label().to_owned())],
            body: photo.bytes,
            deadline: DEADLINE,
        }
    }

    /// Sends one request.
    pub(crate) async fn ask(&self, web: SocketAddr, connection: &mut Connection) -> (Record, bool) {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let id = format!("chaos-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let head = format!(
            "POST /v1/models/efficientnet-lite0/predict HTTP/1.1\r\nContent-Type: image/png\r\nX-Request-Id: {id}\r\n\
             X-Timeout-Ms: {}\r\n",
            self.deadline.as_millis()
        );
        let sent = Instant::now();
        let answer = timeout(self.deadline + GRACE, connection.ask(&head, &self.body)).await;
        let (outcome, stays) = match answer {
            Err(_) => (Outcome::Silent, false),
            Ok(Err(_)) => (Outcome::Broken, false),
            Ok(Ok(answer)) => (self.judge(&id, &answer), !answer.closes),
        };
        let record = Record {
            web,
            sent,
            ended: Instant::now(),
            outcome,
        };
        (record, stays)
    }

    fn judge(&self, id: &str, answer: &Answer) -> Outcome {
        let wrong = |what: &str| Outcome::Wrong(format!("{what}: {answer:?}"));
        if answer.request_id != id {
            return wrong("the answer is another request's");
        }
        let Ok(body) = serde_json::from_slice::<Value>(&answer.body) else {
            return wrong("the answer is not JSON");
        };
        // With one image, its error is that of the request.
        let code = body["code"]
            .as_str()
            .or_else(|| body["results"][0]["error"]["code"].as_str());
        if let Some(code) = code {
            return Outcome::Refused(code.to_owned());
        }
        let version = body["version"].as_str().unwrap_or_default();
        let label = body["results"][0]["predictions"][0]["label"].as_str();
        let expected = self.labels.iter().find(|(of, _)| *of == "*" || *of == version);
        match (label, expected) {
            (Some(label), Some((_, expected))) if label == expected => Outcome::Right,
            _ => wrong("the answer is wrong"),
        }
    }
}

impl Load {
    /// Makes clients send these requests in turn.
    pub(crate) fn start(balancer: &Balancer, questions: Arc<[Question]>) -> Self {
        let stop = CancellationToken::new();
        let seen = Arc::default();
        let mut clients = JoinSet::new();
        for index in 0..CLIENTS {
            let client = Client {
                index,
                balancer: balancer.clone(),
                questions: Arc::clone(&questions),
                seen: Arc::clone(&seen),
                stop: stop.clone(),
            };
            clients.spawn(client.run());
        }
        Self { stop, clients, seen }
    }

    /// Waits for the pending responses of all clients, and counts the results.
    pub(crate) async fn stop(mut self) -> Counts {
        self.stop.cancel();
        let mut all = Counts::default();
        while let Some(one) = self.clients.join_next().await {
            all.unasked += one.unwrap().unasked;
        }
        all.records = std::mem::take(&mut *self.seen.lock());
        all
    }
}

impl Client {
    async fn run(self) -> Counts {
        let mut counts = Counts::default();
        let mut connected: Option<(SocketAddr, Connection)> = None;
        let mut next = self.index;
        while !self.stop.is_cancelled() {
            let kept = connected.take().filter(|(_, connection)| {
                let between = connection.look();
                counts.unasked += usize::from(between == Between::Talking);
                between == Between::Quiet
            });
            let found = match kept {
                Some(kept) => Some(kept),
                None => self.balancer.connect(self.index).await,
            };
            let Some((web, mut connection)) = found else {
                sleep(LOOK_AGAIN).await;
                continue;
            };
            let question = &self.questions[next % self.questions.len()];
            next += 1;
            let (record, stays) = question.ask(web, &mut connection).await;
            self.seen.lock().push(record);
            if stays {
                connected = Some((web, connection));
            }
            sleep(PAUSE).await;
        }
        // Long enough to notice a second response.
        sleep(PAUSE).await;
        if let Some((_, connection)) = connected {
            counts.unasked += usize::from(connection.look() == Between::Talking);
        }
        counts
    }
}
