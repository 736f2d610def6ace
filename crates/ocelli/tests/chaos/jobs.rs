//! Asynchronous jobs beside the load: submitted once, and polled until they have ended.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::{self, Connection};
use crate::photos;
use crate::processes::pause;

/// Maximum time of one response.
const ASK: Duration = Duration::from_secs(5);

/// An accepted job.
pub(crate) struct Job {
    path: String,
    labels: Vec<String>,
}

impl Job {
    /// Has a job with one part for each of these greys accepted. It has `deadline` to be computed.
    pub(crate) async fn submit(web: SocketAddr, greys: impl Iterator<Item = u8>, deadline: Duration) -> Self {
        let mut body = Vec::new();
        let mut labels = Vec::new();
        for grey in greys {
            let photo = photos::grey(grey);
            labels.push(photo.label().to_owned());
            body.extend(
                b"--part\r\nContent-Disposition: form-data; name=\"image\"; filename=\"grey.png\"\r\n\r\n",
            );
            body.extend(&photo.bytes[..]);
            body.extend(b"\r\n");
        }
        body.extend(b"--part--\r\n");
        let head = format!(
            "POST /v1/jobs HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=part\r\nX-Priority: low\r\n\
             X-Timeout-Ms: {}\r\n",
            deadline.as_millis()
        );
        let mut connection = Connection::open(web).await.unwrap();
        let answer = connection.ask(&head, &body).await.unwrap();
        assert_eq!(answer.status, 202, "{answer:?}");
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        let path = format!("/v1/jobs/{}", body["id"].as_str().unwrap());
        Self { path, labels }
    }

    pub(crate) fn parts(&self) -> usize {
        self.labels.len()
    }

    /// Waits until the job has ended, at most until `latest`, and counts the parts with the right answer.
    pub(crate) async fn answered(&self, web: SocketAddr, latest: Instant) -> usize {
        loop {
            let answer = client::get(web, &self.path, ASK).await;
            let body = answer
                .ok()
                .and_then(|answer| serde_json::from_slice::<Value>(&answer.body).ok());
            let body = body.unwrap_or_default();
            if ["done", "failed"].iter().any(|state| body["state"] == *state) || Instant::now() > latest {
                let right = |(part, label): &(usize, &String)| {
                    body["results"][*part]["predictions"][0]["label"] == **label
                };
                return self.labels.iter().enumerate().filter(right).count();
            }
            pause(0.2).await;
        }
    }
}
