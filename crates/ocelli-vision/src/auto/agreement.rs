//! Whether a package and its graph describe the same model, before an engine loads it.

use crate::{
    Graph, InputSpec, InputType, Layout, OutputSpec,
    graph::{Element, TensorInfo},
};

/// A key of the manifest that contradicts the graph, and what is wrong with it.
pub(super) type Mismatch = (&'static str, String);

/// Holds the `[input]` table against the graph's input.
pub(super) fn check_input(spec: &InputSpec, input: &TensorInfo) -> Result<(), Mismatch> {
    if spec.name != input.name {
        let problem = format!("is {:?}, and the graph's input is `{}`", spec.name, input.name);
        return Err(("input.name", problem));
    }
    let element = match spec.dtype {
        InputType::Uint8 => Element::Uint8,
        InputType::Float32 => Element::Float32,
        InputType::Float16 => Element::Float16,
    };
    if element != input.element {
        let problem = format!("is \"{element}\", and the graph takes {}", input.element);
        return Err(("input.dtype", problem));
    }
    let Some(shape) = &input.shape else {
        return Ok(());
    };
    let (channels, height, width) = (
        ("input.channels", spec.channels.count() as u64),
        ("input.height", u64::from(spec.height)),
        ("input.width", u64::from(spec.width)),
    );
    let wanted = match spec.layout {
        Layout::Nchw => [channels, height, width],
        Layout::Nhwc => [height, width, channels],
    };
    let [_, axes @ ..] = shape.as_slice() else {
        return Err(("input.layout", no_images(input)));
    };
    if axes.len() != wanted.len() {
        return Err(("input.layout", no_images(input)));
    }
    let differs =
        |((_, wanted), axis): &(&(&str, u64), &Option<u64>)| axis.is_some_and(|axis| axis != *wanted);
    let Some(((key, found), axis)) = wanted.iter().zip(axes).find(differs) else {
        return Ok(());
    };
    // The shape fits the other layout, so the layout is wrong.
    let is_turned = wanted.iter().zip(axes).filter(differs).count() > 1
        && matches!(
            (spec.layout, axes),
            (Layout::Nchw, [.., Some(1 | 3)]) | (Layout::Nhwc, [Some(1 | 3), ..])
        );
    if is_turned {
        return Err(("input.layout", format!("is not the graph's, which takes {input}")));
    }
    let expected = axis.unwrap_or_default();
    Err((
        *key,
        format!("makes {found} where the graph has {expected}: it takes {input}"),
    ))
}

pub(super) fn check_output(spec: &OutputSpec, graph: &Graph) -> Result<(), Mismatch> {
    if graph.output(&spec.name).is_some() {
        return Ok(());
    }
    let names: Vec<String> = graph
        .outputs
        .iter()
        .map(|output| format!("`{}`", output.tensor.name))
        .collect();
    Err((
        "output.name",
        format!("is {:?}, and the graph has {}", spec.name, names.join(", ")),
    ))
}

fn no_images(input: &TensorInfo) -> String {
    format!("is for batches of images, and the graph takes {input}: export it with four axes")
}
