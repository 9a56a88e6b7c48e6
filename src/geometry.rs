//! Where voxels are: index to patient coordinates in f64, LPS (left, posterior, superior), millimetres.
//!
//! Frame: DICOM PS3.3 C.7.6.2.1.1 (patient-based coordinate system). An index is (i column, j row, k slice); the
//! centre of voxel (i, j, k) lies at `origin + i*spacing[0]*direction[0] + j*spacing[1]*direction[1] + k*spacing[2]*direction[2]`.

use crate::error::{Error, Result};

pub type Vec3 = [f64; 3];

/// Cosine up to which two axes count as orthogonal: rounding in files, no more.
const SQUARE: f64 = 1e-3;

/// The grid of a volume or label map.
#[derive(Debug, Clone, PartialEq)]
pub struct Geometry {
    /// Voxel counts: columns, rows, slices.
    pub size: [usize; 3],
    /// Distance of neighbouring voxel centres along i, j, k, in mm.
    pub spacing: Vec3,
    /// Centre of voxel (0, 0, 0), LPS mm.
    pub origin: Vec3,
    /// Unit vectors of the i, j and k axes, LPS.
    pub direction: [Vec3; 3],
}

impl Geometry {
    /// Checks that the grid is not empty, the spacing positive, the axes unit vectors that span space.
    /// Shear is refused: the axes must be orthogonal within 1e-3.
    pub fn new(size: [usize; 3], spacing: Vec3, origin: Vec3, direction: [Vec3; 3]) -> Result<Self> {
        Geometry::checked(size, spacing, origin, direction, [SQUARE; 3])
    }

    /// A grid whose slices are stacked askew, as with a tilted gantry: rows and columns are orthogonal, and the k axis
    /// leaves their normal by at most 60 degrees.
    pub fn sheared(size: [usize; 3], spacing: Vec3, origin: Vec3, direction: [Vec3; 3]) -> Result<Self> {
        let [row, column, through] = direction;
        if dot(cross(row, column), through).abs() < 0.5 {
            let text = "geometry: the k axis lies more than 60 degrees off the normal of the slices";
            return Err(Error::Argument(text.into()));
        }
        Geometry::checked(size, spacing, origin, direction, [SQUARE, 1.0, 1.0])
    }

    /// `skew`: largest cosine between axes i and j, j and k, k and i.
    fn checked(size: [usize; 3], spacing: Vec3, origin: Vec3, direction: [Vec3; 3], skew: [f64; 3]) -> Result<Self> {
        let refuse = |text: String| Err(Error::Argument(format!("geometry: {text}")));
        if size.contains(&0) {
            return refuse(format!("size {size:?} has a zero, expected at least one voxel along each axis"));
        }
        if size.iter().try_fold(1usize, |n, &s| n.checked_mul(s)).is_none_or(|n| n > isize::MAX as usize / 8) {
            return refuse(format!("size {size:?} is too large to address"));
        }
        if !spacing.iter().all(|s| s.is_finite() && *s > 0.0) {
            return refuse(format!("spacing {spacing:?} mm, expected positive finite numbers"));
        }
        if !origin.iter().all(|x| x.is_finite()) {
            return refuse(format!("origin {origin:?}, expected finite numbers"));
        }
        for axis in 0..3 {
            let length = norm(direction[axis]);
            if !(0.999..1.001).contains(&length) {
                return refuse(format!("direction of axis {axis} has length {length}, expected 1"));
            }
            let cosine = dot(direction[axis], direction[(axis + 1) % 3]);
            if cosine.abs() > skew[axis] {
                return refuse(format!("axes {axis} and {} are not orthogonal (cosine {cosine:.4})", (axis + 1) % 3));
            }
        }
        Ok(Geometry { size, spacing, origin, direction })
    }

    pub fn columns(&self) -> usize {
        self.size[0]
    }

    pub fn rows(&self) -> usize {
        self.size[1]
    }

    pub fn slices(&self) -> usize {
        self.size[2]
    }

