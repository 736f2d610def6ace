//! A folder as transformers keeps a model: `config.json` and `preprocessor_config.json`, or `processor_config.json`.

use super::{
    AutoError, Note,
    head::{Bare, Head},
    json::Place,
    labels::{self, Labels},
    processors::{self, Processor, Quirk, Size},
    recipe::{Arithmetic, Recipe, Resize},
    settings::{Config, NamedSides, Settings, Sides},
    unknown,
};
use crate::{Channels, Interpolation, ResizePolicy, Rounding, Task};

/// Reads the task and the labels of a `config.json`.
pub(super) fn head(file: &Place<'_>, config: &Config) -> Result<Head, AutoError> {
    let labels = file
        .get("id2label")
        .map(|place| labels::by_number(&place))
        .transpose()?
        .map(|names| Labels {
            names,
            from: "config.json (id2label)".into(),
        });
    let Some(class) = config.architectures.iter().flatten().next() else {
        return Ok(Head {
            labels,
            ..Head::default()
        });
    };
    let task = match config.problem_type.as_deref() {
        Some("regression") => {
            let problem = "is regression: Ocelli serves classifiers and feature extractors";
            return Err(file.error_at("problem_type", problem));
        }
        Some("multi_label_classification") => Task::Multilabel,
        _ => Task::Classification,
    };
    match purpose(class) {
        // transformers writes placeholders into the configuration of every model.
        None => Ok(Head {
            labels: labels.filter(|labels| !labels.are_placeholders()),
            task: Some(task).filter(|task| *task == Task::Multilabel),
            bare: Some(Bare::of(class)),
        }),
        Some(purpose) if purpose.starts_with("ImageClassification") => Ok(Head {
            task: Some(task),
            labels,
            bare: None,
        }),
        Some(_) => Err(file.error_at(
            "architectures[0]",
            format!("is {class}: Ocelli serves models that classify images (..ForImageClassification) or give features"),
        )),
    }
}

/// What a model is for, by the name of its class: what follows "For", which is not the "For" of `PoolFormer`.
fn purpose(class: &str) -> Option<&str> {
    class
        .match_indices("For")
        .map(|(at, word)| &class[at + word.len()..])
        .find(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
}

/// Reads a `preprocessor_config.json`, which is given with its name, or takes the defaults of the model type's processor.
///
/// `fixed` is the width and height that the graph takes, for sizes that no file states.
pub(super) fn recipe(
    config: &Config,
    preprocessor: Option<&(&'static str, Place<'_>)>,
    fixed: Option<[u32; 2]>,
    asked: Option<Interpolation>,
    notes: &mut Vec<Note>,
) -> Result<Option<Recipe>, AutoError> {
    let by_type = || processors::by_model_type(config.model_type.as_deref()?);
    let Some((name, file)) = preprocessor else {
        let Some(processor) = by_type() else {
            return Ok(None);
        };
        notes.push(Note::guessed(format!(
            "the defaults of {}ImageProcessor, for there is no preprocessor_config.json",
            processor.name
        )));
        let reading = Reading {
            processor,
            file: None,
            settings: &Settings::default(),
            arithmetic: Arithmetic::TORCH,
            asked,
            output_size: config.image_size.and_then(Sides::width_and_height).or(fixed),
            size_from: "config.json",
        };
        return reading.recipe(notes).map(Some);
    };
    let settings: Settings = file.read()?;
    let class = settings.class();
    let unknown;
    let processor = if let Some(processor) = class.map_or_else(by_type, processors::by_name) {
        notes.push(Note::read(format!(
            "preprocessing from {name} ({}ImageProcessor)",
            processor.name
        )));
        processor
    } else {
        unknown = unknown::processor(file, &settings, asked.is_some())?;
        notes.push(Note::guessed(format!(
            "preprocessing from {name}: Ocelli does not know {}, but its settings only resize, crop, rescale and normalise, \
             and are followed as they stand; compare `ocelli model check` with your own pipeline",
            unknown.name
        )));
        &unknown
    };
    let states_size = settings.size.is_some() || settings.crop_size.is_some();
    let reading = Reading {
        processor,
        arithmetic: processors::arithmetic(class),
        file: Some(file),
        settings: &settings,
        asked,
        output_size: fixed.filter(|_| !states_size),
        size_from: name,
    };
    reading.recipe(notes).map(Some)
}

/// Width and height that the model was made for, if its configuration states them.
pub(super) fn size(file: &Place<'_>, config: &Config) -> Result<Option<[u32; 2]>, AutoError> {
    let size = |sides: Sides| {
        let sides = sides.width_and_height();
        sides.ok_or_else(|| file.error_at("image_size", "must be a height and a width"))
    };
    config.image_size.map(size).transpose()
}

/// A processor's settings, with its defaults behind them.
struct Reading<'a> {
    processor: &'a Processor,
    arithmetic: Arithmetic,
    file: Option<&'a Place<'a>>,
    settings: &'a Settings,
    asked: Option<Interpolation>,
    /// Width and height of the output if the settings state none: the processor's own way is scaled to it.
    output_size: Option<[u32; 2]>,
    /// The file that states the size, if one does.
    size_from: &'static str,
}

