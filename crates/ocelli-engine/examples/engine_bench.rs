//! Times `infer` in a plain loop, without a server: the ceiling that `make bench` measures against.
//!
//! ```sh
//! cargo run --release -p ocelli-engine --example engine_bench -- --model models/efficientnet-lite0/model.onnx \
//!     --threads 1 --instances 2 --batch 8 --seconds 5
//! ```

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool reports here"
)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

use ocelli_engine::onnxruntime::Search;
use ocelli_engine::{
    Backend, ElementType, Engine, EngineError, EngineOptions, ModelSource, OnnxRuntime, Signature, Tensor,
    TensorData, TensorSpec,
};

type Failure = Box<dyn std::error::Error + Send + Sync>;

struct Arguments {
    model: PathBuf,
    threads: usize,
    instances: usize,
    batch: usize,
    seconds: f64,
    input: TensorSpec,
    output: TensorSpec,
    json: bool,
}

struct Report {
    images_per_second: f64,
    load: Duration,
    resident_loaded_mib: f64,
    resident_after_mib: f64,
}

fn main() -> ExitCode {
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("engine_bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<(), Failure> {
    let arguments = parse(std::env::args().skip(1))?;
    let executable = std::env::current_exe()?;
    let explicit = std::env::var_os("OCELLI_ONNXRUNTIME").map(PathBuf::from);
    let backend = OnnxRuntime::locate(&Search::new(explicit, Some(&executable), |name| {
        std::env::var_os(name)
    }))?;
    let report = run(&backend, &arguments)?;
    let Arguments {
        threads,
        instances,
        batch,
        ..
    } = arguments;
    let Report {
        images_per_second,
        load,
        resident_loaded_mib,
        resident_after_mib,
    } = report;
    let load_ms = load.as_secs_f64() * 1e3;
    let version = backend.version();
    if arguments.json {
        println!(
            "{{\"engine\":\"{}\",\"version\":\"{version}\",\"threads\":{threads},\"instances\":{instances},\
             \"batch\":{batch},\"images_per_second\":{images_per_second:.1},\"load_ms\":{load_ms:.1},\
             \"resident_loaded_mib\":{resident_loaded_mib:.1},\"resident_after_mib\":{resident_after_mib:.1}}}",
            backend.name()
        );
    } else {
        println!(
            "{} {version}, {instances} x {threads} threads, batch {batch}: {images_per_second:.1} images/s; loaded in \
             {load_ms:.0} ms; {resident_loaded_mib:.0} MiB resident once loaded, {resident_after_mib:.0} MiB after",
            backend.name()
        );
    }
    Ok(())
}

fn run(backend: &OnnxRuntime, arguments: &Arguments) -> Result<Report, Failure> {
    let onnx = std::fs::read(&arguments.model)?;
    let signature = Signature {
        inputs: vec![arguments.input.clone()],
        outputs: vec![arguments.output.clone()],
    };
    let source = ModelSource {
        name: "model",
        onnx: &onnx,
        external: &[],
        signature: &signature,
    };
    let options = EngineOptions {
        threads: arguments.threads,
    };
    let begun = Instant::now();
    let engines = (0..arguments.instances)
        .map(|_| backend.load(&source, &options))
        .collect::<Result<Vec<_>, EngineError>>()?;
    let load = begun.elapsed() / u32::try_from(arguments.instances)?;
    let resident_loaded_mib = resident_mib();
    let inputs = vec![noise(&arguments.input, arguments.batch)?];
    let limit = Duration::from_secs_f64(arguments.seconds);
    // All instances start together: one that starts late would run against idle neighbours at the end.
    let barrier = Barrier::new(engines.len());
    let rates = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for mut engine in engines {
            let (barrier, rates, inputs) = (&barrier, &rates, &inputs);
            scope.spawn(move || {
                let rate = time(engine.as_mut(), inputs, limit, barrier);
                if let Ok(mut rates) = rates.lock() {
                    rates.push(rate);
                }
            });
        }
    });
    let rates = rates
        .into_inner()
        .map_err(|_| "a thread panicked")?
        .into_iter()
        .collect::<Result<Vec<f64>, _>>()?;
    let images_per_second = rates.iter().sum::<f64>() * arguments.batch as f64;
    Ok(Report {
        images_per_second,
        load,
        resident_loaded_mib,
        resident_after_mib: resident_mib(),
    })
}

