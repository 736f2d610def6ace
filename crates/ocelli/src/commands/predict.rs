//! `ocelli predict`: the path of an image through a server, without the server.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::photos::{self, Source};
use super::predict_output::{PhotoResult, heading, render};
use super::settings;
use crate::cli::{OutputFormat, PredictArgs};
use crate::inference;
use crate::inference::json_output::labelled;
use crate::inference::{Deadline, Infer, Needed, WithoutWorker};
use crate::models::admission::{AdmissionLimits, Load};
use crate::models::priority::Priority;
use crate::models::served_model::ServedModel;
use crate::output::params::OutputParams;
use crate::output::postprocess::{Output, OutputRequest};
use crate::process::printable::ReaderGone;
use crate::process::progress::{Bar, TICK, aside};
use crate::queue::Envelope;
use crate::server::{Pipeline, PipelineConfig};

/// Nothing else runs here, so every photo may use the whole queue.
const PRIORITY: Priority = Priority::High;

/// Photos per core that are read and computed ahead of the next one to print.
const AHEAD_PER_CORE: usize = 8;

/// Deadline of a photo. No client waits, so it only ends a photo that hangs.
const DEADLINE: Duration = Duration::from_secs(600);

pub(super) fn run(args: &PredictArgs) -> anyhow::Result<ExitCode> {
    let sources = photos::find(&args.photos);
    // These errors need no model, which takes a while to load.
    if sources.iter().all(|source| source.problem().is_some()) {
        return refuse(&sources, args.format);
    }
    let package = settings::package(&args.model.source)?;
    let backend = settings::backend(&args.model.engine, Some(&package))?;
    let ahead = settings::cores() * AHEAD_PER_CORE;
    let config = PipelineConfig {
        cores: settings::cores(),
        admission: AdmissionLimits {
            jobs: ahead,
            bytes: u64::MAX,
        },
        decode: settings::decode(&args.image),
        worker: settings::worker(&args.model.engine),
    };
    let pipeline = Pipeline::new(&config, backend, package);
    let model = pipeline.infer.catalog.find(None)?;
    let params = OutputParams {
        output: args.output.clone(),
        top_k: args.top_k.clone(),
        threshold: args.threshold.clone(),
        normalize: None,
    };
    let want = params.by_task(&model)?;
    let runtime = settings::runtime()?;
    let ended = runtime.block_on(async {
        let running = pipeline.start().await?;
        let task = Task {
            infer: running.infer().clone(),
            model,
            want,
        };
        let failed = print_all(&task, sources, ahead, args.format).await;
        running.stop().await;
        Ok(if failed? == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    });
    // Reading a file may take forever, such as a pipe. It is not waited for when the reader of the answers has gone.
    runtime.shutdown_background();
    ended
}

/// Prints why each source cannot be read.
fn refuse(sources: &[Source], format: OutputFormat) -> anyhow::Result<ExitCode> {
    let texts = sources.iter().map(|source| {
        let problem = source.problem().unwrap_or_default();
        render(format, &source.name(), &PhotoResult::Failure(&problem))
    });
    let text = heading(format).to_owned() + &texts.collect::<String>();
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(ReaderGone::mark)?;
    Ok(ExitCode::FAILURE)
}

struct Task {
    infer: Infer,
    model: Arc<ServedModel>,
    want: OutputRequest,
}

impl Task {
    /// The text to print for one photo, and whether it succeeded.
    async fn describe(&self, source: Source, format: OutputFormat) -> (String, bool) {
        let name = source.name();
        match self.compute(source).await {
            Ok(Output::Classes(predictions)) => {
                let labels = self.model.labels_of(self.want.output);
                (
                    render(
                        format,
                        &name,
                        &PhotoResult::Classes(&labelled(labels, &predictions)),
                    ),
                    true,
                )
            }
            Ok(Output::Vector(vector)) => (render(format, &name, &PhotoResult::Vector(&vector)), true),
            Err(error) => (render(format, &name, &PhotoResult::Failure(&error)), false),
        }
    }

    async fn compute(&self, source: Source) -> Result<Output, String> {
        let bytes = spawn_blocking(move || source.read())
            .await
            .map_err(|error| error.to_string())??;
        let deadline = Deadline::new(Instant::now(), DEADLINE);
        let needed = Needed {
            load: Load {
                jobs: 1,
                bytes: bytes.len() as u64,
            },
            priority: PRIORITY,
            without_worker: WithoutWorker::Refuse,
            deadline,
        };
        let permit = self
            .infer
            .admit(&self.model, needed)
            .map_err(|error| error.detail())?;
        let request = inference::Request {
            envelope: Envelope {
                request_id: "".into(),
                model: Arc::clone(&self.model),
                priority: PRIORITY,
                deadline,
            },
            want: self.want.clone(),
            permit: Arc::new(permit),
            receive: Duration::ZERO,
        };
        let result = self.infer.run(&request, vec![bytes]).await.pop();
        let scored = result.ok_or("no result")?.map_err(|error| error.detail())?;
        Ok(scored.outcome)
    }
}

/// Prints every source in order and returns how many failed. When printing fails, no more is computed.
async fn print_all(
    task: &Task,
    sources: Vec<Source>,
    ahead: usize,
    format: OutputFormat,
) -> io::Result<usize> {
    let mut bar = Bar::new(sources.len() as u64, "{wide_bar} {pos}/{len} photos{rate}{left}");
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut texts = std::pin::pin!(
        stream::iter(sources)
            .map(|source| task.describe(source, format))
            .buffered(ahead)
    );
    let (mut printed, mut failed) = (0, 0);
    print(heading(format))?;
    loop {
        tokio::select! {
            text = texts.next() => {
                let Some((text, succeeded)) = text else { return Ok(failed) };
                failed += usize::from(!succeeded);
                print(&text)?;
                printed += 1;
                bar.at(printed);
            }
            _ = ticks.tick() => bar.tick(),
        }
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout();
    let write = |out: &mut io::Stdout| out.write_all(text.as_bytes()).map_err(ReaderGone::mark);
    if out.is_terminal() {
        aside(|| write(&mut out))
    } else {
        write(&mut out)
    }
}
