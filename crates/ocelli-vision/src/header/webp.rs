//! WebP: its chunks, read as libwebp's demuxer reads them, which is what Pillow uses. What that refuses is refused here.

mod vp8;

use super::{ImageFormat, ImageHeader, Orientation, Storage, bytes, exif, pixels};
use crate::ImageError;

const CHUNK_HEADER: usize = 8;
const VP8X_BYTES: usize = 10;
const ANIM_BYTES: usize = 6;
/// Place, size, duration and flags of an animation's frame.
const ANMF_BYTES: usize = 16;

const ANIMATION: u8 = 0x02;
const EXIF: u8 = 0x08;
const ALPHA: u8 = 0x10;
const KNOWN_FLAGS: u8 = 0x3E;

#[derive(Clone, Copy)]
struct Chunk<'a> {
    kind: &'a [u8; 4],
    body: &'a [u8],
    /// With its type and length, and with the byte that pads it to an even length.
    whole: &'a [u8],
}

impl<'a> Chunk<'a> {
    /// Takes the next chunk off `rest`, which ends where the file ends.
    fn take(rest: &mut &'a [u8]) -> Result<Self, ImageError> {
        let kind = rest.first_chunk().ok_or(ImageError::Truncated)?;
        let length = bytes::le32(rest, 4).ok_or(ImageError::Truncated)? as usize;
        let padded = CHUNK_HEADER + length + (length & 1);
        let (whole, after) = rest.split_at_checked(padded).ok_or(ImageError::Truncated)?;
        *rest = after;
        let body = &whole[CHUNK_HEADER..CHUNK_HEADER + length];
        Ok(Self { kind, body, whole })
    }
}

/// A still image, or the first frame of an animation.
pub(crate) struct Picture<'a> {
    /// Of the whole image.
    canvas: (u32, u32),
    /// Where the picture lies on the canvas.
    pub(crate) left: u32,
    pub(crate) top: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
    alpha: Option<Chunk<'a>>,
    image: Chunk<'a>,
    exif: Option<&'a [u8]>,
}

impl<'a> Picture<'a> {
    pub(crate) fn read(file: &'a [u8]) -> Result<Self, ImageError> {
        // The length counts what follows it. Bytes behind that are ignored.
        let announced = bytes::le32(file, 4).ok_or(ImageError::Truncated)? as usize;
        let riff = file[8..].get(..announced).ok_or(ImageError::Truncated)?;
        let mut rest = riff.get(4..).ok_or(ImageError::Truncated)?;
        if let Some(b"VP8X") = rest.first_chunk() {
            let header = Chunk::take(&mut rest)?;
            return Extended::new(header.body)?.read(rest);
        }
        match Content::take(&mut rest)? {
            Content {
                alpha: None,
                image: Some(image),
                size,
            } => Ok(Self {
                canvas: size,
                left: 0,
                top: 0,
                width: size.0,
                height: size.1,
                alpha: None,
                image,
                exif: None,
            }),
            _ => Err(ImageError::Corrupt(
                "the WebP does not begin with an image".into(),
            )),
        }
    }

