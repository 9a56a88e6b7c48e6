//! A volume in the frame that the network knows: axes permuted and flipped, never resampled; and back.
//!
//! The network's columns, rows and slices point somewhere in the patient; for each the closest axis of the volume is
//! taken, so that an oblique volume stays on its own grid.

use std::ops::Range;
use std::sync::Arc;

use crate::config::{Input, Towards};
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::volume::Volume;

/// A volume as the network sees it.
///
/// When the network's slices are the volume's, each is read when it is asked for. Otherwise every slice crosses all of
/// the volume's, whose voxels are then held in memory: 4 bytes each, unless they are there already.
#[derive(Debug)]
pub struct View {
    volume: Arc<Volume>,
    pose: Pose,
    geometry: Geometry,
}

/// Slices of the volume that are filled together, and those of the view that fill them: one and one, or all and all where the
/// view's slices lie across.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub volume: Range<usize>,
    pub view: Range<usize>,
}

/// Which axis of the volume each axis of the view follows, and whether from its far end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pose {
    axes: [usize; 3],
    flipped: [bool; 3],
}

impl View {
    /// Calls `tick` for each of the volume's slices that has to be read now: [`View::slices_read_first`] times.
    pub fn new(input: &Input, volume: &Arc<Volume>, tick: &mut dyn FnMut() -> Result<()>) -> Result<Self> {
        let pose = Pose::of(input, volume.geometry())?;
        let geometry = pose.geometry(volume.geometry())?;
        let volume = match pose.slices_read_first(volume) {
            0 => volume.clone(),
            _ => Arc::new(in_memory(volume, tick)?),
        };
        Ok(View { volume, pose, geometry })
    }

    /// How many of the volume's slices [`View::new`] reads: all of them or none.
    pub fn slices_read_first(input: &Input, volume: &Volume) -> Result<usize> {
        Ok(Pose::of(input, volume.geometry())?.slices_read_first(volume))
    }

    /// The grid of the view; the same patient positions as the volume's, in another order.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The volume behind the view, in memory if the view had to read it.
    pub fn volume(&self) -> &Arc<Volume> {
        &self.volume
    }

    /// Index in the volume of index (column, row, slice) of the view.
    pub fn source_index(&self, index: [usize; 3]) -> [usize; 3] {
        let mut source = [0; 3];
        for (a, &axis) in self.pose.axes.iter().enumerate() {
            source[axis] = if self.pose.flipped[a] { self.geometry.size[a] - 1 - index[a] } else { index[a] };
        }
        source
    }

    /// Fills `out` (`[rows, columns]` of the view) with slice `k` of the view.
    pub fn slice(&self, k: usize, out: &mut [f32]) -> Result<()> {
        self.check(k, out.len())?;
        if self.pose.axes[2] == 2 {
            let [.., slice] = self.source_index([0, 0, k]);
            if self.pose.axes == [0, 1, 2] && !self.pose.flipped[0] && !self.pose.flipped[1] {
                return self.volume.read_slice(slice, out);
            }
            let mut pixels = vec![0.0; out.len()];
            self.volume.read_slice(slice, &mut pixels)?;
            let first = self.offset(k) % pixels.len(); // offset within the slice that was read
            self.for_each_pixel(first, |pixel, voxel| out[pixel] = pixels[voxel]);
        } else {
            let voxels = self.volume.voxels().ok_or_else(|| Error::Internal("view without voxels".into()))?;
            self.for_each_pixel(self.offset(k), |pixel, voxel| out[pixel] = voxels[voxel]);
        }
        Ok(())
    }

    /// Fills `slice` with slice `k` of the view from `source`, `[k, j, i]` on the volume's grid: inverse of [`View::place`].
    pub fn gather<T: Copy>(&self, k: usize, source: &[T], slice: &mut [T]) -> Result<()> {
        self.check(k, slice.len())?;
        if source.len() != self.geometry.len() {
            return Err(Error::Internal(format!("{} voxels, expected {}", source.len(), self.geometry.len())));
        }
        self.for_each_pixel(self.offset(k), |pixel, voxel| slice[pixel] = source[voxel]);
        Ok(())
    }

    /// The block that slice `k` of the view belongs to.
    pub fn block(&self, k: usize) -> Block {
        if self.pose.axes[2] == 2 {
            let [.., slice] = self.source_index([0, 0, k]);
            Block { volume: slice..slice + 1, view: k..k + 1 }
        } else {
            Block { volume: 0..self.volume.geometry().slices(), view: 0..self.geometry.slices() }
        }
    }

    /// All blocks, in the volume's order.
    pub fn blocks(&self) -> Vec<Block> {
        let step = self.block(0).view.len();
        let mut blocks: Vec<Block> = (0..self.geometry.slices()).step_by(step).map(|k| self.block(k)).collect();
        blocks.sort_by_key(|block| block.volume.start);
        blocks
    }

    /// Voxels of a block.
    pub fn block_len(&self) -> usize {
        self.block(0).volume.len() * self.volume.geometry().slice_len()
    }

