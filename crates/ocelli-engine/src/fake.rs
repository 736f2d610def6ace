//! An engine without a model: what it answers, how long it takes and when it fails are all set by the caller.
//!
//! It serves tests and benchmarks, and `--engine fake`. It always compiles, and needs no library.
//!
//! # What it answers
//! Every row gets a class from its own content: the sum of the bytes of its elements (floats as little-endian IEEE
//! 754), over all inputs, modulo the number of classes ([`class_of`]). The row's output is then [`SCORES`] from that
//! class on, wrapping at the end, and 0 elsewhere: the class is the clear winner, the next nine follow in order
//! without ties, and a row that got its neighbour's answer is noticed.
//!
//! The number of classes is the number of elements in an output row. Open axes of the declared output are filled in:
//! the second axis with [`Fake::with_classes`] (1000 by default), any other with 1.

mod control;

use std::thread;
use std::time::{Duration, Instant};

pub use control::{FakeControl, FakeFailure};
use half::f16;

use crate::{
    Backend, ElementType, Engine, EngineError, EngineOptions, ModelSource, Row, Signature, Tensor, TensorData,
};

/// The scores of a row, from its class on. Where there are fewer classes, the list is cut.
pub const SCORES: [f32; 10] = [20.0, 18.0, 16.0, 14.0, 12.0, 10.0, 8.0, 6.0, 4.0, 2.0];

/// The class that the fake gives to a row with these bytes among `classes`, which must not be 0.
pub fn class_of(bytes: &[u8], classes: usize) -> usize {
    (byte_sum(bytes) % classes as u64) as usize
}

/// What a batch costs: `fixed + items * per_item`, waited without using a core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FakeCost {
    /// For the batch as a whole.
    pub fixed: Duration,
    /// For each item.
    pub per_item: Duration,
}

impl FakeCost {
    /// The time that a batch of `items` takes.
    pub fn of(&self, items: usize) -> Duration {
        self.fixed.saturating_add(
            self.per_item
                .saturating_mul(u32::try_from(items).unwrap_or(u32::MAX)),
        )
    }
}

/// The backend whose instances answer by arithmetic.
#[derive(Clone, Debug)]
pub struct Fake {
    cost: FakeCost,
    classes: usize,
    control: FakeControl,
}

impl Fake {
    /// A fake whose batches cost `cost`.
    pub fn new(cost: FakeCost) -> Self {
        Self {
            cost,
            classes: 1000,
            control: FakeControl::default(),
        }
    }

    /// Sets how many classes an output has where the package does not say. At least 1.
    #[must_use]
    pub fn with_classes(mut self, classes: usize) -> Self {
        self.classes = classes.max(1);
        self
    }

    /// A handle that steers and watches all instances of this backend.
    pub fn control(&self) -> FakeControl {
        self.control.clone()
    }
}

impl Backend for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }

    fn uses_cpu(&self) -> bool {
        false
    }

    fn load(
        &self,
        model: &ModelSource<'_>,
        _options: &EngineOptions,
    ) -> Result<Box<dyn Engine>, EngineError> {
        if model.onnx.is_empty() {
            return Err(EngineError::LoadFailed {
                model: model.name.to_owned(),
                reason: "the file is empty".to_owned(),
            });
        }
        let number = self.control.start_load(model.name)?;
        let mut signature = model.signature.clone();
        for output in &mut signature.outputs {
            if output.shape.is_empty() {
                output.shape = vec![None, None];
            }
            for (axis, dim) in output.shape.iter_mut().enumerate().skip(1) {
                let default = if axis == 1 { self.classes } else { 1 };
                dim.get_or_insert(default);
            }
        }
        Ok(Box::new(FakeEngine {
            signature,
            cost: self.cost,
            control: self.control.clone(),
            number,
        }))
    }
}

struct FakeEngine {
    signature: Signature,
    cost: FakeCost,
    control: FakeControl,
    /// How many instances were loaded before it.
    number: usize,
}

impl Engine for FakeEngine {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn infer(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, EngineError> {
        let batch = self.signature.check_inputs(inputs)?;
        self.control.start_batch(self.number, inputs, batch)?;
        wait(self.cost.of(batch));
        let sums: Vec<u64> = (0..batch)
            .map(|index| {
                inputs
                    .iter()
                    .filter_map(|input| input.row(index))
                    .map(row_sum)
                    .sum()
            })
            .collect();
        self.signature
            .outputs
            .iter()
            .map(|output| {
                let row_shape: Vec<usize> = output.shape.iter().skip(1).map(|dim| dim.unwrap_or(1)).collect();
                let classes = row_shape.iter().product::<usize>();
                let mut values = vec![0.0_f32; batch * classes];
                for (row, &sum) in values.chunks_exact_mut(classes.max(1)).zip(&sums) {
                    fill_row(row, sum);
                }
                let data = match output.element_type {
                    ElementType::F32 => TensorData::F32(values),
                    ElementType::U8 => TensorData::U8(values.iter().map(|&score| score as u8).collect()),
                    ElementType::F16 => TensorData::F16(values.into_iter().map(f16::from_f32).collect()),
                };
                let shape: Vec<usize> = std::iter::once(batch).chain(row_shape).collect();
                Tensor::new(shape, data).map_err(|error| EngineError::Fault(error.to_string()))
            })
            .collect()
    }
}

impl Drop for FakeEngine {
    fn drop(&mut self) {
        self.control.end_instance();
    }
}

fn fill_row(row: &mut [f32], sum: u64) {
    let classes = row.len();
    let class = (sum % classes as u64) as usize;
    for (rank, &score) in SCORES.iter().enumerate().take(classes) {
        row[(class + rank) % classes] = score;
    }
}

fn row_sum(row: Row<'_>) -> u64 {
    match row {
        Row::U8(values) => byte_sum(values),
        Row::F32(values) => values.iter().map(|value| byte_sum(&value.to_le_bytes())).sum(),
        Row::F16(values) => values.iter().map(|value| byte_sum(&value.to_le_bytes())).sum(),
    }
}

fn byte_sum(bytes: &[u8]) -> u64 {
    bytes.iter().map(|&byte| u64::from(byte)).sum()
}

/// Waits without holding a core. Parking may end early, so the clock decides.
fn wait(time: Duration) {
    let start = Instant::now();
    while let Some(left) = time.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
        thread::park_timeout(left);
    }
}
