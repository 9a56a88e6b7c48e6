//! The loss: half cross-entropy, half Dice, as the original defines them, on the output and on the decoder's stages.

use std::sync::Arc;

use burn::tensor::Tensor;

use super::settings::LossSettings;
use crate::kernels::{Kernels, LossWeights};

/// Keeps the Dice of an absent class finite.
const SMOOTH: f64 = 1e-5;

/// What a batch should have been given as.
#[derive(Debug, Clone)]
pub struct Target {
    /// b, c, h, w.
    shape: [usize; 4],
    /// Share of each class in each pixel, `[b, c, h, w]`; nothing where the label is ignored.
    classes: Arc<Vec<f32>>,
    /// Share of each pixel that counts, `[b, h, w]`; `None` where all do.
    valid: Option<Arc<Vec<f32>>>,
    /// Sum over all pixels of the weights of their classes: what the cross-entropy is divided by.
    weight: f64,
}

impl Target {
    /// From labels `[b, h, w]`, all below `classes` but for the ignored one.
    pub fn new(labels: &[u8], [batch, height, width]: [usize; 3], classes: usize, settings: &LossSettings) -> Self {
        let plane = height * width;
        let mut shares = vec![0.0f32; batch * classes * plane];
        let mut valid = vec![1.0f32; batch * plane];
        let mut weight = 0.0;
        let mut ignored = false;
        for (at, &label) in labels.iter().enumerate() {
            let (image, pixel) = (at / plane, at % plane);
            if Some(label) == settings.ignore {
                valid[at] = 0.0;
                ignored = true;
            } else {
                shares[(image * classes + usize::from(label)) * plane + pixel] = 1.0;
                weight += settings.class_weight(label);
            }
        }
        Target {
            shape: [batch, classes, height, width],
            classes: Arc::new(shares),
            valid: ignored.then(|| Arc::new(valid)),
            weight,
        }
    }

    /// The same for pixels of 2 x 2.
    fn coarser(&self) -> Self {
        let [batch, classes, height, width] = self.shape;
        let pool = |planes: &[f32]| {
            let mut out = Vec::with_capacity(planes.len() / 4);
            for rows in planes.chunks_exact(2 * width) {
                let (upper, lower) = rows.split_at(width);
                out.extend(
                    upper.chunks_exact(2).zip(lower.chunks_exact(2)).map(|(a, b)| (a[0] + a[1] + b[0] + b[1]) / 4.0),
                );
            }
            Arc::new(out)
        };
        Target {
            shape: [batch, classes, height / 2, width / 2],
            classes: pool(&self.classes),
            valid: self.valid.as_ref().map(|valid| pool(valid)),
            weight: self.weight / 4.0,
        }
    }
}

/// Loss of a batch, `[1]` each.
#[derive(Debug, Clone)]
pub struct Loss<B: Kernels> {
    /// What is minimised.
    pub total: Tensor<B, 1>,
    /// Cross-entropy of the output, mean over pixels, by class weight.
    pub cross_entropy: Tensor<B, 1>,
    /// Mean of 1 - Dice over the classes, background included.
    pub dice: Tensor<B, 1>,
}

impl<B: Kernels> Loss<B> {
    /// Of logits `[b, c, h, w]`.
    ///
    /// Dice of a class, with p its probability and t its share, over all pixels of the batch together:
    /// `(2 sum(p t) + e) / (sum(p^2) + sum(t^2) + e)`.
    pub fn new(logits: Tensor<B, 4>, target: &Target, settings: &LossSettings) -> Self {
        let classes = target.shape[1];
        let weights = LossWeights {
            cross_entropy: settings.cross_entropy,
            dice: settings.dice,
            classes: (0..classes).map(|class| settings.class_weight(class as u8)).collect(),
            total: target.weight,
            smooth: SMOOTH,
        };
        let shares = (target.classes.clone(), target.valid.clone());
        let [total, cross_entropy, dice] = B::segmentation_loss(logits, shares, weights);
        Loss { total, cross_entropy, dice }
    }

    /// Adds the losses of the decoder's stages, coarsest first, each a factor two finer than the one before and the last
    /// half as fine as the output. A stage weighs half of the next finer one; weights sum to 1.
    pub fn with_stages(self, stages: Vec<Tensor<B, 4>>, target: &Target, settings: &LossSettings) -> Self {
        let mut total = self.total;
        let (mut weights, mut weight) = (1.0, 1.0);
        let mut target = target.clone();
        for logits in stages.into_iter().rev() {
            weight /= 2.0;
            target = target.coarser();
            total = total + Loss::new(logits, &target, settings).total * weight;
            weights += weight;
        }
        Loss { total: total / weights, ..self }
    }
}
