//! Compares what a loaded model computes with what its package declares, on a few generated images.
//!
//! A graph may contain a softmax in a form that reading it does not find. A second softmax keeps the order of the classes and
//! makes all of them nearly as likely, which is easily overlooked; but the numbers show it. That is only a warning: the
//! package decides. An output whose shape cannot be answered is refused.

use std::{fmt, slice};

use ocelli_engine::{Engine, EngineError, Tensor};
use ocelli_vision::{Activation, InputSpec, OutputSpec, Task};

use super::batch;
use crate::models::served_model::ServedModel;
use crate::output::postprocess::{check_scores, vector_length};

/// How far from 1 the sum of probabilities may be that a graph computed in half precision.
const ROUNDING: f32 = 0.01;

/// An output whose activation seems to be applied twice: by the graph and as the package says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Twice {
    pub output: String,
    pub activation: Activation,
}

impl fmt::Display for Twice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let output = &self.output;
        let (found, remedy) = match self.activation {
            Activation::Softmax => (
                "numbers from 0 to 1 that sum to 1: the graph seems to end in a softmax, and another one is applied, which \
                 makes all classes nearly as likely",
                "write",
            ),
            Activation::Sigmoid | Activation::None => (
                "only numbers from 0 to 1: the graph may end in a sigmoid, and another one is applied, which makes 0.5 or \
                 more of each",
                "if so, write",
            ),
        };
        write!(
            f,
            "whatever the image, `{output}` gives {found}; {remedy} activation = \"none\" for it in model.toml (`ocelli model \
             init` makes one for a model that has none)"
        )
    }
}

/// What the first runs of a model show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The length of the feature vector of each output; 0 for an output of classes.
    pub vector_lengths: Vec<usize>,
    /// Outputs that look as if their activation were applied twice.
    pub twice: Vec<Twice>,
}

/// Runs the model and checks that each output can be answered as its package says: one score for each class, or numbers that
/// become one feature vector.
///
/// # Errors
/// What the engine says, and [`EngineError::Fault`] for an output of another form. Graphs may leave their shapes open, so that
/// nothing but a run shows it, and requests must not be the first to.
pub fn check(model: &ServedModel, engine: &mut dyn Engine) -> Result<Checked, EngineError> {
    let first = run(model, engine, IMAGES[0])?;
    Ok(Checked {
        vector_lengths: vector_lengths(model, &first)?,
        twice: twice(model, engine, first)?,
    })
}

fn run(model: &ServedModel, engine: &mut dyn Engine, image: Image) -> Result<Vec<Tensor>, EngineError> {
    let spec = model.input();
    let input = batch::input(spec, &[&made_up(spec, image)], None)
        .map_err(|error| EngineError::BadInput(error.to_string()))?;
    engine.infer(slice::from_ref(&input))
}

fn vector_lengths(model: &ServedModel, given: &[Tensor]) -> Result<Vec<usize>, EngineError> {
    let outputs = &model.card.manifest.outputs;
    let gives_classes = model.card.manifest.task != Task::Embedding;
    let length = |(place, (spec, tensor)): (usize, (&OutputSpec, &Tensor))| {
        let shape = tensor.row_shape();
        // Probabilities of the graph's own look like a vector, but are what the model is for.
        if !spec.is_vector() || (place == 0 && gives_classes) {
            check_scores(spec, shape, model.labels_of(place).len())?;
        }
        if spec.is_vector() {
            vector_length(spec, shape)
        } else {
            Ok(0)
        }
    };
    outputs.iter().zip(given).enumerate().map(length).collect()
}

/// `given` is what the first image gives. The others are run only where an output looks suspicious so far.
fn twice(
    model: &ServedModel,
    engine: &mut dyn Engine,
    mut given: Vec<Tensor>,
) -> Result<Vec<Twice>, EngineError> {
    let mut suspects: Vec<_> = model.card.manifest.outputs.iter().enumerate().collect();
    let mut images = IMAGES[1..].iter();
    loop {
        suspects.retain(|(place, output)| {
            let numbers = given.get(*place).and_then(Tensor::f32s);
            numbers.is_some_and(|numbers| looks_made(output.activation, numbers))
        });
        match images.next() {
            Some(image) if !suspects.is_empty() => given = run(model, engine, *image)?,
            _ => break,
        }
    }
    Ok(suspects
        .into_iter()
        .map(|(_, output)| Twice {
            output: output.name.clone(),
            activation: output.activation,
        })
        .collect())
}

