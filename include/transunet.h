/* transunet.h - C API of TransUNet: segmentation of medical images.
 *
 * Generated from src/ffi; do not edit.
 *
 * Rules that hold for every function
 *   ownership  Functions that fill a `T **out` hand out a handle: free it once with its `_free`. Handles may be freed in
 *              any order: each keeps what it needs of the others. `_free(NULL)` does nothing. Every other returned
 *              pointer is borrowed: it lives as long as the handle it came from and is never passed to free().
 *   errors     Fallible functions return transunet_status; TRANSUNET_STATUS_OK (0) is success. The last parameter gets an
 *              error object on failure and NULL on success; pass NULL if the code is enough. What it held before is
 *              overwritten. On failure every `*out` is NULL or zeroes. Nothing is kept per thread.
 *   status     Beside those named at a function, every call may return TRANSUNET_STATUS_INTERNAL. Codes and texts of errors
 *              may become finer in later versions: act on the codes you know, treat others as failure.
 *   strings    UTF-8, NUL-terminated, both ways, paths included (Windows too).
 *   structs    Those with struct_size are set up with their _INIT macro and may grow at the end in later versions: programs
 *              built with an older or newer header work. Zero in a field of options means its default.
 *   threads    `const handle *` parameters may be used by several threads at the same time. A handle is freed by one thread
 *              when no other is about to enter a call with it. Handles are counted: a call that has begun, at the latest
 *              when it reports its first progress, keeps what it needs of runtime, model, volume, label map and flag, and
 *              goes on undisturbed when they are freed. Callbacks of `transunet_control` run on the calling thread, never
 *              two at once.
 *   callbacks  Must return: no C++ exception, no longjmp (either ends the process). They may call this library.
 *   output     The library installs no signal handlers and writes to stdout never, to stderr only when it has a bug.
 *   panics     Bugs are caught at the boundary: TRANSUNET_STATUS_INTERNAL. The handles stay usable.
 *   JSON       Later versions may add members.
 */


#ifndef TRANSUNET_H
#define TRANSUNET_H

#include <stddef.h>
#include <stdint.h>

#define TRANSUNET_VERSION_MAJOR 0
#define TRANSUNET_VERSION_MINOR 1
#define TRANSUNET_VERSION_PATCH 0

#ifndef TRANSUNET_API
#  if defined(_WIN32)
#    define TRANSUNET_API __declspec(dllimport)
#  else
#    define TRANSUNET_API
#  endif
#endif

#define TRANSUNET_CONTROL_INIT {sizeof(transunet_control), NULL, NULL, NULL}
#define TRANSUNET_RUNTIME_OPTIONS_INIT {sizeof(transunet_runtime_options), NULL, NULL, 0, 0, NULL, NULL}
#define TRANSUNET_MODEL_OPTIONS_INIT {sizeof(transunet_model_options), TRANSUNET_PRECISION_F32, 0}
#define TRANSUNET_VOLUME_OPTIONS_INIT {sizeof(transunet_volume_options), NULL, NULL}
#define TRANSUNET_SEGMENT_OPTIONS_INIT {sizeof(transunet_segment_options), 0, NULL, 0, 0}
#define TRANSUNET_TRAIN_OPTIONS_INIT {sizeof(transunet_train_options), NULL, NULL, NULL, 0, 0}
#define TRANSUNET_SEG_OPTIONS_INIT {sizeof(transunet_seg_options), NULL, NULL, NULL, NULL, 0, 0, 0, 0}
#define TRANSUNET_PICTURE_OPTIONS_INIT {sizeof(transunet_picture_options), 0.0, 0.0, 0.0, 0, 0}
#define TRANSUNET_GEOMETRY_INIT                                                                             \
  {sizeof(transunet_geometry), 0, 0, 0, 0, {1.0, 1.0, 1.0}, {0.0, 0.0, 0.0},                                \
   {1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0}}
#define TRANSUNET_CODE_NONE {NULL, NULL, NULL}
#define TRANSUNET_LABEL_INFO_INIT                                                                           \
  {sizeof(transunet_label_info), 0, {0, 0, 0}, 0, NULL, TRANSUNET_CODE_NONE, TRANSUNET_CODE_NONE,            \
   TRANSUNET_CODE_NONE, TRANSUNET_CODE_NONE}

/**
 * Generation << 16 | revision. A library serves every program built for the same generation and the same or a lower
 * revision: check `transunet_abi_version() >> 16` and `transunet_abi_version() >= TRANSUNET_ABI_VERSION` at start.
 */
#define TRANSUNET_ABI_VERSION 65536

/**
 * A flag that stops running calls, from any thread.
 */
typedef struct transunet_cancel transunet_cancel;

/**
 * Why a call failed.
 */
typedef struct transunet_error transunet_error;

/**
 * One label per voxel on the grid of the volume that was segmented. Immutable.
 */
typedef struct transunet_labelmap transunet_labelmap;

/**
 * Weights on a device with their description and labels. Immutable.
 */
typedef struct transunet_model transunet_model;

