//! The parts of a run and the machine's limits beside them: `cargo bench --bench parts [-- FILTER]`.
//!
//! Arithmetic is in FLOP/s, to be held against `limits::arithmetic`; what moves bytes is in B/s, against `limits::memory`.
//! Both the limit and the whole network are timed with each instruction set that the processor has, layers with the fastest.
//! Convolutions count the operations of the plain sum, which Winograd's tiles need fewer than.

#[path = "../common/series.rs"]
mod series;

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use rayon::prelude::*;
use transunet::control::Control;
use transunet::dicom::{SegOptions, Series, SeriesOptions, scan, write_seg};
use transunet::engine::Engine;
use transunet::kernels::simd::maps::Map;
use transunet::kernels::simd::product::{Activation, Left, Packed, Windows, multiply, pitch};
use transunet::kernels::simd::winograd::Winograd;
use transunet::kernels::simd::{Isa, Kernel, Simd, parallel};
use transunet::labelmap::{Algorithm, Labelmap};
use transunet::labels::Label;
use transunet::network::{Architecture, initial_values};
use transunet::random;
use transunet::resize::{Edge, Order, Resampler};
use transunet::volume::Volume;

fn main() {
    divan::main();
}

fn noise(count: usize) -> Vec<f32> {
    let mut random = random::stream(1, "parts", &[]);
    (0..count).map(|_| random.unit() as f32 - 0.5).collect()
}

/// What the machine can do at best, on all threads.
mod limits {
    use super::*;

    /// Sums that wait for nothing, in registers.
    struct Arithmetic;

    const SUMS: usize = 12;
    const STEPS: usize = 1 << 20;

    impl Kernel for Arithmetic {
        type Output = f32;

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> f32 {
            let (a, b) = (simd.splat(black_box(0.999)), simd.splat(black_box(0.001)));
            let mut sums = [simd.splat(1.0); SUMS];
            for _ in 0..STEPS {
                for sum in &mut sums {
                    *sum = simd.fma(*sum, a, b);
                }
            }
            sums.into_iter().map(|sum| simd.lanes(sum)[0]).sum()
        }
    }

    #[divan::bench(args = Isa::available())]
    fn arithmetic(bencher: Bencher, isa: Isa) {
        let threads = rayon::current_num_threads();
        bencher.counter(ItemsCount::new(threads * STEPS * SUMS * isa.lanes() * 2)).bench(|| {
            parallel::each(threads, |_| {
                black_box(isa.run(Arithmetic));
            });
        });
    }

    /// A copy that no cache holds: read once, written once.
    #[divan::bench]
    fn memory(bencher: Bencher) {
        let from = noise(64 << 20);
        let mut to = vec![0.0; from.len()];
        bencher.counter(BytesCount::new(8 * from.len())).bench_local(|| {
            parallel::chunks(&mut to, 1 << 16, |n, to| to.copy_from_slice(&from[n << 16..][..to.len()]));
        });
    }
}

/// Layers of R50-ViT-B_16 at 224 x 224, one image.
mod network {
    use super::*;

    /// Tokens, inputs, outputs.
    #[divan::bench(args = [[196, 768, 2304], [196, 768, 768], [196, 768, 3072], [196, 3072, 768]])]
    fn linear(bencher: Bencher, [rows, inputs, outputs]: [usize; 3]) {
        let (isa, weight) = (Isa::fastest(), noise(inputs * outputs));
        let packed = Packed::new(isa, [1, inputs, outputs], &[], |row, column| weight[row * outputs + column]);
        let x = noise(rows * pitch(inputs));
        let mut out = vec![0.0; rows * pitch(outputs)];
        bencher.counter(ItemsCount::new(2 * rows * inputs * outputs)).bench_local(|| {
            let left = Left::Rows { values: &x, rows, pitch: pitch(inputs) };
            multiply(&left, &packed, &mut out, pitch(outputs), false, Activation::None);
        });
    }

    /// Side of the map, inputs, outputs of 1x1 kernels, as in the stem.
    #[divan::bench(args = [[55, 64, 256], [28, 512, 128], [14, 1024, 256]])]
    fn pointwise(bencher: Bencher, [side, inputs, outputs]: [usize; 3]) {
        linear(bencher, [side * side, inputs, outputs]);
    }

    /// Side of the map, inputs, outputs of 3x3 kernels, as in the decoder.
    #[divan::bench(args = [[14, 768, 512], [28, 1024, 256], [56, 512, 128], [112, 192, 64], [224, 64, 16]])]
    fn convolution(bencher: Bencher, [side, inputs, outputs]: [usize; 3]) {
        let (isa, weight) = (Isa::fastest(), noise(9 * inputs * outputs));
        let tiles = Winograd::new(isa, 4, [inputs, outputs], &[], |input, output| {
            std::array::from_fn(|place| weight[(output * inputs + input) * 9 + place])
        });
        let values = noise(side * side * pitch(inputs));
        let mut out = vec![0.0; side * side * pitch(outputs)];
        bencher.counter(ItemsCount::new(2 * side * side * 9 * inputs * outputs)).bench_local(|| {
            let map = Map { values: &values, size: [side; 2], channels: inputs, pitch: pitch(inputs) };
            tiles.convolve(map, &mut out, pitch(outputs), Activation::Relu);
        });
    }

