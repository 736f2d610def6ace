//! Bytes of an image file to the packed RGB pixels that a model package asks for.

mod bmp;
mod gif;
mod jpeg;
mod png;
mod tiff;
mod webp;

use crate::{
    ImageError, ImageFormat, ImageHeader, InputSpec,
    decode::jpeg::JpegDecoder,
    geometry::{Plan, Sampling},
    input::luma,
    orient,
    pixels::BYTES_PER_PIXEL,
    resample::{Filter, Frame, Resampler},
};

/// Scratch beyond this is given back after an image, in bytes. It holds a 2-megapixel frame, and what is larger
/// takes so long to decode that fetching its memory anew does not show.
const KEPT_SCRATCH_BYTES: usize = 8 << 20;

/// The most that tables of weights and sums of a row take for each pixel of a side, in bytes: ten weights, four sums and the
/// table's own entry.
const WEIGHT_BYTES: u64 = 88;

/// Decodes, orients, crops and resizes. One per decoder thread: it keeps its codec handle and scratch buffers,
/// so that photos of usual sizes are prepared without fetching memory from the system.
pub struct Decoder {
    jpeg: JpegDecoder,
    resampler: Resampler,
    frame: Vec<u8>,
    result: Vec<u8>,
}

impl Decoder {
    /// Makes a decoder with empty scratch buffers.
    ///
    /// # Errors
    /// When the JPEG library cannot be initialised (out of memory).
    pub fn new() -> Result<Self, ImageError> {
        let jpeg = JpegDecoder::new()?;
        Ok(Self {
            jpeg,
            resampler: Resampler::new(),
            frame: Vec::new(),
            result: Vec::new(),
        })
    }

    /// The peak bytes that [`prepare`](Self::prepare) holds for this image: the decoded frame, what the format's decoder
    /// holds beside it, and the intermediate and final results of the resize.
    ///
    /// `header` is what [`ImageHeader::read`] said of `bytes`, of which a lossless WebP is read up to its pixels.
    pub fn peak_bytes(bytes: &[u8], header: &ImageHeader, spec: &InputSpec) -> u64 {
        let plan = Plan::new(header, spec);
        let (width, height) = scaled_size(header, plan.scale);
        let (width, height) = (u64::from(width), u64::from(height));
        let Sampling {
            width: columns,
            height: rows,
            ..
        } = plan.sampling;
        // Between the two passes one side is the image's and the other the result's.
        let between = (width * u64::from(rows)).max(height * u64::from(columns));
        let result = u64::from(spec.width) * u64::from(spec.height);
        let fixed = match header.format {
            ImageFormat::WebP => webp::fixed_bytes(bytes),
            ImageFormat::Png => png::fixed_bytes(bytes),
            _ => 0,
        };
        let sides = width + height + u64::from(columns) + u64::from(rows);
        let weights = if spec.resampler.has_tables(spec.antialias) {
            sides * WEIGHT_BYTES
        } else {
            0
        };
        // Parts of the file are copied: profiles, comments, a JPEG with a strange header.
        let held = header.storage.extra_bytes + bytes.len() as u64 + fixed + weights;
        held + (width * height + between + result) * BYTES_PER_PIXEL as u64 + result * 3
    }

    /// Decodes, orients, crops and resizes `bytes` to packed 8-bit RGB of `spec.height` x `spec.width` x 3.
    ///
    /// `header` is what [`ImageHeader::read`] said of the same bytes.
    ///
    /// # Errors
    /// Any [`ImageError`]; the decoder stays usable.
    pub fn prepare(
        &mut self,
        bytes: &[u8],
        header: &ImageHeader,
        spec: &InputSpec,
    ) -> Result<Vec<u8>, ImageError> {
        let plan = Plan::new(header, spec);
        let decoded = self.decode(bytes, header, plan.scale);
        let prepared = decoded.and_then(|()| self.resample(scaled_size(header, plan.scale), &plan, spec));
        self.release_large_scratch();
        prepared
    }