/**
 * Open devices and a log callback.
 */
typedef struct transunet_runtime transunet_runtime;

/**
 * A text made by one call (JSON, UTF-8), owned by the caller.
 */
typedef struct transunet_text transunet_text;

/**
 * Voxels in modality units (HU for CT) on a grid in patient space. Immutable.
 */
typedef struct transunet_volume transunet_volume;

/**
 * Outcome of a call. Numbers are never reused; treat one that you do not know as a failure.
 */
typedef int32_t transunet_status;

/**
 * How much the library says; each level includes those before it.
 */
typedef int32_t transunet_log_level;

/**
 * Receives one line of diagnostics: level (TRANSUNET_LOG_ERROR to _TRACE), where it comes from, what it says; both
 * texts are valid during the call only. Called from any thread, one call at a time for each runtime. Must return: no
 * C++ exception, no longjmp. Lines that arise inside the callback itself are dropped.
 */
typedef void (*transunet_log_fn)(transunet_log_level level,
                                 const char *target,
                                 const char *message,
                                 void *user_data);

/**
 * Start from TRANSUNET_RUNTIME_OPTIONS_INIT. Zero in a field means its default.
 */
typedef struct transunet_runtime_options {
  size_t struct_size;
  /**
   * Where to compute: "auto" (or NULL), "cpu", "cuda:0", or several GPUs that share the work, "cuda:0,cuda:1". "auto" is
   * CUDA if usable, else the CPU; transunet_runtime_describe and the log say which and why. What is named fails with
   * TRANSUNET_STATUS_DEVICE_UNAVAILABLE rather than falls back. Opening a GPU loads NVRTC and, where CUDA_PATH does not
   * name the CUDA headers, sets it for the process (docs/gpu.md).
   */
  const char *device;
  /**
   * Folder where a GPU's compiled kernels and their tuning are kept for later processes, made if need be; NULL =
   * transunet/kernels in the user's folder for caches. The first runtime that says one decides for the process.
   */
  const char *kernel_cache;
  transunet_log_level log_level;
  /**
   * Threads that compute on the CPU; 0 = one for each core. The first runtime decides for the process;
   * transunet_runtime_describe says what holds.
   */
  uint32_t cpu_threads;
  /**
   * May be NULL.
   */
  transunet_log_fn on_log;
  /**
   * Handed to on_log as it is.
   */
  void *log_user_data;
} transunet_runtime_options;

/**
 * What matrices and kernels are multiplied in.
 */
typedef int32_t transunet_precision;

/**
 * Start from TRANSUNET_MODEL_OPTIONS_INIT. Zero in a field means its default.
 */
typedef struct transunet_model_options {
  size_t struct_size;
  /**
   * What the network computes with; norms, exponentials and logits are float32 with any of them.
   */
  transunet_precision precision;
  /**
   * 0.
   */
  int32_t reserved;
} transunet_model_options;

/**
 * Answer of a progress callback.
 */
typedef int32_t transunet_flow;

/**
 * What the library is doing. Later versions may add stages.
 */
typedef int32_t transunet_stage;

/**
 * One progress event; valid during the callback.
 */
typedef struct transunet_progress {
  /**
   * Size that the library gave the struct: fields beyond it are not there.
   */
  size_t struct_size;
  transunet_stage stage;
  /**
   * 1-based while training, else 0.
   */
  uint32_t epoch;
  /**
   * Units done: files, slices or steps.
   */
  uint64_t done;
  /**
   * Units in all; 0 = unknown.
   */
  uint64_t total;
  /**
   * NaN when not meaningful.
   */
  double loss;
  /**
   * NaN when not meaningful.
   */
  double dice;
} transunet_progress;

/**
 * Receives progress on the thread of the call, never two at once. Must return: no C++ exception, no longjmp.
 */
typedef transunet_flow (*transunet_progress_fn)(const struct transunet_progress *event, void *user_data);

/**
 * How a long call reports and is stopped. Start from TRANSUNET_CONTROL_INIT.
 */
typedef struct transunet_control {
  size_t struct_size;
  /**
   * May be NULL.
   */
  transunet_progress_fn on_progress;
  /**
   * Handed to on_progress as it is.
   */
  void *user_data;
  /**
   * May be NULL; may be shared by several calls.
   */
  const struct transunet_cancel *cancel;
} transunet_control;

/**
 * A coded concept (DICOM PS3.3 section 8.8). All three are NULL where a label has no such code. Never grows.
 */
typedef struct transunet_code {
  /**
   * Such as "64033007".
   */
  const char *value;
  /**
   * Coding scheme designator, such as "SCT".
   */
  const char *scheme;
  /**
   * Such as "Kidney".
   */
  const char *meaning;
} transunet_code;

/**
 * One foreground label. Texts are borrowed from the handle that was asked. Start from TRANSUNET_LABEL_INFO_INIT.
 */