    /// Its data: those of a lossless alpha channel, and those of the image if it is lossless.
    pub(crate) fn lossless_streams(&self) -> impl Iterator<Item = &'a [u8]> {
        let alpha = self.alpha.and_then(|alpha| match alpha.body {
            [flags, stream @ ..] if flags & 3 == 1 => Some(stream),
            _ => None,
        });
        // A byte for the signature and four for the size and version.
        let image = self.is_lossless().then(|| &self.image.body[5..]);
        alpha.into_iter().chain(image)
    }

    fn is_lossless(&self) -> bool {
        self.image.kind == b"VP8L"
    }

    pub(crate) fn fills_canvas(&self) -> bool {
        (self.width, self.height) == self.canvas
    }

    /// A file that has this picture and nothing else.
    pub(crate) fn alone(&self) -> Vec<u8> {
        let mut file = b"RIFF\0\0\0\0WEBP".to_vec();
        if let Some(alpha) = self.alpha {
            file.extend(b"VP8X");
            file.extend((VP8X_BYTES as u32).to_le_bytes());
            file.extend([ALPHA, 0, 0, 0]);
            for side in [self.width, self.height] {
                file.extend(&(side - 1).to_le_bytes()[..3]);
            }
            file.extend(alpha.whole);
        }
        file.extend(self.image.whole);
        let length = (file.len() - 8) as u32;
        file[4..8].copy_from_slice(&length.to_le_bytes());
        file
    }

    /// Bytes that the decoder holds beside the canvas.
    fn extra_bytes(&self) -> u64 {
        let bytes_per_pixel = match (self.alpha, self.is_lossless()) {
            // Planes (1.5), and alpha in its ARGB form and alone.
            (Some(_), _) => 8,
            // The ARGB form and, in all, a pixel for each block of 16 (0.9).
            (None, true) => 5,
            // Planes.
            (None, false) => 2,
        };
        // A frame is decoded beside the canvas and copied to its place.
        let beside = if self.fills_canvas() { 0 } else { 4 };
        (bytes_per_pixel + beside) * pixels(self.width, self.height)
    }
}

/// The chunks of one picture.
#[derive(Clone, Copy)]
struct Content<'a> {
    alpha: Option<Chunk<'a>>,
    image: Option<Chunk<'a>>,
    /// As the image's own data say.
    size: (u32, u32),
}

impl<'a> Content<'a> {
    /// Takes them off `rest`, up to the first chunk that belongs to something else.
    fn take(rest: &mut &'a [u8]) -> Result<Self, ImageError> {
        let mut content = Self {
            alpha: None,
            image: None,
            size: (0, 0),
        };
        while !rest.is_empty() {
            let mut after = *rest;
            let chunk = Chunk::take(&mut after)?;
            match chunk.kind {
                b"ALPH" if content.alpha.is_none() && content.image.is_none() => content.alpha = Some(chunk),
                b"VP8L" if content.alpha.is_some() => {
                    return Err(contradiction("lossless data beside an alpha channel"));
                }
                b"VP8 " | b"VP8L" if content.image.is_none() => {
                    content.size = match chunk.kind {
                        b"VP8 " => vp8::size(chunk.body)?,
                        _ => lossless_size(chunk.body)?,
                    };
                    content.image = Some(chunk);
                }
                _ => break,
            }
            *rest = after;
        }
        Ok(content)
    }

    fn is_empty(&self) -> bool {
        self.alpha.is_none() && self.image.is_none()
    }
}

/// The extended form: a canvas, its features, and chunks in any number.
struct Extended<'a> {
    canvas: (u32, u32),
    flags: u8,
    has_anim: bool,
    first: Option<Picture<'a>>,
    exif: Option<&'a [u8]>,
}

impl<'a> Extended<'a> {
    fn new(header: &[u8]) -> Result<Self, ImageError> {
        let side = |at| bytes::le24(header, at).map(|side| side + 1);
        let (Some(&flags), Some(width), Some(height)) = (header.first(), side(4), side(7)) else {
            return Err(ImageError::Truncated);
        };
        if flags & !KNOWN_FLAGS != 0 || header.len() != VP8X_BYTES {
            return Err(contradiction("a header of an unknown kind"));
        }
        Ok(Self {
            canvas: (width, height),
            flags,
            has_anim: false,
            first: None,
            exif: None,
        })
    }

