//! A folder as transformers keeps a model: `config.json` and `preprocessor_config.json`, or `processor_config.json`.

use super::{
    AutoError, Note,
    head::{Bare, Head},
    json::Place,
    labels::{self, Labels},
    processors::{self, Processor, Quirk, Size},
    recipe::{Arithmetic, Recipe, Resize},
    unknown,
};
use crate::{Channels, Interpolation, ResizePolicy, Rounding, Task};

/// Reads the task and the labels of a `config.json`.
///
/// # Errors
/// When it is for a task that is not one of images to classes or features.
pub(super) fn head(config: &Place<'_>) -> Result<Head, AutoError> {
    let labels = config
        .get("id2label")
        .map(|place| labels::by_number(&place))
        .transpose()?
        .map(|names| Labels {
            names,
            from: "config.json (id2label)".into(),
        });
    let architecture = config
        .get("architectures")
        .map(|place| place.items())
        .transpose()?
        .and_then(|names| names.first().cloned());
    let Some(architecture) = architecture else {
        return Ok(Head {
            labels,
            ..Head::default()
        });
    };
    let name = architecture.text()?;
    let Some(purpose) = purpose(name) else {
        // transformers writes placeholders into the configuration of every model.
        return Ok(Head {
            labels: labels.filter(|labels| !labels.are_placeholders()),
            task: several(config)?.then_some(Task::Multilabel),
            bare: Some(Bare::of(name)),
        });
    };
    if !purpose.starts_with("ImageClassification") {
        return Err(architecture.error(format!(
            "is {name}: Ocelli serves models that classify images (..ForImageClassification) or give features"
        )));
    }
    let task = if several(config)? {
        Task::Multilabel
    } else {
        Task::Classification
    };
    Ok(Head {
        task: Some(task),
        labels,
        bare: None,
    })
}

/// Whether several classes may apply.
fn several(config: &Place<'_>) -> Result<bool, AutoError> {
    let Some(place) = config.get("problem_type") else {
        return Ok(false);
    };
    match place.text()? {
        "regression" => Err(place.error("is regression: Ocelli serves classifiers and feature extractors")),
        problem => Ok(problem == "multi_label_classification"),
    }
}

/// What a model is for, by the name of its class: what follows "For", which is not the "For" of `PoolFormer`.
fn purpose(class: &str) -> Option<&str> {
    class
        .match_indices("For")
        .map(|(at, word)| &class[at + word.len()..])
        .find(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
}

/// Reads a `preprocessor_config.json`, which is given with its name, or makes do with the defaults of the model type's processor where there is none.
///
/// `fixed` is the width and height that the graph takes, for sizes that no file states: a default states nothing.
///
/// # Errors
/// When the processor is not known, or does something that Ocelli does not do.
pub(super) fn recipe(
    config: Option<&Place<'_>>,
    preprocessor: Option<&(&'static str, Place<'_>)>,
    fixed: Option<[u32; 2]>,
    asked: Option<Interpolation>,
    notes: &mut Vec<Note>,
) -> Result<Option<Recipe>, AutoError> {
    let model_type = config
        .and_then(|config| config.get("model_type"))
        .map(|place| place.text())
        .transpose()?;
    let Some((name, file)) = preprocessor else {
        let Some(processor) = model_type.and_then(processors::by_model_type) else {
            return Ok(None);
        };
        notes.push(Note::guessed(format!(
            "the defaults of {}ImageProcessor, for there is no preprocessor_config.json",
            processor.name
        )));
        let stated = config.map(size).transpose()?.flatten();
        let reading = Reading {
            processor,
            file: None,
            arithmetic: Arithmetic::TORCH,
            asked,
            wanted: stated.or(fixed),
            size_from: "config.json",
        };
        return reading.recipe(notes).map(Some);
    };
    let named = ["image_processor_type", "feature_extractor_type"]
        .iter()
        .find_map(|key| file.get(key));
    let class = named.as_ref().map(Place::text).transpose()?;
    let known = match class {
        Some(class) => processors::by_name(class),
        None => model_type.and_then(processors::by_model_type),
    };
    let unknown;
    let processor = if let Some(processor) = known {
        notes.push(Note::read(format!(
            "preprocessing from {name} ({}ImageProcessor)",
            processor.name
        )));
        processor
    } else {
        unknown = unknown::processor(file, class, asked.is_some())?;
        notes.push(Note::guessed(format!(
            "preprocessing from {name}: Ocelli does not know {}, but its settings only resize, crop, rescale and normalise, \
             and are followed as they stand; compare `ocelli model check` with your own pipeline",
            unknown.name
        )));
        &unknown
    };
    let states_size = ["size", "crop_size"].iter().any(|key| file.get(key).is_some());
    let reading = Reading {
        processor,
        arithmetic: processors::arithmetic(class),
        file: Some(file),
        asked,
        wanted: fixed.filter(|_| !states_size),
        size_from: name,
    };
    reading.recipe(notes).map(Some)
}

/// Width and height that the model was made for, where its configuration says so.
///
/// # Errors
/// When they are no sides.
pub(super) fn size(config: &Place<'_>) -> Result<Option<[u32; 2]>, AutoError> {
    config
        .get("image_size")
        .map(|place| image_size(&place))
        .transpose()
}

/// Width and height of a configuration's `image_size`: one number, or height and width.
fn image_size(place: &Place<'_>) -> Result<[u32; 2], AutoError> {
    if !place.value().is_array() {
        return Ok([place.pixels()?; 2]);
    }
    match place.items()?.as_slice() {
        [height, width] => Ok([width.pixels()?, height.pixels()?]),
        _ => Err(place.error("must be a height and a width")),
    }
}

/// A processor's file, with its defaults behind it.
struct Reading<'a> {
    processor: &'a Processor,
    /// Whose arithmetic it resizes with.
    arithmetic: Arithmetic,
    file: Option<&'a Place<'a>>,
    /// The interpolation that the user asked for, instead of the file's.
    asked: Option<Interpolation>,
    /// Width and height that must come out, where the processor's file does not say: the processor's own way, at
    /// another size.
    wanted: Option<[u32; 2]>,
    /// Which file states the size, if one does.
    size_from: &'static str,
}

