//! What the shape of an output says that each image gets.
//!
//! The one place that decides which axis holds the classes: readers of graphs ask it for shapes that may be open, the
//! server for shapes of tensors that a model has just given.

/// What each image gets. Axes of length 1 do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PerImage {
    /// A number for each class or feature: their count, `None` where the graph leaves it open.
    Row(Option<u64>),
    /// Several rows, such as tokens: the length of each.
    Rows(u64),
    /// Three axes or more, such as a mask for each class.
    Map,
    /// Only a run can tell, for the graph leaves axes open.
    Open,
    /// The first axis is fixed to something else than the batch.
    NoBatch,
}

impl PerImage {
    /// What the axes behind the batch say.
    #[must_use]
    pub fn of(axes: &[Option<u64>]) -> Self {
        let mut open = 0;
        let mut fixed = Vec::new();
        for axis in axes {
            match axis {
                Some(1) => {}
                Some(length) => fixed.push(*length),
                None => open += 1,
            }
        }
        match (fixed.as_slice(), open) {
            ([], 0) => Self::Row(Some(1)),
            ([length], 0) => Self::Row(Some(*length)),
            ([], 1) => Self::Row(None),
            ([_, length], 0) => Self::Rows(*length),
            ([] | [_], _) => Self::Open,
            _ => Self::Map,
        }
    }

    /// How many numbers the one row has, where that is known.
    #[must_use]
    pub fn row(self) -> Option<u64> {
        match self {
            Self::Row(length) => length,
            Self::Rows(_) | Self::Map | Self::Open | Self::NoBatch => None,
        }
    }

    /// The same of a tensor that has been computed.
    #[must_use]
    pub fn of_tensor(row_shape: &[usize]) -> Self {
        let axes: Vec<Option<u64>> = row_shape.iter().map(|&axis| Some(axis as u64)).collect();
        Self::of(&axes)
    }

    /// What the whole shape says, of a model whose input has `batch` as its first axis.
    pub(super) fn of_shape(shape: Option<&[Option<u64>]>, batch: Option<u64>) -> Self {
        let Some(shape) = shape else {
            return Self::Open;
        };
        match shape.split_first() {
            None => Self::NoBatch,
            Some((first @ Some(2..), _)) if *first != batch => Self::NoBatch,
            Some((_, axes)) => Self::of(axes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(shape: &[u64]) -> PerImage {
        let axes: Vec<_> = shape.iter().map(|&axis| (axis != 0).then_some(axis)).collect();
        PerImage::of_shape(Some(&axes), None)
    }

    #[test]
    fn axes_of_one_do_not_count() {
        for shape in [
            &[0, 10][..],
            &[0, 10, 1],
            &[0, 10, 1, 1],
            &[0, 1, 10],
            &[0, 1, 1, 10],
            &[1, 1, 10, 1],
        ] {
            assert_eq!(of(shape), PerImage::Row(Some(10)), "{shape:?}");
        }
        for shape in [&[0][..], &[1], &[0, 1], &[1, 1, 1, 1]] {
            assert_eq!(of(shape), PerImage::Row(Some(1)), "{shape:?}");
        }
    }

    #[test]
    fn more_than_one_long_axis_is_no_row() {
        assert_eq!(of(&[1, 10, 49]), PerImage::Rows(49));
        assert_eq!(of(&[0, 1, 197, 768]), PerImage::Rows(768));
        assert_eq!(of(&[0, 21, 64, 64]), PerImage::Map);
        // Whatever the open axis is.
        assert_eq!(of(&[0, 21, 64, 0]), PerImage::Map);
    }

    #[test]
    fn open_axes_are_left_to_a_run_unless_there_is_one_only() {
        assert_eq!(of(&[0, 0]), PerImage::Row(None));
        assert_eq!(of(&[0, 0, 1, 1]), PerImage::Row(None));
        for shape in [&[0, 1, 0, 0][..], &[0, 10, 0, 0], &[0, 0, 0], &[0, 0, 768]] {
            assert_eq!(of(shape), PerImage::Open, "{shape:?}");
        }
        assert_eq!(PerImage::of_shape(None, None), PerImage::Open);
    }

    #[test]
    fn the_first_axis_is_the_batch_or_missing() {
        for shape in [&[][..], &[10], &[10, 1, 1], &[7, 7]] {
            assert_eq!(of(shape), PerImage::NoBatch, "{shape:?}");
        }
        let shape = [Some(8), Some(10)];
        assert_eq!(
            PerImage::of_shape(Some(&shape), Some(8)),
            PerImage::Row(Some(10)),
            "a fixed batch is the engine's to refuse"
        );
    }

    #[test]
    fn a_tensor_leaves_nothing_open() {
        assert_eq!(PerImage::of_tensor(&[]), PerImage::Row(Some(1)));
        assert_eq!(PerImage::of_tensor(&[10, 1, 1]), PerImage::Row(Some(10)));
        assert_eq!(PerImage::of_tensor(&[0]), PerImage::Row(Some(0)));
        assert_eq!(PerImage::of_tensor(&[1, 8, 8]), PerImage::Rows(8));
    }
}
