//! A network whose weights were rounded as they were loaded: it is saved from the file that they came from.

use std::sync::Arc;

use super::cpu::Origin;
use super::gpu::Build;
use super::{Classified, Form, Network};
use crate::control::Cancel;
use crate::device::Device;
use crate::error::Result;
use crate::network::Architecture;
use crate::precision::ComputePrecision;
use crate::receipt::digest;
use crate::weights::Checkpoint;

#[derive(Debug)]
pub(super) struct Rounded {
    network: Box<dyn Network>,
    architecture: Architecture,
    origin: Origin,
}

impl Rounded {
    /// The network of a checkpoint that fits `architecture`.
    pub fn load(
        device: &Device,
        architecture: Architecture,
        checkpoint: Arc<Checkpoint>,
        compat: bool,
        precision: ComputePrecision,
        digests: &mut digest::Weights,
    ) -> Result<Self> {
        let (origin, network) = Origin::of_file(checkpoint, &architecture, compat, digests, |read| {
            device.run(Build { architecture: &architecture, precision, read })
        })?;
        Ok(Rounded { network, architecture, origin })
    }
}

impl Network for Rounded {
    fn classify(
        &self,
        pixels: Vec<f32>,
        form: Form,
        probabilities: bool,
        cancel: Option<&Cancel>,
    ) -> Result<Classified> {
        self.network.classify(pixels, form, probabilities, cancel)
    }

    fn compiles(&self, form: Form) -> bool {
        self.network.compiles(form)
    }

    fn pass_bytes(&self, images: usize, size: [usize; 2]) -> u64 {
        self.network.pass_bytes(images, size)
    }

    fn logits(&self, pixels: Vec<f32>, shape: [usize; 4]) -> Result<Vec<f32>> {
        self.network.logits(pixels, shape)
    }

    fn visit(&self, show: &mut dyn FnMut(&str, &[f32]) -> Result<()>) -> Result<()> {
        self.origin.visit(&self.architecture, show)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use burn_dispatch::{Dispatch, DispatchDevice};

    use super::super::cpu::OnCpu;
    use super::*;
    use crate::device::Work;
    use crate::precision::ComputePrecision::{Bf16, F16};

    /// On Burn's CPU backend, which has the operations of its GPUs'.
    #[test]
    fn finds_the_labels_and_keeps_the_weights() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/phantom.safetensors");
        let open = || Arc::new(Checkpoint::open(&path).unwrap());
        let architecture = open().describe().unwrap().0.architecture;
        let pixels: Vec<f32> = (0..2 * 64 * 64).map(|n| (n as f32 * 0.13).sin() * (n as f32 * 0.0021).cos()).collect();
        let shape = [2, 1, 64, 64];
        let (mut sums, mut rounded_sums) = (digest::Weights::default(), digest::Weights::default());
        let exact = OnCpu::load(architecture.clone(), open(), false, &mut sums).unwrap();
        let exact = exact.classify(pixels.clone(), shape.into(), true, None).unwrap();
        for (precision, allowed) in [(Bf16, 0.05), (F16, 0.005)] {
            let (origin, network) = Origin::of_file(open(), &architecture, false, &mut rounded_sums, |read| {
                let device = DispatchDevice::Flex(Default::default());
                Build { architecture: &architecture, precision, read }.run::<Dispatch>(&device)
            })
            .unwrap();
            assert_eq!(rounded_sums.finish(), sums.finish(), "the hash is of the weights before they are rounded");
            let rounded = Rounded { network, architecture: architecture.clone(), origin };
            let found = rounded.classify(pixels.clone(), shape.into(), true, Some(&Cancel::default())).unwrap();
            let equal = found.labels.iter().zip(&exact.labels).filter(|(a, b)| a == b).count();
            assert!(equal * 100 > 99 * exact.labels.len(), "{precision}: {equal} of {} labels", exact.labels.len());
            let shares = found.probabilities.unwrap().into_iter().zip(exact.probabilities.as_ref().unwrap());
            let apart = shares.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart < allowed, "{precision}: probabilities differ by {apart}");

            let mut seen = 0;
            let read = |name: &str| open().read_for(name, &architecture, false).unwrap();
            rounded
                .visit(&mut |name, values| {
                    seen += 1;
                    assert!(values == read(name), "{name}");
                    Ok(())
                })
                .unwrap();
            assert!(seen > 100, "{seen} tensors");
        }
    }
}
