//! A network on a GPU, by Burn.

use burn::tensor::activation::softmax;
use burn::tensor::{Tensor, TensorData};

use super::{Classified, Network};
use crate::control::Cancel;
use crate::device::Work;
use crate::error::{Error, Result};
use crate::kernels::Kernels;
use crate::network::{Architecture, Stoppable, TransUNet, fill, values};

#[derive(Debug)]
struct OnGpu<B: Kernels> {
    network: TransUNet<B>,
    device: B::Device,
}

impl<B: Kernels> Network for OnGpu<B> {
    fn classify(
        &self,
        pixels: Vec<f32>,
        shape: [usize; 4],
        probabilities: bool,
        cancel: Option<&Cancel>,
    ) -> Result<Classified> {
        let pixels = Tensor::from_data(TensorData::new(pixels, shape), &self.device);
        Stoppable::run(cancel, |pass| {
            let logits = match pass {
                Some(mut pass) => self.network.forward_with(pixels, &mut pass),
                None => self.network.forward(pixels),
            };
            let probabilities = probabilities.then(|| floats(softmax(logits.clone(), 1))).transpose()?;
            let labels = logits.argmax(1).into_data().iter::<i64>().map(|class| class as u8).collect();
            Ok(Classified { labels, probabilities })
        })
    }

    fn logits(&self, pixels: Vec<f32>, shape: [usize; 4]) -> Result<Vec<f32>> {
        floats(self.network.forward(Tensor::from_data(TensorData::new(pixels, shape), &self.device)))
    }

    fn visit(&self, show: &mut dyn FnMut(&str, &[f32]) -> Result<()>) -> Result<()> {
        for (name, tensor) in values(&self.network) {
            let data = tensor.into_data().into_vec::<f32>();
            show(&name, &data.map_err(|e| Error::Internal(format!("{name}: {e:?}")))?)?;
        }
        Ok(())
    }
}

fn floats<B: Kernels>(tensor: Tensor<B, 4>) -> Result<Vec<f32>> {
    tensor.into_data().into_vec().map_err(|e| Error::Internal(format!("output of the network: {e:?}")))
}

/// Builds a network of values that `read(name, shape)` returns.
pub(super) struct Build<'a, F> {
    pub architecture: &'a Architecture,
    pub read: F,
}

impl<F: FnMut(&str, &[usize]) -> Result<Vec<f32>>> Work for Build<'_, F> {
    type Output = Box<dyn Network>;

    fn run<B: Kernels>(self, device: &B::Device) -> Result<Box<dyn Network>> {
        let network = fill(TransUNet::<B>::new(self.architecture, device), self.read)?;
        Ok(Box::new(OnGpu { network, device: device.clone() }))
    }
}
