//! A server that answers like the Hugging Face hub, as badly as a test likes: the hub itself on one port, and on another
//! the one that it sends its callers to for large files.

mod answers;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ring::digest;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A test hub. Its tasks end with it.
pub(crate) struct Hub {
    endpoint: String,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

/// Faults of the hub.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// Bodies of large files end after this many bytes.
    pub(crate) cut_after: Option<usize>,
    /// Bodies of large files stall after this many bytes.
    pub(crate) stall_after: Option<usize>,
    /// One byte of large files is wrong.
    pub(crate) wrong_byte: bool,
    /// Large files always start at the first byte, ignoring ranges.
    pub(crate) no_ranges: bool,
    /// Lists contain this additional file.
    pub(crate) listed: Option<&'static str>,
    /// Lists declare this size of a file.
    pub(crate) sized: Option<(&'static str, u64)>,
    /// Lists have no sizes and hashes, like those of some mirrors.
    pub(crate) bare_lists: bool,
    /// All requests are refused with this status and code.
    pub(crate) refusal: Option<(u16, &'static str)>,
    /// Only requests for files are refused.
    pub(crate) file_refusal: Option<(u16, &'static str)>,
    /// All responses are a web page.
    pub(crate) web_page: bool,
    /// All responses redirect to another path of the hub.
    pub(crate) endless: bool,
    /// Large files are redirected to this address.
    pub(crate) elsewhere: Option<String>,
}

/// A received request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Whether the server of large files received it.
    pub(crate) of_cdn: bool,
    pub(crate) method: String,
    /// Includes the query.
    pub(crate) target: String,
    pub(crate) authorization: Option<String>,
    pub(crate) range: Option<String>,
}

struct Shared {
    cdn: String,
    state: Mutex<State>,
    /// Increases when stalled bodies may continue.
    resumed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    repositories: BTreeMap<String, Repository>,
    faults: Faults,
    asked: Vec<Asked>,
}

/// The files of each commit, and the commit of each branch.
#[derive(Clone, Default)]
struct Repository {
    branches: BTreeMap<String, String>,
    commits: BTreeMap<String, BTreeMap<String, Bytes>>,
}

impl Hub {
    /// A hub without repositories or faults.
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    /// The same, with TLS on both ports.
    pub(crate) async fn start_with(tls: Option<TlsAcceptor>) -> Self {
        let hub = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let cdn = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = hub.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared {
            cdn: format!("{scheme}://{}", cdn.local_addr().unwrap()),
            state: Mutex::default(),
            resumed: watch::Sender::new(0),
        });
        let tasks = vec![
            tokio::spawn(accept(hub, Arc::clone(&shared), tls.clone(), false)),
            tokio::spawn(accept(cdn, Arc::clone(&shared), tls, true)),
        ];
        Self {
            endpoint: format!("{scheme}://{address}"),
            shared,
            tasks,
        }
    }

    /// The value of `HF_ENDPOINT`.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Creates a commit of these files on branch `main`; returns its hash.
    pub(crate) fn commit<'a>(
        &self,
        repository: &str,
        files: impl IntoIterator<Item = (&'a str, Bytes)>,
    ) -> String {
        let files: BTreeMap<String, Bytes> = files
            .into_iter()
            .map(|(name, bytes)| (name.to_owned(), bytes))
            .collect();
        let names: Vec<String> = files
            .iter()
            .map(|(name, bytes)| format!("{name} {}", git_blob(bytes)))
            .collect();
        let commit = git_blob(names.join("\n").as_bytes());
        let mut state = self.shared.state.lock().unwrap();
        let repository = state.repositories.entry(repository.to_owned()).or_default();
        repository.commits.insert(commit.clone(), files);
        repository.branches.insert("main".to_owned(), commit.clone());
        commit
    }

    /// Sets the faults.
    pub(crate) fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.shared.state.lock().unwrap().faults);
    }

    /// Continues stalled bodies.
    pub(crate) fn resume(&self) {
        self.faults(|faults| faults.stall_after = None);
        self.shared.resumed.send_modify(|count| *count += 1);
    }

    /// The requests since the last call.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.shared.state.lock().unwrap().asked)
    }

    /// Number of requests since the last call of [`Hub::asked`].
    pub(crate) fn count(&self) -> usize {
        self.shared.state.lock().unwrap().asked.len()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, tls: Option<TlsAcceptor>, of_cdn: bool) {
    while let Ok((stream, _)) = listener.accept().await {
        let (shared, tls) = (Arc::clone(&shared), tls.clone());
        tokio::spawn(async move {
            let Some(tls) = tls else {
                return serve(stream, shared, of_cdn).await;
            };
            // A client that does not trust the certificate disconnects.
            if let Ok(stream) = tls.accept(stream).await {
                serve(stream, shared, of_cdn).await;
            }
        });
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    shared: Arc<Shared>,
    of_cdn: bool,
) {
    let answer = service_fn(|request| {
        let answer = answers::answer(&shared, of_cdn, &request);
        async { Ok::<_, Infallible>(answer) }
    });
    // A client may disconnect.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}

/// The Git hash of these bytes, which is the name of a small file on the hub.
pub(crate) fn git_blob(bytes: &[u8]) -> String {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(format!("blob {}\0", bytes.len()).as_bytes());
    context.update(bytes);
    hexadecimal(context.finish().as_ref())
}

/// The name of a large file on the hub.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hexadecimal(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
