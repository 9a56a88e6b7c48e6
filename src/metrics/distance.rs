//! Exact Euclidean distances on a grid with unequal spacing.
//!
//! Felzenszwalb and Huttenlocher, Distance transforms of sampled functions, Theory of Computing 8, 2012.

use rayon::prelude::*;

/// Squared distance in mm from every voxel to the nearest of `to`, `[k, j, i]`; infinite if there is none.
///
/// `size` and `spacing` are those of columns, rows, slices.
pub fn squared_distances(to: &[bool], size: [usize; 3], spacing: [f64; 3]) -> Vec<f64> {
    let mut field: Vec<f64> = to.iter().map(|&there| if there { 0.0 } else { f64::INFINITY }).collect();
    let [columns, rows, slices] = size;
    field.par_chunks_mut(columns).for_each_init(|| Line::new(columns), |line, row| line.run(row, 1, 0, spacing[0]));
    field.par_chunks_mut(columns * rows).for_each_init(
        || Line::new(rows),
        |line, slice| (0..columns).for_each(|i| line.run(slice, columns, i, spacing[1])),
    );
    if slices > 1 {
        let mut line = Line::new(slices);
        (0..columns * rows).for_each(|i| line.run(&mut field, columns * rows, i, spacing[2]));
    }
    field
}

/// Workspace for one line of the grid.
struct Line {
    values: Vec<f64>,
    /// Places of the parabolas of the lower envelope, and where each begins to be the lowest.
    vertices: Vec<usize>,
    starts: Vec<f64>,
}

impl Line {
    fn new(count: usize) -> Self {
        Line { values: vec![0.0; count], vertices: vec![0; count], starts: vec![0.0; count + 1] }
    }

    /// Replaces every value of a line (from `first`, every `stride`) by the least `value + distance^2` along it.
    fn run(&mut self, field: &mut [f64], stride: usize, first: usize, spacing: f64) {
        let count = self.values.len();
        let mut last: Option<usize> = None;
        for i in 0..count {
            self.values[i] = field[first + i * stride];
            if self.values[i].is_infinite() {
                continue;
            }
            let place = |i: usize| i as f64 * spacing;
            let mut start = f64::NEG_INFINITY;
            while let Some(top) = last {
                let vertex = self.vertices[top];
                let apart = 2.0 * (place(i) - place(vertex));
                start = ((self.values[i] + place(i).powi(2)) - (self.values[vertex] + place(vertex).powi(2))) / apart;
                if start > self.starts[top] {
                    break;
                }
                last = top.checked_sub(1);
                start = f64::NEG_INFINITY;
            }
            let top = last.map_or(0, |top| top + 1);
            self.vertices[top] = i;
            self.starts[top] = start;
            last = Some(top);
        }
        let Some(end) = last else { return };
        let mut top = 0;
        for i in 0..count {
            let place = i as f64 * spacing;
            while top < end && self.starts[top + 1] < place {
                top += 1;
            }
            let vertex = self.vertices[top];
            field[first + i * stride] = self.values[vertex] + ((i as f64 - vertex as f64) * spacing).powi(2);
        }
    }
}