typedef struct transunet_label_info {
  size_t struct_size;
  /**
   * Value in label maps, 1 to 255.
   */
  uint32_t value;
  /**
   * Colour to draw it in, sRGB.
   */
  uint8_t rgb[3];
  /**
   * 0.
   */
  uint8_t reserved;
  const char *name;
  /**
   * Segmented Property Category, such as Anatomical Structure.
   */
  struct transunet_code category;
  /**
   * Segmented Property Type, such as Kidney.
   */
  struct transunet_code type;
  /**
   * Laterality or another modifier of the type; NULLs if none.
   */
  struct transunet_code modifier;
  /**
   * Anatomic region, for findings such as lesions; NULLs if none.
   */
  struct transunet_code region;
} transunet_label_info;

/**
 * Start from TRANSUNET_VOLUME_OPTIONS_INIT.
 */
typedef struct transunet_volume_options {
  size_t struct_size;
  /**
   * Which DICOM series to take where there are several, and which volume of it: its Series Instance UID, its Series
   * Number, or rules that must all fit, such as "modality=MR,description=t1,slices>=20" or "number=3,time=2". NULL = the
   * only one.
   */
  const char *series;
  /**
   * What becomes of slices that are stacked askew (gantry tilt): "keep" (a sheared grid, labels on the source slices),
   * "resample" (to a straight grid, with linear interpolation within each slice) or "refuse". NULL = "keep".
   */
  const char *tilt;
} transunet_volume_options;

/**
 * Type of the voxels in the host's memory.
 */
typedef int32_t transunet_voxel_type;

/**
 * A grid in patient space: DICOM patient coordinates (LPS: x to the left, y to the back, z to the head), millimetres.
 * The centre of voxel (i column, j row, k slice) lies at
 * origin + i*spacing[0]*direction[0..2] + j*spacing[1]*direction[3..5] + k*spacing[2]*direction[6..8].
 * Start from TRANSUNET_GEOMETRY_INIT (1 mm, axes along x, y, z).
 */
typedef struct transunet_geometry {
  size_t struct_size;
  uint32_t columns;
  uint32_t rows;
  uint32_t slices;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * Distance of neighbouring voxels along i, j, k; positive.
   */
  double spacing[3];
  /**
   * Centre of voxel (0, 0, 0).
   */
  double origin[3];
  /**
   * Unit vectors of the i, j and k axes, one after the other; orthogonal within 1e-3.
   */
  double direction[9];
} transunet_geometry;

/**
 * Start from TRANSUNET_SEGMENT_OPTIONS_INIT. Zero in a field means its default.
 */
typedef struct transunet_segment_options {
  size_t struct_size;
  /**
   * Slices per pass of the network; 0 = the library's choice.
   */
  size_t batch;
  /**
   * Also writes class probabilities to this file (.nii.gz: float32, one volume per class); NULL = none.
   */
  const char *probabilities_path;
  /**
   * 1 = the label map keeps its labels' probabilities for TRANSUNET_SEG_FRACTIONAL, in a file without a name in the
   * system's folder for temporary files: a byte for each voxel and label. 0 = it does not.
   */
  int32_t keep_probabilities;
  /**
   * 0.
   */
  int32_t reserved;
} transunet_segment_options;

/**
 * What a pixel of a DICOM SEG says.
 */
typedef int32_t transunet_seg_encoding;

/**
 * How the pixels of a DICOM SEG are stored.
 */
typedef int32_t transunet_seg_compression;

/**
 * What to say in a DICOM SEG. Start from TRANSUNET_SEG_OPTIONS_INIT. Zero in a field means its default.
 */
typedef struct transunet_seg_options {
  size_t struct_size;
  /**
   * Series Description; NULL = the library's choice.
   */
  const char *series_description;
  /**
   * Content Label: at most 16 of A-Z, 0-9, space and underscore; NULL = the library's choice.
   */
  const char *content_label;
  /**
   * Content Description; NULL = the library's choice.
   */
  const char *content_description;
  /**
   * Content Creator's Name; NULL = left empty.
   */
  const char *content_creator;
  /**
   * Series Number; 0 = derived from the source's.
   */
  uint32_t series_number;
  /**
   * 1 = equal input gives equal bytes: UIDs and date follow from the content. 0 = new UIDs, the time of writing.
   */
  int32_t deterministic;
  transunet_seg_encoding encoding;
  transunet_seg_compression compression;
} transunet_seg_options;

/**
 * How to draw a contact sheet. Start from TRANSUNET_PICTURE_OPTIONS_INIT. Zero in a field means its default.
 */
typedef struct transunet_picture_options {
  size_t struct_size;
  /**
   * Modality units that are drawn black and white; both 0 = found from the volume.
   */
  double window_low;
  double window_high;
  /**
   * Of the labels' areas, up to 1; 0 = the library's choice.
   */
  double opacity;
  /**
   * About how many slices to show.
   */
  uint32_t slices;
  /**
   * Longer side of a slice in pixels.
   */
  uint32_t tile;
} transunet_picture_options;

/**
 * Start from TRANSUNET_TRAIN_OPTIONS_INIT. Zero in a field means its default.
 */