    /// Inverse of [`View::slice`]: puts slice `k` of the view in its place in `target`, the voxels of its block of the volume.
    pub fn place<T: Copy>(&self, k: usize, slice: &[T], target: &mut [T]) -> Result<()> {
        self.check(k, slice.len())?;
        if target.len() != self.block_len() {
            return Err(Error::Internal(format!(
                "slice placed among {} voxels, expected {}",
                target.len(),
                self.block_len()
            )));
        }
        let first = self.offset(k) % target.len(); // offset within the block
        self.for_each_pixel(first, |pixel, voxel| target[voxel] = slice[pixel]);
        Ok(())
    }

    fn check(&self, k: usize, pixels: usize) -> Result<()> {
        if k < self.geometry.slices() && pixels == self.geometry.slice_len() {
            return Ok(());
        }
        Err(Error::Internal(format!("slice {k} of {pixels} pixels, view is {:?}", self.geometry.size)))
    }

    /// Offset in the volume of pixel (0, 0) of slice `k`.
    fn offset(&self, k: usize) -> usize {
        let [i, j, slice] = self.source_index([0, 0, k]);
        let size = self.volume.geometry().size;
        (slice * size[1] + j) * size[0] + i
    }

    /// Calls `visit(offset in the view's slice, offset in the volume)` row by row, from `first` on.
    fn for_each_pixel(&self, first: usize, mut visit: impl FnMut(usize, usize)) {
        let size = self.volume.geometry().size;
        let strides = [1, size[0], size[0] * size[1]];
        let step = |a: usize| {
            let stride = strides[self.pose.axes[a]] as isize;
            if self.pose.flipped[a] { -stride } else { stride }
        };
        let (across, down) = (step(0), step(1));
        let [columns, rows, _] = self.geometry.size;
        for row in 0..rows {
            let start = first.wrapping_add_signed(down * row as isize);
            for column in 0..columns {
                visit(row * columns + column, start.wrapping_add_signed(across * column as isize));
            }
        }
    }
}

/// The grid of a volume on `geometry`, in the frame that `input` asks for.
pub fn framed(input: &Input, geometry: &Geometry) -> Result<Geometry> {
    Pose::of(input, geometry)?.geometry(geometry)
}

impl Pose {
    const OWN: Pose = Pose { axes: [0, 1, 2], flipped: [false; 3] };

    /// The permutation whose axes lie closest to the wanted directions: largest sum of the three cosines. The volume's
    /// own order, then its own slices, win ties, so a volume at exactly 45 degrees keeps its planes.
    fn of(input: &Input, geometry: &Geometry) -> Result<Self> {
        const PERMUTATIONS: [[usize; 3]; 6] = [[0, 1, 2], [1, 0, 2], [0, 2, 1], [2, 1, 0], [1, 2, 0], [2, 0, 1]];
        let Some(wanted) = input.frame()? else { return Ok(Pose::OWN) };
        let cosine = |axis: usize, (towards, negative): Towards| {
            let cosine = geometry.direction[axis][towards];
            if negative { -cosine } else { cosine }
        };
        let mut best = (PERMUTATIONS[0], 0.0);
        for axes in PERMUTATIONS {
            let sum = (0..3).map(|a| cosine(axes[a], wanted[a]).abs()).sum::<f64>();
            if sum > best.1 + 1e-6 {
                best = (axes, sum);
            }
        }
        let axes = best.0;
        Ok(Pose { axes, flipped: std::array::from_fn(|a| cosine(axes[a], wanted[a]) < 0.0) })
    }

    fn slices_read_first(&self, volume: &Volume) -> usize {
        if self.axes[2] == 2 || volume.voxels().is_some() { 0 } else { volume.geometry().slices() }
    }

    fn geometry(&self, source: &Geometry) -> Result<Geometry> {
        if source.is_sheared() && self.axes[2] != 2 {
            return Err(Error::DicomGeometry(
                "slices are stacked askew (gantry tilt), and the model's slices lie across them: read the series with tilt \
                 \"resample\""
                    .into(),
            ));
        }
        let size = self.axes.map(|axis| source.size[axis]);
        let mut first = [0.0; 3];
        for (a, &axis) in self.axes.iter().enumerate() {
            first[axis] = if self.flipped[a] { (size[a] - 1) as f64 } else { 0.0 };
        }
        let direction = std::array::from_fn(|a| {
            let axis = source.direction[self.axes[a]];
            if self.flipped[a] { axis.map(|x| -x) } else { axis }
        });
        let make = if source.is_sheared() { Geometry::sheared } else { Geometry::new };
        make(size, self.axes.map(|axis| source.spacing[axis]), source.position(first), direction)
    }
}

/// A copy of `volume` whose voxels are in memory.
fn in_memory(volume: &Volume, tick: &mut dyn FnMut() -> Result<()>) -> Result<Volume> {
    let geometry = volume.geometry();
    let mut voxels = Vec::new();
    voxels.try_reserve_exact(geometry.len()).map_err(|_| {
        Error::OutOfMemory(format!("{} voxels do not fit into memory, which this plane needs", geometry.len()))
    })?;
    volume.for_each_slice(|_, slice| {
        voxels.extend_from_slice(slice);
        tick()
    })?;
    Volume::from_memory(geometry.clone(), voxels, volume.origin())
}
