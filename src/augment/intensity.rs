//! Random changes of intensity: gain, offset, gamma, noise, blur.

use super::LowData;
use crate::random::Random;

impl LowData {
    /// Changes `pixels` `[channels, h, w]` in place, channels alike; each change happens to some samples.
    pub(super) fn change_intensity(&self, pixels: &mut [f32], size: [usize; 2], random: &mut Random) {
        if random.happens(0.3) {
            let gamma = random.between(-self.gamma.ln(), self.gamma.ln()).exp() as f32;
            for x in pixels.iter_mut() {
                *x = x.signum() * x.abs().powf(gamma);
            }
        }
        if random.happens(0.5) {
            let gain = (1.0 + random.between(-self.contrast, self.contrast)) as f32;
            let mean = pixels.iter().sum::<f32>() / pixels.len() as f32;
            let offset = random.between(-self.brightness, self.brightness) as f32;
            for x in pixels.iter_mut() {
                *x = (*x - mean) * gain + mean + offset;
            }
        }
        if random.happens(0.2) {
            let sigma = random.between(0.3, 1.0) * self.blur;
            pixels.chunks_exact_mut(size[0] * size[1]).for_each(|slice| blur(slice, size, sigma));
        }
        if random.happens(0.3) {
            let deviation = random.between(0.0, self.noise);
            for x in pixels.iter_mut() {
                *x += (deviation * random.normal()) as f32;
            }
        }
    }
}

/// Gaussian of standard deviation `sigma` pixels; the border is repeated.
fn blur(pixels: &mut [f32], [height, width]: [usize; 2], sigma: f64) {
    if sigma <= 0.0 {
        return;
    }
    let reach = (3.0 * sigma).ceil() as isize;
    let weights: Vec<f64> = (-reach..=reach).map(|d| (-0.5 * (d as f64 / sigma).powi(2)).exp()).collect();
    let total: f64 = weights.iter().sum();
    let along = |source: &[f32], count: usize, stride: usize, start: usize, out: &mut [f32]| {
        for i in 0..count {
            let mut sum = 0.0;
            for (weight, d) in weights.iter().zip(-reach..=reach) {
                let at = (i as isize + d).clamp(0, count as isize - 1) as usize;
                sum += weight * f64::from(source[start + at * stride]);
            }
            out[start + i * stride] = (sum / total) as f32;
        }
    };
    let mut halfway = vec![0.0; pixels.len()];
    (0..height).for_each(|y| along(pixels, width, 1, y * width, &mut halfway));
    (0..width).for_each(|x| along(&halfway, height, width, x, pixels));
}
