//! Volumes: voxels and where they are in the patient, from files or from the host's memory.

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;

use libc::{c_char, c_void};
use serde_json::json;

use crate::error::{Error, Result};
use crate::ffi::cancel::{control_in, transunet_control};
use crate::ffi::error::transunet_error;
use crate::ffi::guard::{borrow, create, guard, release};
use crate::ffi::library::transunet_status;
use crate::ffi::record::{Record, fill, read, read_or_default};
use crate::ffi::routes;
use crate::ffi::text::{json_text, optional_text_in, path_in, transunet_text};
use crate::geometry::Geometry;
use crate::volume::Volume;

/// Type of the voxels in the host's memory.
pub type transunet_voxel_type = i32;

pub const TRANSUNET_VOXEL_U8: transunet_voxel_type = 1;
pub const TRANSUNET_VOXEL_I8: transunet_voxel_type = 2;
pub const TRANSUNET_VOXEL_U16: transunet_voxel_type = 3;
pub const TRANSUNET_VOXEL_I16: transunet_voxel_type = 4;
pub const TRANSUNET_VOXEL_U32: transunet_voxel_type = 5;
pub const TRANSUNET_VOXEL_I32: transunet_voxel_type = 6;
pub const TRANSUNET_VOXEL_F32: transunet_voxel_type = 7;
pub const TRANSUNET_VOXEL_F64: transunet_voxel_type = 8;

/// A grid in patient space: DICOM patient coordinates (LPS: x to the left, y to the back, z to the head), millimetres.
/// The centre of voxel (i column, j row, k slice) lies at
/// origin + i*spacing[0]*direction[0..2] + j*spacing[1]*direction[3..5] + k*spacing[2]*direction[6..8].
/// Start from TRANSUNET_GEOMETRY_INIT (1 mm, axes along x, y, z).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct transunet_geometry {
    pub struct_size: usize,
    pub columns: u32,
    pub rows: u32,
    pub slices: u32,
    /// 0.
    pub reserved: u32,
    /// Distance of neighbouring voxels along i, j, k; positive.
    pub spacing: [f64; 3],
    /// Centre of voxel (0, 0, 0).
    pub origin: [f64; 3],
    /// Unit vectors of the i, j and k axes, one after the other; orthogonal within 1e-3.
    pub direction: [f64; 9],
}

// SAFETY: repr(C), struct_size first, all fields are plain numbers.
unsafe impl Record for transunet_geometry {
    const NAME: &'static str = "transunet_geometry";
}

/// Start from TRANSUNET_VOLUME_OPTIONS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct transunet_volume_options {
    pub struct_size: usize,
    /// Which DICOM series to take where there are several, and which volume of it: its Series Instance UID, its Series
    /// Number, or rules that must all fit, such as "modality=MR,description=t1,slices>=20" or "number=3,time=2". NULL = the
    /// only one.
    pub series: *const c_char,
    /// What becomes of slices that are stacked askew (gantry tilt): "keep" (a sheared grid, labels on the source slices),
    /// "resample" (to a straight grid, with linear interpolation within each slice) or "refuse". NULL = "keep".
    pub tilt: *const c_char,
}

// SAFETY: repr(C), struct_size first, NULL means none.
unsafe impl Record for transunet_volume_options {
    const NAME: &'static str = "transunet_volume_options";
}

/// Voxels in modality units (HU for CT) on a grid in patient space. Immutable.
pub struct transunet_volume {
    pub(super) volume: Arc<Volume>,
    description: CString,
}

/// Lists the DICOM series in a folder (any nesting, any names) or file, as JSON: {"series":[{"study_uid","series_uid",
/// "modality","description","number","images","rows","columns","body_part","contrast": true or false,"volumes":[{"rule":
/// what picks it within its series,"description","images","geometry": {...} or null,"refusal": why it makes no grid or
/// null}],"refusal": why it cannot be opened or null}],"unreadable":[{"path","reason"}],"skipped": number of other files}.
/// Pixels are not read. `control` may be NULL. Free `*out` with transunet_text_free. Statuses: INVALID_ARGUMENT, IO,
/// DICOM_PARSE, CANCELLED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_series_list(
    path: *const c_char,
    control: *const transunet_control,
    out: *mut *mut transunet_text,
    error: *mut *mut transunet_error,
) -> transunet_status {
    create(error, out, || {
        let path = path_in(path, "path")?;
        transunet_text::json(&routes::list_series(path, &mut control_in(control)?)?)
    })
}

