//! Translates options into the configuration of each part.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;
use std::{env, fs, process};

use anyhow::Context as _;
use ocelli_engine::fake::FakeFailure;
use ocelli_engine::onnxruntime::Search;
use ocelli_engine::{Backend, Fake, FakeCost, OnnxRuntime};
use ocelli_vision::auto::{Hints, NoteKind};
use ocelli_vision::{DecodeLimits, ModelPackage};
use rustix::system::uname;

use crate::async_jobs::{CallLimits, JobsConfig, Secret, Sender, WebhookConfig};
use crate::cli::{
    ConnectionArgs, DrainArgs, EngineArgs, EngineKind, HintArgs, ImageArgs, JobArgs, LimitArgs, ModelControl,
    NameArgs, RedisArgs, RepositoryArgs, SourceArgs,
};
use crate::executor::WorkerConfig;
use crate::http::{ConnectionConfig, HttpConfig, ReceivingLimits, SendingLimits};
use crate::hub::{HubConfig, HubError};
use crate::inference::preprocess::DecodeConfig;
use crate::model_manager::{ModelSet, RepositoryConfig, Selection};
use crate::models::admission::AdmissionLimits;
use crate::models::catalog::{ModelRef, Names};
use crate::models::source;
use crate::models::source::{OpenError, Opened};
use crate::process::tls;
use crate::queue::job::StoredSize;
use crate::queue::redis::RedisUrl;
use crate::server::DrainTimes;