    fn read(mut self, mut rest: &'a [u8]) -> Result<Picture<'a>, ImageError> {
        let animated = self.flags & ANIMATION != 0;
        while !rest.is_empty() {
            let mut after = rest;
            let chunk = Chunk::take(&mut after)?;
            match chunk.kind {
                b"VP8X" => return Err(contradiction("two headers")),
                b"ALPH" | b"VP8 " | b"VP8L" => {
                    if animated || self.has_anim || self.first.is_some() {
                        return Err(contradiction("an image beside its frames"));
                    }
                    after = rest;
                    let mut content = Content::take(&mut after)?;
                    if self.flags & ALPHA == 0 {
                        content.alpha = None;
                    }
                    self.add((0, 0), content)?;
                }
                b"ANIM" if chunk.body.len() < ANIM_BYTES => return Err(ImageError::Truncated),
                b"ANIM" => self.has_anim = true,
                b"ANMF" if self.has_anim => {
                    after = self.frame(chunk, &rest[CHUNK_HEADER..])?;
                }
                b"ANMF" => return Err(contradiction("a frame before the animation begins")),
                b"EXIF" if self.flags & EXIF != 0 && self.exif.is_none() => self.exif = Some(chunk.body),
                _ => {}
            }
            rest = after;
        }
        let mut picture = self.first.ok_or_else(|| contradiction("no image"))?;
        picture.exif = self.exif;
        Ok(picture)
    }

    /// Reads a frame. Gives what lies behind its picture, which may be in the frame still.
    fn frame(&mut self, frame: Chunk<'a>, rest: &'a [u8]) -> Result<&'a [u8], ImageError> {
        let place = || Some((bytes::le24(frame.body, 0)? * 2, bytes::le24(frame.body, 3)? * 2));
        let mut after = rest.get(ANMF_BYTES..).ok_or(ImageError::Truncated)?;
        let place = place().ok_or(ImageError::Truncated)?;
        let payload = (frame.whole.len() - CHUNK_HEADER)
            .checked_sub(ANMF_BYTES)
            .ok_or(ImageError::Truncated)?;
        let before = after.len();
        let content = Content::take(&mut after)?;
        if before - after.len() > payload {
            return Err(contradiction("a frame that is larger than its chunk"));
        }
        if self.flags & ANIMATION != 0 && !content.is_empty() {
            self.add(place, content)?;
        }
        Ok(after)
    }

    /// Checks a picture, and keeps the first.
    fn add(&mut self, (left, top): (u32, u32), content: Content<'a>) -> Result<(), ImageError> {
        let image = content
            .image
            .ok_or_else(|| contradiction("an alpha channel and no image"))?;
        let (width, height) = content.size;
        let fits = if self.flags & ANIMATION == 0 {
            (width, height) == self.canvas
        } else {
            left + width <= self.canvas.0 && top + height <= self.canvas.1
        };
        if !fits {
            return Err(contradiction("an image that is not of its canvas' size"));
        }
        let canvas = self.canvas;
        self.first.get_or_insert(Picture {
            canvas,
            left,
            top,
            width,
            height,
            alpha: content.alpha,
            image,
            exif: None,
        });
        Ok(())
    }
}

fn contradiction(what: &str) -> ImageError {
    ImageError::Corrupt(format!("the WebP has {what}"))
}

/// A VP8L header: a signature byte, then 14 bits each, less one, and the version.
fn lossless_size(body: &[u8]) -> Result<(u32, u32), ImageError> {
    let bits = bytes::le32(body, 1).ok_or(ImageError::Truncated)?;
    if body[0] != 0x2F || bits >> 29 != 0 {
        return Err(contradiction("lossless data of an unknown kind"));
    }
    Ok(((bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1))
}

pub(super) fn read(file: &[u8]) -> Result<ImageHeader, ImageError> {
    let picture = Picture::read(file)?;
    let orientation = picture.exif.and_then(exif::orientation);
    Ok(ImageHeader {
        format: ImageFormat::WebP,
        width: picture.canvas.0,
        height: picture.canvas.1,
        orientation: orientation.unwrap_or(Orientation::Upright),
        storage: Storage {
            extra_bytes: picture.extra_bytes(),
            ..Storage::default()
        },
    })
}
