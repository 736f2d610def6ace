//! Times the preparation of photos on one thread: a bare loop over `turbojpeg` and `fast_image_resize` against
//! `ocelli_vision::Decoder`, interleaved, over the JPEG files of a folder.
//!
//! `cargo run --release -p ocelli-vision --example decode_bench -- FOLDER [--rounds 7] [--json]`
//!
//! Both give normalised float32 tensors of the built-in model's input. Of each photo, each side's best round counts:
//! what disturbs a run only ever makes it slower.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::{error::Error, fs, path::PathBuf, time::Instant};

use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer,
    images::{Image, ImageRef},
};
use ocelli_vision::{DecodeLimits, Decoder, ImageHeader, InputSpec, Manifest};
use turbojpeg::{Decompressor, PixelFormat};

const SIDE: u32 = 224;
const RATIO: f64 = 0.875;
const MODEL: &str = r#"
schema = 1
name = "bench"
version = "1"
task = "classification"
[input]
name = "image"
dtype = "float32"
width = 224
height = 224
layout = "nhwc"
channels = "rgb"
mean = [127.0, 127.0, 127.0]
std = [128.0, 128.0, 128.0]
resize = { policy = "crop-ratio", ratio = 0.875 }
interpolation = "bicubic"
[[output]]
name = "logits"
activation = "softmax"
"#;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

struct Options {
    folder: PathBuf,
    rounds: usize,
    json: bool,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let (mut folder, mut rounds, mut json) = (None, 7, false);
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--json" => json = true,
                "--rounds" => rounds = args.next().ok_or("--rounds needs a number")?.parse()?,
                _ => folder = Some(PathBuf::from(arg)),
            }
        }
        let folder = folder.ok_or("usage: decode_bench FOLDER [--rounds 7] [--json]")?;
        Ok(Self { folder, rounds, json })
    }
}

/// The shortest straight way from bytes to a tensor, with what these two crates offer and buffers that are kept.
struct Bare {
    turbo: Decompressor,
    resizer: Resizer,
    frame: Vec<u8>,
    small: Image<'static>,
}

impl Bare {
    fn new() -> Result<Self> {
        let small = Image::new(SIDE, SIDE, PixelType::U8x3);
        Ok(Self {
            turbo: Decompressor::new()?,
            resizer: Resizer::new(),
            frame: Vec::new(),
            small,
        })
    }

    fn prepare(&mut self, bytes: &[u8], tensor: &mut [f32]) -> Result<()> {
        let header = self.turbo.read_header(bytes)?;
        let (width, height) = (header.width, header.height);
        self.frame.resize(width * height * 3, 0);
        let format = PixelFormat::RGB;
        let pixels = self.frame.as_mut_slice();
        self.turbo.decompress(
            bytes,
            turbojpeg::Image {
                pixels,
                width,
                pitch: width * 3,
                height,
                format,
            },
        )?;
        let side = f64::from(((width.min(height)) as f64 * RATIO) as u32);
        let (left, top) = (
            ((width as f64 - side) / 2.0).ceil(),
            ((height as f64 - side) / 2.0).ceil(),
        );
        let source = ImageRef::new(width as u32, height as u32, &self.frame, PixelType::U8x3)?;
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom))
            .crop(left, top, side, side);
        self.resizer.resize(&source, &mut self.small, &options)?;
        for (out, &byte) in tensor.iter_mut().zip(self.small.buffer()) {
            *out = (f32::from(byte) - 127.0) / 128.0;
        }
        Ok(())
    }
}

struct Ours {
    decoder: Decoder,
    spec: InputSpec,
    limits: DecodeLimits,
}

impl Ours {
    fn new() -> Result<Self> {
        let spec = Manifest::parse(MODEL)?.input;
        Ok(Self {
            decoder: Decoder::new()?,
            spec,
            limits: DecodeLimits::default(),
        })
    }

    fn prepare(&mut self, bytes: &[u8], tensor: &mut [f32]) -> Result<()> {
        let header = ImageHeader::read(bytes, &self.limits)?;
        let rgb = self.decoder.prepare(bytes, &header, &self.spec)?;
        self.spec.fill(&rgb, tensor);
        Ok(())
    }
}

/// The best time of each photo so far, in milliseconds.
struct Best(Vec<f64>);

impl Best {
    fn time(&mut self, photo: usize, prepare: impl FnOnce() -> Result<()>) -> Result<()> {
        let start = Instant::now();
        prepare()?;
        self.0[photo] = self.0[photo].min(start.elapsed().as_secs_f64() * 1000.0);
        Ok(())
    }

    fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }
}

fn photos(options: &Options) -> Result<Vec<Vec<u8>>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(&options.folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    paths.retain(|path| {
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        extension == "jpg" || extension == "jpeg"
    });
    paths.sort();
    if paths.is_empty() {
        return Err(format!("{} holds no JPEG files", options.folder.display()).into());
    }
    paths.into_iter().map(|path| Ok(fs::read(path)?)).collect()
}

fn main() -> Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    let photos = photos(&options)?;
    let (mut bare, mut ours) = (Bare::new()?, Ours::new()?);
    let mut tensor = vec![0.0; ours.spec.elements()];
    let mut best = [(); 2].map(|()| Best(vec![f64::INFINITY; photos.len()]));
    for _ in 0..options.rounds {
        for (index, photo) in photos.iter().enumerate() {
            best[0].time(index, || bare.prepare(photo, &mut tensor))?;
            best[1].time(index, || ours.prepare(photo, &mut tensor))?;
        }
    }
    let [best_bare, best_ours] = best.map(|best| best.mean());
    let ratio = best_ours / best_bare;
    if options.json {
        println!(
            r#"{{"photos":{},"rounds":{},"bare_ms":{best_bare:.4},"ocelli_ms":{best_ours:.4},"ratio":{ratio:.4}}}"#,
            photos.len(),
            options.rounds
        );
    } else {
        println!(
            "{} photos, one thread, best of {} rounds",
            photos.len(),
            options.rounds
        );
        println!("turbojpeg + fast_image_resize   {best_bare:7.3} ms/photo");
        println!("ocelli                          {best_ours:7.3} ms/photo   {ratio:.2} x");
    }
    Ok(())
}