impl<'a> Reading<'a> {
    fn get(&self, key: &str) -> Option<Place<'a>> {
        self.file?.get(key)
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool, AutoError> {
        self.get(key).map_or(Ok(default), |place| place.flag())
    }

    fn number(&self, key: &str, default: f64) -> Result<f64, AutoError> {
        self.get(key).map_or(Ok(default), |place| place.number())
    }

    /// An error that says what to do instead.
    fn refused(&self, place: &Place<'_>, why: &str) -> AutoError {
        place.error(match self.file {
            Some(file) => format!("{why}. Instead, {}", unknown::advice(file)),
            None => why.to_owned(),
        })
    }

    fn recipe(&self, notes: &mut Vec<Note>) -> Result<Recipe, AutoError> {
        if let Some(place) = self.get("do_pad")
            && place.flag()?
        {
            return Err(self.refused(&place, "pads photos to a common size, which Ocelli does not do"));
        }
        let size = match self.get("size") {
            Some(place) => self.size(&place)?,
            None => self.usual_size()?,
        };
        let (size, resize) = self.resize(size, notes)?;
        let mut recipe = Recipe {
            size,
            size_from: self.size_from,
            resize,
            channels: Channels::Rgb,
            scale: 1.0,
            mean: [0.0; 3],
            std: [1.0; 3],
            interpolation: self.interpolation()?,
            arithmetic: self.arithmetic,
        };
        if self.flag("do_rescale", true)? {
            recipe.scale = self.number("rescale_factor", 1.0 / 255.0)?;
        }
        let three = |key: &str, default: [f64; 3]| self.get(key).map_or(Ok(default), |place| place.three());
        let std = three("image_std", self.processor.std)?;
        let is_never_normalized = self.processor.quirk == Quirk::MobileVit;
        if self.flag("do_normalize", self.processor.normalizes)? && !is_never_normalized {
            recipe.mean = three("image_mean", self.processor.mean)?;
            recipe.std = std;
        }
        match self.processor.quirk {
            Quirk::EfficientNet => {
                if self.flag("rescale_offset", false)? {
                    recipe.mean = recipe.mean.map(|mean| mean + 1.0);
                }
                if self.flag("include_top", true)? {
                    for (all, once) in recipe.std.iter_mut().zip(std) {
                        *all *= once;
                    }
                }
            }
            Quirk::MobileVit if self.flag("do_flip_channel_order", true)? => recipe.channels = Channels::Bgr,
            _ => {}
        }
        Ok(recipe)
    }

    /// The processor's size, grown or shrunk as far as what comes out of it has to be.
    fn usual_size(&self) -> Result<Size, AutoError> {
        let usual = self.processor.size;
        let Some([width, height]) = self.wanted else {
            return Ok(usual);
        };
        let crops = self.flag("do_center_crop", self.processor.crops)?;
        let scaled = |side: u32, usual: u32| {
            let comes_out = if crops { self.processor.crop } else { usual };
            (f64::from(side) * f64::from(usual) / f64::from(comes_out)).round() as u32
        };
        Ok(match usual {
            Size::Sides([usual_height, usual_width]) => {
                Size::Sides([scaled(height, usual_height), scaled(width, usual_width)])
            }
            Size::Edge(edge) => Size::Edge(scaled(width.min(height), edge)),
        })
    }

    /// A size as any generation writes it: a number, a pair of height and width, or an object.
    fn size(&self, place: &Place<'_>) -> Result<Size, AutoError> {
        if place.is_object() {
            let pixels = |key: &str| place.get(key).map(|place| place.pixels()).transpose();
            return match (pixels("height")?, pixels("width")?, pixels("shortest_edge")?) {
                (Some(height), Some(width), None) => Ok(Size::Sides([height, width])),
                (None, None, Some(edge)) if place.get("longest_edge").is_none() => Ok(Size::Edge(edge)),
                _ => Err(self.refused(
                    place,
                    "must have height and width, or shortest_edge, for Ocelli resizes to one of these",
                )),
            };
        }
        if place.value().is_array() {
            return match place.items()?.as_slice() {
                [height, width] => Ok(Size::Sides([height.pixels()?, width.pixels()?])),
                _ => Err(place.error("must be a height and a width")),
            };
        }
        let side = place.pixels()?;
        Ok(if self.processor.is_square {
            Size::Sides([side, side])
        } else {
            Size::Edge(side)
        })
    }

