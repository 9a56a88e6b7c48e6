//! What a network computes with on a GPU: float32, or one of the half precisions with float32 where it matters.

use std::fmt;
use std::str::FromStr;

use burn::tensor::DType;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The type of what lies between two layers, and of what matrices and kernels are multiplied in. Norms, exponentials, the
/// head and the loss are computed in float32 with any of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ComputePrecision {
    /// float32: rounds by 2^-24.
    #[default]
    F32,
    /// bfloat16: the range of float32, rounds by 2^-9.
    Bf16,
    /// float16: 6e-8 to 65504, rounds by 2^-11.
    F16,
}

impl ComputePrecision {
    pub const ALL: [ComputePrecision; 3] = [ComputePrecision::F32, ComputePrecision::Bf16, ComputePrecision::F16];

    /// The tensors' type.
    pub fn dtype(self) -> DType {
        match self {
            ComputePrecision::F32 => DType::F32,
            ComputePrecision::Bf16 => DType::BF16,
            ComputePrecision::F16 => DType::F16,
        }
    }
}

impl fmt::Display for ComputePrecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ComputePrecision::F32 => "f32",
            ComputePrecision::Bf16 => "bf16",
            ComputePrecision::F16 => "f16",
        })
    }
}

impl FromStr for ComputePrecision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let named = ComputePrecision::ALL.into_iter().find(|precision| precision.to_string() == text);
        named.ok_or_else(|| Error::Argument(format!("precision is {text:?}, expected f32, bf16 or f16")))
    }
}
