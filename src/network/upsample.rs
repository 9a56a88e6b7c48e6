//! Align-corners bilinear resampling as two small matrix products, so that every backend can differentiate it.

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

/// Weights of linear interpolation from `from` to `to` samples whose first and last coincide: `[to, from]`.
fn interpolation(from: usize, to: usize) -> Vec<f32> {
    let mut weights = vec![0.0; to * from];
    let step = if to > 1 { (from - 1) as f64 / (to - 1) as f64 } else { 0.0 };
    for (i, row) in weights.chunks_exact_mut(from).enumerate() {
        let at = (i as f64 * step).min((from - 1) as f64);
        let low = (at.floor() as usize).min(from.saturating_sub(2));
        let fraction = at - low as f64;
        row[low] = (1.0 - fraction) as f32;
        if let Some(high) = row.get_mut(low + 1) {
            *high = fraction as f32;
        }
    }
    weights
}

/// `[b, c, h, w]` to `[b, c, size[0], size[1]]`; source coordinate of sample i is `i * (in - 1) / (out - 1)`.
pub fn bilinear<B: Backend>(x: Tensor<B, 4>, size: [usize; 2]) -> Tensor<B, 4> {
    let [_, _, height, width] = x.dims();
    if [height, width] == size {
        return x;
    }
    let device = x.device();
    let matrix = |from: usize, to: usize| -> Tensor<B, 4> {
        Tensor::<B, 2>::from_data(TensorData::new(interpolation(from, to), [to, from]), &device).unsqueeze()
    };
    let wide = x.matmul(matrix(width, size[1]).transpose());
    matrix(height, size[0]).matmul(wide)
}

#[cfg(test)]
mod tests {
    use super::interpolation;

    #[test]
    fn weights_sum_to_one_and_corners_coincide() {
        for (from, to) in [(1, 1), (1, 5), (7, 14), (14, 28), (28, 14), (5, 1), (3, 3)] {
            let weights = interpolation(from, to);
            for row in weights.chunks_exact(from) {
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{from} to {to}: {row:?}");
            }
            assert_eq!(weights[0], 1.0, "{from} to {to}");
            if to > 1 {
                assert_eq!(weights[to * from - 1], 1.0, "{from} to {to}");
            }
        }
    }
}