    /// Crops and resizes packed 8-bit RGB of `height` x `width` x 3 as [`prepare`](Self::prepare) does with the pixels
    /// of a file.
    ///
    /// # Errors
    /// None that depends on the pixels.
    ///
    /// # Panics
    /// When `rgb` has another length, or a side is 0.
    pub fn prepare_pixels(
        &mut self,
        rgb: &[u8],
        (width, height): (u32, u32),
        spec: &InputSpec,
    ) -> Result<Vec<u8>, ImageError> {
        assert!(width > 0 && height > 0, "there must be pixels");
        assert_eq!(
            rgb.len(),
            width as usize * height as usize * 3,
            "rgb must be height x width x 3 bytes"
        );
        let frame = size_frame(&mut self.frame, width, height);
        for (pixel, &[r, g, b]) in frame.iter_mut().zip(rgb.as_chunks().0) {
            *pixel = [r, g, b, u8::MAX];
        }
        let prepared = self.resample((width, height), &Plan::of_pixels(width, height, spec), spec);
        self.release_large_scratch();
        prepared
    }

    fn decode(&mut self, bytes: &[u8], header: &ImageHeader, scale: u32) -> Result<(), ImageError> {
        match header.format {
            ImageFormat::Jpeg => self.jpeg.decode(bytes, header, scale, &mut self.frame),
            ImageFormat::Png => png::decode(bytes, header, &mut self.frame),
            ImageFormat::WebP => webp::decode(bytes, header, &mut self.frame),
            ImageFormat::Gif => gif::decode(bytes, header, &mut self.frame),
            ImageFormat::Bmp => bmp::decode(bytes, header, &mut self.frame),
            ImageFormat::Tiff => tiff::decode(bytes, header, &mut self.frame),
        }
    }

    fn resample(
        &mut self,
        (width, height): (u32, u32),
        plan: &Plan,
        spec: &InputSpec,
    ) -> Result<Vec<u8>, ImageError> {
        let sampling = plan.sampling.scaled(plan.scale, width, height);
        if spec.channels.is_grey() {
            // Before the resize, as training code does: a filter's overshoot is cut off in grey, not in each colour.
            for pixel in self.frame.as_chunks_mut::<BYTES_PER_PIXEL>().0 {
                let [r, g, b, _] = *pixel;
                let grey = luma([r, g, b]);
                *pixel = [grey, grey, grey, u8::MAX];
            }
        }
        let frame = Frame {
            pixels: &self.frame,
            width,
            height,
        };
        let filter = Filter {
            interpolation: spec.interpolation,
            resampler: spec.resampler,
            antialias: spec.antialias,
            coordinates: spec.coordinates,
            orientation: plan.orientation,
        };
        let result = size_frame(&mut self.result, sampling.width, sampling.height);
        self.resampler
            .resample(frame, &sampling, filter, result.as_flattened_mut())?;

        let mut canvas = vec![0; spec.pixels() * 3];
        let fill = spec.resize.fill();
        if fill != [0; 3] {
            canvas.as_chunks_mut::<3>().0.fill(fill);
        }
        orient::place(result, &sampling, plan.orientation, &mut canvas, spec.width);
        Ok(canvas)
    }

    fn release_large_scratch(&mut self) {
        for scratch in [&mut self.frame, &mut self.result] {
            if scratch.capacity() > KEPT_SCRATCH_BYTES {
                *scratch = Vec::new();
            }
        }
        self.resampler.release_scratch_above(KEPT_SCRATCH_BYTES);
    }
}

/// Size of the frame that is decoded at 1/`scale`.
fn scaled_size(header: &ImageHeader, scale: u32) -> (u32, u32) {
    (header.width.div_ceil(scale), header.height.div_ceil(scale))
}

/// Makes `frame` as long as an image of `width` x `height` takes. What it held stays: a decoder writes every pixel.
fn size_frame(frame: &mut Vec<u8>, width: u32, height: u32) -> &mut [[u8; BYTES_PER_PIXEL]] {
    frame.resize(width as usize * height as usize * BYTES_PER_PIXEL, 0);
    frame.as_chunks_mut().0
}

/// A decoder moves to the thread that uses it.
const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<Decoder>();
};
