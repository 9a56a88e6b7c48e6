//! `transunet devices --check`: whether a device gives the CPU's results, and how fast it is beside its own floor.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;
use transunet::config::ModelConfig;
use transunet::device::{DeviceInfo, Devices, Floor};
use transunet::loader::Batch;
use transunet::model::Model;
use transunet::network::{Architecture, initial_values, products_per_pixel, values_per_pixel};
use transunet::precision::ComputePrecision;
use transunet::train::learner::{self, Learner, State};
use transunet::train::settings::{Preset, Recipe};
use transunet::weights::{self, Precision};
use transunet::{Error, Result};

use super::super::table::{self, Table};

/// How far logits may be from the CPU's, and which share of labels may differ.
const LOGITS: f32 = 1e-3;
const LABELS: f64 = 1e-4;
/// In half precision logits may differ, and some labels.
const LABELS_IN_HALF: f64 = 0.02;
/// How far losses may be from the CPU's, relative to them.
const LOSSES: f64 = 1e-3;
/// Timed passes and steps of each kind, after one that compiles and tunes kernels.
const TIMES: usize = 5;

/// What is tried: on software devices less, since they make some giga products a second.
struct Extent {
    parity: Vec<(&'static str, usize)>,
    /// What is timed.
    network: (&'static str, usize),
    batches: Vec<usize>,
    step: usize,
    /// Of the matrices that show the device's floor.
    side: usize,
}

impl Extent {
    fn new(quick: bool) -> Self {
        if quick {
            let parity = vec![("tiny", 64), ("small", 64)];
            return Extent { parity, network: ("tiny", 64), batches: vec![1, 4], step: 2, side: 512 };
        }
        let parity = vec![("tiny", 112), ("small", 160), ("r50-vit-b16", 224), ("vit-b16", 224)];
        Extent { parity, network: ("r50-vit-b16", 224), batches: vec![1, 4, 16, 32], step: 8, side: 8192 }
    }
}

#[derive(Serialize)]
pub struct Check {
    device: DeviceInfo,
    results: Vec<Results>,
    training: Training,
    /// Name and side of the network that is timed.
    network: (&'static str, usize),
    floor: Floor,
    passes: Vec<Passes>,
    step: Seconds,
    /// Why the device is not to be trusted; nothing if all is as on the CPU.
    faults: Vec<String>,
}

/// Results of the same network on the same slices beside the CPU's.
#[derive(Serialize)]
struct Results {
    network: &'static str,
    precision: ComputePrecision,
    logits_differ: f32,
    labels_differ: f64,
}

/// Losses of the same steps beside the CPU's, and whether a resumed run goes on where the first one was.
#[derive(Serialize)]
struct Training {
    losses: Vec<[f64; 2]>,
    resumed: [f64; 2],
}

#[derive(Serialize)]
struct Passes {
    precision: ComputePrecision,
    batch: usize,
    seconds: Seconds,
    /// Of the CPU's time for a slice.
    of_cpu: f64,
    /// What the device would need for the products and the bytes of the pass alone, whichever takes longer; in float32.
    floor_seconds: Option<f64>,
    /// That all processes use on the card meanwhile, where nvidia-smi says it.
    memory_bytes: Option<u64>,
}

#[derive(Clone, Copy, Serialize)]
struct Seconds {
    /// With compiling and tuning.
    first: f64,
    /// Of those after it.
    median: f64,
}

impl Check {
    pub fn run(devices: &Devices, quick: bool) -> Result<Self> {
        let extent = Extent::new(quick);
        let device = devices.first().clone();
        let alone = Devices::new(vec![device.clone()])?;
        let precisions: Vec<ComputePrecision> =
            ComputePrecision::ALL.into_iter().filter(|precision| device.check_precision(*precision).is_ok()).collect();
        let mut results = Vec::new();
        for &of in &extent.parity {
            let right = Found::of(&Devices::cpu(), of, ComputePrecision::F32)?;
            for &precision in &precisions {
                results.push(Results::new(of.0, precision, &Found::of(&alone, of, precision)?, &right));
            }
        }
        let training = Training::of(&alone)?;
        let floor = device.floor(extent.side)?;
        let passes = timed_passes(&alone, &extent, floor, &precisions)?;
        let step = timed_steps(&alone, &extent)?;
        let faults = results.iter().flat_map(Results::faults).chain(training.faults()).collect();
        let network = extent.network;
        Ok(Check { device: device.info().clone(), results, training, network, floor, passes, step, faults })
    }

    /// What speaks against the device.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }
}

fn architecture((preset, side): (&str, usize)) -> Architecture {
    Architecture::preset(preset, side, 9).unwrap_or_else(|| Architecture::tiny(side, 9))
}

fn model(devices: &Devices, of: (&str, usize), precision: ComputePrecision) -> Result<Model> {
    let untrained = |devices: &Devices| Model::untrained(devices, ModelConfig::undescribed(architecture(of)), 1);
    if precision == ComputePrecision::F32 {
        return untrained(devices);
    }
    // Rounded weights keep the file that they are from.
    let folder = tempfile::tempdir().map_err(|error| Error::io("the folder for temporary files", "create", error))?;
    let path = folder.path().join("model.safetensors");
    untrained(&Devices::cpu())?.save(&path, Precision::Single)?;
    Model::load_with(devices, &path, precision)
}

/// Slices with structure of any size, `[count, 1, side, side]`.
fn slices(count: usize, side: usize) -> Vec<f32> {
    let value = |n: usize| {
        let (i, j, k) = (n % side, n / side % side, n / side / side);
        (i as f32 * 0.31).sin() * (j as f32 * 0.17).cos() + (k as f32 * 0.7 + i as f32 * 0.05).sin()
    };
    (0..count * side * side).map(value).collect()
}

/// What a network makes of two slices.
struct Found {
    logits: Vec<f32>,
    labels: Vec<u8>,
}

impl Found {
    fn of(devices: &Devices, of: (&str, usize), precision: ComputePrecision) -> Result<Self> {
        let side = of.1;
        let shape = [2, 1, side, side];
        let model = model(devices, of, precision)?;
        let logits = model.first().logits(slices(2, side), shape)?;
        Ok(Found { logits, labels: model.first().classify(slices(2, side), shape, false, None)?.labels })
    }
}

impl Results {
    fn new(network: &'static str, precision: ComputePrecision, tried: &Found, right: &Found) -> Self {
        // A NaN is as far away as can be.
        let apart = |(a, b): (&f32, &f32)| if (a - b).is_nan() { f32::INFINITY } else { (a - b).abs() };
        let logits_differ = tried.logits.iter().zip(&right.logits).map(apart).fold(0.0, f32::max);
        let differ = tried.labels.iter().zip(&right.labels).filter(|(a, b)| a != b).count();
        Results { network, precision, logits_differ, labels_differ: differ as f64 / right.labels.len() as f64 }
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let Results { network, precision, logits_differ, labels_differ } = self;
        let whole = *precision == ComputePrecision::F32;
        if whole && *logits_differ > LOGITS {
            faults.push(format!("{network}: logits differ by {logits_differ:.1e}, at most {LOGITS:.0e}"));
        }
        if *labels_differ > if whole { LABELS } else { LABELS_IN_HALF } {
            faults.push(format!("{network} in {precision}: {:.3} % of the labels differ", 100.0 * labels_differ));
        }
        faults
    }
}

const SIDE: usize = 64;

/// Images with stripes of all classes.
fn batch(count: usize, side: usize) -> Batch {
    let pixels = count * side * side;
    Batch {
        images: slices(count, side),
        channels: 1,
        labels: (0..pixels).map(|at| (at / 100 % 9) as u8).collect(),
        size: [side; 2],
        slices: (0..count).map(|n| (0, n)).collect(),
    }
}

fn begin(devices: &Devices, of: &Architecture, recipe: &Recipe) -> Result<Box<dyn Learner>> {
    learner::begin(devices, of, recipe, |name, shape| Ok(initial_values(1, name, shape)))
}

impl Training {
    /// Three steps of the tiny network with all that its recipe has; then the third again, by a learner that resumes.
    fn of(devices: &Devices) -> Result<Self> {
        let (of, recipe, batch) = (architecture(("tiny", SIDE)), Preset::Tiny.recipe(), [batch(2, SIDE)]);
        let mut losses = Vec::new();
        let mut learners = [begin(devices, &of, &recipe)?, begin(&Devices::cpu(), &of, &recipe)?];
        let mut kept = State::new();
        for n in 0..3 {
            if n == 2 {
                kept = devices.watch(|| learners[0].state())?;
            }
            let [tried, right] = &mut learners;
            losses.push([devices.watch(|| tried.step(&batch, n, 3))?.loss, right.step(&batch, n, 3)?.loss]);
        }
        let mut again = learner::resume(devices, &of, &recipe, 2, kept)?;
        let resumed = [devices.watch(|| again.step(&batch, 2, 3))?.loss, losses[2][0]];
        Ok(Training { losses, resumed })
    }

    fn faults(&self) -> Vec<String> {
        let apart = |[tried, right]: &[f64; 2]| (tried - right).abs() > LOSSES * right.abs() || tried.is_nan();
        let mut faults: Vec<String> = (self.losses.iter().enumerate())
            .filter(|(_, losses)| apart(losses))
            .map(|(n, [tried, right])| format!("training: loss {tried} in step {}, expected {right}", n + 1))
            .collect();
        if apart(&self.resumed) {
            let [again, once] = self.resumed;
            faults.push(format!("training: loss {again} after resuming, expected {once}"));
        }
        faults
    }
}

fn timed(mut work: impl FnMut() -> Result<()>) -> Result<Seconds> {
    let mut time = || -> Result<Duration> {
        let began = Instant::now();
        work()?;
        Ok(began.elapsed())
    };
    let first = time()?;
    let mut times = (0..TIMES).map(|_| time()).collect::<Result<Vec<_>>>()?;
    times.sort_unstable();
    Ok(Seconds { first: first.as_secs_f64(), median: times[TIMES / 2].as_secs_f64() })
}

fn timed_passes(
    devices: &Devices,
    extent: &Extent,
    floor: Floor,
    precisions: &[ComputePrecision],
) -> Result<Vec<Passes>> {
    let side = extent.network.1;
    let of = architecture(extent.network);
    let pass = |model: &Model, count: usize| {
        let pixels = slices(count, side);
        timed(|| model.first().classify(pixels.clone(), [count, 1, side, side], false, None).map(drop))
    };
    let cpu = pass(&model(&Devices::cpu(), extent.network, ComputePrecision::F32)?, 1)?.median;
    let weights: usize = weights::expected(&of).iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    let mut passes = Vec::new();
    for &precision in precisions {
        let model = model(devices, extent.network, precision)?;
        for &batch in &extent.batches {
            let seconds = pass(&model, batch)?;
            let pixels = (batch * side * side) as f64;
            // Each layer's output is written once and read once.
            let bytes = 4.0 * weights as f64 + 8.0 * values_per_pixel(&of) * pixels;
            let products = products_per_pixel(&of) * pixels;
            let floor = (products / floor.products_per_second).max(bytes / floor.bytes_per_second);
            passes.push(Passes {
                precision,
                batch,
                seconds,
                of_cpu: seconds.median / batch as f64 / cpu,
                floor_seconds: (precision == ComputePrecision::F32).then_some(floor),
                memory_bytes: card_memory(&devices.first().info().id),
            });
        }
    }
    Ok(passes)
}

/// Steps of the network with its preset's loss and update rule.
fn timed_steps(devices: &Devices, extent: &Extent) -> Result<Seconds> {
    let (name, side) = extent.network;
    let recipe = if name == "tiny" { Preset::Tiny.recipe() } else { Preset::Base.recipe() };
    let batch = [batch(extent.step, side)];
    let mut learner = begin(devices, &architecture(extent.network), &recipe)?;
    let mut number = 0..;
    timed(|| devices.watch(|| learner.step(&batch, number.next().unwrap_or(0), 100)).map(drop))
}

/// Bytes in use on the card "cuda:N".
fn card_memory(id: &str) -> Option<u64> {
    let index = id.strip_prefix("cuda:")?;
    let query = ["--query-gpu=memory.used", "--format=csv,noheader,nounits", "-i", index];
    let output = std::process::Command::new("nvidia-smi").args(query).output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().parse::<u64>().ok()? << 20)
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let driver = self.device.driver.as_ref().map_or(String::new(), |driver| format!(", driver {driver}"));
        writeln!(f, "{}: {}{driver}\n", self.device.id, self.device.name)?;
        let head = ["Network", "Precision", "Logits differ by", "Labels differ"];
        let mut results = Table::new(&head, &[false, false, true, true]);
        for of in &self.results {
            let share = format!("{:.4} %", 100.0 * of.labels_differ);
            let logits = format!("{:.1e}", of.logits_differ);
            results.row([of.network.into(), of.precision.to_string(), logits, share]);
        }
        writeln!(f, "{}\n", results.lines().join("\n"))?;
        let mut training = Table::new(&["Training", "Loss", "CPU's"], &[false, true, true]);
        for (n, [tried, right]) in self.training.losses.iter().enumerate() {
            training.row([format!("step {}", n + 1), format!("{tried:.6}"), format!("{right:.6}")]);
        }
        let [again, once] = self.training.resumed;
        training.row(["resumed".into(), format!("{again:.6}"), format!("{once:.6} at first")]);
        writeln!(f, "{}\n", training.lines().join("\n"))?;

        let (name, side) = self.network;
        let Floor { products_per_second: products, bytes_per_second: bytes } = self.floor;
        writeln!(
            f,
            "{name}, {side} x {side}; float32: {:.2} TMAC/s, {:.0} GB/s at most",
            products / 1e12,
            bytes / 1e9
        )?;
        let head = ["Precision", "Batch", "First, s", "ms a slice", "of the CPU's", "of the floor", "Memory"];
        let mut passes = Table::new(&head, &[false, true, true, true, true, true, true]);
        for pass in &self.passes {
            passes.row([
                pass.precision.to_string(),
                pass.batch.to_string(),
                format!("{:.2}", pass.seconds.first),
                format!("{:.2}", 1e3 * pass.seconds.median / pass.batch as f64),
                format!("{:.3}", pass.of_cpu),
                pass.floor_seconds.map_or("-".into(), |floor| format!("{:.1}", pass.seconds.median / floor)),
                pass.memory_bytes.map_or("-".into(), table::bytes),
            ]);
        }
        writeln!(f, "{}", passes.lines().join("\n"))?;
        let Seconds { first, median } = self.step;
        writeln!(f, "Training step: {median:.3} s (the first {first:.2} s)")?;
        match &self.faults[..] {
            [] => writeln!(f, "\nThe same results as on the CPU."),
            faults => writeln!(f, "\nNOT the CPU's results:\n{}", faults.join("\n")),
        }
    }
}
