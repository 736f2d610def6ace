//! Image processors that are not in the table. They are read if their settings describe them completely, and otherwise
//! refused with advice.

use super::{
    AutoError,
    json::Place,
    preset::{CLIP_MEAN, HALF, IMAGENET_MEAN, Preset},
    processors::{self, Processor, Quirk, Size},
    settings::{Settings, Sides},
};
use crate::Interpolation;

/// Means that differ by less are the same one, rounded.
const SAME_MEAN: f64 = 0.002;

/// The processor of `file`, if its settings only resize, crop, rescale and normalise, and say everything about that.
/// `asked`: whether the user chooses the interpolation.
pub(super) fn processor(file: &Place<'_>, settings: &Settings, asked: bool) -> Result<Processor, AutoError> {
    let class = settings.class();
    let name = class.unwrap_or("a processor without a name");
    let refused = |why: &str| {
        file.error(format!(
            "is for {name}, which Ocelli does not know, {why}; it knows the image processors of {}. Instead, {}",
            processors::names(),
            advice(settings)
        ))
    };
    if let Some(difference) = class.and_then(processors::difference) {
        return Err(file.error(format!(
            "is for {name}, which Ocelli cannot follow: {difference}. Instead, {}",
            advice(settings)
        )));
    }
    let is_more = |key: &str| !processors::is_plain(key) && !key.starts_with('_');
    let fields = file.value().as_object();
    if let Some((key, _)) = fields
        .into_iter()
        .flatten()
        .find(|(key, value)| is_more(key) && !value.is_null() && **value != false)
    {
        let why = format!("and `{key}` is more than resizing, cropping, rescaling and normalising");
        return Err(refused(&why));
    }
    let mut required = vec!["size"];
    if !asked {
        required.push("resample");
    }
    match settings.do_center_crop {
        Some(true) => required.push("crop_size"),
        None if settings.crop_size.is_some() => required.push("do_center_crop"),
        _ => {}
    }
    match settings.do_normalize {
        Some(true) => required.extend(["image_mean", "image_std"]),
        Some(false) => {}
        None => required.push("do_normalize"),
    }
    if let Some(key) = required.into_iter().find(|key| file.get(key).is_none()) {
        return Err(refused(&format!("and has no `{key}`")));
    }
    if settings.do_resize != Some(true) {
        return Err(refused("and does not say `do_resize: true`"));
    }
    if !matches!(settings.size, Some(Sides::Named(_))) {
        return Err(refused(
            "and its `size` says neither height and width nor shortest_edge",
        ));
    }
    Ok(Processor {
        name: name.to_owned(),
        // Nothing of this is used: the file says it all.
        resample: Interpolation::Bilinear,
        mean: [0.0; 3],
        std: [1.0; 3],
        size: Size::Sides([224, 224]),
        is_square: true,
        crops: false,
        crop: 224,
        normalizes: false,
        quirk: Quirk::None,
    })
}

/// What to do with a file that cannot be followed: the preset that is nearest to it, and how to correct that.
pub(super) fn advice(settings: &Settings) -> String {
    let preset = nearest(settings);
    format!(
        "say how photos are prepared: --preset {preset} or another one (`ocelli serve --help` lists them), or a model.toml \
         that you correct (`ocelli model init SPEC --preset {preset} --out DIR`)"
    )
}

/// The preset with the same mean.
fn nearest(settings: &Settings) -> Preset {
    let normalizes = settings.do_normalize.unwrap_or(true);
    let Some(mean) = settings.image_mean.map(<[f64; 3]>::from) else {
        return if normalizes {
            Preset::Torchvision
        } else {
            Preset::Unit
        };
    };
    let keeps_ratio = matches!(settings.size, Some(Sides::Named(sides)) if sides.shortest_edge.is_some());
    let is = |other: [f64; 3]| {
        let pairs = mean.iter().zip(other);
        pairs
            .into_iter()
            .all(|(one, other)| (one - other).abs() < SAME_MEAN)
    };
    match () {
        () if !normalizes => Preset::Unit,
        () if is(HALF) => Preset::Vit,
        () if is(CLIP_MEAN) => Preset::Clip,
        () if is(IMAGENET_MEAN) && !keeps_ratio => Preset::KerasTorch,
        () => Preset::Torchvision,
    }
}
