//! What accompanies a forward pass: eyes for parity tests, and the random and statistical parts of training.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::control::Cancel;
use crate::error::{Error, Result};
use crate::kernels::channels_first;

/// One forward pass. `()` is inference: it sees nothing, drops nothing and costs nothing.
pub trait Pass<B: Backend> {
    /// Sees each intermediate result by name.
    fn see<const D: usize>(&mut self, _place: &str, _tensor: &Tensor<B, D>) {}

    /// Sees a map `[b, h, w, c]`, as `[b, c, h, w]`.
    fn see_map(&mut self, place: &str, map: &Tensor<B, 4>) {
        self.see(place, &channels_first(map.clone()));
    }

    /// Sees the output of decoder block `index`, `[b, h, w, decoder_channels[index]]`, for deep supervision.
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

/// Inference that stops between two layers once its caller asked for it: a forward pass takes seconds on a CPU.
#[derive(Debug)]
pub struct Stoppable<'a>(pub &'a Cancel);

/// What unwinds from a pass that was stopped. [`Stoppable::run`] catches it.
struct Stopped;

impl<'a> Stoppable<'a> {
    /// Runs `work`, [`Error::Cancelled`] when its pass was stopped.
    pub fn run<T>(cancel: Option<&'a Cancel>, work: impl FnOnce(Option<Self>) -> Result<T>) -> Result<T> {
        catch_unwind(AssertUnwindSafe(|| work(cancel.map(Stoppable))))
            .unwrap_or_else(|panic| if panic.is::<Stopped>() { Err(Error::Cancelled) } else { resume_unwind(panic) })
    }
}

impl<B: Backend> Pass<B> for Stoppable<'_> {
    fn see<const D: usize>(&mut self, _place: &str, _tensor: &Tensor<B, D>) {
        if self.0.is_triggered() {
            resume_unwind(Box::new(Stopped)); // no panic: nothing is printed
        }
    }
}
