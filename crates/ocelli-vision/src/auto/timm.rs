//! A timm `config.json`: `pretrained_cfg`, as timm 1.0 writes it to the hub, or its keys without that level.
//!
//! The rules are `timm.data.resolve_data_config` and `transforms_imagenet_eval`.

use std::{collections::BTreeMap, num::NonZeroU32};

use serde::Deserialize;

use super::{
    AutoError, Note,
    head::Head,
    json::Place,
    labels::{self, Labels},
    preset::{IMAGENET_MEAN, IMAGENET_STD},
    recipe::{Arithmetic, Recipe, Resize},
    settings::Three,
    tensor::Tensor,
};
use crate::{Channels, Interpolation, Task};

const DEFAULT_CROP_PCT: f64 = 0.875;
const DEFAULT_SIZE: u32 = 224;

/// Whether a `config.json` is timm's, by itself or wrapped by transformers.
pub(super) fn is_timm(config: &Place<'_>) -> bool {
    let is_bare = config.get("architecture").is_some() && config.get("architectures").is_none();
    config.get("pretrained_cfg").is_some() || (is_bare && config.get("input_size").is_some())
}

/// `pretrained_cfg`, as far as it is about photos.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Settings {
    input_size: Option<Shape>,
    test_input_size: Option<Shape>,
    crop_pct: Option<f64>,
    test_crop_pct: Option<f64>,
    crop_mode: Option<String>,
    interpolation: Option<String>,
    mean: Option<Three>,
    std: Option<Three>,
}

/// Channels, height, width.
type Shape = [NonZeroU32; 3];

fn width_and_height([_, height, width]: Shape) -> [u32; 2] {
    [width.get(), height.get()]
}

fn settings<'a>(config: &Place<'a>) -> Place<'a> {
    config.get("pretrained_cfg").unwrap_or_else(|| config.clone())
}

/// Width and height that the model was trained with, if the file states them.
pub(super) fn size(config: &Place<'_>) -> Result<Option<[u32; 2]>, AutoError> {
    let shape = settings(config).get("input_size");
    let shape = shape.map(|place| place.read()).transpose()?;
    Ok(shape.map(width_and_height))
}

/// Reads how photos are prepared for `tensor`, with the interpolation that was `asked` for.
pub(super) fn recipe(
    config: &Place<'_>,
    tensor: &Tensor,
    asked: Option<Interpolation>,
    notes: &mut Vec<Note>,
) -> Result<Recipe, AutoError> {
    let file = settings(config);
    let settings: Settings = file.read()?;
    let size = settings.input_size.map_or([DEFAULT_SIZE; 2], width_and_height);
    let mut crop_pct = settings.crop_pct;
    // timm may test at another size than it trained at; a graph that was exported for that is prepared so.
    if let Some(test_size) = settings.test_input_size.map(width_and_height)
        && test_size != size
        && tensor.size() == Some(test_size)
    {
        crop_pct = settings.test_crop_pct.or(crop_pct);
        notes.push(Note::read("the test size, which the graph was exported for"));
    }
    let share = crop_pct.filter(|share| *share > 0.0).unwrap_or(DEFAULT_CROP_PCT);
    let mean = settings.mean.map_or(IMAGENET_MEAN, Into::into);
    let resize = match settings.crop_mode.as_deref() {
        None | Some("center") => Resize::Centre { share },
        Some("squash") => Resize::Squash { share },
        Some("border") => Resize::Border {
            share,
            // Python's round, which takes halves to the even number.
            fill: mean.map(|mean| (255.0 * mean).round_ties_even() as u8),
        },
        Some(other) => {
            let problem = format!(
                "is {other:?}: timm has center, squash and border; say how photos are prepared with --preset timm or another one"
            );
            return Err(file.error_at("crop_mode", problem));
        }
    };
    let interpolation = match asked {
        Some(asked) => asked,
        None => interpolation(&file, settings.interpolation.as_deref(), notes)?,
    };
    notes.push(Note::read("preprocessing from config.json (timm)"));
    Ok(Recipe {
        size: Some(size),
        size_from: "config.json",
        resize,
        channels: Channels::Rgb,
        scale: 1.0 / 255.0,
        mean,
        std: settings.std.map_or(IMAGENET_STD, Into::into),
        interpolation,
        arithmetic: Arithmetic::PILLOW,
    })
}

fn interpolation(
    file: &Place<'_>,
    name: Option<&str>,
    notes: &mut Vec<Note>,
) -> Result<Interpolation, AutoError> {
    match name.unwrap_or("bicubic") {
        "nearest" => Ok(Interpolation::Nearest),
        "bilinear" => Ok(Interpolation::Bilinear),
        "bicubic" => Ok(Interpolation::Bicubic),
        "lanczos" => Ok(Interpolation::Lanczos),
        "box" => Ok(Interpolation::Box),
        "hamming" => Ok(Interpolation::Hamming),
        // During training timm chooses one of two at random; otherwise it uses this one.
        "random" => {
            notes.push(Note::read(
                "bilinear, which timm takes for the interpolation \"random\"",
            ));
            Ok(Interpolation::Bilinear)
        }
        other => {
            let problem = format!(
                "is {other:?}: Ocelli has nearest, bilinear, bicubic, lanczos, box and hamming; choose one with --interpolation"
            );
            Err(file.error_at("interpolation", problem))
        }
    }
}

pub(super) fn head(config: &Place<'_>) -> Result<Head, AutoError> {
    let settings = settings(config);
    let find = |key: &str| config.get(key).or_else(|| settings.get(key));
    if let Some(count) = find("num_classes")
        && count.value().as_u64() == Some(0)
    {
        return Ok(Head {
            task: Some(Task::Embedding),
            labels: None,
            bare: None,
        });
    }
    let names = match (find("label_names"), find("id2label")) {
        (Some(place), _) => {
            let names: Vec<String> = place.read()?;
            let mut descriptions: BTreeMap<String, Option<String>> = find("label_descriptions")
                .filter(|place| place.value().is_object())
                .map_or_else(|| Ok(BTreeMap::new()), |place| place.read())?;
            let described = names.into_iter().map(|name| {
                let description = descriptions.get_mut(&name).and_then(Option::take);
                description.unwrap_or(name)
            });
            Some((described.collect(), "label_names"))
        }
        (None, Some(place)) => Some((labels::by_number(&place)?, "id2label")),
        (None, None) => None,
    };
    Ok(Head {
        task: Some(Task::Classification),
        labels: names.map(|(names, key)| Labels {
            names,
            from: format!("config.json ({key})"),
        }),
        bare: None,
    })
}

pub(super) fn license(config: &Place<'_>) -> Option<String> {
    settings(config)
        .get("license")?
        .value()
        .as_str()
        .map(str::to_owned)
}