typedef struct transunet_train_options {
  size_t struct_size;
  /**
   * The folder of the data, instead of the configuration's; NULL = the configuration's.
   */
  const char *data_folder;
  /**
   * The folder that the run writes to, instead of the configuration's; NULL = the configuration's.
   */
  const char *output_folder;
  /**
   * YAML whose keys replace the configuration's, such as "preset: tiny\nepochs: 20"; NULL = none.
   */
  const char *settings;
  /**
   * 1: go on from the output folder's checkpoint. 0: refuse a folder that has one.
   */
  int32_t resume;
  /**
   * 0.
   */
  int32_t reserved;
} transunet_train_options;

/**
 * Success.
 */
#define TRANSUNET_STATUS_OK 0

/**
 * NULL, a bad size, bad UTF-8, an unknown option: the message names the parameter.
 */
#define TRANSUNET_STATUS_INVALID_ARGUMENT 100

/**
 * A description (YAML) was refused: the message names line and key.
 */
#define TRANSUNET_STATUS_CONFIG 110

/**
 * The file system refused.
 */
#define TRANSUNET_STATUS_IO 200

/**
 * Bytes that should be DICOM and are not.
 */
#define TRANSUNET_STATUS_DICOM_PARSE 210

/**
 * Valid DICOM of a kind that is not read: transfer syntax, SOP class, photometric interpretation.
 */
#define TRANSUNET_STATUS_DICOM_UNSUPPORTED 211

/**
 * Slices that form no regular volume: gaps, duplicates, tilt, mixed orientation.
 */
#define TRANSUNET_STATUS_DICOM_GEOMETRY 212

/**
 * Several series fit and none was chosen: the message lists them.
 */
#define TRANSUNET_STATUS_SERIES_CHOICE 213

/**
 * A NRRD or NIfTI file that cannot be read as a volume.
 */
#define TRANSUNET_STATUS_VOLUME_FORMAT 220

/**
 * A weights file that is truncated, corrupt or of an unknown format.
 */
#define TRANSUNET_STATUS_WEIGHTS_FORMAT 300

/**
 * Missing, unexpected or wrongly shaped tensors: the message lists them.
 */
#define TRANSUNET_STATUS_WEIGHTS_MISMATCH 301

/**
 * The requested device is not there or cannot be used: the message says what it lacks.
 */
#define TRANSUNET_STATUS_DEVICE_UNAVAILABLE 400

/**
 * The device failed while in use. Sticky for the runtime; only a new process may recover.
 */
#define TRANSUNET_STATUS_DEVICE_LOST 401

/**
 * Memory ran out, or would have.
 */
#define TRANSUNET_STATUS_OUT_OF_MEMORY 402

/**
 * The caller asked to stop; there is no output.
 */
#define TRANSUNET_STATUS_CANCELLED 500

/**
 * Training produced a loss that is not finite.
 */
#define TRANSUNET_STATUS_DIVERGED 510

/**
 * A bug in the library. The call failed; the process and other handles are sound.
 */
#define TRANSUNET_STATUS_INTERNAL 900

/**
 * Warnings and errors.
 */
#define TRANSUNET_LOG_DEFAULT 0

#define TRANSUNET_LOG_ERROR 1

#define TRANSUNET_LOG_WARN 2

#define TRANSUNET_LOG_INFO 3

/**
 * May name patients' files and identifiers.
 */
#define TRANSUNET_LOG_DEBUG 4

/**
 * May name patients' files and identifiers.
 */
#define TRANSUNET_LOG_TRACE 5

/**
 * Reading and checking files.
 */
#define TRANSUNET_STAGE_READ 1

/**
 * Bringing the volume into the shape that the network expects.
 */
#define TRANSUNET_STAGE_PREPROCESS 2

/**
 * Running the network.
 */
#define TRANSUNET_STAGE_INFER 3

/**
 * Training the network.
 */
#define TRANSUNET_STAGE_TRAIN 4

/**
 * Measuring the network on validation data.
 */
#define TRANSUNET_STAGE_VALIDATE 5

/**
 * Writing files.
 */
#define TRANSUNET_STAGE_WRITE 6

/**
 * Compiling a GPU's kernels for input of a new size and seeking the fastest; minutes the first time, kept on disk.
 */
#define TRANSUNET_STAGE_COMPILE 7

/**
 * Go on.
 */
#define TRANSUNET_FLOW_CONTINUE 0

/**
 * Stop: the call returns TRANSUNET_STATUS_CANCELLED. Any other number than CONTINUE means the same.
 */
#define TRANSUNET_FLOW_CANCEL 1

/**
 * float32.
 */
#define TRANSUNET_PRECISION_F32 0

/**
 * bfloat16: half the memory, 8 significant bits, the range of float32. On GPUs only, as is float16.
 */
#define TRANSUNET_PRECISION_BF16 1

/**
 * float16: half the memory, 11 significant bits, numbers up to 65504.
 */
#define TRANSUNET_PRECISION_F16 2