/// Whether the numbers of one image look as if `activation` had made them.
fn looks_made(activation: Activation, numbers: &[f32]) -> bool {
    let are_parts = numbers
        .iter()
        .all(|number| (0.0..=1.0 + f32::EPSILON).contains(number));
    are_parts
        && match activation {
            Activation::Softmax => (numbers.iter().sum::<f32>() - 1.0).abs() <= ROUNDING,
            Activation::Sigmoid => !numbers.is_empty(),
            Activation::None => false,
        }
}

/// The colour of a pixel, from its height (0 to 1, top to bottom) and a random number.
type Image = fn(f32, u8) -> [u8; 3];

/// Images that have little in common; the first shows most.
const IMAGES: [Image; 4] = [
    |_, noise| [noise, noise.wrapping_mul(31), noise.wrapping_mul(57)],
    |height, _| [(height * 255.0) as u8, 128, 255 - (height * 255.0) as u8],
    |_, _| [0; 3],
    |_, _| [255; 3],
];

/// Generates packed RGB, the same each time.
fn made_up(spec: &InputSpec, image: Image) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(1);
    let rows = (0..spec.height).map(|row| row as f32 / spec.height as f32);
    rows.flat_map(|height| (0..spec.width).map(move |_| height))
        .flat_map(|height| image(height, random.u8(..)))
        .collect()
}

#[cfg(test)]
mod tests {
    use ocelli_engine::{Signature, TensorData};

    use super::*;
    use crate::models::served_model;

    /// Gives these numbers in turn, whatever comes in.
    struct Scripted {
        signature: Signature,
        answers: Vec<Vec<f32>>,
        runs: usize,
    }

    impl Engine for Scripted {
        fn signature(&self) -> &Signature {
            &self.signature
        }

        fn infer(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, EngineError> {
            self.signature.check_inputs(inputs)?;
            let answer = self.answers[self.runs % self.answers.len()].clone();
            self.runs += 1;
            let output = Tensor::new([1, answer.len()], TensorData::F32(answer));
            Ok(vec![output.expect("a row")])
        }
    }

    /// What is found of a model that gives `answers` and has `activation` applied, and how often it was run.
    fn found(activation: Activation, answers: &[&[f32]]) -> (Vec<Twice>, usize) {
        let mut package = served_model::builtin().expect("built in");
        package.card.manifest.outputs[0].activation = activation;
        let (model, file) = ServedModel::split(package);
        let mut engine = Scripted {
            signature: file.source().signature.clone(),
            answers: answers.iter().map(|answer| answer.to_vec()).collect(),
            runs: 0,
        };
        let first = run(&model, &mut engine, IMAGES[0]).expect("it runs");
        let found = twice(&model, &mut engine, first).expect("it runs");
        (found, engine.runs)
    }

    #[test]
    fn probabilities_are_told_from_scores() {
        let (twice, runs) = found(Activation::Softmax, &[&[0.2, 0.8], &[0.997, 0.0], &[0.5, 0.505]]);
        assert_eq!((twice.len(), runs), (1, IMAGES.len()));
        assert_eq!(twice[0].output, "logits");
        let text = twice[0].to_string();
        assert!(
            text.contains("activation = \"none\"") && text.contains("softmax"),
            "{text}"
        );
        for scores in [[0.2, 0.7], [-0.1, 1.1], [20.0, -19.0], [f32::NAN, 1.0]] {
            assert_eq!(
                found(Activation::Softmax, &[&scores]),
                (Vec::new(), 1),
                "{scores:?}"
            );
        }
        // One image is chance.
        assert_eq!(
            found(Activation::Softmax, &[&[0.2, 0.8], &[0.2, 0.8], &[0.2, 0.9]]),
            (Vec::new(), 3)
        );
    }

    #[test]
    fn independent_probabilities_need_not_sum_to_1() {
        let (twice, _) = found(Activation::Sigmoid, &[&[0.9, 0.8], &[0.0, 0.1]]);
        let text = twice[0].to_string();
        assert!(text.contains("may end in a sigmoid"), "{text}");
        assert_eq!(found(Activation::Sigmoid, &[&[0.9, -0.8]]), (Vec::new(), 1));
        assert_eq!(found(Activation::None, &[&[0.2, 0.8]]), (Vec::new(), 1));
    }

    #[test]
    fn the_images_differ_and_are_the_same_each_time() {
        let spec = served_model::builtin().expect("built in").card.manifest.input;
        let images = IMAGES.map(|image| made_up(&spec, image));
        for (index, image) in images.iter().enumerate() {
            assert_eq!(*image, made_up(&spec, IMAGES[index]));
            assert!(images[..index].iter().all(|other| other != image));
        }
    }
}
