//! A training pass: dropout whose masks are functions of seed and step, statistics of the batch, stages kept.

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use crate::network::Pass;
use crate::random;

/// Accompanies one forward pass.
#[derive(Debug)]
pub struct TrainingPass<B: Backend> {
    pub seed: u64,
    /// Number of the pass in the run.
    pub number: u64,
    /// Probability of dropping a value.
    pub dropout: f64,
    /// Probability of dropping a branch of the last transformer block; earlier blocks linearly less.
    pub drop_path: f64,
    pub batch_statistics: bool,
    /// Whether to keep the decoder's stages.
    pub keep_stages: bool,
    pub stages: Vec<Tensor<B, 4>>,
    /// Masks drawn so far.
    pub masks: u64,
}

impl<B: Backend> TrainingPass<B> {
    /// One that changes nothing: no dropout, running statistics.
    pub fn plain() -> Self {
        TrainingPass {
            seed: 0,
            number: 0,
            dropout: 0.0,
            drop_path: 0.0,
            batch_statistics: false,
            keep_stages: false,
            stages: Vec::new(),
            masks: 0,
        }
    }

    /// `count` factors: 0 with `probability`, else what keeps the mean. Steps of 2^-16.
    fn mask(&mut self, count: usize, probability: f64) -> Vec<f32> {
        let limit = (probability * 65_536.0).round().clamp(0.0, 65_535.0) as u16;
        let kept = (1.0 / (1.0 - f64::from(limit) / 65_536.0)) as f32;
        let mut random = random::stream(self.seed, "dropout", &[self.number, self.masks]);
        self.masks += 1;
        let mut bytes = vec![0u8; 2 * count];
        random.fill_bytes(&mut bytes);
        let factor = |pair: &[u8]| if u16::from_le_bytes([pair[0], pair[1]]) < limit { 0.0 } else { kept };
        bytes.chunks_exact(2).map(factor).collect()
    }
}

impl<B: Backend> Pass<B> for TrainingPass<B> {
    fn stage(&mut self, index: usize, x: &Tensor<B, 4>) {
        if self.keep_stages && index < 3 {
            self.stages.push(x.clone());
        }
    }

    fn batch_statistics(&self) -> bool {
        self.batch_statistics
    }

    fn drop_values<const D: usize>(&mut self, x: Tensor<B, D>) -> Tensor<B, D> {
        if self.dropout == 0.0 {
            return x;
        }
        let mask = TensorData::new(self.mask(x.shape().num_elements(), self.dropout), x.shape());
        let (device, dtype) = (x.device(), x.dtype());
        x * Tensor::from_data(mask, (&device, dtype))
    }

    fn drop_branch(&mut self, branch: Tensor<B, 3>, index: usize, count: usize) -> Tensor<B, 3> {
        if self.drop_path == 0.0 {
            return branch;
        }
        let [batch, _, _] = branch.dims();
        let probability = self.drop_path * (index + 1) as f64 / count as f64;
        let mask = TensorData::new(self.mask(batch, probability), [batch, 1, 1]);
        let (device, dtype) = (branch.device(), branch.dtype());
        branch * Tensor::from_data(mask, (&device, dtype))
    }
}
