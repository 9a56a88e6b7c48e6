//! Matrix products on plain slices whose elements lie anywhere.
#![allow(unsafe_code)]

/// A matrix inside a slice: element (i, j) is at `i * rows + j * columns`.
#[derive(Clone, Copy)]
pub struct Strides {
    pub rows: usize,
    pub columns: usize,
}

impl Strides {
    /// Rows of `width` values, one after the other.
    pub fn of_rows(width: usize) -> Self {
        Strides { rows: width, columns: 1 }
    }

    /// The transposed of a matrix with rows of `width` values.
    pub fn transposed(width: usize) -> Self {
        Strides { rows: 1, columns: width }
    }

    fn last(self, height: usize, width: usize) -> usize {
        (height - 1) * self.rows + (width - 1) * self.columns
    }
}

/// `c = a b`, or `c += a b` with `add`: `a` is `[m, k]`, `b` `[k, n]`, `c` `[m, n]`. Runs on the calling thread alone, so
/// that the result does not depend on how many there are.
#[allow(clippy::too_many_arguments)]
pub fn gemm(
    [m, k, n]: [usize; 3],
    a: &[f32],
    a_at: Strides,
    b: &[f32],
    b_at: Strides,
    c: &mut [f32],
    c_at: Strides,
    add: bool,
) {
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    assert!(
        a_at.last(m, k) < a.len() && b_at.last(k, n) < b.len() && c_at.last(m, n) < c.len(),
        "matrix outside its slice"
    );
    // SAFETY: the assertion keeps every element that is read or written inside its slice, and `c` is borrowed mutably.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            c_at.columns as isize,
            c_at.rows as isize,
            add,
            a.as_ptr(),
            a_at.columns as isize,
            a_at.rows as isize,
            b.as_ptr(),
            b_at.columns as isize,
            b_at.rows as isize,
            1.0f32,
            1.0f32,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
