//! A timm `config.json`: `pretrained_cfg`, as timm 1.0 writes it to the hub, or its keys without that level.
//!
//! The rules are `timm.data.resolve_data_config` and `transforms_imagenet_eval`.

use super::{
    AutoError, Note,
    head::Head,
    json::Place,
    labels::{self, Labels},
    preset::{IMAGENET_MEAN, IMAGENET_STD},
    recipe::{Arithmetic, Recipe, Resize},
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

fn settings<'a>(config: &Place<'a>) -> Place<'a> {
    config.get("pretrained_cfg").unwrap_or_else(|| config.clone())
}

/// Width and height that the model was trained with, where the file says so.
///
/// # Errors
/// When they are no sides.
pub(super) fn size(config: &Place<'_>) -> Result<Option<[u32; 2]>, AutoError> {
    sides(&settings(config), "input_size")
}

/// Reads how photos are prepared for `tensor`, with the interpolation that was `asked` for.
///
/// # Errors
/// When a value is of another kind, or names something that Ocelli does not do.
pub(super) fn recipe(
    config: &Place<'_>,
    tensor: &Tensor,
    asked: Option<Interpolation>,
    notes: &mut Vec<Note>,
) -> Result<Recipe, AutoError> {
    let size = size(config)?.unwrap_or([DEFAULT_SIZE; 2]);
    let settings = settings(config);
    let number = |key: &str| settings.get(key).map(|place| place.number()).transpose();
    let mut crop_pct = number("crop_pct")?;
    // timm may test at another size than it trained at; a graph that was exported for that is prepared so.
    if let Some(test_size) = sides(&settings, "test_input_size")?
        && test_size != size
        && tensor.size() == Some(test_size)
    {
        crop_pct = number("test_crop_pct")?.or(crop_pct);
        notes.push(Note::read("the test size, which the graph was exported for"));
    }
    let share = crop_pct.filter(|share| *share > 0.0).unwrap_or(DEFAULT_CROP_PCT);
    let three = |key: &str, default: [f64; 3]| settings.get(key).map_or(Ok(default), |place| place.three());
    let mean = three("mean", IMAGENET_MEAN)?;
    let resize = match settings.get("crop_mode") {
        None => Resize::Centre { share },
        Some(place) => match place.text()? {
            "center" => Resize::Centre { share },
            "squash" => Resize::Squash { share },
            "border" => Resize::Border {
                share,
                // Python's round, which takes halves to the even number.
                fill: mean.map(|mean| (255.0 * mean).round_ties_even() as u8),
            },
            other => {
                return Err(place.error(format!(
                    "is {other:?}: timm has center, squash and border; say how photos are prepared with --preset timm or another one"
                )));
            }
        },
    };
    notes.push(Note::read("preprocessing from config.json (timm)"));
    Ok(Recipe {
        size: Some(size),
        size_from: "config.json",
        resize,
        channels: Channels::Rgb,
        scale: 1.0 / 255.0,
        mean,
        std: three("std", IMAGENET_STD)?,
        interpolation: asked.map_or_else(|| interpolation(&settings, notes), Ok)?,
        arithmetic: Arithmetic::PILLOW,
    })
}

/// Width and height of an `input_size`, which is channels, height, width.
fn sides(settings: &Place<'_>, key: &str) -> Result<Option<[u32; 2]>, AutoError> {
    let Some(place) = settings.get(key) else {
        return Ok(None);
    };
    match place.items()?.as_slice() {
        [_, height, width] => Ok(Some([width.pixels()?, height.pixels()?])),
        _ => Err(place.error("must be channels, height and width, such as [3, 224, 224]")),
    }
}

fn interpolation(settings: &Place<'_>, notes: &mut Vec<Note>) -> Result<Interpolation, AutoError> {
    let Some(place) = settings.get("interpolation") else {
        return Ok(Interpolation::Bicubic);
    };
    match place.text()? {
        "nearest" => Ok(Interpolation::Nearest),
        "bilinear" => Ok(Interpolation::Bilinear),
        "bicubic" => Ok(Interpolation::Bicubic),
        "lanczos" => Ok(Interpolation::Lanczos),
        "box" => Ok(Interpolation::Box),
        "hamming" => Ok(Interpolation::Hamming),
        // timm draws one of two while it trains, and takes this one where nothing is to be random.
        "random" => {
            notes.push(Note::read(
                "bilinear, which timm takes for the interpolation \"random\"",
            ));
            Ok(Interpolation::Bilinear)
        }
        other => Err(place.error(format!(
            "is {other:?}: Ocelli has nearest, bilinear, bicubic, lanczos, box and hamming; take one with --interpolation"
        ))),
    }
}

/// Reads the task and the labels.
///
/// # Errors
/// When a value is of another kind.
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
            let names = place.items()?;
            let descriptions = find("label_descriptions").filter(Place::is_object);
            let described = names.iter().map(|name| {
                let name = name.text()?;
                let description = descriptions.as_ref().and_then(|texts| texts.get(name));
                description
                    .map_or(Ok(name), |text| text.text())
                    .map(str::to_owned)
            });
            Some((described.collect::<Result<Vec<_>, AutoError>>()?, "label_names"))
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

/// The licence of the weights, where it is said.
pub(super) fn license(config: &Place<'_>) -> Option<String> {
    settings(config).get("license")?.text().ok().map(str::to_owned)
}