/// Batches per second of one instance.
fn time(
    engine: &mut dyn Engine,
    inputs: &[Tensor],
    limit: Duration,
    barrier: &Barrier,
) -> Result<f64, EngineError> {
    let warm = (0..3).try_for_each(|_| engine.infer(inputs).map(drop));
    barrier.wait();
    warm?;
    let begun = Instant::now();
    let mut batches = 0_u32;
    while begun.elapsed() < limit {
        engine.infer(inputs)?;
        batches += 1;
    }
    Ok(f64::from(batches) / begun.elapsed().as_secs_f64())
}

/// Pixels that no branch or zero can shorten, the same in every run.
fn noise(spec: &TensorSpec, batch: usize) -> Result<Tensor, Failure> {
    let shape: Vec<usize> = std::iter::once(batch)
        .chain(spec.shape.iter().skip(1).map(|dim| dim.unwrap_or(1)))
        .collect();
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let len = shape.iter().product();
    let data = match spec.element_type {
        ElementType::U8 => TensorData::U8((0..len).map(|_| next()).collect()),
        ElementType::F32 => TensorData::F32((0..len).map(|_| (f32::from(next()) - 127.0) / 128.0).collect()),
        ElementType::F16 => TensorData::F16(
            (0..len)
                .map(|_| half::f16::from_f32((f32::from(next()) - 127.0) / 128.0))
                .collect(),
        ),
    };
    Ok(Tensor::new(shape, data)?)
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, Failure> {
    let mut arguments = Arguments {
        model: PathBuf::new(),
        threads: 1,
        instances: 1,
        batch: 1,
        seconds: 5.0,
        input: spec("image:uint8:224,224,3")?,
        output: spec("logits:float32:1000")?,
        json: false,
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--model" => arguments.model = PathBuf::from(value()?),
            "--threads" => arguments.threads = value()?.parse()?,
            "--instances" => arguments.instances = value()?.parse()?,
            "--batch" => arguments.batch = value()?.parse()?,
            "--seconds" => arguments.seconds = value()?.parse()?,
            "--input" => arguments.input = spec(&value()?)?,
            "--output" => arguments.output = spec(&value()?)?,
            "--json" => arguments.json = true,
            _ => {
                return Err(format!(
                    "unknown option {word}; there are --model PATH --threads N --instances M --batch B --seconds S \
                     --input NAME:TYPE:DIMS --output NAME:TYPE:DIMS --json"
                )
                .into());
            }
        }
    }
    if arguments.model.as_os_str().is_empty() || arguments.instances == 0 || arguments.batch == 0 {
        return Err("give --model PATH, and at least one instance and one image a batch".into());
    }
    Ok(arguments)
}

/// `NAME:TYPE:DIMS`, where the dimensions leave out the batch.
fn spec(text: &str) -> Result<TensorSpec, Failure> {
    let [name, element_type, dims] = text.split(':').collect::<Vec<_>>()[..] else {
        return Err(format!("{text} is not NAME:TYPE:DIMS, such as image:uint8:224,224,3").into());
    };
    let element_type = match element_type {
        "uint8" => ElementType::U8,
        "float32" => ElementType::F32,
        other => return Err(format!("{other} is neither uint8 nor float32").into()),
    };
    let dims = dims
        .split(',')
        .map(|dim| Ok(Some(dim.parse()?)))
        .collect::<Result<Vec<_>, std::num::ParseIntError>>()?;
    Ok(TensorSpec {
        name: name.to_owned(),
        element_type,
        shape: std::iter::once(None).chain(dims).collect(),
    })
}

/// The resident memory of this process, 0 where `/proc` does not say.
fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap_or_default();
    let kib: f64 = line
        .split_whitespace()
        .next()
        .and_then(|kib| kib.parse().ok())
        .unwrap_or(0.0);
    kib / 1024.0
}
