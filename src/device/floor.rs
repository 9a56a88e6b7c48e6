//! What a device can do at most, measured: products in a large matrix product, bytes in a sum of two vectors.

use std::time::{Duration, Instant};

use burn::tensor::{Distribution, Tensor};

use super::{Device, Work};
use crate::error::Result;
use crate::kernels::Kernels;

/// Of one device, the best of a few tries.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Floor {
    /// Multiplications, each with an addition, in a second, in float32.
    pub products_per_second: f64,
    /// Bytes read and written in a second.
    pub bytes_per_second: f64,
}

/// Tries of each.
const TRIES: usize = 5;

impl Device {
    /// Measures with matrices of `side` by `side`.
    pub fn floor(&self, side: usize) -> Result<Floor> {
        self.run(Measure { side })
    }
}

struct Measure {
    side: usize,
}

impl Work for Measure {
    type Output = Floor;

    fn run<B: Kernels>(self, device: &B::Device) -> Result<Floor> {
        let side = self.side;
        let random = || Tensor::<B, 2>::random([side, side], Distribution::Uniform(-1.0, 1.0), device);
        let (a, b) = (random(), random());
        // Reading one value waits for all of it.
        let wait = |x: Tensor<B, 2>| drop(x.slice([0..1, 0..1]).into_data());
        let best = |work: &dyn Fn() -> Tensor<B, 2>| {
            wait(work());
            let times = (0..TRIES).map(|_| {
                let began = Instant::now();
                wait(work());
                began.elapsed()
            });
            times.min().unwrap_or(Duration::MAX).as_secs_f64()
        };
        let product = best(&|| a.clone().matmul(b.clone()));
        let sum = best(&|| a.clone() + b.clone());
        Ok(Floor {
            products_per_second: (side as f64).powi(3) / product,
            bytes_per_second: 3.0 * 4.0 * (side as f64).powi(2) / sum,
        })
    }
}