    /// Pixels of one slice.
    pub fn slice_len(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// Voxels of the volume.
    pub fn len(&self) -> usize {
        self.slice_len() * self.size[2]
    }

    /// Never true: [`Geometry::new`] refuses empty grids.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether slices are stacked off their normal, so that the k axis is not orthogonal to them.
    pub fn is_sheared(&self) -> bool {
        let [row, column, through] = self.direction;
        dot(row, through).abs() > SQUARE || dot(column, through).abs() > SQUARE
    }

    /// Angle between the k axis and the normal of the slices; 0 but for rounding unless the grid is sheared.
    pub fn tilt_degrees(&self) -> f64 {
        let [row, column, through] = self.direction;
        dot(row, through).hypot(dot(column, through)).atan2(dot(cross(row, column), through).abs()).to_degrees()
    }

    /// Distance of neighbouring slices along their normal, in mm; `spacing[2]` but for sheared grids.
    pub fn slice_distance(&self) -> f64 {
        let [row, column, through] = self.direction;
        self.spacing[2] * dot(cross(row, column), through).abs()
    }

    /// Volume of one voxel in cubic millimetres.
    pub fn voxel_volume(&self) -> f64 {
        let [a, b, c] = self.direction;
        (dot(cross(a, b), c) * self.spacing[0] * self.spacing[1] * self.spacing[2]).abs()
    }

    /// Patient position (LPS, mm) of a continuous index.
    pub fn position(&self, index: Vec3) -> Vec3 {
        let mut at = self.origin;
        for ((index, spacing), direction) in index.into_iter().zip(self.spacing).zip(self.direction) {
            for (x, d) in at.iter_mut().zip(direction) {
                *x += index * spacing * d;
            }
        }
        at
    }

    /// Continuous index of a patient position (LPS, mm).
    pub fn index(&self, position: Vec3) -> Vec3 {
        let offset = sub(position, self.origin);
        let [a, b, c] = self.direction;
        let det = dot(cross(a, b), c);
        [
            dot(cross(b, c), offset) / det / self.spacing[0],
            dot(cross(c, a), offset) / det / self.spacing[1],
            dot(cross(a, b), offset) / det / self.spacing[2],
        ]
    }

    /// Where the axes point, each by its nearest direction of the patient: "LPS", "RAS".
    pub fn letters(&self) -> String {
        let letter = |axis: Vec3| {
            let nearest = (0..3).max_by(|&a, &b| axis[a].abs().total_cmp(&axis[b].abs())).unwrap_or(0);
            [['L', 'R'], ['P', 'A'], ['S', 'I']][nearest][usize::from(axis[nearest] < 0.0)]
        };
        self.direction.map(letter).iter().collect()
    }

    /// Column vectors of the voxel-to-LPS matrix, spacing included, and the origin: rows of a 3x4 affine.
    pub fn affine(&self) -> [[f64; 4]; 3] {
        std::array::from_fn(|row| {
            [
                self.direction[0][row] * self.spacing[0],
                self.direction[1][row] * self.spacing[1],
                self.direction[2][row] * self.spacing[2],
                self.origin[row],
            ]
        })
    }

    /// Inverse of [`Geometry::affine`]: splits a voxel-to-LPS matrix into spacing and directions.
    pub fn from_affine(size: [usize; 3], affine: [[f64; 4]; 3]) -> Result<Self> {
        let column = |axis: usize| [affine[0][axis], affine[1][axis], affine[2][axis]];
        let spacing = std::array::from_fn(|axis| norm(column(axis)));
        let direction = std::array::from_fn(|axis| column(axis).map(|x| x / spacing[axis]));
        Geometry::new(size, spacing, column(3), direction)
    }

    /// Whether two grids cover the same voxels: same size, every corner within `tolerance` mm.
    pub fn matches(&self, other: &Geometry, tolerance: f64) -> bool {
        self.size == other.size
            && (0..8).all(|corner| {
                let index =
                    std::array::from_fn(
                        |axis| {
                            if corner >> axis & 1 == 1 { (self.size[axis] - 1) as f64 } else { 0.0 }
                        },
                    );
                norm(sub(self.position(index), other.position(index))) <= tolerance
            })
    }
}

pub fn dot(a: Vec3, b: Vec3) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub fn cross(a: Vec3, b: Vec3) -> Vec3 {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

pub fn sub(a: Vec3, b: Vec3) -> Vec3 {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

pub fn norm(a: Vec3) -> f64 {
    dot(a, a).sqrt()
}
