//! The `resize` table as it is written.
//!
//! A table of its own, because serde lets a tagged variant without fields take any key.

use serde::Deserialize;

use crate::{Align, ResizePolicy, Rounding};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    policy: Policy,
    size: Option<Size>,
    ratio: Option<f64>,
    fill: Option<[u8; 3]>,
    rounding: Option<Rounding>,
    align: Option<Align>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Policy {
    Stretch,
    ShortestEdge,
    Cover,
    CropRatio,
    CropAspect,
    Letterbox,
    FitHeight,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number of pixels or [width, height]")]
enum Size {
    Edge(u32),
    Sides([u32; 2]),
}

impl TryFrom<Table> for ResizePolicy {
    type Error = &'static str;

    fn try_from(table: Table) -> Result<Self, Self::Error> {
        use Size::{Edge, Sides};

        let Table {
            policy,
            size,
            ratio,
            fill,
            rounding,
            align,
        } = table;
        let cut = rounding.unwrap_or_default();
        let letterbox = |size| Self::Letterbox {
            fill: fill.unwrap_or_default(),
            size,
            rounding: cut,
            align: align.unwrap_or_default(),
        };
        let is_lone = ratio.is_none() && fill.is_none() && align.is_none();
        let is_plain = is_lone && rounding.is_none();
        if cut == Rounding::Nearest && !matches!(policy, Policy::ShortestEdge) {
            return Err("`rounding = \"nearest\"` is for the policy \"shortest-edge\"");
        }
        match (policy, size) {
            (Policy::Stretch, None) if is_plain => Ok(Self::Stretch),
            (Policy::Stretch, Some(Sides(size))) if is_lone => Ok(Self::StretchCrop { size, rounding: cut }),
            (Policy::ShortestEdge, Some(Edge(size))) if is_lone => {
                Ok(Self::ShortestEdge { size, rounding: cut })
            }
            (Policy::Cover, Some(Sides(size))) if is_lone => Ok(Self::Cover { size, rounding: cut }),
            (Policy::CropAspect, None) if is_plain => Ok(Self::CropAspect),
            (Policy::CropRatio, None) if fill.is_none() && rounding.is_none() && align.is_none() => ratio
                .map(|ratio| Self::CropRatio { ratio })
                .ok_or("the policy \"crop-ratio\" takes `ratio` and no other key"),
            (Policy::Letterbox, None) if ratio.is_none() => Ok(letterbox(None)),
            (Policy::Letterbox, Some(Sides(size))) if ratio.is_none() => Ok(letterbox(Some(size))),
            (Policy::FitHeight, None) if ratio.is_none() && rounding.is_none() && align.is_none() => {
                Ok(Self::FitHeight {
                    fill: fill.unwrap_or_default(),
                })
            }
            (Policy::Stretch, _) => {
                Err("the policy \"stretch\" takes no other key, or `size = [width, height]` and `rounding`")
            }
            (Policy::ShortestEdge, _) => Err(
                "the policy \"shortest-edge\" takes `size` (a number of pixels), `rounding` and no other key",
            ),
            (Policy::Cover, _) => {
                Err("the policy \"cover\" takes `size = [width, height]`, `rounding` and no other key")
            }
            (Policy::CropRatio, _) => Err("the policy \"crop-ratio\" takes `ratio` and no other key"),
            (Policy::CropAspect, _) => Err("the policy \"crop-aspect\" takes no other key"),
            (Policy::Letterbox, _) => Err(
                "the policy \"letterbox\" takes `fill`, `size = [width, height]`, `rounding`, `align` and no other key",
            ),
            (Policy::FitHeight, _) => Err("the policy \"fit-height\" takes `fill` and no other key"),
        }
    }
}