#define TRANSUNET_VOXEL_U8 1

#define TRANSUNET_VOXEL_I8 2

#define TRANSUNET_VOXEL_U16 3

#define TRANSUNET_VOXEL_I16 4

#define TRANSUNET_VOXEL_U32 5

#define TRANSUNET_VOXEL_I32 6

#define TRANSUNET_VOXEL_F32 7

#define TRANSUNET_VOXEL_F64 8

/**
 * One bit: whether it belongs to the frame's segment. What every reader takes.
 */
#define TRANSUNET_SEG_BINARY 0

/**
 * How likely it belongs to the frame's segment, out of 255, if the label map was segmented with
 * transunet_segment_options.keep_probabilities; else 255 or 0.
 */
#define TRANSUNET_SEG_FRACTIONAL 1

/**
 * The number of its segment (Label Map Segmentation Storage, DICOM Supplement 243): small; for readers of 2024 and later.
 */
#define TRANSUNET_SEG_LABELMAP 2

/**
 * Explicit VR Little Endian.
 */
#define TRANSUNET_SEG_UNCOMPRESSED 0

/**
 * RLE Lossless; not with TRANSUNET_SEG_BINARY.
 */
#define TRANSUNET_SEG_RLE 1

/**
 * Deflated Explicit VR Little Endian.
 */
#define TRANSUNET_SEG_DEFLATE 2

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The ABI version of the loaded library; compare with TRANSUNET_ABI_VERSION.
 */
TRANSUNET_API uint32_t transunet_abi_version(void);

/**
 * The version of the loaded library, such as "0.1.0". Valid for ever.
 */
TRANSUNET_API const char *transunet_version_string(void);

/**
 * The name of a status as the constant has it, without TRANSUNET_STATUS_: "CANCELLED". "UNKNOWN" for a number that
 * this library does not have. Valid for ever.
 */
TRANSUNET_API
const char *transunet_status_name(transunet_status status);

/**
 * The status that the failed call returned; TRANSUNET_STATUS_OK for NULL.
 */
TRANSUNET_API transunet_status transunet_error_code(const struct transunet_error *error);

/**
 * What went wrong, where, and what was expected instead: one text for people, borrowed from `error`. "" for NULL.
 */
TRANSUNET_API
const char *transunet_error_message(const struct transunet_error *error);

/**
 * Frees an error; NULL does nothing.
 */
TRANSUNET_API void transunet_error_free(struct transunet_error *error);

/**
 * The text, NUL-terminated UTF-8, borrowed from `text`. NULL for NULL.
 */
TRANSUNET_API const char *transunet_text_data(const struct transunet_text *text);

/**
 * Length of the text in bytes, without the terminating NUL. 0 for NULL.
 */
TRANSUNET_API size_t transunet_text_size(const struct transunet_text *text);

/**
 * Frees a text; NULL does nothing.
 */
TRANSUNET_API void transunet_text_free(struct transunet_text *text);

/**
 * All devices that this library could use on this machine, as JSON:
 * [{"id":"cpu","name":...,"driver":null,"memory_bytes":...,"unusable":null}, {"id":"cuda:0",...,"unusable":"why"}].
 * Free `*out` with transunet_text_free.
 */
TRANSUNET_API
transunet_status transunet_device_list(struct transunet_text **out,
                                       struct transunet_error **error);

/**
 * Opens the devices. `options` may be NULL for the defaults. Free `*out` with transunet_runtime_free.
 * Statuses: INVALID_ARGUMENT, IO, DEVICE_UNAVAILABLE.
 */
TRANSUNET_API
transunet_status transunet_runtime_create(const struct transunet_runtime_options *options,
                                          struct transunet_runtime **out,
                                          struct transunet_error **error);

/**
 * The runtime as JSON, borrowed: {"version","abi_version","devices":[{"id","name","driver","memory_bytes","unusable"}],
 * "fallback": why "auto" did not take a GPU or null,"cpu_threads","kernel_cache"}. NULL for NULL.
 */
TRANSUNET_API
const char *transunet_runtime_describe(const struct transunet_runtime *runtime);

/**
 * Frees a runtime; models loaded with it live on. Waits for a running on_log, which is never called again (unless
 * called from within on_log itself). NULL does nothing.
 */
TRANSUNET_API
void transunet_runtime_free(struct transunet_runtime *runtime);

/**
 * Makes a flag that is not triggered. Free it with transunet_cancel_free.
 */
TRANSUNET_API
transunet_status transunet_cancel_create(struct transunet_cancel **out,
                                         struct transunet_error **error);

/**
 * Stops every call that was given the flag, now or later: within one slice or batch they return
 * TRANSUNET_STATUS_CANCELLED. From any thread; never blocks. A flag stays triggered. NULL does nothing.
 */
TRANSUNET_API void transunet_cancel_trigger(const struct transunet_cancel *cancel);

/**
 * 1 once the flag was triggered, else 0. 0 for NULL.
 */
TRANSUNET_API int32_t transunet_cancel_is_triggered(const struct transunet_cancel *cancel);

