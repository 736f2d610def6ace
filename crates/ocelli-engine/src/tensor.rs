//! Tensors: a shape and its elements, row-major, with the batch on the first axis.
//!
//! Only what crosses the engine seam lives here. There is no arithmetic and no view with strides: the web side
//! prepares pixels, the worker concatenates rows, the engine reads them.

use std::fmt;

use half::f16;

/// The element types that models take and give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ElementType {
    /// Unsigned 8-bit integers, such as pixels.
    U8,
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision; only inputs, for what an engine gives in it is widened.
    F16,
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::U8 => "uint8",
            Self::F32 => "float32",
            Self::F16 => "float16",
        })
    }
}

/// The elements of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorData {
    /// Unsigned 8-bit integers.
    U8(Vec<u8>),
    /// Single-precision floats.
    F32(Vec<f32>),
    /// Half-precision floats.
    F16(Vec<f16>),
}

impl TensorData {
    /// The type of the elements.
    pub fn element_type(&self) -> ElementType {
        match self {
            Self::U8(_) => ElementType::U8,
            Self::F32(_) => ElementType::F32,
            Self::F16(_) => ElementType::F16,
        }
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(values) => values.len(),
            Self::F32(values) => values.len(),
            Self::F16(values) => values.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `len` zeros of `element_type`.
    pub fn zeros(element_type: ElementType, len: usize) -> Self {
        match element_type {
            ElementType::U8 => Self::U8(vec![0; len]),
            ElementType::F32 => Self::F32(vec![0.0; len]),
            ElementType::F16 => Self::F16(vec![f16::ZERO; len]),
        }
    }
}

/// Why a shape and its elements do not make a tensor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages describe the fields")]
pub enum TensorError {
    /// The shape has no axis, so there is no batch.
    #[error("a tensor needs at least one axis (the batch); give a shape such as [1, 1000]")]
    NoBatchAxis,
    /// The shape asks for another number of elements than there are.
    #[error("shape {shape:?} needs {expected} elements, but there are {actual}")]
    LengthMismatch {
        shape: Vec<usize>,
        expected: usize,
        actual: usize,
    },
    /// The product of the shape does not fit in memory's address space.
    #[error("shape {shape:?} has too many elements to count")]
    Overflow { shape: Vec<usize> },
}

/// A dense tensor, row-major, whose first axis is the batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: TensorData,
}

impl Tensor {
    /// Puts a shape on elements.
    ///
    /// # Errors
    /// When the shape has no axis, or its product is not the number of elements.
    pub fn new(shape: impl Into<Vec<usize>>, data: TensorData) -> Result<Self, TensorError> {
        let shape = shape.into();
        if shape.is_empty() {
            return Err(TensorError::NoBatchAxis);
        }
        let Some(expected) = shape
            .iter()
            .try_fold(1_usize, |product, &dim| product.checked_mul(dim))
        else {
            return Err(TensorError::Overflow { shape });
        };
        if expected != data.len() {
            return Err(TensorError::LengthMismatch {
                shape,
                expected,
                actual: data.len(),
            });
        }
        Ok(Self { shape, data })
    }

    /// The length of each axis; the first is the batch.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements.
    pub fn data(&self) -> &TensorData {
        &self.data
    }

    /// The type of the elements.
    pub fn element_type(&self) -> ElementType {
        self.data.element_type()
    }

    /// The elements, when they are `u8`.
    pub fn u8s(&self) -> Option<&[u8]> {
        match &self.data {
            TensorData::U8(values) => Some(values),
            TensorData::F32(_) | TensorData::F16(_) => None,
        }
    }

    /// The elements, when they are `f32`.
    pub fn f32s(&self) -> Option<&[f32]> {
        match &self.data {
            TensorData::F32(values) => Some(values),
            TensorData::U8(_) | TensorData::F16(_) => None,
        }
    }

    /// Gives the shape and the elements back, for instance to use the buffer again.
    pub fn into_parts(self) -> (Vec<usize>, TensorData) {
        (self.shape, self.data)
    }

    /// The length of the first axis.
    pub fn batch_len(&self) -> usize {
        self.shape[0]
    }

    /// The shape of one row: every axis but the first.
    pub fn row_shape(&self) -> &[usize] {
        &self.shape[1..]
    }

