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

/// The hub. Its tasks end with it.
pub(crate) struct Hub {
    endpoint: String,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

/// What goes wrong.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// Bodies of large files end after so many bytes.
    pub(crate) cut_after: Option<usize>,
    /// They stop after so many bytes and stay open.
    pub(crate) stall_after: Option<usize>,
    /// One of their bytes is another one.
    pub(crate) wrong_byte: bool,
    /// They come from the beginning, whatever was asked for.
    pub(crate) no_ranges: bool,
    /// Lists name this file, too.
    pub(crate) listed: Option<&'static str>,
    /// Lists say that this file has so many bytes.
    pub(crate) sized: Option<(&'static str, u64)>,
    /// Lists do not say sizes and hashes, as those of some mirrors.
    pub(crate) bare_lists: bool,
    /// Everything is refused with this status and this code.
    pub(crate) refusal: Option<(u16, &'static str)>,
    /// The same, but only files are.
    pub(crate) file_refusal: Option<(u16, &'static str)>,
    /// Everything is a web page.
    pub(crate) web_page: bool,
    /// Every answer leads to another address of the hub.
    pub(crate) endless: bool,
    /// Large files are sent to this address instead.
    pub(crate) elsewhere: Option<String>,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Whether it came to the server of large files.
    pub(crate) of_cdn: bool,
    pub(crate) method: String,
    /// With its query.
    pub(crate) target: String,
    pub(crate) authorization: Option<String>,
    pub(crate) range: Option<String>,
}

struct Shared {
    cdn: String,
    state: Mutex<State>,
    /// Counts up when bodies that stall may go on.
    resumed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    repositories: BTreeMap<String, Repository>,
    faults: Faults,
    asked: Vec<Asked>,
}

/// Files by name, for each commit, and the commit that each branch stands for.
#[derive(Clone, Default)]
struct Repository {
    branches: BTreeMap<String, String>,
    commits: BTreeMap<String, BTreeMap<String, Bytes>>,
}

impl Hub {
    /// A hub without repositories and without faults.
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

    /// What to set `HF_ENDPOINT` to.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Makes a commit that is all of these files, on branch `main`, and gives its hash.
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

    /// Changes what goes wrong.
    pub(crate) fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.shared.state.lock().unwrap().faults);
    }

    /// Lets stalled bodies go on.
    pub(crate) fn resume(&self) {
        self.faults(|faults| faults.stall_after = None);
        self.shared.resumed.send_modify(|count| *count += 1);
    }

    /// What was asked since this was last called.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.shared.state.lock().unwrap().asked)
    }

    /// How many requests have come since [`Hub::asked`] was last called.
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
            // Who does not trust the certificate leaves.
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
    // A client that leaves is no failure here.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}

/// What Git calls a file of these bytes, which is also how small files are named on the hub.
pub(crate) fn git_blob(bytes: &[u8]) -> String {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(format!("blob {}\0", bytes.len()).as_bytes());
    context.update(bytes);
    hexadecimal(context.finish().as_ref())
}

/// How large files are named on the hub.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hexadecimal(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
