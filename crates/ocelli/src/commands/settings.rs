//! Options translated into the configurations of the parts.

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

/// The model to serve. What was decided is logged, and what was guessed is a warning.
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

/// The model at `spec`, with what its files do not say.
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

/// A variable of the environment; an empty one is not set, as for options.
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// Where models of the hub come from and are kept.
pub(super) fn hub() -> Result<HubConfig, HubError> {
    HubConfig::from_env(variable)
}

/// What is served: the repository's models where there is one, and the model that is named or built in.
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
        "--preset, --labels, --interpolation, --antialias, --channels, --model-output and --task say what the files of --model do not; for a model of \
         --model-dir write a model.toml (`ocelli model init` begins one)"
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

/// The repository, and what is loaded of it.
fn selection(args: &RepositoryArgs) -> anyhow::Result<Option<(&PathBuf, Selection)>> {
    let (admin, named) = (args.admin_listen.is_some(), !args.load_model.is_empty());
    let selection = match args.model_control {
        ModelControl::Explicit => {
            anyhow::ensure!(
                args.model_dir.is_some(),
                "--model-control explicit needs a folder of models to load from: --model-dir DIR"
            );
            anyhow::ensure!(
                admin,
                "--model-control explicit needs an address of its own at which models are loaded and unloaded, such as \
                 --admin-listen 127.0.0.1:5002; clients should not reach it"
            );
            Selection::Named(args.load_model.clone())
        }
        ModelControl::Auto => {
            anyhow::ensure!(
                !admin && !named,
                "--admin-listen and --load-model need --model-control explicit; without it all models of --model-dir are \
                 loaded, and SIGHUP looks at the folder again"
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

/// The engine; a fake one that is to answer as `package` does where nothing is known of classes.
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
            tracing::warn!("--engine fake makes its answers up");
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
        "--receiving-bytes {} has no room for a body of --max-body {}; raise it, or lower --max-body",
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

/// Calls webhooks, where there are hosts that may be called; the command line sees to it that there is a key then.
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
    let secret = fs::read(path).with_context(|| format!("{}: it cannot be read", option()))?;
    let secret = secret.trim_ascii();
    anyhow::ensure!(
        secret.len() >= SHORTEST,
        "{}: it holds {} bytes; put at least {SHORTEST} random ones there, as openssl rand -hex 32 makes them",
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

/// Where Redis is, with the certificates that it is to be trusted by.
pub(super) fn redis(args: &RedisArgs) -> anyhow::Result<RedisUrl> {
    let authorities = args
        .authorities
        .as_ref()
        .map(|path| tls::pem_of(path).context("--redis-ca"))
        .transpose()?;
    Ok(RedisUrl::parse(&args.url, authorities)?)
}

/// What no other process is called: what it is, where it runs, and something random, for a process that is started again
/// must not be taken for the one that it replaces.
pub(super) fn process_name(role: &str) -> String {
    let host = uname().nodename().to_string_lossy().into_owned();
    format!("{role}-{host}-{}-{:08x}", process::id(), fastrand::u32(..))
}

pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(web_threads())
        .enable_all()
        .build()
        .context("the asynchronous runtime could not be started")
}

/// Threads that speak HTTP. They take about a twentieth of the time that the photos take, and every thread more makes
/// the runtime hand work about: a refusal was measured to cost a third more with two.
fn web_threads() -> usize {
    (cores() / 4).max(1)
}
