//! What a segmentation takes of main memory, known before it begins; batches that fit into what there is.

use rayon::current_num_threads;

use crate::config::ModelConfig;
use crate::engine;
use crate::error::Result;
use crate::kernels::simd::Isa;
use crate::memory::{Room, refusal, room};
use crate::model::Model;
use crate::orient::{View, framed};
use crate::placement::Placement;
use crate::volume::Volume;

/// Bytes of a process with this library that does nothing: code that was touched, tables, the allocator's rests.
pub const PROCESS: u64 = 20 << 20;
/// Bytes of a thread that computes, besides [`engine::thread_bytes`]: its stack, its part of the allocator.
pub const THREAD: u64 = 1 << 20;
/// Batches that are under way: prepared, waiting, computed.
const BATCHES: u64 = 3;

/// Bytes at the peak of a process that does nothing but segment `volume` on a CPU with so many threads: `batch` slices at
/// once.
pub fn peak_bytes(
    config: &ModelConfig,
    volume: &Volume,
    batch: usize,
    probabilities: bool,
    threads: usize,
) -> Result<u64> {
    let (architecture, isa) = (&config.architecture, Isa::fastest());
    let held = volume.voxels().map_or(0, |voxels| 4 * voxels.len() as u64);
    let size = placement(config, volume)?.canvas;
    let pass = engine::pass_bytes(architecture, isa, batch, size);
    let model = engine::loaded_bytes(architecture, isa) + pass;
    let beside = beside_bytes(config, volume, size, batch, probabilities, threads)?;
    Ok(PROCESS + THREAD * threads as u64 + held + model + beside)
}

/// Bytes beside weights and maps; `prepared` is the size of the slices that the network is given.
fn beside_bytes(
    config: &ModelConfig,
    volume: &Volume,
    prepared: [usize; 2],
    batch: usize,
    probabilities: bool,
    threads: usize,
) -> Result<u64> {
    let pixels = |[height, width]: [usize; 2]| (height * width) as u64;
    let plane = pixels(placement(config, volume)?.canvas);
    let classes = if probabilities { config.architecture.classes as u64 } else { 0 };
    let slices = framed(&config.input, volume.geometry())?.slices() as u64;
    let under_way = (BATCHES * batch as u64).min(slices);
    let input = 4 * pixels(prepared) * (2 * config.input.context as u64 + 1);
    let batches = under_way * (input + plane * (1 + 4 * classes));
    let voxels = volume.geometry().len() as u64;
    // Where the network's slices lie across, all voxels and labels are at hand.
    let across = if View::slices_read_first(&config.input, volume)? > 0 { 5 * voxels } else { 0 };
    let slice = 12 * volume.geometry().slice_len() as u64;
    let own = engine::thread_bytes(&config.architecture, Isa::fastest()) + slice;
    // Labels are packed: organs to a hundredth, noise to a sixteenth.
    Ok(batches + across + threads as u64 * own + voxels / 32)
}

fn placement(config: &ModelConfig, volume: &Volume) -> Result<Placement> {
    Placement::new(config, &framed(&config.input, volume.geometry())?)
}

/// As many slices at once as fit into the memory there is, at most `batch`. [`crate::Error::OutOfMemory`] where not even one
/// does.
pub fn fitting(model: &Model, volume: &Volume, batch: usize, probabilities: bool) -> Result<usize> {
    match room() {
        Some(room) => fitting_into(room, model, volume, batch, probabilities),
        None => Ok(batch),
    }
}

fn fitting_into(room: Room, model: &Model, volume: &Volume, batch: usize, probabilities: bool) -> Result<usize> {
    let config = model.config();
    let Placement { own, canvas: size, .. } = placement(config, volume)?;
    // GPUs resize by themselves.
    let prepared = if model.devices().are_gpus() { own } else { size };
    let batch = batch.min(framed(&config.input, volume.geometry())?.slices());
    let mut fitting = batch;
    loop {
        let passes: u64 = model.replicas().map(|replica| replica.pass_bytes(fitting, size)).sum();
        let needed = passes + beside_bytes(config, volume, prepared, fitting, probabilities, current_num_threads())?;
        if needed <= room.bytes {
            if fitting < batch {
                log::warn!("{fitting} slices at once instead of {batch}, for more do not fit into {}", room.bound);
            }
            return Ok(fitting);
        }
        if fitting == 1 {
            let what = format!("a segmentation by slices of {} x {} pixels", size[0], size[1]);
            return Err(refusal(&what, needed, room, "free some memory, raise the limit or take a smaller model"));
        }
        fitting /= 2;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::device::Devices;
    use crate::error::Error;
    use crate::geometry::Geometry;
    use crate::network::Architecture;

    #[test]
    fn batches_shrink_until_they_fit() {
        let config = ModelConfig::undescribed(Architecture::tiny(64, 3));
        let model = Model::untrained(&Devices::cpu(), config, 1).unwrap();
        let axes = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let geometry = Geometry::new([32, 32, 40], [1.0; 3], [0.0; 3], axes).unwrap();
        let volume = Arc::new(Volume::from_memory(geometry, vec![0.0; 32 * 32 * 40], "memory").unwrap());
        let fit = |bytes| fitting_into(Room { bytes, bound: "the test" }, &model, &volume, 32, false);
        let needed = |batch| {
            let passes: u64 = model.replicas().map(|replica| replica.pass_bytes(batch, [64, 64])).sum();
            passes + beside_bytes(model.config(), &volume, [64, 64], batch, false, current_num_threads()).unwrap()
        };
        assert_eq!(fit(1 << 40).unwrap(), 32);
        assert_eq!(fit(needed(32)).unwrap(), 32);
        assert_eq!(fit(needed(32) - 1).unwrap(), 16);
        assert_eq!(fit(needed(1)).unwrap(), 1);
        let refused = fit(needed(1) - 1);
        assert!(matches!(&refused, Err(Error::OutOfMemory(text)) if text.contains("64 x 64 pixels needs about")));
        // What a pass has left with the engine is not asked for again.
        let first = needed(4);
        model.first().classify(vec![0.0; 4 * 64 * 64], [4, 1, 64, 64], false, None).unwrap();
        assert!(needed(4) < first / 4, "{} of {first}", needed(4));
    }
}
