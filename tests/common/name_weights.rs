//! Weights that are a function of the parameter's name, so that no test needs a checkpoint of the full network, and the
//! two tiny networks that have golden numbers with such weights.
#![allow(dead_code)] // each test binary uses its own part

use transunet::network::{Architecture, Stem};

/// The golden fixtures' generator: FNV-1a of "seed:name", then SplitMix64, mapped to a range that suits the parameter.
pub fn values(seed: u64, bits: u32, name: &str, shape: &[usize]) -> Vec<f32> {
    let (offset, scale) = range(name, shape);
    let state = state(seed, name);
    (0..shape.iter().product::<usize>())
        .map(|i| {
            let mut z = state.wrapping_add((i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^= z >> 31;
            let u = ((z >> (64 - bits)) as f64 + 0.5) / 2f64.powi(bits as i32);
            (offset + scale * (2.0 * u - 1.0)) as f32
        })
        .collect()
}

fn state(seed: u64, name: &str) -> u64 {
    format!("{seed}:{name}")
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// Centre and half-width of the values.
fn range(name: &str, shape: &[usize]) -> (f64, f64) {
    if name.ends_with("running_mean") {
        return (0.0, 0.2);
    }
    if name.ends_with("running_var") {
        return (1.0, 0.5);
    }
    if name.ends_with("position_embeddings") {
        return (0.0, 0.5);
    }
    if shape.len() == 1 {
        return if name.ends_with("weight") { (1.0, 0.3) } else { (0.0, 0.2) };
    }
    let fan = shape[1..].iter().product::<usize>() as f64;
    let narrow = (3.0 / fan).sqrt();
    if name.contains("hybrid_model") {
        (0.3 * narrow, narrow)
    } else if name.starts_with("decoder") || name.contains(".query.") || name.contains(".key.") {
        (0.0, (6.0 / fan).sqrt())
    } else {
        (0.0, narrow)
    }
}

/// The golden network `r50`.
pub fn tiny_r50() -> Architecture {
    Architecture {
        image_size: [64; 2],
        classes: 4,
        stem: Some(Stem { width: 32, units: [2, 1, 1] }),
        hidden: 16,
        heads: 2,
        layers: 2,
        mlp: 40,
        decoder_channels: [12, 8, 6, 4],
        ..Architecture::r50_vit_b16(64, 4)
    }
}

/// The golden network `vit`.
pub fn tiny_vit() -> Architecture {
    Architecture {
        hidden: 8,
        heads: 2,
        layers: 2,
        mlp: 20,
        decoder_channels: [6, 5, 4, 3],
        ..Architecture::vit_b16(64, 4)
    }
}

#[test]
fn known_values() {
    assert_eq!(state(1, "segmentation_head.0.bias"), 0x1005_c7ce_8af3_09e0);
    assert_eq!(state(1, "transformer.embeddings.position_embeddings"), 0xf621_5a04_fc49_e0ab);
    let values = values(1, 24, "segmentation_head.0.bias", &[9]);
    assert_eq!((values[0], values[8]), (-0.171_963_19, 0.156_893_2));
}
