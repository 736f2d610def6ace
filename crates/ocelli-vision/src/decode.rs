//! Bytes of an image file to the packed RGB pixels that a model package asks for.

mod bmp;
mod gif;
mod jpeg;
mod png;
mod webp;

use fast_image_resize::Resizer;

use crate::{
    ImageError, ImageFormat, ImageHeader, InputSpec, ResizePolicy,
    decode::jpeg::JpegDecoder,
    geometry::Plan,
    orient,
    resample::{self, Filter, Frame},
};

/// Scratch beyond this is given back after an image, in bytes. It holds a 2-megapixel frame, and what is larger
/// takes so long to decode that fetching its memory anew does not show.
const KEPT_SCRATCH_BYTES: usize = 8 << 20;

/// Decodes, orients, crops and resizes. One per decoder thread: it keeps its codec handle and scratch buffers,
/// so that photos of usual sizes are prepared without fetching memory from the system.
pub struct Decoder {
    jpeg: JpegDecoder,
    resizer: Resizer,
    frame: Vec<u8>,
    result: Vec<u8>,
}

impl Decoder {
    /// Makes a decoder with empty scratch buffers.
    ///
    /// # Errors
    /// When the JPEG library cannot be initialised (out of memory).
    pub fn new() -> Result<Self, ImageError> {
        Ok(Self {
            jpeg: JpegDecoder::new()?,
            resizer: Resizer::new(),
            frame: Vec::new(),
            result: Vec::new(),
        })
    }

    /// The peak bytes of pixels that [`prepare`](Self::prepare) holds for this image: the decoded frame, what the
    /// format's decoder holds beside it, and the intermediate and final results of the resize.
    pub fn pixel_bytes(header: &ImageHeader, spec: &InputSpec) -> u64 {
        let plan = Plan::new(header, spec);
        let (width, height) = scaled_size(header, plan.scale);
        let frame = u64::from(width) * u64::from(height) * frame_bytes_per_pixel(header);
        let held = u64::from(header.width)
            * u64::from(header.height)
            * u64::from(header.storage.extra_bytes_per_pixel);
        // The vertical pass comes first and leaves rows of the source's width.
        let between = u64::from(width) * u64::from(plan.sampling.height) * 3;
        frame + held + between + 2 * spec.pixels() as u64 * 3
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
        let (width, height) = scaled_size(header, plan.scale);
        let decoded = self.decode(bytes, header, plan.scale);
        let prepared = decoded.and_then(|()| self.resample(&plan, spec, width, height));
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
        }
    }

    fn resample(
        &mut self,
        plan: &Plan,
        spec: &InputSpec,
        width: u32,
        height: u32,
    ) -> Result<Vec<u8>, ImageError> {
        let sampling = plan.sampling.scaled(plan.scale, width, height);
        let filter = Filter {
            interpolation: spec.interpolation,
            antialias: spec.antialias,
            orientation: plan.orientation,
        };
        let frame = Frame {
            pixels: &self.frame,
            width,
            height,
        };
        let mut canvas = vec![0; spec.pixels() * 3];
        let fills = (sampling.width, sampling.height) == (spec.width, spec.height);
        if fills && plan.orientation == crate::Orientation::Upright {
            resample::resample(&mut self.resizer, frame, &sampling, filter, &mut canvas)?;
            return Ok(canvas);
        }
        if let ResizePolicy::Letterbox { fill } = spec.resize
            && fill != [0; 3]
        {
            canvas.as_chunks_mut::<3>().0.fill(fill);
        }
        self.result
            .resize(sampling.width as usize * sampling.height as usize * 3, 0);
        resample::resample(&mut self.resizer, frame, &sampling, filter, &mut self.result)?;
        orient::place(&self.result, &sampling, plan.orientation, &mut canvas, spec.width);
        Ok(canvas)
    }

    fn release_large_scratch(&mut self) {
        for scratch in [&mut self.frame, &mut self.result] {
            if scratch.capacity() > KEPT_SCRATCH_BYTES {
                *scratch = Vec::new();
            }
        }
        if self.resizer.size_of_internal_buffers() > KEPT_SCRATCH_BYTES {
            self.resizer.reset_internal_buffers();
        }
    }
}

/// A CMYK frame is converted in place, from 4 bytes a pixel to 3.
fn frame_bytes_per_pixel(header: &ImageHeader) -> u64 {
    if header.storage.four_channels { 4 } else { 3 }
}

/// Size of the frame that is decoded at 1/`scale`.
fn scaled_size(header: &ImageHeader, scale: u32) -> (u32, u32) {
    (header.width.div_ceil(scale), header.height.div_ceil(scale))
}

/// Makes `frame` exactly `pixels` x 3 bytes long. What it held stays: every decoder writes every byte.
fn size_frame(frame: &mut Vec<u8>, width: u32, height: u32) -> usize {
    let pixels = width as usize * height as usize;
    frame.resize(pixels * 3, 0);
    pixels
}
