//! How well two label maps agree.

use crate::labels::Label;

/// Dice of each label, in one pass: `2 |A and B| / (|A| + |B|)`; `None` where both lack the label.
pub fn dice_of_labels(prediction: &[u8], truth: &[u8], labels: &[Label]) -> Vec<Option<f64>> {
    let (mut both, mut either) = ([0u64; 256], [0u64; 256]);
    for (&a, &b) in prediction.iter().zip(truth) {
        either[usize::from(a)] += 1;
        either[usize::from(b)] += 1;
        both[usize::from(a)] += u64::from(a == b);
    }
    let dice = |label: &Label| {
        let value = usize::from(label.value);
        (either[value] > 0).then(|| 2.0 * both[value] as f64 / either[value] as f64)
    };
    labels.iter().map(dice).collect()
}
