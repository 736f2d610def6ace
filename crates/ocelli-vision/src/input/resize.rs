//! The `resize` table as it is written.
//!
//! A table of its own, because serde lets a tagged variant without fields take any key.

use serde::Deserialize;

use crate::{ResizePolicy, Rounding};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    policy: Policy,
    size: Option<Size>,
    ratio: Option<f64>,
    fill: Option<[u8; 3]>,
    rounding: Option<Rounding>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Policy {
    Stretch,
    ShortestEdge,
    Cover,
    CropRatio,
    Letterbox,
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
        } = table;
        let cut = rounding.unwrap_or_default();
        match (policy, size, ratio, fill) {
            (Policy::Stretch, None, None, None) if rounding.is_none() => Ok(Self::Stretch),
            (Policy::Stretch, Some(Sides(size)), None, None) => Ok(Self::StretchCrop { size, rounding: cut }),
            (Policy::ShortestEdge, Some(Edge(size)), None, None) => {
                Ok(Self::ShortestEdge { size, rounding: cut })
            }
            (Policy::Cover, Some(Sides(size)), None, None) => Ok(Self::Cover { size, rounding: cut }),
            (Policy::CropRatio, None, Some(ratio), None) if rounding.is_none() => {
                Ok(Self::CropRatio { ratio })
            }
            (Policy::Letterbox, None, None, fill) if rounding.is_none() => Ok(Self::Letterbox {
                fill: fill.unwrap_or_default(),
                size: None,
            }),
            (Policy::Letterbox, Some(Sides(size)), None, fill) if rounding.is_none() => Ok(Self::Letterbox {
                fill: fill.unwrap_or_default(),
                size: Some(size),
            }),
            (Policy::Stretch, ..) => {
                Err("the policy \"stretch\" takes no other key, or `size = [width, height]` and `rounding`")
            }
            (Policy::ShortestEdge, ..) => Err(
                "the policy \"shortest-edge\" takes `size` (a number of pixels), `rounding` and no other key",
            ),
            (Policy::Cover, ..) => {
                Err("the policy \"cover\" takes `size = [width, height]`, `rounding` and no other key")
            }
            (Policy::CropRatio, ..) => Err("the policy \"crop-ratio\" takes `ratio` and no other key"),
            (Policy::Letterbox, ..) => {
                Err("the policy \"letterbox\" takes `fill`, `size = [width, height]` and no other key")
            }
        }
    }
}