    /// The same without Winograd's tiles.
    #[divan::bench(args = [[56, 512, 128], [112, 192, 64]])]
    fn convolution_by_windows(bencher: Bencher, [side, inputs, outputs]: [usize; 3]) {
        let (isa, weight) = (Isa::fastest(), noise(9 * inputs * outputs));
        let packed = Packed::new(isa, [9, inputs, outputs], &[], |row, column| weight[row * outputs + column]);
        let values = noise(side * side * pitch(inputs));
        let mut out = vec![0.0; side * side * pitch(outputs)];
        bencher.counter(ItemsCount::new(2 * side * side * 9 * inputs * outputs)).bench_local(|| {
            let windows = Windows {
                values: &values,
                size: [side; 2],
                pitch: pitch(inputs),
                kernel: [3; 2],
                stride: 1,
                padding: [1; 2],
                out: [side; 2],
            };
            multiply(&Left::Windows(windows), &packed, &mut out, pitch(outputs), false, Activation::Relu);
        });
    }

    /// All of it: 29.2 G multiplications and additions.
    #[divan::bench(args = Isa::available())]
    fn whole(bencher: Bencher, isa: Isa) {
        let of = Architecture::r50_vit_b16(224, 9);
        let engine = Engine::new(&of, isa, |name, shape| Ok(initial_values(1, name, shape))).unwrap();
        let pixels = noise(224 * 224);
        bencher.counter(ItemsCount::new(2 * 29_200_000_000u64)).bench_local(|| {
            engine.forward(&pixels, [1, 1, 224, 224], None, |_, logits| _ = black_box(logits)).unwrap();
        });
    }
}

/// Slices of a CT series of 512 x 512.
const SLICES: usize = 32;

struct Made {
    _root: tempfile::TempDir,
    folder: PathBuf,
    volume: Arc<Volume>,
}

fn made(syntax: &str) -> Made {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("series");
    series::make(&folder, SLICES, syntax).unwrap();
    let volume = open(&folder);
    Made { _root: root, folder, volume }
}

fn open(folder: &PathBuf) -> Arc<Volume> {
    let found = scan(&[folder], &mut Control::none()).unwrap();
    let series = Series::from_summary(&found.series[0], &SeriesOptions::default()).unwrap();
    Arc::new(Volume::from_series(Arc::new(series)))
}

static PLAIN: LazyLock<Made> = LazyLock::new(|| made("1.2.840.10008.1.2.1"));
static JPEG_LS: LazyLock<Made> = LazyLock::new(|| made("1.2.840.10008.1.2.4.80"));

/// What is around the network.
mod around {
    use super::*;

    const BYTES: usize = SLICES * series::SIDE * series::SIDE * 2;

    fn decode(bencher: Bencher, made: &Made) {
        bencher.counter(BytesCount::new(BYTES)).bench(|| {
            (0..SLICES).into_par_iter().for_each_init(
                || vec![0.0; series::SIDE * series::SIDE],
                |slice, k| made.volume.read_slice(k, slice).unwrap(),
            );
        });
    }

    #[divan::bench]
    fn headers(bencher: Bencher) {
        bencher.counter(ItemsCount::new(SLICES)).bench(|| open(&PLAIN.folder));
    }

    #[divan::bench]
    fn decode_plain(bencher: Bencher) {
        decode(bencher, &PLAIN);
    }

    #[divan::bench]
    fn decode_jpeg_ls(bencher: Bencher) {
        decode(bencher, &JPEG_LS);
    }

    /// 512 x 512 to 224 x 224 by cubic splines, one slice on one thread.
    #[divan::bench]
    fn resize(bencher: Bencher) {
        let resize = Resampler::new([series::SIDE; 2], [224; 2], Order::Cubic, Edge::Exact).unwrap();
        let image = noise(series::SIDE * series::SIDE);
        let mut out = vec![0.0; 224 * 224];
        bencher.counter(BytesCount::new(4 * image.len())).bench_local(|| resize.apply(&image, &mut out).unwrap());
    }

    /// A DICOM SEG of 8 labels, each in a part of every slice.
    #[divan::bench]
    fn write_dicom_seg(bencher: Bencher) {
        let volume = PLAIN.volume.clone();
        let labels: Vec<Label> = (1..=8).map(Label::numbered).collect();
        let voxels: Vec<u8> = (0..volume.geometry().len()).map(|n| (n / 4096 % 9) as u8).collect();
        let algorithm = Algorithm { name: "parts".into(), version: "1".into() };
        let labelmap = Labelmap::new(volume, voxels, labels, algorithm).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seg.dcm");
        bencher
            .counter(BytesCount::new(SLICES * series::SIDE * series::SIDE))
            .bench_local(|| write_seg(&labelmap, &path, &SegOptions::default(), &mut Control::none()).unwrap());
    }
}