/// Opens a volume: a DICOM folder or file, a NRRD or a NIfTI file. `options` and `control` may be NULL. The files must
/// stay while the volume is in use: slices of a DICOM series are read when needed. Free `*out` with
/// transunet_volume_free. Statuses: INVALID_ARGUMENT, IO, DICOM_PARSE, DICOM_UNSUPPORTED, DICOM_GEOMETRY,
/// SERIES_CHOICE, VOLUME_FORMAT, OUT_OF_MEMORY, CANCELLED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_volume_open(
    path: *const c_char,
    options: *const transunet_volume_options,
    control: *const transunet_control,
    out: *mut *mut transunet_volume,
    error: *mut *mut transunet_error,
) -> transunet_status {
    create(error, out, || {
        let path = path_in(path, "path")?;
        let options = read_or_default(options, "options")?;
        transunet_volume::new(routes::open_volume(path, read_as(&options)?, &mut control_in(control)?)?)
    })
}

/// Opens the DICOM series that `count` files make; other files than those are not looked at. Else as
/// transunet_volume_open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_volume_open_files(
    paths: *const *const c_char,
    count: usize,
    options: *const transunet_volume_options,
    control: *const transunet_control,
    out: *mut *mut transunet_volume,
    error: *mut *mut transunet_error,
) -> transunet_status {
    create(error, out, || {
        let paths = paths_in(paths, count)?;
        let options = read_or_default(options, "options")?;
        transunet_volume::new(routes::open_dicom(&paths, read_as(&options)?, &mut control_in(control)?)?)
    })
}

/// Makes a volume from the host's own voxels, which are copied: the pointer is not used after the call. Columns are
/// fastest, then rows, then slices; no gaps. Values are modality units (HU for CT) and become float32. `voxels_size`
/// is the size of the memory in bytes: columns * rows * slices * size of a voxel. Free `*out` with
/// transunet_volume_free. Statuses: INVALID_ARGUMENT, OUT_OF_MEMORY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_volume_from_memory(
    voxels: *const c_void,
    voxels_size: usize,
    voxel_type: transunet_voxel_type,
    geometry: *const transunet_geometry,
    out: *mut *mut transunet_volume,
    error: *mut *mut transunet_error,
) -> transunet_status {
    create(error, out, || {
        if voxels.is_null() {
            return Err(Error::Argument("voxels is NULL".into()));
        }
        let geometry = Geometry::try_from(read(geometry, "geometry")?)?;
        let copy = match voxel_type {
            TRANSUNET_VOXEL_U8 => copied::<u8>(voxels, voxels_size, &geometry, f32::from),
            TRANSUNET_VOXEL_I8 => copied::<i8>(voxels, voxels_size, &geometry, f32::from),
            TRANSUNET_VOXEL_U16 => copied::<u16>(voxels, voxels_size, &geometry, f32::from),
            TRANSUNET_VOXEL_I16 => copied::<i16>(voxels, voxels_size, &geometry, f32::from),
            TRANSUNET_VOXEL_U32 => copied::<u32>(voxels, voxels_size, &geometry, |v| v as f32),
            TRANSUNET_VOXEL_I32 => copied::<i32>(voxels, voxels_size, &geometry, |v| v as f32),
            TRANSUNET_VOXEL_F32 => copied::<f32>(voxels, voxels_size, &geometry, |v| v),
            TRANSUNET_VOXEL_F64 => copied::<f64>(voxels, voxels_size, &geometry, |v| v as f32),
            other => Err(Error::Argument(format!("voxel_type is {other}, expected a TRANSUNET_VOXEL_ number"))),
        }?;
        transunet_volume::new(Arc::new(Volume::from_memory(geometry, copy, "memory")?))
    })
}

/// Fills `*out` with the grid; set its struct_size first (TRANSUNET_GEOMETRY_INIT). Statuses: INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_volume_geometry(
    volume: *const transunet_volume,
    out: *mut transunet_geometry,
    error: *mut *mut transunet_error,
) -> transunet_status {
    guard(error, || fill(out, || borrow(volume, "volume")?.volume.geometry().try_into()))
}

/// The volume as JSON, borrowed: {"origin": path, series or "memory","geometry":{...},"series": null or {"study_uid",
/// "series_uid","frame_of_reference_uid","modality","description","instances"}}. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_volume_describe(volume: *const transunet_volume) -> *const c_char {
    volume.as_ref().map_or(ptr::null(), |volume| volume.description.as_ptr())
}

/// Reads slice `slice` into `out`: rows * columns float32 in modality units, row by row; `count` is the number of floats
/// at `out`. Nothing is promised about `out` on failure. Statuses: INVALID_ARGUMENT, IO, DICOM_PARSE,
/// DICOM_UNSUPPORTED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_volume_read_slice(
    volume: *const transunet_volume,
    slice: u32,
    out: *mut f32,
    count: usize,
    error: *mut *mut transunet_error,
) -> transunet_status {
    guard(error, || {
        let volume = borrow(volume, "volume")?.volume.clone();
        let out = slice_out(volume.geometry(), slice, out, count)?;
        volume.read_slice(slice as usize, out)
    })
}

/// Frees a volume; label maps made from it live on. NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_volume_free(volume: *mut transunet_volume) {
    release(volume);
}