/**
 * Frees a flag, which calls that were given it no longer need once they run; NULL does nothing.
 */
TRANSUNET_API void transunet_cancel_free(struct transunet_cancel *cancel);

/**
 * Loads a bundle (.safetensors) or a foreign checkpoint (.pth, .npz, .safetensors, described by the .yaml beside it if
 * there is one). `model` is its path, a folder with one bundle, or the id of an installed model (transunet_models_list).
 * `options` and `control` may be NULL. The model keeps what it needs of the runtime. Free `*out` with transunet_model_free.
 * A precision that the device does not compute in is INVALID_ARGUMENT.
 * Statuses: INVALID_ARGUMENT, CONFIG, IO, WEIGHTS_FORMAT, WEIGHTS_MISMATCH, DEVICE_LOST, OUT_OF_MEMORY, CANCELLED.
 */
TRANSUNET_API
transunet_status transunet_model_load(const struct transunet_runtime *runtime,
                                      const char *model,
                                      const struct transunet_model_options *options,
                                      const struct transunet_control *control,
                                      struct transunet_model **out,
                                      struct transunet_error **error);

/**
 * Writes the model as a bundle; the file appears whole or not at all. Statuses: INVALID_ARGUMENT, IO, DEVICE_LOST.
 */
TRANSUNET_API
transunet_status transunet_model_save(const struct transunet_model *model,
                                      const char *path,
                                      struct transunet_error **error);

/**
 * The model as JSON, borrowed: its description ("name","architecture","input","labels","provenance","licence",
 * "intended_use", ... as in the bundle) with "devices": where it runs, "precision": what it computes with ("f32", "bf16",
 * "f16"), "sha256": of weights and description, and "warnings": what to know before using it.
 * NULL for NULL.
 */
TRANSUNET_API
const char *transunet_model_describe(const struct transunet_model *model);

/**
 * Number of foreground labels; the background is not counted. 0 for NULL.
 */
TRANSUNET_API size_t transunet_model_label_count(const struct transunet_model *model);

/**
 * Fills `*out` with label `index` (from 0, in order of value); set its struct_size first (TRANSUNET_LABEL_INFO_INIT).
 * Texts are borrowed from the model. Statuses: INVALID_ARGUMENT.
 */
TRANSUNET_API
transunet_status transunet_model_label(const struct transunet_model *model,
                                       size_t index,
                                       struct transunet_label_info *out,
                                       struct transunet_error **error);

/**
 * Frees a model; calls that run with it go on, label maps made with it live on. NULL does nothing.
 */
TRANSUNET_API void transunet_model_free(struct transunet_model *model);

/**
 * Lists the DICOM series in a folder (any nesting, any names) or file, as JSON: {"series":[{"study_uid","series_uid",
 * "modality","description","number","images","rows","columns","body_part","contrast": true or false,"volumes":[{"rule":
 * what picks it within its series,"description","images","geometry": {...} or null,"refusal": why it makes no grid or
 * null}],"refusal": why it cannot be opened or null}],"unreadable":[{"path","reason"}],"skipped": number of other files}.
 * Pixels are not read. `control` may be NULL. Free `*out` with transunet_text_free. Statuses: INVALID_ARGUMENT, IO,
 * DICOM_PARSE, CANCELLED.
 */
TRANSUNET_API
transunet_status transunet_series_list(const char *path,
                                       const struct transunet_control *control,
                                       struct transunet_text **out,
                                       struct transunet_error **error);

/**
 * Opens a volume: a DICOM folder or file, a NRRD or a NIfTI file. `options` and `control` may be NULL. The files must
 * stay while the volume is in use: slices of a DICOM series are read when needed. Free `*out` with
 * transunet_volume_free. Statuses: INVALID_ARGUMENT, IO, DICOM_PARSE, DICOM_UNSUPPORTED, DICOM_GEOMETRY,
 * SERIES_CHOICE, VOLUME_FORMAT, OUT_OF_MEMORY, CANCELLED.
 */
TRANSUNET_API
transunet_status transunet_volume_open(const char *path,
                                       const struct transunet_volume_options *options,
                                       const struct transunet_control *control,
                                       struct transunet_volume **out,
                                       struct transunet_error **error);

/**
 * Opens the DICOM series that `count` files make; other files than those are not looked at. Else as
 * transunet_volume_open.
 */
TRANSUNET_API
transunet_status transunet_volume_open_files(const char *const *paths,
                                             size_t count,
                                             const struct transunet_volume_options *options,
                                             const struct transunet_control *control,
                                             struct transunet_volume **out,
                                             struct transunet_error **error);

/**
 * Makes a volume from the host's own voxels, which are copied: the pointer is not used after the call. Columns are
 * fastest, then rows, then slices; no gaps. Values are modality units (HU for CT) and become float32. `voxels_size`
 * is the size of the memory in bytes: columns * rows * slices * size of a voxel. Free `*out` with
 * transunet_volume_free. Statuses: INVALID_ARGUMENT, OUT_OF_MEMORY.
 */
