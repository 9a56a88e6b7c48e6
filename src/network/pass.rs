//! What accompanies a forward pass: eyes for parity tests, and the random and statistical parts of training.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// One forward pass. `()` is inference: it sees nothing, drops nothing and costs nothing.
pub trait Pass<B: Backend> {
    /// Sees each intermediate result by name.
    fn see<const D: usize>(&mut self, _place: &str, _tensor: &Tensor<B, D>) {}

    /// Sees the output of decoder block `index`, `[b, decoder_channels[index], h, w]`, for deep supervision.
    fn stage(&mut self, _index: usize, _x: &Tensor<B, 4>) {}

    /// Whether batch normalisation takes the statistics of the batch, and adds them to the running ones.
    fn batch_statistics(&self) -> bool {
        false
    }

    /// Dropout (Srivastava et al., JMLR 15, 2014) of single values.
    fn drop_values<const D: usize>(&mut self, x: Tensor<B, D>) -> Tensor<B, D> {
        x
    }

    /// Stochastic depth (Huang et al., arXiv:1603.09382): drops the residual branch `[b, n, hidden]` of transformer block
    /// `index` of `count` for some images of the batch.
    fn drop_branch(&mut self, branch: Tensor<B, 3>, _index: usize, _count: usize) -> Tensor<B, 3> {
        branch
    }
}

impl<B: Backend> Pass<B> for () {}
