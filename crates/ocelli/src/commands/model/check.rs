//! `ocelli model check`: prints the input and output of a model, to compare with a notebook.
//!
//! Photos go through one engine, one at a time, by the same functions that the server uses.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use ocelli_engine::{Engine, EngineOptions, Tensor};
use ocelli_vision::auto::{Note, NoteKind};
use ocelli_vision::{Decoder, ImageHeader};

use super::check_report::Report;
use super::{npy, show};
use crate::cli::CheckArgs;
use crate::commands::photos::{self, Source};
use crate::commands::settings;
use crate::executor::{batch, output_check};
use crate::inference::preprocess::{DecodeConfig, survive};
use crate::models::served_model::ServedModel;
use crate::output::params::OutputParams;
use crate::output::postprocess::OutputRequest;
use crate::process::printable::Lines;

/// Maximum photos of `--save-input`, whose tensors stay in memory until all are computed.
const MAX_SAVED: usize = 1000;

pub(super) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let sources = photos::find(&args.photos);
    anyhow::ensure!(
        args.save_input.is_none() || sources.len() <= MAX_SAVED,
        "--save-input supports at most {MAX_SAVED} photos, but there are {}",
        sources.len()
    );
    if !sources.is_empty() && sources.iter().all(|source| source.problem().is_some()) {
        print_problems(&sources, args.json)?;
        return Ok(ExitCode::FAILURE);
    }
    let opened = settings::open(Some(&args.spec), &args.hints)?;
    if !args.json {
        Lines(io::stdout()).write_all(show::as_text(&opened).as_bytes())?;
    }
    let backend = settings::backend(&args.engine, Some(&opened.package))?;
    let (model, file) = ServedModel::split(opened.package);
    let options = EngineOptions {
        threads: args
            .engine
            .threads_per_instance
            .map_or_else(settings::cores, Into::into),
    };
    let blamed = |error| file.blamed(error);
    let mut engine = backend.load(&file.source(), &options).map_err(blamed)?;
    let checked = output_check::check(&model, engine.as_mut()).map_err(blamed)?;
    let warnings: Vec<String> = checked.twice.iter().map(ToString::to_string).collect();
    if !args.json {
        print_warnings(&warnings)?;
    }
    let want = OutputParams::default().by_task(&model)?;
    let mut check = Check {
        decode: settings::decode(&args.image),
        decoder: Decoder::new()?,
        model,
        engine,
        want,
    };
    let (mut inputs, mut failed) = (Vec::new(), false);
    let mut printed = Ok(());
    for source in sources {
        let name = source.name();
        match check.photo(&source) {
            Ok((input, report)) => {
                printed = printed.and_then(|()| print(&report, &name, args.json.then_some(&warnings)));
                inputs.extend(args.save_input.is_some().then_some(input));
            }
            Err(error) => {
                failed = true;
                printed = printed.and_then(|()| print_failure(&name, &error, args.json));
            }
        }
        // A closed pipe must not prevent --save-input.
        if printed.is_err() && args.save_input.is_none() {
            break;
        }
    }
    if let Some(path) = &args.save_input {
        save(path, &inputs)?;
    }
    printed?;
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn print_problems(sources: &[Source], json: bool) -> anyhow::Result<()> {
    for source in sources {
        let problem = anyhow::Error::msg(source.problem().unwrap_or_default());
        print_failure(&source.name(), &problem, json)?;
    }
    Ok(())
}

struct Check {
    decode: DecodeConfig,
    decoder: Decoder,
    model: ServedModel,
    engine: Box<dyn Engine>,
    want: OutputRequest,
}

impl Check {
    /// The input tensor of a photo, and its report.
    fn photo(&mut self, source: &Source) -> anyhow::Result<(Tensor, Report)> {
        let bytes = source.read().map_err(anyhow::Error::msg)?;
        let spec = self.model.input();
        let pixels = survive(|| {
            let header = ImageHeader::read(&bytes, &self.decode.image)?;
            self.decode.charge(&bytes, &header, spec)?;
            Ok(self.decoder.prepare(&bytes, &header, spec)?)
        })?;
        let input = batch::input(spec, &[&pixels], None)?;
        let outputs = self.engine.infer(std::slice::from_ref(&input))?;
        let output = outputs
            .get(self.want.output)
            .context("the model returned no such output")?;
        let result = self.want.outcome(&self.model, output)?;
        let report = Report::new(&self.model, &self.want, &input, output, &result);
        Ok((input, report))
    }
}

/// Prints the warnings about the model.
fn print_warnings(warnings: &[String]) -> io::Result<()> {
    let mut out = Lines(io::stdout().lock());
    warnings.iter().try_for_each(|text| {
        let note = Note {
            kind: NoteKind::Warning,
            text: text.clone(),
        };
        writeln!(out, "  - {note}")
    })
}

/// Prints JSON with the model's `warnings`, or text if there are none to include.
fn print(report: &Report, name: &str, warnings: Option<&Vec<String>>) -> io::Result<()> {
    let mut out = Lines(io::stdout().lock());
    match warnings {
        Some(warnings) => {
            let mut line = report.json(name);
            line["warnings"] = warnings.as_slice().into();
            writeln!(out, "{line}")
        }
        None => write!(out, "\n{name}\n{report}"),
    }
}

fn print_failure(name: &str, error: &anyhow::Error, json: bool) -> io::Result<()> {
    let mut out = Lines(io::stdout().lock());
    if json {
        let line = serde_json::json!({"file": name, "error": format!("{error:#}")});
        writeln!(out, "{line}")
    } else {
        writeln!(out, "\n{name}\n  error    {error:#}")
    }
}

fn save(path: &Path, inputs: &[Tensor]) -> anyhow::Result<()> {
    let failed = || format!("cannot write --save-input {}", path.display());
    let mut file = BufWriter::new(File::create(path).with_context(failed)?);
    npy::write(&mut file, inputs).with_context(failed)
}
