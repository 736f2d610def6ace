//! Image processors that are not in the table: read where their settings say all that they do, else refused with what to do
//! instead.

use super::{
    AutoError,
    json::Place,
    preset::{CLIP_MEAN, HALF, IMAGENET_MEAN, Preset},
    processors::{self, Processor, Quirk, Size},
};
use crate::Interpolation;

/// Means that differ by less are the same one, rounded.
const SAME_MEAN: f64 = 0.002;

/// The processor of `file`, which calls it `class` if it names it, where its settings only resize, crop, rescale and
/// normalise, and say everything about that. `asked`: whether the user chooses the interpolation.
///
/// # Errors
/// When it does more, does it in another way than its settings say, or leaves something to its defaults.
pub(super) fn processor(file: &Place<'_>, class: Option<&str>, asked: bool) -> Result<Processor, AutoError> {
    let name = class.unwrap_or("a processor without a name");
    let refused = |why: &str| {
        file.error(format!(
            "is for {name}, which Ocelli does not know, {why}; it knows the image processors of {}. Instead, {}",
            processors::names(),
            advice(file)
        ))
    };
    if let Some(difference) = class.and_then(processors::difference) {
        return Err(file.error(format!(
            "is for {name}, which Ocelli cannot follow: {difference}. Instead, {}",
            advice(file)
        )));
    }
    let settings = file.value().as_object();
    let is_more = |key: &str| !processors::is_plain(key) && !key.starts_with('_');
    if let Some((key, _)) = settings
        .into_iter()
        .flatten()
        .find(|(key, value)| is_more(key) && !value.is_null() && **value != false)
    {
        let why = format!("and `{key}` is more than resizing, cropping, rescaling and normalising");
        return Err(refused(&why));
    }
    let is_on = |key: &str| file.get(key).map(|place| place.flag()).transpose();
    let mut wanted = vec!["size"];
    if !asked {
        wanted.push("resample");
    }
    match is_on("do_center_crop")? {
        Some(true) => wanted.push("crop_size"),
        None if file.get("crop_size").is_some() => wanted.push("do_center_crop"),
        _ => {}
    }
    match is_on("do_normalize")? {
        Some(true) => wanted.extend(["image_mean", "image_std"]),
        Some(false) => {}
        None => wanted.push("do_normalize"),
    }
    if let Some(key) = wanted.into_iter().find(|key| file.get(key).is_none()) {
        return Err(refused(&format!("and has no `{key}`")));
    }
    if is_on("do_resize")? != Some(true) {
        return Err(refused("and does not say `do_resize: true`"));
    }
    if file.get("size").is_some_and(|size| !size.is_object()) {
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
pub(super) fn advice(file: &Place<'_>) -> String {
    let preset = nearest(file);
    format!(
        "say how photos are prepared: --preset {preset} or another one (`ocelli serve --help` lists them), or a model.toml \
         that you correct (`ocelli model init SPEC --preset {preset} --out DIR`)"
    )
}

/// The preset with the same mean.
fn nearest(file: &Place<'_>) -> Preset {
    let normalizes = file
        .get("do_normalize")
        .is_none_or(|place| place.flag().unwrap_or(true));
    let Some(mean) = file.get("image_mean").and_then(|place| place.three().ok()) else {
        return if normalizes {
            Preset::Torchvision
        } else {
            Preset::Unit
        };
    };
    let keeps_ratio = file
        .get("size")
        .is_some_and(|size| size.get("shortest_edge").is_some());
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
