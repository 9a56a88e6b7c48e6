//! What an engine and its passes take of memory, known before any of it is taken: the same layers as the engine's, of which
//! only the sizes are followed.

use crate::kernels::simd::product::pitch;
use crate::kernels::simd::winograd::Winograd;
use crate::kernels::simd::{Isa, WIDEST};
use crate::network::{Architecture, PATCH};

use super::arena::choose;
use super::layers::{Parts, WINOGRAD_CHANNELS, tile};

/// A convolution of maps of `size`.
struct Convolution {
    inputs: Parts,
    outputs: usize,
    side: usize,
    stride: usize,
    size: [usize; 2],
}

impl Convolution {
    /// Sides of its tiles, where it works by tiles.
    fn tile(&self) -> Option<usize> {
        let channels: usize = self.inputs.channels.iter().sum();
        let tiled = self.side == 3 && self.stride == 1 && channels.min(self.outputs) >= WINOGRAD_CHANNELS;
        tiled.then(|| tile(self.size))
    }

    fn weights(&self, isa: Isa) -> usize {
        let places = self.tile().map_or(self.side, |tile| tile + 2).pow(2);
        places * self.inputs.len() * self.outputs.next_multiple_of(isa.lanes())
    }
}

/// All of the network's but the first, in the order of a pass, on images of the size that it is made for.
fn convolutions(of: &Architecture, isa: Isa) -> Vec<Convolution> {
    let mut all = Vec::new();
    let mut add = |inputs, outputs, side, stride, size| {
        all.push(Convolution { inputs, outputs, side, stride, size });
    };
    for Unit { inputs, inner, outputs, stride, size, projects } in units(of, of.image_size.map(|side| side / 4 - 1)) {
        add(Parts::one(inputs), inner, 1, 1, size);
        add(Parts::one(inner), inner, 3, stride, size);
        add(Parts::one(inner), outputs, 1, 1, size.map(|side| side.div_ceil(stride)));
        if projects {
            add(Parts::one(inputs), outputs, 1, stride, size);
        }
    }
    let mut size = of.grid();
    add(Parts::one(of.hidden), of.head_channels, 3, 1, size);
    let mut inputs = of.head_channels;
    for (&outputs, skip) in of.decoder_channels.iter().zip(of.skip_channels()) {
        size = size.map(|side| 2 * side);
        add(Parts::two(isa, [inputs, skip]), outputs, 3, 1, size);
        add(Parts::one(outputs), outputs, 3, 1, size);
        inputs = outputs;
    }
    add(Parts::one(inputs), of.classes, 3, 1, size);
    all
}

/// Bytes of the packed weights.
fn weight_bytes(of: &Architecture, isa: Isa) -> u64 {
    let matrix = |rows: usize, columns: usize| rows * columns.next_multiple_of(isa.lanes());
    let (root, patch) = match &of.stem {
        Some(stem) => (49 * matrix(of.channels, stem.width), 16 * stem.width),
        None => (0, of.channels * PATCH * PATCH),
    };
    let heads = of.heads * (of.hidden / of.heads).next_multiple_of(WIDEST);
    let layer =
        matrix(of.hidden, 3 * heads) + matrix(heads, of.hidden) + matrix(of.hidden, of.mlp) + matrix(of.mlp, of.hidden);
    let positions = of.grid().iter().product::<usize>() * of.hidden;
    let others = convolutions(of, isa).iter().map(|convolution| convolution.weights(isa)).sum::<usize>();
    4 * (root + matrix(patch, of.hidden) + of.layers * layer + positions + others) as u64
}

/// The same with the holes that packing leaves, about the size of a part of the weights: what loading takes.
pub fn loaded_bytes(of: &Architecture, isa: Isa) -> u64 {
    let packed = weight_bytes(of, isa);
    packed + packed / 16
}

/// Bytes of transformed tiles that a thread ends up with: each time it needs more than before it takes new memory, and what it
/// had stays with its allocator.
pub fn thread_bytes(of: &Architecture, isa: Isa) -> u64 {
    let (mut most, mut all) = (0, 0);
    for convolution in convolutions(of, isa) {
        let Some(tile) = convolution.tile() else { continue };
        let values = Winograd::scratch(isa, tile, [convolution.inputs.len(), convolution.outputs], convolution.size);
        if values > most {
            (most, all) = (values, all + values);
        }
    }
    4 * all as u64
}

/// Bytes of the maps of a pass of so many `images` of `size`, which stay with the engine for the next one.
pub fn pass_bytes(of: &Architecture, isa: Isa, images: usize, size: [usize; 2]) -> u64 {
    let mut run = Dry::default();
    let padded = size.map(|side| side.next_multiple_of(PATCH));
    let grid = padded.map(|side| side / PATCH);
    let count = images * grid[0] * grid[1];
    let tokens = run.feature([count, 1], of.hidden);
    let skips: Vec<Vec<usize>> = (0..images).map(|_| run.stem(of, padded)).collect();
    let heads = of.heads * (of.hidden / of.heads).next_multiple_of(WIDEST);
    if of.layers > 0 {
        let normed = run.feature([count, 1], of.hidden);
        let inputs = run.feature([count, 1], 3 * heads);
        run.free(normed);
        let mixed = run.feature([count, 1], heads);
        run.free(inputs);
        run.free(mixed);
        // All layers after the first find the buffers of this one.
        let normed = run.feature([count, 1], of.hidden);
        let inner = run.feature([count, 1], of.mlp);
        run.free(normed);
        run.free(inner);
    }
    let encoded = run.feature([count, 1], of.hidden);
    run.free(tokens);
    for skips in skips {
        run.decoder(of, isa, grid, skips);
    }
    run.free(encoded);
    4 * run.taken as u64
}