TRANSUNET_API
transunet_status transunet_volume_from_memory(const void *voxels,
                                              size_t voxels_size,
                                              transunet_voxel_type voxel_type,
                                              const struct transunet_geometry *geometry,
                                              struct transunet_volume **out,
                                              struct transunet_error **error);

/**
 * Fills `*out` with the grid; set its struct_size first (TRANSUNET_GEOMETRY_INIT). Statuses: INVALID_ARGUMENT.
 */
TRANSUNET_API
transunet_status transunet_volume_geometry(const struct transunet_volume *volume,
                                           struct transunet_geometry *out,
                                           struct transunet_error **error);

/**
 * The volume as JSON, borrowed: {"origin": path, series or "memory","geometry":{...},"series": null or {"study_uid",
 * "series_uid","frame_of_reference_uid","modality","description","instances"}}. NULL for NULL.
 */
TRANSUNET_API
const char *transunet_volume_describe(const struct transunet_volume *volume);

/**
 * Reads slice `slice` into `out`: rows * columns float32 in modality units, row by row; `count` is the number of floats
 * at `out`. Nothing is promised about `out` on failure. Statuses: INVALID_ARGUMENT, IO, DICOM_PARSE,
 * DICOM_UNSUPPORTED.
 */
TRANSUNET_API
transunet_status transunet_volume_read_slice(const struct transunet_volume *volume,
                                             uint32_t slice,
                                             float *out,
                                             size_t count,
                                             struct transunet_error **error);

/**
 * Frees a volume; label maps made from it live on. NULL does nothing.
 */
TRANSUNET_API void transunet_volume_free(struct transunet_volume *volume);

/**
 * Segments a volume. Blocks; `options` and `control` may be NULL. Several threads may segment with one model. The label
 * map keeps the volume. Free `*out` with transunet_labelmap_free. Cancelled calls leave nothing behind.
 * Statuses: INVALID_ARGUMENT, IO, DICOM_PARSE, DICOM_UNSUPPORTED, VOLUME_FORMAT (a voxel is no finite number), DEVICE_LOST,
 * OUT_OF_MEMORY, CANCELLED.
 */
TRANSUNET_API
transunet_status transunet_segment(const struct transunet_model *model,
                                   const struct transunet_volume *volume,
                                   const struct transunet_segment_options *options,
                                   const struct transunet_control *control,
                                   struct transunet_labelmap **out,
                                   struct transunet_error **error);

/**
 * Fills `*out` with the grid; set its struct_size first (TRANSUNET_GEOMETRY_INIT). Statuses: INVALID_ARGUMENT.
 */
TRANSUNET_API
transunet_status transunet_labelmap_geometry(const struct transunet_labelmap *labelmap,
                                             struct transunet_geometry *out,
                                             struct transunet_error **error);

/**
 * All labels, borrowed until the label map is freed: columns fastest, then rows, then slices; 0 is the background.
 * `*out_count` (may be NULL) gets their number. A label map holds its slices packed: the first call unpacks them into
 * memory of the label map, a byte for each voxel, which stays until it is freed; later calls return the same pointer.
 * transunet_labelmap_read_slice needs no such memory. NULL and 0 for NULL, and where there is no memory for them.
 */
TRANSUNET_API
const uint8_t *transunet_labelmap_voxels(const struct transunet_labelmap *labelmap,
                                         size_t *out_count);

/**
 * Reads slice `slice` into `out`: rows * columns labels, row by row; `count` is the number of bytes at `out`. Nothing is
 * promised about `out` on failure. Statuses: INVALID_ARGUMENT.
 */
TRANSUNET_API
transunet_status transunet_labelmap_read_slice(const struct transunet_labelmap *labelmap,
                                               uint32_t slice,
                                               uint8_t *out,
                                               size_t count,
                                               struct transunet_error **error);

/**
 * A label map like `labelmap` with other voxels, which are copied: what a person has corrected, to be written or
 * measured. It has no probabilities. `count` must be the number of voxels, every value 0 or that of a label. Free `*out` with
 * transunet_labelmap_free. Statuses: INVALID_ARGUMENT.
 */
TRANSUNET_API
transunet_status transunet_labelmap_with_voxels(const struct transunet_labelmap *labelmap,
                                                const uint8_t *voxels,
                                                size_t count,
                                                struct transunet_labelmap **out,
                                                struct transunet_error **error);

/**
 * The label map as JSON, borrowed: {"algorithm":{"name","version"},"source": origin of the volume,"geometry":{...},
 * "labels":[...],"receipt": what it was made with and from (model, code, settings with precision, source, SHA-256 of the
 * labels; docs/receipts.md), null once a person has corrected it}. NULL for NULL.
 */
TRANSUNET_API
const char *transunet_labelmap_describe(const struct transunet_labelmap *labelmap);

/**
 * Number of foreground labels, whether or not a voxel has them. 0 for NULL.
 */
TRANSUNET_API size_t transunet_labelmap_label_count(const struct transunet_labelmap *labelmap);