    /// Width and height that come out, and the way there.
    fn resize(&self, size: Size, notes: &mut Vec<Note>) -> Result<(Option<[u32; 2]>, Resize), AutoError> {
        let do_resize = self.flag("do_resize", true)?;
        let crop = self.crop()?;
        if !do_resize {
            return match (crop, self.get("do_resize")) {
                (Some(_), Some(place)) => Err(self.refused(
                    &place,
                    "is false, and the centre is cut out of photos as they are, which Ocelli does not do",
                )),
                _ => {
                    notes.push(Note::guessed(format!(
                        "photos are stretched to the model's size, for do_resize is false in {}",
                        self.size_from
                    )));
                    Ok((None, Resize::Stretch))
                }
            };
        }
        let grown = |edge: u32, share: f64| (f64::from(edge) / share) as u32;
        match (self.processor.quirk, size) {
            (Quirk::ConvNext { crop_pct }, Size::Edge(edge)) => {
                let crop_pct = self.number("crop_pct", crop_pct)?;
                let resize = if edge < 384 {
                    shortest_edge(grown(edge, crop_pct))
                } else {
                    Resize::Stretch
                };
                return Ok((crop.or(self.wanted).or(Some([edge, edge])), resize));
            }
            (Quirk::Levit, Size::Edge(edge)) => {
                return Ok((crop, shortest_edge((256.0 / 224.0 * f64::from(edge)) as u32)));
            }
            (Quirk::PoolFormer { crop_pct }, size) => {
                if let Some(edge) = size.edge() {
                    return Ok((
                        crop,
                        shortest_edge(grown(edge, self.number("crop_pct", crop_pct)?)),
                    ));
                }
            }
            _ => {}
        }
        Ok(match (size, crop) {
            (Size::Sides([height, width]), Some(crop)) if crop != [width, height] => (
                Some(crop),
                Resize::Fixed(ResizePolicy::StretchCrop {
                    size: [width, height],
                    rounding: Rounding::Down,
                }),
            ),
            (Size::Sides([height, width]), _) => (Some([width, height]), Resize::Stretch),
            (Size::Edge(edge), Some(crop)) => (Some(crop), shortest_edge(edge)),
            (Size::Edge(edge), None) => {
                notes.push(Note::guessed(format!(
                    "the centre of {edge} x {edge} pixels, for {} keeps each photo's own ratio",
                    self.size_from
                )));
                (Some(self.wanted.unwrap_or([edge; 2])), shortest_edge(edge))
            }
        })
    }

    /// Width and height of the centre that is cut out, if one is.
    fn crop(&self) -> Result<Option<[u32; 2]>, AutoError> {
        if !self.flag("do_center_crop", self.processor.crops)? {
            return Ok(None);
        }
        let Some(place) = self.get("crop_size") else {
            return Ok(Some(self.wanted.unwrap_or([self.processor.crop; 2])));
        };
        if !place.is_object() && !place.value().is_array() {
            return Ok(Some([place.pixels()?; 2]));
        }
        match self.size(&place)? {
            Size::Sides([height, width]) => Ok(Some([width, height])),
            Size::Edge(_) => Err(place.error("must have height and width")),
        }
    }

    /// `resample`, in Pillow's numbers.
    fn interpolation(&self) -> Result<Interpolation, AutoError> {
        if let Some(asked) = self.asked {
            return Ok(asked);
        }
        let Some(place) = self.get("resample") else {
            return Ok(self.processor.resample);
        };
        match place.value().as_u64() {
            Some(0) => Ok(Interpolation::Nearest),
            Some(1) => Ok(Interpolation::Lanczos),
            Some(2) => Ok(Interpolation::Bilinear),
            Some(3) => Ok(Interpolation::Bicubic),
            Some(4) => Ok(Interpolation::Box),
            Some(5) => Ok(Interpolation::Hamming),
            _ => Err(place.error(format!(
                "is {}: Ocelli has nearest (0), lanczos (1), bilinear (2), bicubic (3), box (4) and hamming (5); say with \
                 --interpolation which to take",
                place.value()
            ))),
        }
    }
}

impl Size {
    /// The shorter edge, as PoolFormer reads a square too.
    fn edge(self) -> Option<u32> {
        match self {
            Self::Edge(edge) => Some(edge),
            Self::Sides([height, width]) => (height == width).then_some(width),
        }
    }
}

fn shortest_edge(size: u32) -> Resize {
    Resize::Fixed(ResizePolicy::ShortestEdge {
        size,
        rounding: Rounding::Down,
    })
}
