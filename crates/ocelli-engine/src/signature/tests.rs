use super::*;
use crate::TensorData;

fn spec(name: &str, element_type: ElementType, shape: &[Option<usize>]) -> TensorSpec {
    TensorSpec {
        name: name.to_owned(),
        element_type,
        shape: shape.to_vec(),
    }
}

fn image(shape: &[Option<usize>]) -> TensorSpec {
    spec("image", ElementType::U8, shape)
}

fn logits(shape: &[Option<usize>]) -> TensorSpec {
    spec("logits", ElementType::F32, shape)
}

fn signature(inputs: &[TensorSpec], outputs: &[TensorSpec]) -> Signature {
    Signature {
        inputs: inputs.to_vec(),
        outputs: outputs.to_vec(),
    }
}

#[test]
fn every_axis_that_one_side_fixes_is_fixed() {
    let declared = signature(&[image(&[None, Some(4), None])], &[logits(&[None, None])]);
    let graph = signature(&[image(&[None, None, Some(3)])], &[logits(&[None, Some(10)])]);
    let both = signature(&[image(&[None, Some(4), Some(3)])], &[logits(&[None, Some(10)])]);
    assert_eq!(Signature::reconcile(&declared, &graph), Ok(both));
}

#[test]
fn the_package_decides_order_and_choice_of_outputs() {
    let (one, two, three) = (
        logits(&[None]),
        spec("features", ElementType::F32, &[None]),
        spec("mask", ElementType::U8, &[None]),
    );
    let declared = signature(&[image(&[None])], &[two.clone(), one.clone()]);
    let graph = signature(&[image(&[None])], &[one, three, two]);
    assert_eq!(Signature::reconcile(&declared, &graph), Ok(declared));
}

#[test]
fn a_graph_that_leaves_the_rank_open_is_believed_to_fit() {
    let declared = signature(&[image(&[None])], &[logits(&[None, Some(10)])]);
    let graph = signature(&[image(&[None])], &[logits(&[])]);
    assert_eq!(Signature::reconcile(&declared, &graph), Ok(declared));
}

#[test]
fn a_package_that_leaves_the_rank_open_takes_the_graphs() {
    let declared = signature(&[image(&[None])], &[logits(&[])]);
    let graph = signature(&[image(&[None])], &[logits(&[None, Some(7), Some(64)])]);
    assert_eq!(Signature::reconcile(&declared, &graph), Ok(graph));
}

#[test]
fn scores_may_have_axes_of_one_between_them() {
    let declared = |classes| signature(&[image(&[None])], &[logits(&[None, Some(classes)])]);
    let graph = |axes: &[Option<usize>]| signature(&[image(&[None])], &[logits(axes)]);
    for (classes, axes, merged) in [
        (10, [None, Some(10), Some(1), Some(1)], Some(10)),
        (10, [None, None, Some(1), Some(1)], Some(10)),
        (1, [None, Some(1), Some(1), Some(1)], Some(1)),
    ] {
        let expected = graph(&[None, merged, Some(1), Some(1)]);
        assert_eq!(
            Signature::reconcile(&declared(classes), &graph(&axes)),
            Ok(expected)
        );
    }
    for axes in [
        [None, Some(12), Some(1)],
        [None, Some(10), Some(2)],
        [None, Some(1), Some(1)],
    ] {
        assert!(
            Signature::reconcile(&declared(10), &graph(&axes)).is_err(),
            "{axes:?}"
        );
    }
    // An open axis may be one, and has to be where another holds the classes.
    for (axes, merged) in [
        (
            &[None, Some(10), None, None][..],
            &[None, Some(10), Some(1), Some(1)][..],
        ),
        (&[None, None, Some(10)], &[None, Some(1), Some(10)]),
        (&[None, None, None], &[None, None, None]),
        (&[None, None, Some(1), None], &[None, None, Some(1), None]),
    ] {
        assert_eq!(
            Signature::reconcile(&declared(10), &graph(axes)),
            Ok(graph(merged)),
            "{axes:?}"
        );
    }
    assert_eq!(
        Signature::reconcile(&declared(1), &graph(&[None, None, Some(1)])),
        Ok(graph(&[None, Some(1), Some(1)]))
    );
    assert_eq!(
        Signature::reconcile(&declared(1), &graph(&[None])),
        Ok(graph(&[None]))
    );
    assert!(Signature::reconcile(&declared(10), &graph(&[None, Some(12), None])).is_err());
    let input = signature(&[image(&[None, Some(1), Some(10)])], &[]);
    assert!(Signature::reconcile(&signature(&[image(&[None, Some(10)])], &[]), &input).is_err());
}