/// A bottleneck of the stem, on maps of `size`.
struct Unit {
    inputs: usize,
    inner: usize,
    outputs: usize,
    stride: usize,
    size: [usize; 2],
    projects: bool,
}

/// All of the stem's, for maps of `size` behind its pool.
fn units(of: &Architecture, mut size: [usize; 2]) -> Vec<Unit> {
    let Some(stem) = &of.stem else { return Vec::new() };
    let mut inputs = stem.width;
    let mut units = Vec::new();
    for (block, &count) in stem.units.iter().enumerate() {
        let outputs = (4 * stem.width) << block;
        for n in 0..count {
            let stride = if n == 0 && block > 0 { 2 } else { 1 };
            let projects = inputs != outputs || stride != 1;
            units.push(Unit { inputs, inner: outputs / 4, outputs, stride, size, projects });
            size = size.map(|side| side.div_ceil(stride));
            inputs = outputs;
        }
    }
    units
}

/// Lengths of the buffers of a pass, free ones and all together.
#[derive(Default)]
struct Dry {
    free: Vec<usize>,
    taken: usize,
}

impl Dry {
    fn buffer(&mut self, len: usize) -> usize {
        match choose(self.free.iter().copied(), len) {
            Some(n) => self.free.swap_remove(n),
            None => {
                self.taken += len;
                len
            }
        }
    }

    fn feature(&mut self, size: [usize; 2], channels: usize) -> usize {
        self.buffer(size[0] * size[1] * pitch(channels))
    }

    fn free(&mut self, buffer: usize) {
        self.free.push(buffer);
    }

    /// One image up to its tokens; returns its skips, deepest first.
    fn stem(&mut self, of: &Architecture, padded: [usize; 2]) -> Vec<usize> {
        let Some(stem) = &of.stem else {
            let values = self.buffer(padded[0] * padded[1] * of.channels);
            self.free(values);
            return Vec::new();
        };
        let pixels = self.buffer((padded[0] + 6) * (padded[1] + 6) * of.channels);
        let half = padded.map(|side| side / 2);
        let root = self.feature(half, stem.width);
        self.free(pixels);
        let size = half.map(|side| (side - 3) / 2 + 1);
        let mut x = self.feature(size, stem.width);
        let mut kept = vec![root];
        let units = units(of, size);
        for (n, unit) in units.iter().enumerate() {
            let first = n > 0 && unit.stride == 2;
            let out_size = unit.size.map(|side| side.div_ceil(unit.stride));
            let y = self.feature(unit.size, unit.inner);
            let z = self.feature(out_size, unit.inner);
            self.free(y);
            let out = self.feature(out_size, unit.outputs);
            self.free(z);
            if unit.projects {
                let shortcut = self.feature(out_size, unit.outputs);
                self.free(shortcut);
            }
            let input = std::mem::replace(&mut x, out);
            if first { kept.insert(0, input) } else { self.free(input) }
        }
        kept.drain(of.skips..).for_each(|unused| self.free.push(unused));
        self.free(x);
        kept
    }

    fn decoder(&mut self, of: &Architecture, isa: Isa, grid: [usize; 2], skips: Vec<usize>) {
        let mut x = self.feature(grid, of.head_channels);
        let (mut size, mut inputs) = (grid, of.head_channels);
        let mut skips = skips.into_iter();
        for (&outputs, skip) in of.decoder_channels.iter().zip(of.skip_channels()) {
            size = size.map(|side| 2 * side);
            let joined = self.feature(size, Parts::two(isa, [inputs, skip]).len());
            self.free(x);
            skips.next().into_iter().for_each(|skip| self.free(skip));
            let y = self.feature(size, outputs);
            self.free(joined);
            x = self.feature(size, outputs);
            self.free(y);
            inputs = outputs;
        }
        let logits = self.feature(size, of.classes);
        self.free(x);
        self.free(logits);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Engine;
    use super::*;
    use crate::kernels::simd::buffer::made;
    use crate::network::initial_values;

    #[test]
    fn it_is_what_the_engine_takes() {
        let isa = Isa::fastest();
        let plain = Architecture { stem: None, skips: 0, ..Architecture::tiny(64, 3) };
        let fewer = Architecture { skips: 1, heads: 2, ..Architecture::small(96, 5) };
        for (of, images, size) in [
            (Architecture::tiny(64, 3), 1, [64, 64]),
            (Architecture::tiny(128, 7), 3, [128, 96]),
            (Architecture::small(160, 2), 2, [150, 130]),
            (plain, 2, [64, 80]),
            (fewer, 1, [96, 112]),
            (Architecture::r50_vit_b16(64, 9), 1, [64, 64]),
        ] {
            let before = made();
            let engine = Engine::new(&of, isa, |name, shape| Ok(initial_values(1, name, shape))).unwrap();
            let weights = made() - before + engine.positions.len();
            assert_eq!(4 * weights as u64, weight_bytes(&of, isa), "weights of {of:?}");
            let pixels = vec![0.5; images * size[0] * size[1]];
            engine.forward(&pixels, [images, 1, size[0], size[1]], None, |_, _| {}).unwrap();
            assert_eq!(engine.kept_bytes(), pass_bytes(&of, isa, images, size), "{images} of {size:?}, {of:?}");
        }
    }
}
