//! Dynamic loss scaling (Micikevicius et al., arXiv:1710.03740): lifts float16 gradients above the smallest numbers there are.

use crate::error::{Error, Result};

/// What the loss is multiplied by before its gradients are taken, and divided out of them after. Halved by gradients that
/// leave float16's range, whose update is skipped; doubled after many that do not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossScale {
    /// A power of two, so that multiplying by it rounds nothing.
    factor: f64,
    /// Updates since the factor changed.
    kept: u64,
    /// Updates that were skipped in the whole run.
    skipped: u64,
}

/// Updates without overflow until the factor is doubled.
const PATIENCE: u64 = 2000;

impl LossScale {
    pub fn factor(&self) -> f64 {
        self.factor
    }

    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// After a step with finite gradients.
    pub fn keep(&mut self) {
        self.kept += 1;
        if self.kept == PATIENCE {
            (self.factor, self.kept) = (2.0 * self.factor, 0);
        }
    }

    /// After a step without. False at a factor of 1, where a smaller one would mend nothing.
    pub fn shrink(&mut self) -> bool {
        let shrinks = self.factor > 1.0;
        if shrinks {
            *self = LossScale { factor: self.factor / 2.0, kept: 0, skipped: self.skipped + 1 };
        }
        shrinks
    }

    /// All of it, exact up to 2^24 skipped updates.
    pub fn to_values(self) -> Vec<f32> {
        vec![self.factor as f32, self.kept as f32, self.skipped as f32]
    }

    /// From what [`LossScale::to_values`] returned.
    pub fn from_values(values: &[f32]) -> Result<Self> {
        match values {
            &[factor, kept, skipped] if factor >= 1.0 => {
                Ok(LossScale { factor: factor.into(), kept: kept as u64, skipped: skipped as u64 })
            }
            _ => Err(Error::WeightsFormat(format!("loss scale {values:?}, expected factor, updates kept and skipped"))),
        }
    }
}

impl Default for LossScale {
    fn default() -> Self {
        LossScale { factor: 65_536.0, kept: 0, skipped: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_at_once_and_doubles_slowly() {
        let mut scale = LossScale::default();
        assert!(scale.shrink() && scale.shrink());
        assert_eq!((scale.factor(), scale.skipped()), (16_384.0, 2));
        (1..PATIENCE).for_each(|_| scale.keep());
        assert_eq!(scale.factor(), 16_384.0);
        assert_eq!(LossScale::from_values(&scale.to_values()).unwrap(), scale);
        scale.keep();
        assert_eq!((scale.factor(), scale.kept), (32_768.0, 0));
    }

    #[test]
    fn has_a_floor() {
        let mut scale = LossScale::default();
        let halvings = (0..100).take_while(|_| scale.shrink()).count();
        assert_eq!((halvings, scale.factor(), scale.skipped()), (16, 1.0, 16));
        assert!(LossScale::from_values(&[0.0, 0.0, 0.0]).is_err());
    }
}
