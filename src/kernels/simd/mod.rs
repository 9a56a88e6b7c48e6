//! Vectors of f32 in the widest form that the processor has, chosen when the library runs.
#![allow(unsafe_code)]
// Closures around vector instructions are not always inlined, and then slow: these files count with indices instead.
#![allow(clippy::needless_range_loop)]

pub mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod buffer;
pub mod correlate;
pub mod maps;
#[cfg(target_arch = "aarch64")]
mod neon;
pub mod norms;
pub mod parallel;
mod portable;
pub mod product;
mod tile;
mod transform;
pub mod winograd;

use std::sync::atomic::{AtomicUsize, Ordering};

/// Values whose count every buffer is padded to: the lanes of the widest vector.
pub const WIDEST: usize = 16;

/// Vector instructions. A value is proof that the processor has them, so that all but memory access is safe.
pub trait Simd: Copy + Send + Sync {
    type F: Copy;
    const LANES: usize;
    /// Rows of the tile of a matrix product, two vectors wide, that the registers hold.
    const ROWS: usize;

    /// Runs `kernel` as a function of its own, so that it is compiled once however many kernels use it.
    fn call<K: Kernel>(self, kernel: K) -> K::Output;

    fn splat(self, x: f32) -> Self::F;

    /// # Safety
    /// `LANES` values can be read at `from`.
    unsafe fn read(self, from: *const f32) -> Self::F;

    /// # Safety
    /// `LANES` values can be written at `to`.
    unsafe fn write(self, x: Self::F, to: *mut f32);

    /// Asks for the cache line at `at`, which need not exist.
    fn prefetch(self, at: *const f32);

    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once where the processor can.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// `2^n` where `shifted` is the sum of n and 1.5 * 2^23.
    fn power(self, shifted: Self::F) -> Self::F;

    /// The first `LANES` values of `from`.
    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::F {
        assert!(from.len() >= Self::LANES);
        // SAFETY: asserted.
        unsafe { self.read(from.as_ptr()) }
    }

    /// Into the first `LANES` values of `to`.
    #[inline(always)]
    fn store(self, x: Self::F, to: &mut [f32]) {
        assert!(to.len() >= Self::LANES);
        // SAFETY: asserted.
        unsafe { self.write(x, to.as_mut_ptr()) }
    }

    /// The lanes one by one, zeros behind them.
    #[inline(always)]
    fn lanes(self, x: Self::F) -> [f32; WIDEST] {
        let mut lanes = [0.0; WIDEST];
        self.store(x, &mut lanes);
        lanes
    }

    /// `e^x` for x <= 88 to about 2e-7 relative; about 1e-38 from -87 down.
    #[inline(always)]
    fn exp(self, x: Self::F) -> Self::F {
        // x = n ln 2 + r with |r| <= ln 2 / 2; ln 2 in two parts (Cody and Waite); Taylor of e^r.
        const MAGIC: f32 = 12_582_912.0; // 1.5 * 2^23: rounds, and keeps n in the low bits
        // In this order NaN stays what it is.
        let x = self.max(self.splat(-87.0), x);
        let shifted = self.fma(x, self.splat(std::f32::consts::LOG2_E), self.splat(MAGIC));
        let n = self.sub(shifted, self.splat(MAGIC));
        let r = self.fma(n, self.splat(-0.693_359_4), x);
        let r = self.fma(n, self.splat(2.121_944_4e-4), r);
        let mut p = self.splat(1.0 / 720.0);
        for c in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
            p = self.fma(p, r, self.splat(c));
        }
        self.mul(p, self.power(shifted))
    }

    /// `x Phi(x)`, Phi the normal distribution function (Abramowitz and Stegun 7.1.26, absolute error below 1e-7).
    #[inline(always)]
    fn gelu(self, x: Self::F) -> Self::F {
        let magnitude = self.max(x, self.sub(self.splat(0.0), x));
        let z = self.mul(magnitude, self.splat(std::f32::consts::FRAC_1_SQRT_2));
        let t = self.div(self.splat(1.0), self.fma(z, self.splat(0.327_591_1), self.splat(1.0)));
        let mut p = self.splat(1.061_405_4);
        for c in [-1.453_152, 1.421_413_8, -0.284_496_72, 0.254_829_6] {
            p = self.fma(p, t, self.splat(c));
        }
        let bell = self.exp(self.mul(self.sub(self.splat(0.0), z), z));
        let tail = self.mul(self.mul(self.splat(0.5), self.mul(p, t)), bell);
        // x (1 - tail) above zero, x tail below.
        self.sub(self.max(x, self.splat(0.0)), self.mul(magnitude, tail))
    }
}

/// Work written once for all instruction sets.
pub trait Kernel {
    type Output;

    /// Must be `#[inline(always)]`, as all that it calls with `simd`: only then is it compiled for those instructions.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Instruction sets that are not taken.
static PASSED: AtomicUsize = AtomicUsize::new(0);

/// An instruction set that this processor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Isa(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "aarch64")]
    Neon,
    Portable,
}

impl Isa {
    /// All that this processor has, the fastest first; never empty.
    pub fn available() -> Vec<Isa> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                found.push(Isa(Kind::Avx512));
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                found.push(Isa(Kind::Avx2));
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            found.push(Isa(Kind::Neon));
        }
        found.push(Isa(Kind::Portable));
        found
    }

    /// The first of [`Isa::available`], unless a test asked for another one.
    pub fn fastest() -> Isa {
        Self::available()[PASSED.load(Ordering::Relaxed)]
    }

    /// From now on the fastest are not taken by themselves, `count` of them: for tests of what is slower.
    pub fn pass_over(count: usize) {
        PASSED.store(count, Ordering::Relaxed);
    }

    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "AVX-512",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "AVX2",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => "NEON",
            Kind::Portable => "portable",
        }
    }

    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: an `Isa` of each kind is made only in `available`, where the processor was asked.
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => unsafe { avx512::run(kernel) },
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { avx2::run(kernel) },
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => unsafe { neon::run(kernel) },
            Kind::Portable => portable::Portable::new().call(kernel),
        }
    }

    /// Runs loops that compilers turn into vector code, compiled for these instructions.
    pub fn compiled<R>(self, work: impl FnOnce() -> R) -> R {
        struct Plain<F>(F);
        impl<R, F: FnOnce() -> R> Kernel for Plain<F> {
            type Output = R;
            #[inline(always)]
            fn run<S: Simd>(self, _: S) -> R {
                (self.0)()
            }
        }
        self.run(Plain(work))
    }

    /// Lanes of a vector.
    pub fn lanes(self) -> usize {
        struct Lanes;
        impl Kernel for Lanes {
            type Output = usize;
            #[inline(always)]
            fn run<S: Simd>(self, _: S) -> usize {
                S::LANES
            }
        }
        self.run(Lanes)
    }

    /// Rows of a tile.
    pub fn rows(self) -> usize {
        struct Rows;
        impl Kernel for Rows {
            type Output = usize;
            #[inline(always)]
            fn run<S: Simd>(self, _: S) -> usize {
                S::ROWS
            }
        }
        self.run(Rows)
    }
}
