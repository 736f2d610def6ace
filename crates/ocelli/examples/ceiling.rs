//! The ceiling that the server is measured against: decode and infer in a plain loop, without HTTP, queue or batch.
//!
//! ```sh
//! cargo run --release -p ocelli --example ceiling -- --instances 2 --threads 1 --seconds 5 photos/*.jpg
//! ```
//!
//! Prints one line of JSON: images a second, and the mean milliseconds of decoding and of inference.

#![expect(clippy::print_stdout, reason = "a command-line tool reports here")]

use std::path::PathBuf;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use clap::Parser;
use ocelli::models::served_model;
use ocelli::models::served_model::ServedModel;
use ocelli_engine::onnxruntime::Search;
use ocelli_engine::{Backend, Engine, EngineOptions, OnnxRuntime, Tensor, TensorData};
use ocelli_vision::{DecodeLimits, Decoder, ImageHeader};

const LIMITS: DecodeLimits = DecodeLimits {
    max_pixels: 50_000_000,
    max_scans: 32,
};
const WARM_UP: usize = 5;

#[derive(Parser)]
struct Arguments {
    /// Loops that run at once, each with an engine instance and a decoder.
    #[arg(long)]
    instances: usize,
    /// Threads of each instance.
    #[arg(long)]
    threads: usize,
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    #[arg(required = true)]
    photos: Vec<PathBuf>,
}

#[derive(Default)]
struct Tally {
    images: u32,
    decode: Duration,
    infer: Duration,
    elapsed: Duration,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let photos: Vec<Bytes> = arguments
        .photos
        .iter()
        .map(|path| Ok(std::fs::read(path)?.into()))
        .collect::<anyhow::Result<_>>()?;
    let photos: Arc<[Bytes]> = photos.into();
    let (model, file) = ServedModel::split(served_model::builtin()?);
    let model = Arc::new(model);
    anyhow::ensure!(
        model.input().is_identity(),
        "this loop hands pixels to the engine as they are"
    );
    let executable = std::env::current_exe()?;
    let explicit = std::env::var_os("OCELLI_ONNXRUNTIME").map(PathBuf::from);
    let search = Search::new(explicit, Some(&executable), |name| std::env::var_os(name));
    let backend = OnnxRuntime::locate(&search)?;
    let start = Arc::new(Barrier::new(arguments.instances));
    let mut loops = Vec::new();
    for index in 0..arguments.instances {
        let engine = backend.load(
            &file.source(),
            &EngineOptions {
                threads: arguments.threads,
            },
        )?;
        let (photos, model, start) = (Arc::clone(&photos), Arc::clone(&model), Arc::clone(&start));
        let limit = Duration::from_secs_f64(arguments.seconds);
        // Each loop begins elsewhere, so that they do not read the same photo at the same time.
        let first = index * photos.len() / arguments.instances;
        loops.push(std::thread::spawn(move || {
            run(engine, &photos, first, &model, &start, limit)
        }));
    }
    let tallies = loops
        .into_iter()
        .map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a loop panicked"))?)
        .collect::<anyhow::Result<Vec<Tally>>>()?;
    let per_second: f64 = tallies
        .iter()
        .map(|tally| f64::from(tally.images) / tally.elapsed.as_secs_f64())
        .sum();
    let images: u32 = tallies.iter().map(|tally| tally.images).sum();
    let mean_ms = |phase: fn(&Tally) -> Duration| {
        tallies
            .iter()
            .map(|tally| phase(tally).as_secs_f64())
            .sum::<f64>()
            * 1e3
            / f64::from(images)
    };
    println!(
        "{}",
        serde_json::json!({
            "instances": arguments.instances,
            "threads": arguments.threads,
            "images_per_s": per_second,
            "decode_ms": mean_ms(|tally| tally.decode),
            "infer_ms": mean_ms(|tally| tally.infer),
        })
    );
    Ok(())
}

fn run(
    mut engine: Box<dyn Engine>,
    photos: &[Bytes],
    first: usize,
    model: &ServedModel,
    start: &Barrier,
    limit: Duration,
) -> anyhow::Result<Tally> {
    let mut decoder = Decoder::new()?;
    let mut tally = Tally::default();
    let mut photos = photos.iter().cycle().skip(first);
    for _ in 0..WARM_UP {
        one(
            engine.as_mut(),
            &mut decoder,
            photos.next().context("no photos")?,
            model,
            &mut tally,
        )?;
    }
    start.wait();
    tally = Tally::default();
    let began = Instant::now();
    while began.elapsed() < limit {
        one(
            engine.as_mut(),
            &mut decoder,
            photos.next().context("no photos")?,
            model,
            &mut tally,
        )?;
    }
    tally.elapsed = began.elapsed();
    Ok(tally)
}

fn one(
    engine: &mut dyn Engine,
    decoder: &mut Decoder,
    photo: &Bytes,
    model: &ServedModel,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let spec = model.input();
    let began = Instant::now();
    let header = ImageHeader::read(photo, &LIMITS)?;
    let pixels = decoder.prepare(photo, &header, spec)?;
    let decoded = Instant::now();
    let shape = [1, spec.height as usize, spec.width as usize, 3];
    let outputs = engine.infer(&[Tensor::new(shape, TensorData::U8(pixels))?])?;
    anyhow::ensure!(
        outputs.first().is_some_and(|scores| scores.batch_len() == 1),
        "one row for one photo"
    );
    tally.images += 1;
    tally.decode += decoded.saturating_duration_since(began);
    tally.infer += decoded.elapsed();
    Ok(())
}