    /// How many elements one row has.
    pub fn row_len(&self) -> usize {
        // Not `len / batch_len`: a batch of none still has rows of a known length. The product fits because
        // `new` counted the whole shape, except where an earlier zero hid an overflow; nothing is read then.
        self.row_shape()
            .iter()
            .fold(1, |product, &dim| product.saturating_mul(dim))
    }

    /// The `index`th row, without a copy; `None` past the end of the batch.
    pub fn row(&self, index: usize) -> Option<Row<'_>> {
        if index >= self.batch_len() {
            return None;
        }
        Some(self.row_at(index))
    }

    fn row_at(&self, index: usize) -> Row<'_> {
        let len = self.row_len();
        let range = index * len..(index + 1) * len;
        match &self.data {
            TensorData::U8(values) => Row::U8(&values[range]),
            TensorData::F32(values) => Row::F32(&values[range]),
            TensorData::F16(values) => Row::F16(&values[range]),
        }
    }

    /// Splits the tensor along its first axis, without a copy.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Row<'_>> {
        (0..self.batch_len()).map(|index| self.row_at(index))
    }
}

/// One row of a tensor: the elements of one item of the batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Row<'a> {
    /// Unsigned 8-bit integers.
    U8(&'a [u8]),
    /// Single-precision floats.
    F32(&'a [f32]),
    /// Half-precision floats.
    F16(&'a [f16]),
}

impl<'a> Row<'a> {
    /// The elements, when they are `u8`.
    pub fn u8s(self) -> Option<&'a [u8]> {
        match self {
            Self::U8(values) => Some(values),
            Self::F32(_) | Self::F16(_) => None,
        }
    }

    /// The elements, when they are `f32`.
    pub fn f32s(self) -> Option<&'a [f32]> {
        match self {
            Self::F32(values) => Some(values),
            Self::U8(_) | Self::F16(_) => None,
        }
    }

    /// A copy of the elements.
    pub fn to_data(self) -> TensorData {
        match self {
            Self::U8(values) => TensorData::U8(values.to_vec()),
            Self::F32(values) => TensorData::F32(values.to_vec()),
            Self::F16(values) => TensorData::F16(values.to_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_shape_must_fit_its_elements() {
        let elements = |len| TensorData::U8(vec![7; len]);
        assert_eq!(Tensor::new([], elements(1)), Err(TensorError::NoBatchAxis));
        let error = Tensor::new([2, 3], elements(5)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "shape [2, 3] needs 6 elements, but there are 5"
        );
        let error = Tensor::new([usize::MAX, 2], elements(0)).unwrap_err();
        assert!(matches!(error, TensorError::Overflow { .. }), "{error}");
        assert!(Tensor::new([0, 3], elements(0)).is_ok());
    }

    #[test]
    fn an_empty_batch_has_rows_of_a_length_and_none_of_them() {
        let tensor = Tensor::new([0, 2, 3], TensorData::F32(Vec::new())).unwrap();
        assert_eq!(
            (tensor.batch_len(), tensor.row_len(), tensor.rows().len()),
            (0, 6, 0)
        );
        assert_eq!(tensor.row(0), None);
    }

    #[test]
    fn a_zero_hides_an_overflow_without_harm() {
        let tensor = Tensor::new([2, 0, usize::MAX, usize::MAX], TensorData::U8(Vec::new())).unwrap();
        assert_eq!((tensor.row_len(), tensor.row(1)), (0, Some(Row::U8(&[]))));
    }

    proptest! {
        #[test]
        fn rows_are_the_elements_in_order(batch in 1_usize..6, row in prop::collection::vec(1_usize..5, 0..4)) {
            let shape = [&[batch], &row[..]].concat();
            let len = shape.iter().product::<usize>();
            let data = TensorData::F32((0..len).map(|index| index as f32).collect());
            let tensor = Tensor::new(shape.clone(), data.clone()).unwrap();
            prop_assert_eq!(tensor.row_shape(), &row[..]);
            let rows: Vec<f32> = tensor.rows().flat_map(|row| row.f32s().unwrap().to_vec()).collect();
            prop_assert_eq!(Some(&rows[..]), tensor.f32s());
            for (index, row) in tensor.rows().enumerate() {
                prop_assert_eq!(tensor.row(index), Some(row));
                prop_assert_eq!(row.to_data().len(), tensor.row_len());
            }
            prop_assert_eq!(tensor.row(batch), None);
            prop_assert_eq!(tensor.into_parts(), (shape, data));
        }
    }
}