impl Reading<'_> {
    /// An error about the field `key` that says what to do instead.
    fn refused(&self, key: &str, why: &str) -> AutoError {
        match self.file {
            Some(file) => file.error_at(key, format!("{why}. Instead, {}", unknown::advice(self.settings))),
            None => AutoError::unsuitable(self.size_from, why),
        }
    }

    fn recipe(&self, notes: &mut Vec<Note>) -> Result<Recipe, AutoError> {
        let settings = self.settings;
        if settings.do_pad == Some(true) {
            return Err(self.refused("do_pad", "pads photos to a common size, which Ocelli does not do"));
        }
        let size = settings
            .size
            .map_or_else(|| Ok(self.usual_size()), |sides| self.size(sides))?;
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
        if settings.do_rescale.unwrap_or(true) {
            recipe.scale = settings.rescale_factor.unwrap_or(1.0 / 255.0);
        }
        let std = settings.image_std.map_or(self.processor.std, Into::into);
        let is_never_normalized = self.processor.quirk == Quirk::MobileVit;
        if settings.do_normalize.unwrap_or(self.processor.normalizes) && !is_never_normalized {
            recipe.mean = settings.image_mean.map_or(self.processor.mean, Into::into);
            recipe.std = std;
        }
        match self.processor.quirk {
            Quirk::EfficientNet => {
                if settings.rescale_offset == Some(true) {
                    recipe.mean = recipe.mean.map(|mean| mean + 1.0);
                }
                if settings.include_top.unwrap_or(true) {
                    for (all, once) in recipe.std.iter_mut().zip(std) {
                        *all *= once;
                    }
                }
            }
            Quirk::MobileVit if settings.do_flip_channel_order.unwrap_or(true) => {
                recipe.channels = Channels::Bgr;
            }
            _ => {}
        }
        Ok(recipe)
    }

    fn crops(&self) -> bool {
        self.settings.do_center_crop.unwrap_or(self.processor.crops)
    }

    /// The processor's size, scaled so that the output has `output_size`.
    fn usual_size(&self) -> Size {
        let usual = self.processor.size;
        let Some([width, height]) = self.output_size else {
            return usual;
        };
        let crops = self.crops();
        let scaled = |side: u32, usual: u32| {
            let output = if crops { self.processor.crop } else { usual };
            (f64::from(side) * f64::from(usual) / f64::from(output)).round() as u32
        };
        match usual {
            Size::Sides([usual_height, usual_width]) => {
                Size::Sides([scaled(height, usual_height), scaled(width, usual_width)])
            }
            Size::Edge(edge) => Size::Edge(scaled(width.min(height), edge)),
        }
    }

    fn size(&self, sides: Sides) -> Result<Size, AutoError> {
        match sides {
            Sides::Named(NamedSides {
                height: None,
                width: None,
                shortest_edge: Some(edge),
                longest_edge: None,
            }) => return Ok(Size::Edge(edge.get())),
            Sides::Side(side) if !self.processor.is_square => return Ok(Size::Edge(side.get())),
            _ => {}
        }
        let why = "must have height and width, or shortest_edge, for Ocelli resizes to one of these";
        let [width, height] = sides
            .width_and_height()
            .ok_or_else(|| self.refused("size", why))?;
        Ok(Size::Sides([height, width]))
    }

    /// Width and height of the output, and how they are reached.
    fn resize(&self, size: Size, notes: &mut Vec<Note>) -> Result<(Option<[u32; 2]>, Resize), AutoError> {
        let crop = self.crop()?;
        if self.settings.do_resize == Some(false) {
            if crop.is_some() {
                let why =
                    "is false, and the centre is cut out of photos as they are, which Ocelli does not do";
                return Err(self.refused("do_resize", why));
            }
            notes.push(Note::guessed(format!(
                "photos are stretched to the model's size, for do_resize is false in {}",
                self.size_from
            )));
            return Ok((None, Resize::Stretch));
        }
        let grown = |edge: u32, share: f64| (f64::from(edge) / share) as u32;
        match (self.processor.quirk, size) {
            (Quirk::ConvNext { crop_pct }, Size::Edge(edge)) => {
                let crop_pct = self.settings.crop_pct.unwrap_or(crop_pct);
                let resize = if edge < 384 {
                    shortest_edge(grown(edge, crop_pct))
                } else {
                    Resize::Stretch
                };
                return Ok((crop.or(self.output_size).or(Some([edge, edge])), resize));
            }
            (Quirk::Levit, Size::Edge(edge)) => {
                return Ok((crop, shortest_edge((256.0 / 224.0 * f64::from(edge)) as u32)));
            }
            (Quirk::PoolFormer { crop_pct }, size) => {
                if let Some(edge) = size.edge() {
                    let crop_pct = self.settings.crop_pct.unwrap_or(crop_pct);
                    return Ok((crop, shortest_edge(grown(edge, crop_pct))));
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
                (Some(self.output_size.unwrap_or([edge; 2])), shortest_edge(edge))
            }
        })
    }

    /// Width and height of the centre that is cut out, if one is.
    fn crop(&self) -> Result<Option<[u32; 2]>, AutoError> {
        if !self.crops() {
            return Ok(None);
        }
        let Some(sides) = self.settings.crop_size else {
            return Ok(Some(self.output_size.unwrap_or([self.processor.crop; 2])));
        };
        let size = sides.width_and_height();
        size.map(Some)
            .ok_or_else(|| self.refused("crop_size", "must have height and width"))
    }

    /// `resample`, in Pillow's numbers.
    fn interpolation(&self) -> Result<Interpolation, AutoError> {
        if let Some(asked) = self.asked {
            return Ok(asked);
        }
        let Some(resample) = &self.settings.resample else {
            return Ok(self.processor.resample);
        };
        match resample.as_u64() {
            Some(0) => Ok(Interpolation::Nearest),
            Some(1) => Ok(Interpolation::Lanczos),
            Some(2) => Ok(Interpolation::Bilinear),
            Some(3) => Ok(Interpolation::Bicubic),
            Some(4) => Ok(Interpolation::Box),
            Some(5) => Ok(Interpolation::Hamming),
            _ => {
                let why = format!(
                    "is {resample}: Ocelli has nearest (0), lanczos (1), bilinear (2), bicubic (3), box (4) and hamming (5); \
                     choose one with --interpolation"
                );
                Err(self.refused("resample", &why))
            }
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