#[test]
fn a_fixed_batch_is_one_or_refused() {
    let declared = signature(&[image(&[None, Some(3)])], &[]);
    let fixed = |batch| signature(&[image(&[Some(batch), Some(3)])], &[]);
    assert_eq!(
        Signature::reconcile(&declared, &fixed(1)).map(|merged| merged.fixed_batch()),
        Ok(Some(1))
    );
    let reason = Signature::reconcile(&declared, &fixed(8)).unwrap_err();
    assert!(reason.contains("batches of exactly 8"), "{reason}");
}

#[test]
fn differences_are_reported_with_both_sides() {
    let declared = signature(&[image(&[None, Some(3)])], &[logits(&[None, Some(10)])]);
    let cases = [
        (
            signature(
                &[spec("input_1", ElementType::U8, &[None, Some(3)])],
                &declared.outputs,
            ),
            "the graph's inputs are input_1, and the package declares image",
        ),
        (
            signature(
                &[image(&[None, Some(3)]), spec("mask", ElementType::U8, &[None])],
                &declared.outputs,
            ),
            "the graph's inputs are image, mask, and the package declares image; export it with the others as constants",
        ),
        (
            signature(&[], &declared.outputs),
            "the package declares an input image, and the graph has none",
        ),
        (
            signature(
                &declared.inputs,
                &[spec("softmax", ElementType::F32, &[None, Some(10)])],
            ),
            "the package declares an output logits, and the graph has softmax",
        ),
        (
            signature(
                &[spec("image", ElementType::F32, &[None, Some(3)])],
                &declared.outputs,
            ),
            "the package declares the input image as uint8, and in the graph it is float32",
        ),
        (
            signature(&[image(&[None, None, Some(3)])], &declared.outputs),
            "the package declares the input image as [batch, 3], and in the graph it is [batch, ?, 3]",
        ),
        (
            signature(&declared.inputs, &[logits(&[None, Some(12)])]),
            "the package declares the output logits as [batch, 10], and in the graph it is [batch, 12]",
        ),
    ];
    for (graph, reason) in cases {
        assert_eq!(Signature::reconcile(&declared, &graph), Err(reason.to_owned()));
    }
}

#[test]
fn inputs_are_checked_with_names_and_shapes() {
    let signature = signature(&[image(&[None, Some(2), None]), logits(&[None, Some(1)])], &[]);
    let u8s = |shape: &[usize]| Tensor::new(shape, TensorData::U8(vec![0; shape.iter().product()])).unwrap();
    let f32s =
        |shape: &[usize]| Tensor::new(shape, TensorData::F32(vec![0.0; shape.iter().product()])).unwrap();
    assert_eq!(signature.check_inputs(&[u8s(&[3, 2, 9]), f32s(&[3, 1])]), Ok(3));
    let cases = [
        (vec![u8s(&[3, 2, 9])], "it takes 2 tensors, got 1"),
        (
            vec![f32s(&[3, 2, 9]), f32s(&[3, 1])],
            "image takes uint8, got float32",
        ),
        (
            vec![u8s(&[3, 3, 9]), f32s(&[3, 1])],
            "image takes the shape [batch, 2, ?], got [3, 3, 9]",
        ),
        (
            vec![u8s(&[3, 2]), f32s(&[3, 1])],
            "image takes the shape [batch, 2, ?], got [3, 2]",
        ),
        (
            vec![u8s(&[3, 2, 9]), f32s(&[2, 1])],
            "logits has 2 rows where the first input has 3",
        ),
        (
            vec![u8s(&[0, 2, 9]), f32s(&[0, 1])],
            "the batch is empty; send at least one row",
        ),
    ];
    for (inputs, text) in cases {
        assert_eq!(
            signature.check_inputs(&inputs),
            Err(EngineError::BadInput(text.to_owned()))
        );
    }
}
