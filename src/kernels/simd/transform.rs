//! The transforms of Winograd's minimal filtering for kernels of three, along one side.
//!
//! Both follow from interpolation of polynomials (Lavin and Gray, arXiv:1509.09308).

use super::Simd;

/// Transforms between tiles of Q outputs and their P = Q + 2 inputs, along one side.
pub(super) trait Transform<const P: usize, const Q: usize> {
    /// Rows that take the three weights of a kernel.
    const KERNEL: [[f64; 3]; P];

    fn spread<S: Simd>(simd: S, x: [S::F; P]) -> [S::F; P];

    fn gather<S: Simd>(simd: S, x: [S::F; P]) -> [S::F; Q];
}

/// Interpolation at 0, 1, -1 and infinity.
pub(super) struct Two;

impl Transform<4, 2> for Two {
    const KERNEL: [[f64; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];

    #[inline(always)]
    fn spread<S: Simd>(simd: S, [a, b, c, d]: [S::F; 4]) -> [S::F; 4] {
        [simd.sub(a, c), simd.add(b, c), simd.sub(c, b), simd.sub(b, d)]
    }

    #[inline(always)]
    fn gather<S: Simd>(simd: S, [a, b, c, d]: [S::F; 4]) -> [S::F; 2] {
        [simd.add(simd.add(a, b), c), simd.sub(simd.sub(b, c), d)]
    }
}

/// Interpolation at 0, p, -p, q, -q and infinity with p = sqrt(1/2) and q = sqrt(2): powers that stay near 1 keep rounding
/// errors small, and as p q = 1 the factors are few.
pub(super) struct Four;

const P: f64 = std::f64::consts::FRAC_1_SQRT_2;
const Q: f64 = std::f64::consts::SQRT_2;

impl Transform<6, 4> for Four {
    const KERNEL: [[f64; 3]; 6] = [
        [1.0, 0.0, 0.0],
        [-2.0 / 3.0, -2.0 / 3.0 * P, -1.0 / 3.0],
        [-2.0 / 3.0, 2.0 / 3.0 * P, -1.0 / 3.0],
        [1.0 / 6.0, Q / 6.0, 1.0 / 3.0],
        [1.0 / 6.0, -Q / 6.0, 1.0 / 3.0],
        [0.0, 0.0, 1.0],
    ];

    #[inline(always)]
    fn spread<S: Simd>(simd: S, [a, b, c, d, e, f]: [S::F; 6]) -> [S::F; 6] {
        let (half, two, five) = (simd.splat(-0.5), simd.splat(-2.0), simd.splat(-2.5));
        let near = simd.fma(two, c, e);
        let near_odd = simd.mul(simd.splat(P as f32), simd.fma(two, b, d));
        let far = simd.fma(half, c, e);
        let far_odd = simd.mul(simd.splat(Q as f32), simd.fma(half, b, d));
        [
            simd.add(simd.fma(five, c, e), a),
            simd.add(near, near_odd),
            simd.sub(near, near_odd),
            simd.add(far, far_odd),
            simd.sub(far, far_odd),
            simd.add(simd.fma(five, d, f), b),
        ]
    }

    #[inline(always)]
    fn gather<S: Simd>(simd: S, [a, b, c, d, e, f]: [S::F; 6]) -> [S::F; 4] {
        let (near, far) = (simd.add(b, c), simd.add(d, e));
        let low = simd.mul(simd.splat(P as f32), simd.sub(b, c));
        let high = simd.mul(simd.splat(Q as f32), simd.sub(d, e));
        let (half, two) = (simd.splat(0.5), simd.splat(2.0));
        [
            simd.add(simd.add(near, far), a),
            simd.add(low, high),
            simd.fma(half, near, simd.mul(two, far)),
            simd.add(simd.fma(half, low, simd.mul(two, high)), f),
        ]
    }
}