/**
 * Fills `*out` with label `index` (from 0, in order of value); set its struct_size first (TRANSUNET_LABEL_INFO_INIT).
 * Texts are borrowed from the label map. Statuses: INVALID_ARGUMENT.
 */
TRANSUNET_API
transunet_status transunet_labelmap_label(const struct transunet_labelmap *labelmap,
                                          size_t index,
                                          struct transunet_label_info *out,
                                          struct transunet_error **error);

/**
 * Volumes (ml), extents and mean intensity of the labels, as JSON. Free `*out` with transunet_text_free.
 * `control` may be NULL. Statuses: INVALID_ARGUMENT, IO, DICOM_PARSE, CANCELLED.
 */
TRANSUNET_API
transunet_status transunet_labelmap_statistics(const struct transunet_labelmap *labelmap,
                                               const struct transunet_control *control,
                                               struct transunet_text **out,
                                               struct transunet_error **error);

/**
 * Writes the label map as what the name of `path` says: .dcm (DICOM SEG), .rtstruct.dcm (RT Structure Set), .seg.nrrd, .nrrd, .nii, .nii.gz. The file
 * appears whole or not at all. `control` may be NULL. Statuses: INVALID_ARGUMENT (another ending, or DICOM SEG of a
 * volume that is not DICOM), IO, CANCELLED.
 */
TRANSUNET_API
transunet_status transunet_labelmap_write(const struct transunet_labelmap *labelmap,
                                          const char *path,
                                          const struct transunet_control *control,
                                          struct transunet_error **error);

/**
 * Writes a DICOM SEG that refers to the series that was segmented, whatever the name of `path`. `options` and `control`
 * may be NULL. The file appears whole or not at all. Statuses: INVALID_ARGUMENT (also: the volume was not DICOM), IO,
 * CANCELLED.
 */
TRANSUNET_API
transunet_status transunet_labelmap_write_dicom_seg(const struct transunet_labelmap *labelmap,
                                                    const char *path,
                                                    const struct transunet_seg_options *options,
                                                    const struct transunet_control *control,
                                                    struct transunet_error **error);

/**
 * Writes a contact sheet (PNG): slices with their labels in colour. The file appears whole or not at all. `options` and
 * `control` may be NULL.
 * Statuses: INVALID_ARGUMENT, IO, DICOM_PARSE, CANCELLED.
 */
TRANSUNET_API
transunet_status transunet_labelmap_write_picture(const struct transunet_labelmap *labelmap,
                                                  const char *path,
                                                  const struct transunet_picture_options *options,
                                                  const struct transunet_control *control,
                                                  struct transunet_error **error);

/**
 * Frees a label map; NULL does nothing.
 */
TRANSUNET_API void transunet_labelmap_free(struct transunet_labelmap *labelmap);

/**
 * Trains as the YAML file at `config_path` says. NULL = all that is not in options->settings is planned from the data;
 * options must then give the folders of data and output, there or in the settings. Blocks, for hours; `options` and
 * `control` may be NULL. Progress events of stage TRAIN count steps and carry epoch, loss and the latest validation's Dice. Once steps are made, cancelling stops
 * the run after its step and is no failure: its checkpoint, report and model are written, and it can be resumed. `*out`
 * is the model, also written as model.safetensors into the output folder. Free it with transunet_model_free.
 * Statuses: INVALID_ARGUMENT, CONFIG, IO, VOLUME_FORMAT, DICOM_PARSE, WEIGHTS_FORMAT, WEIGHTS_MISMATCH, DEVICE_LOST,
 * OUT_OF_MEMORY, DIVERGED, CANCELLED.
 */
TRANSUNET_API
transunet_status transunet_train(const struct transunet_runtime *runtime,
                                 const char *config_path,
                                 const struct transunet_train_options *options,
                                 const struct transunet_control *control,
                                 struct transunet_model **out,
                                 struct transunet_error **error);

/**
 * plugin_manifest.yaml as JSON: {"id","title","version","abi":{"generation","revision"},"category","description",
 * "modules":[{"id","title","entry_point","groups":[{"label","parameters":[...]}]}],"models":{...},...}. Valid for ever.
 */
TRANSUNET_API
const char *transunet_plugin_manifest(void);

/**
 * Lists the bundles in `folder`, as JSON: {"folders":[...],"models":[{"id","path","name","labels":[names],"plane",
 * "context","licence","intended_use","validation":[{"label","dice_mean",...}]}],"unreadable":[{"path","reason"}]}. NULL =
 * the installed models: those in the folders of the environment variable TRANSUNET_MODELS (as in PATH), then in
 * ../share/transunet/models and models beside the library; of two with one id the first counts. Only descriptions are
 * read. Free `*out` with transunet_text_free. Statuses: INVALID_ARGUMENT, IO.
 */
TRANSUNET_API
transunet_status transunet_models_list(const char *folder,
                                       struct transunet_text **out,
                                       struct transunet_error **error);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TRANSUNET_H */
