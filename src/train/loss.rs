//! The loss: half cross-entropy, half Dice, as the original defines them, on the output and on the decoder's stages.

use burn::tensor::activation::log_softmax;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use super::settings::LossSettings;

/// Keeps the Dice of an absent class finite.
const SMOOTH: f64 = 1e-5;

/// What a batch should have been given as.
#[derive(Debug, Clone)]
pub struct Target<B: Backend> {
    /// Share of each class in each pixel, `[b, c, h, w]`; nothing where the label is ignored.
    classes: Tensor<B, 4>,
    /// Share of each pixel that counts, `[b, 1, h, w]`; `None` where all do.
    valid: Option<Tensor<B, 4>>,
    /// Sum over all pixels of the weights of their classes: what the cross-entropy is divided by.
    weight: f64,
}

impl<B: Backend> Target<B> {
    /// From labels `[b, h, w]`, all below `classes` but for the ignored one.
    pub fn new(
        labels: &[u8],
        [batch, height, width]: [usize; 3],
        classes: usize,
        settings: &LossSettings,
        device: &B::Device,
    ) -> Self {
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
            classes: Tensor::from_data(TensorData::new(shares, [batch, classes, height, width]), device),
            valid: ignored.then(|| Tensor::from_data(TensorData::new(valid, [batch, 1, height, width]), device)),
            weight,
        }
    }

    /// The same for pixels of `factor` x `factor`.
    fn coarser(&self, factor: usize) -> Self {
        let pool = |x: &Tensor<B, 4>| {
            let [batch, channels, height, width] = x.dims();
            let (rows, columns) = (height / factor, width / factor);
            let x = x.clone().reshape([batch * channels * rows, factor, columns, factor]);
            x.mean_dim(1).mean_dim(3).reshape([batch, channels, rows, columns])
        };
        Target {
            classes: pool(&self.classes),
            valid: self.valid.as_ref().map(pool),
            weight: self.weight / (factor * factor) as f64,
        }
    }
}

/// Loss of a batch, `[1]` each.
#[derive(Debug, Clone)]
pub struct Loss<B: Backend> {
    /// What is minimised.
    pub total: Tensor<B, 1>,
    /// Cross-entropy of the output, mean over pixels, by class weight.
    pub cross_entropy: Tensor<B, 1>,
    /// Mean of 1 - Dice over the classes, background included.
    pub dice: Tensor<B, 1>,
}

impl<B: Backend> Loss<B> {
    /// Of logits `[b, c, h, w]`.
    ///
    /// Dice of a class, with p its probability and t its share, over all pixels of the batch together:
    /// `(2 sum(p t) + e) / (sum(p^2) + sum(t^2) + e)`.
    pub fn new(logits: Tensor<B, 4>, target: &Target<B>, settings: &LossSettings) -> Self {
        let [_, classes, _, _] = logits.dims();
        let device = logits.device();
        let log_p = log_softmax(logits, 1);
        let by_class = |x: Tensor<B, 4>| x.sum_dim(3).sum_dim(2).sum_dim(0).reshape([classes]);
        let weights = settings.class_weights.as_ref().map(|weights| {
            let weights: Vec<f32> = weights.iter().map(|&w| w as f32).collect();
            Tensor::<B, 1>::from_data(TensorData::new(weights, [classes]), &device)
        });
        let weigh = |x: Tensor<B, 1>| match &weights {
            Some(weights) => x * weights.clone(),
            None => x,
        };

        let likelihood = by_class(log_p.clone() * target.classes.clone());
        let cross_entropy = weigh(likelihood).sum() / -target.weight.max(f64::MIN_POSITIVE.sqrt());

        let p = match &target.valid {
            Some(valid) => log_p.exp() * valid.clone(),
            None => log_p.exp(),
        };
        let shared = by_class(p.clone() * target.classes.clone()) * 2.0 + SMOOTH;
        let own = by_class(p.square()) + by_class(target.classes.clone().square()) + SMOOTH;
        let dice = weigh(-(shared / own) + 1.0).sum() / classes as f64;

        let total = cross_entropy.clone() * settings.cross_entropy + dice.clone() * settings.dice;
        Loss { total, cross_entropy, dice }
    }

    /// Adds the losses of the decoder's stages, coarsest first, each a factor two finer than the one before and the last
    /// half as fine as the output. A stage weighs half of the next finer one; weights sum to 1.
    pub fn with_stages(self, stages: Vec<Tensor<B, 4>>, target: &Target<B>, settings: &LossSettings) -> Self {
        let mut total = self.total;
        let mut weights = 1.0;
        for (level, logits) in (1..).zip(stages.into_iter().rev()) {
            let weight = 0.5f64.powi(level);
            let loss = Loss::new(logits, &target.coarser(1 << level), settings);
            total = total + loss.total * weight;
            weights += weight;
        }
        Loss { total: total / weights, ..self }
    }
}
