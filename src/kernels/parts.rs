//! Products of float32 on cards that round the factors to TF32.
//!
//! From compute capability 8.0 on Burn 0.21 (cubek-matmul 0.2) multiplies float32 matrices, and what convolutions make of
//! them, in TF32 on CUDA, with 11 of 24 significant bits, and has no switch. A factor is thus split in two (Dekker, Numer.
//! Math. 18, 224-242, 1971): 11 bits that TF32 holds, and the rest, of which it loses some 2^-22 of the whole. Three of the
//! four products of such parts count.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Device};
use burn_dispatch::{Dispatch, DispatchDevice};

use crate::device::multiplies_in_tf32;

/// Whether factors on this device are rounded. Not asked where gradients are taken: learning does with TF32.
pub fn are_needed(device: &Device<Dispatch>, dtype: DType) -> bool {
    dtype == DType::F32 && !matches!(device, DispatchDevice::Autodiff(_)) && multiplies_in_tf32(device)
}

/// `product(x, y)`, which is linear in both.
pub fn in_parts<B: Backend, const X: usize, const Y: usize, const OUT: usize>(
    x: Tensor<B, X>,
    y: Tensor<B, Y>,
    product: impl Fn(Tensor<B, X>, Tensor<B, Y>) -> Tensor<B, OUT>,
) -> Tensor<B, OUT> {
    let ([x, rest_of_x], [y, rest_of_y]) = (split(x), split(y));
    product(x.clone(), rest_of_y) + product(rest_of_x, y.clone()) + product(x, y)
}

/// What TF32 holds of the values, and the rest.
fn split<B: Backend, const D: usize>(x: Tensor<B, D>) -> [Tensor<B, D>; 2] {
    let shifted = x.clone() * 8193.0; // 2^13 + 1
    let held = shifted.clone() - (shifted - x.clone());
    [held.clone(), x - held]
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use burn_flex::Flex;

    use super::*;
    use crate::kernels::Kernels;

    fn waves<const D: usize>(shape: [usize; D], step: f32) -> Tensor<Flex, D> {
        let values = (0..shape.iter().product()).map(|n| (n as f32 * step).sin() * 3.0).collect();
        Tensor::from_data(TensorData::new(values, shape), &Default::default())
    }

    /// As TF32 holds them, rounded to nearest or cut off.
    fn tf32<const D: usize>(x: Tensor<Flex, D>, nearest: bool) -> Tensor<Flex, D> {
        let (shape, device) = (x.dims(), x.device());
        let half = if nearest { 1 << 12 } else { 0 };
        let round = |x: f32| f32::from_bits((x.to_bits() + half) & !0x1fff);
        let values = x.into_data().iter::<f32>().map(round).collect();
        Tensor::from_data(TensorData::new(values, shape), &device)
    }

    fn apart<const D: usize>(a: Tensor<Flex, D>, b: &Tensor<Flex, D>) -> f32 {
        (a - b.clone()).abs().max().into_scalar() / b.clone().abs().max().into_scalar()
    }

    fn check<const X: usize, const Y: usize, const OUT: usize>(
        x: &Tensor<Flex, X>,
        y: &Tensor<Flex, Y>,
        product: impl Fn(Tensor<Flex, X>, Tensor<Flex, Y>) -> Tensor<Flex, OUT>,
    ) {
        let right = product(x.clone(), y.clone());
        for nearest in [true, false] {
            let card = |x, y| product(tf32(x, nearest), tf32(y, nearest));
            let at_once = apart(card(x.clone(), y.clone()), &right);
            let parted = apart(in_parts(x.clone(), y.clone(), card), &right);
            assert!(at_once > 1e-4 && parted < 2e-6, "{at_once}, in parts {parted}");
        }
    }

    #[test]
    fn three_products_of_parts_are_the_product() {
        check(&waves([2, 33, 150], 0.37), &waves([2, 150, 20], 0.73), Tensor::matmul);
        check(&waves([1, 12, 12, 8], 0.37), &waves([5, 8, 3, 3], 0.73), |x, y| Flex::convolution(x, y, 1, 1));
    }
}
