//! Writes NumPy's file format, version 1.0 (`numpy/lib/format.py`): a header in Python's syntax, then the numbers.

use std::io::{self, Write};

use ocelli_engine::{Tensor, TensorData};

/// Writes tensors of one shape, concatenated along the batch axis.
pub(super) fn write(out: &mut impl Write, tensors: &[Tensor]) -> io::Result<()> {
    let Some(first) = tensors.first() else {
        return Ok(());
    };
    let descr = match first.data() {
        TensorData::U8(_) => "|u1",
        TensorData::F32(_) => "<f4",
        TensorData::F16(_) => "<f2",
    };
    let batch: usize = tensors.iter().map(Tensor::batch_len).sum();
    out.write_all(&header(descr, batch, first.row_shape()))?;
    for tensor in tensors {
        match tensor.data() {
            TensorData::U8(values) => out.write_all(values)?,
            TensorData::F32(values) => values
                .iter()
                .try_for_each(|value| out.write_all(&value.to_le_bytes()))?,
            TensorData::F16(values) => values
                .iter()
                .try_for_each(|value| out.write_all(&value.to_le_bytes()))?,
        }
    }
    out.flush()
}

fn header(descr: &str, batch: usize, row: &[usize]) -> Vec<u8> {
    /// Offset of the numbers is a multiple of this.
    const ALIGNMENT: usize = 64;
    /// Magic, version and length of the header.
    const BEFORE: usize = 10;
    let shape: String = row.iter().map(|axis| format!(", {axis}")).collect();
    let comma = if row.is_empty() { "," } else { "" };
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({batch}{shape}{comma}), }}");
    let len = (BEFORE + text.len() + 1).next_multiple_of(ALIGNMENT) - BEFORE;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((len as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.resize(BEFORE + len - 1, b' ');
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `numpy.save` writes `numpy.array([[1, 2, 3], [4, 5, 6]], "<f4")` as a header of 128 bytes and the numbers.
    #[test]
    fn the_bytes_match_those_of_numpy() {
        let row = |values: [f32; 3]| Tensor::new([1, 3], TensorData::F32(values.to_vec())).unwrap();
        let mut bytes = Vec::new();
        write(&mut bytes, &[row([1.0, 2.0, 3.0]), row([4.0, 5.0, 6.0])]).unwrap();
        assert_eq!(bytes.len(), 128 + 24);
        assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\x76\x00");
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
        assert!(bytes[10..128].starts_with(text.as_bytes()) && bytes[127] == b'\n');
        assert_eq!(&bytes[128..132], &1.0_f32.to_le_bytes());
        assert_eq!(&bytes[148..], &6.0_f32.to_le_bytes());
    }

    #[test]
    fn a_single_axis_is_a_tuple_too() {
        let text = String::from_utf8_lossy(&header("|u1", 5, &[])).into_owned();
        assert!(text.contains("'shape': (5,), "), "{text}");
    }
}
