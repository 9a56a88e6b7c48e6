//! Four lanes in plain code, for processors without one of the others: compilers have vectors for it where there are any.

use super::{Kernel, Simd};

#[derive(Clone, Copy)]
pub struct Portable(());

impl Portable {
    pub fn new() -> Self {
        Portable(())
    }
}

type F = [f32; 4];

#[inline(always)]
fn pairwise(a: F, b: F, f: impl Fn(f32, f32) -> f32) -> F {
    std::array::from_fn(|n| f(a[n], b[n]))
}

impl Simd for Portable {
    type F = F;
    const LANES: usize = 4;
    const ROWS: usize = 6;

    #[inline(never)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> F {
        [x; 4]
    }

    #[inline(always)]
    unsafe fn read(self, from: *const f32) -> F {
        // SAFETY: the caller's promise; arrays of f32 are aligned like f32.
        unsafe { *from.cast() }
    }

    #[inline(always)]
    unsafe fn write(self, x: F, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { *to.cast() = x }
    }

    #[inline(always)]
    fn prefetch(self, _at: *const f32) {}

    #[inline(always)]
    fn add(self, a: F, b: F) -> F {
        pairwise(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: F, b: F) -> F {
        pairwise(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: F, b: F) -> F {
        pairwise(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, a: F, b: F) -> F {
        pairwise(a, b, |a, b| a / b)
    }

    #[inline(always)]
    fn fma(self, a: F, b: F, c: F) -> F {
        // Not `mul_add`: without the instruction that is a call for each value.
        self.add(self.mul(a, b), c)
    }

    #[inline(always)]
    fn max(self, a: F, b: F) -> F {
        pairwise(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn power(self, shifted: F) -> F {
        shifted.map(|x| f32::from_bits(x.to_bits().wrapping_add(127) << 23))
    }
}