/// Where a caller wants slice `slice` of a grid: `count` values at `out`, set to 0.
pub(super) unsafe fn slice_out<'a, T: bytemuck::Zeroable>(
    geometry: &Geometry,
    slice: u32,
    out: *mut T,
    count: usize,
) -> Result<&'a mut [T]> {
    if out.is_null() {
        return Err(Error::Argument("out is NULL".into()));
    }
    if slice as usize >= geometry.slices() {
        return Err(Error::Argument(format!(
            "slice is {slice}, the volume has {} slices, counted from 0",
            geometry.slices()
        )));
    }
    if count != geometry.slice_len() {
        return Err(Error::Argument(format!(
            "count is {count}, expected {} ({} columns of {} rows)",
            geometry.slice_len(),
            geometry.columns(),
            geometry.rows()
        )));
    }
    // The caller's memory may hold anything, which a reference must not see: every byte is set first.
    ptr::write_bytes(out, 0, count);
    Ok(std::slice::from_raw_parts_mut(out, count))
}

impl transunet_volume {
    fn new(volume: Arc<Volume>) -> Result<Self> {
        let series = volume.series().map(|series| {
            json!({
                "study_uid": series.study_uid,
                "series_uid": series.series_uid,
                "frame_of_reference_uid": series.frame_of_reference_uid,
                "modality": series.modality,
                "description": series.description,
                "instances": series.instances.len(),
            })
        });
        let description = json_text(&json!({
            "origin": volume.origin(),
            "geometry": geometry_json(volume.geometry()),
            "series": series,
        }))?;
        Ok(transunet_volume { volume, description })
    }
}

pub(super) fn geometry_json(geometry: &Geometry) -> serde_json::Value {
    json!({
        "size": geometry.size,
        "spacing_mm": geometry.spacing,
        "origin_lps_mm": geometry.origin,
        "direction_lps": geometry.direction,
    })
}

impl TryFrom<transunet_geometry> for Geometry {
    type Error = Error;

    fn try_from(record: transunet_geometry) -> Result<Self> {
        let [ix, iy, iz, jx, jy, jz, kx, ky, kz] = record.direction;
        Geometry::new(
            [record.columns, record.rows, record.slices].map(|n| n as usize),
            record.spacing,
            record.origin,
            [[ix, iy, iz], [jx, jy, jz], [kx, ky, kz]],
        )
    }
}

impl TryFrom<&Geometry> for transunet_geometry {
    type Error = Error;

    fn try_from(geometry: &Geometry) -> Result<Self> {
        let count = |n: usize| {
            u32::try_from(n).map_err(|_| Error::Argument(format!("a grid of {:?} is too large", geometry.size)))
        };
        let [[ix, iy, iz], [jx, jy, jz], [kx, ky, kz]] = geometry.direction;
        Ok(transunet_geometry {
            struct_size: size_of::<transunet_geometry>(),
            columns: count(geometry.columns())?,
            rows: count(geometry.rows())?,
            slices: count(geometry.slices())?,
            reserved: 0,
            spacing: geometry.spacing,
            origin: geometry.origin,
            direction: [ix, iy, iz, jx, jy, jz, kx, ky, kz],
        })
    }
}

unsafe fn copied<T: Copy>(
    voxels: *const c_void,
    voxels_size: usize,
    geometry: &Geometry,
    to_f32: impl Fn(T) -> f32,
) -> Result<Vec<f32>> {
    let (count, expected) = (geometry.len(), geometry.len() * size_of::<T>());
    if voxels_size != expected {
        return Err(Error::Argument(format!(
            "voxels_size is {voxels_size}, expected {expected} (a grid of {:?} with {} bytes for a voxel)",
            geometry.size,
            size_of::<T>()
        )));
    }
    let mut copy = Vec::new();
    copy.try_reserve_exact(count)
        .map_err(|_| Error::OutOfMemory(format!("no memory for {count} voxels of 4 bytes")))?;
    let voxels = voxels.cast::<T>();
    copy.extend((0..count).map(|at| to_f32(voxels.add(at).read_unaligned())));
    Ok(copy)
}

unsafe fn read_as<'a>(options: &transunet_volume_options) -> Result<routes::Read<'a>> {
    Ok(routes::Read {
        series: optional_text_in(options.series, "options->series")?,
        tilt: optional_text_in(options.tilt, "options->tilt")?,
    })
}

unsafe fn paths_in(paths: *const *const c_char, count: usize) -> Result<Vec<PathBuf>> {
    if paths.is_null() {
        return Err(Error::Argument("paths is NULL".into()));
    }
    if count == 0 {
        return Err(Error::Argument("count is 0, expected at least one path".into()));
    }
    (0..count).map(|at| path_in(paths.add(at).read(), &format!("paths[{at}]")).map(Path::to_path_buf)).collect()
}
