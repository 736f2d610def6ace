//! The `resize` table as it is written.
//!
//! A table of its own, because serde lets a tagged variant without fields take any key.

use serde::Deserialize;

use crate::ResizePolicy;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    policy: Policy,
    size: Option<u32>,
    ratio: Option<f64>,
    fill: Option<[u8; 3]>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Policy {
    Stretch,
    ShortestEdge,
    CropRatio,
    Letterbox,
}

impl TryFrom<Table> for ResizePolicy {
    type Error = &'static str;

    fn try_from(table: Table) -> Result<Self, Self::Error> {
        match (table.policy, table.size, table.ratio, table.fill) {
            (Policy::Stretch, None, None, None) => Ok(Self::Stretch),
            (Policy::ShortestEdge, Some(size), None, None) => Ok(Self::ShortestEdge { size }),
            (Policy::CropRatio, None, Some(ratio), None) => Ok(Self::CropRatio { ratio }),
            (Policy::Letterbox, None, None, fill) => Ok(Self::Letterbox {
                fill: fill.unwrap_or_default(),
            }),
            (Policy::Stretch, ..) => Err("the policy \"stretch\" takes no other key"),
            (Policy::ShortestEdge, ..) => Err("the policy \"shortest-edge\" takes `size` and no other key"),
            (Policy::CropRatio, ..) => Err("the policy \"crop-ratio\" takes `ratio` and no other key"),
            (Policy::Letterbox, ..) => Err("the policy \"letterbox\" takes `fill` and no other key"),
        }
    }
}