pub(super) fn cores() -> usize {
    available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Opens the model to serve and logs how it was interpreted. Guesses are warnings.
pub(super) fn package(args: &SourceArgs) -> anyhow::Result<ModelPackage> {
    let opened = open(args.model.as_deref(), &args.hints)?;
    let name = &opened.package.card.manifest.name;
    for note in &opened.notes {
        match note.kind {
            NoteKind::Read => tracing::info!(model = name, "{note}"),
            NoteKind::Guess | NoteKind::Warning => tracing::warn!(model = name, "{note}"),
        }
    }
    Ok(opened.package)
}

/// Opens the model at `spec`; `hints` supply what its files lack.
pub(super) fn open(spec: Option<&str>, hints: &HintArgs) -> Result<Opened, OpenError> {
    let hints = Hints {
        preset: hints.preset,
        labels: hints.labels.clone(),
        interpolation: hints.interpolation.map(Into::into),
        antialias: hints.antialias.map(Into::into),
        channels: hints.channels.map(Into::into),
        output: hints.model_output.clone(),
        task: hints.task.map(Into::into),
        ..Hints::default()
    };
    source::open(spec, hints, hub)
}

/// An environment variable; an empty one counts as unset, as for options.
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

pub(super) fn hub() -> Result<HubConfig, HubError> {
    HubConfig::from_env(variable)
}

/// The models to serve: those of `--model-dir`, and that of `--model`. Without either, the built-in model.
pub(super) fn models(
    source: &SourceArgs,
    repository: &RepositoryArgs,
    unload_within: Duration,
) -> anyhow::Result<ModelSet> {
    let alone = repository.model_dir.is_none();
    let hints = &source.hints;
    let hinted = hints.preset.is_some()
        || hints.labels.is_some()
        || hints.interpolation.is_some()
        || hints.antialias.is_some()
        || hints.channels.is_some()
        || hints.model_output.is_some()
        || hints.task.is_some();
    anyhow::ensure!(
        alone || source.model.is_some() || !hinted,
        "--preset, --labels, --interpolation, --antialias, --channels, --model-output and --task apply only to --model; for \
         models of --model-dir, write a model.toml (`ocelli model init` creates one)"
    );
    let given = (alone || source.model.is_some()).then(|| package(source));
    Ok(ModelSet {
        given: given.transpose()?.into_iter().collect(),
        repository: selection(repository)?.map(|(dir, selection)| RepositoryConfig {
            dir: dir.clone(),
            selection,
            unload_within,
        }),
        names: Names::default(),
    })
}

/// The model folder, and which of its models to load.
fn selection(args: &RepositoryArgs) -> anyhow::Result<Option<(&PathBuf, Selection)>> {
    let (admin, named) = (args.admin_listen.is_some(), !args.load_model.is_empty());
    let selection = match args.model_control {
        ModelControl::Explicit => {
            anyhow::ensure!(
                args.model_dir.is_some(),
                "--model-control explicit needs a folder of models; add --model-dir DIR"
            );
            anyhow::ensure!(
                admin,
                "--model-control explicit needs an address for loading and unloading models; add --admin-listen \
                 127.0.0.1:5002 or another address that clients cannot reach"
            );
            Selection::Named(args.load_model.clone())
        }
        ModelControl::Auto => {
            anyhow::ensure!(
                !admin && !named,
                "--admin-listen and --load-model need --model-control explicit; without it, all models of --model-dir are \
                 loaded, and SIGHUP rereads the folder"
            );
            Selection::All
        }
    };
    Ok(args.model_dir.as_ref().map(|dir| (dir, selection)))
}

pub(super) fn names(args: &NameArgs) -> Names {
    let aliases = args.alias.iter().cloned();
    Names {
        default: args.default_model.clone(),
        aliases: aliases
            .map(|(name, model)| (name, ModelRef::parse(&model)))
            .collect(),
    }
}

/// The engine. A fake one returns as many classes as `package` has labels.
pub(super) fn backend(args: &EngineArgs, package: Option<&ModelPackage>) -> anyhow::Result<Arc<dyn Backend>> {
    match args.engine {
        EngineKind::Onnxruntime => {
            let executable = env::current_exe().ok();
            let search = Search::new(args.onnxruntime.clone(), executable.as_deref(), variable);
            Ok(Arc::new(OnnxRuntime::locate(&search)?))
        }
        EngineKind::Fake => {
            let cost = FakeCost {
                fixed: args.fake_batch_time,
                per_item: args.fake_image_time,
            };
            tracing::warn!("--engine fake returns made-up results");
            let mut fake = Fake::new(cost);
            if let Some(labels) = package.and_then(|package| package.card.labels.first()) {
                fake = fake.with_classes(labels.len());
            }
            let failures = [
                (args.fake_crash_on, FakeFailure::Abort),
                (args.fake_hang_on, FakeFailure::Hang),
                (args.fake_panic_on, FakeFailure::Panic),
            ];
            for (byte, failure) in failures {
                byte.into_iter()
                    .for_each(|byte| fake.control().fail_rows_with([byte], failure));
            }
            Ok(Arc::new(fake))
        }
    }
}

pub(super) fn worker(args: &EngineArgs) -> WorkerConfig {
    WorkerConfig {
        instances: args.instances.map(NonZeroUsize::get),
        threads_per_instance: args.threads_per_instance.map(NonZeroUsize::get),
        max_batch: args.max_batch,
        max_delay: args.max_delay,
    }
}

pub(super) fn decode(args: &ImageArgs) -> DecodeConfig {
    DecodeConfig {
        image: DecodeLimits {
            max_pixels: args.max_pixels,
            max_scans: args.max_scans,
        },
        pixel_bytes: args.max_decoding_bytes.as_u64(),
    }
}

pub(super) fn admission(args: &LimitArgs) -> AdmissionLimits {
    AdmissionLimits {
        jobs: args.queue_jobs.get(),
        bytes: args.queue_bytes.as_u64(),
    }
}

pub(super) fn http(args: &LimitArgs) -> anyhow::Result<HttpConfig> {
    anyhow::ensure!(
        args.receiving_bytes >= args.max_body,
        "--receiving-bytes {} is smaller than --max-body {}; raise it, or lower --max-body",
        args.receiving_bytes,
        args.max_body
    );
    Ok(HttpConfig {
        max_body: args.max_body.as_u64(),
        max_images: args.max_images.get(),
        deadline: args.deadline,
        max_deadline: args.max_deadline,
        receiving: ReceivingLimits {
            requests: args.max_receiving.get(),
            bytes: args.receiving_bytes.as_u64(),
            timeout: args.body_timeout,
            min_rate: args.min_body_rate.as_u64(),
            grace: ReceivingLimits::GRACE,
        },
    })
}

pub(super) fn connections(args: &ConnectionArgs) -> ConnectionConfig {
    ConnectionConfig {
        header_timeout: args.header_timeout,
        idle_timeout: args.idle_timeout,
        max_connections: args.max_connections.get(),
        sending: SendingLimits {
            timeout: args.response_timeout,
            bytes: args.response_bytes.as_u64(),
        },
        access_log: args.access_log,
    }
}

pub(super) fn drain(args: &DrainArgs) -> DrainTimes {
    DrainTimes {
        delay: args.drain_delay,
        timeout: args.drain_timeout,
    }
}

pub(super) fn jobs(args: &JobArgs) -> anyhow::Result<JobsConfig> {
    Ok(JobsConfig {
        deadline: args.job_deadline,
        ttl: args.job_ttl,
        limit: StoredSize {
            images: args.max_job_images.get(),
            bytes: args.max_job_bytes.as_u64(),
        },
        webhooks: webhooks(args)?,
    })
}

/// The sender of webhooks, if any host is allowed; the command line then requires a key.
fn webhooks(args: &JobArgs) -> anyhow::Result<Option<Sender>> {
    /// A shorter key could be guessed from a signature.
    const SHORTEST: usize = 16;
    let Some(path) = args
        .webhook_secret_file
        .as_ref()
        .filter(|_| !args.webhook_hosts.is_empty())
    else {
        return Ok(None);
    };
    let option = || format!("--webhook-secret-file {}", path.display());
    let secret = fs::read(path).with_context(|| format!("cannot read {}", option()))?;
    let secret = secret.trim_ascii();
    anyhow::ensure!(
        secret.len() >= SHORTEST,
        "{}: the key has {} bytes, but needs at least {SHORTEST}; create one with openssl rand -hex 32",
        option(),
        secret.len()
    );
    let config = WebhookConfig {
        hosts: args.webhook_hosts.clone(),
        allow_private: args.webhook_allow_private,
        secret: Secret::new(secret),
        calls: CallLimits {
            total: args.max_webhook_calls.get(),
            per_receiver: args.max_webhook_calls_per_host.get(),
        },
    };
    Ok(Some(Sender::new(config)?))
}

/// The Redis server, with the CA certificates to trust.
pub(super) fn redis(args: &RedisArgs) -> anyhow::Result<RedisUrl> {
    let authorities = args
        .authorities
        .as_ref()
        .map(|path| tls::pem_of(path).context("--redis-ca"))
        .transpose()?;
    Ok(RedisUrl::parse(&args.url, authorities)?)
}

/// A unique name: role, host, process id and a random number, because a restarted process must not be mistaken for the
/// one that it replaces.
pub(super) fn process_name(role: &str) -> String {
    let host = uname().nodename().to_string_lossy().into_owned();
    format!("{role}-{host}-{}-{:08x}", process::id(), fastrand::u32(..))
}

pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(web_threads())
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")
}

/// Threads for HTTP, which takes about a twentieth of the time of the photos. Every further thread makes the runtime
/// move work between threads: with two, a refusal was measured to cost a third more.
fn web_threads() -> usize {
    (cores() / 4).max(1)
}
