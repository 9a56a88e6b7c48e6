// Segmentations: one label per voxel on the grid of the volume they were made from.
#ifndef TRANSUNET_LABELMAP_HPP
#define TRANSUNET_LABELMAP_HPP

#include <transunet/control.hpp>
#include <transunet/values.hpp>

#include <vector>

namespace transunet {

/// What a pixel of a DICOM SEG says.
enum class SegEncoding : std::int32_t {
  /// One bit: whether it belongs to the frame's segment.
  binary = TRANSUNET_SEG_BINARY,
  /// How likely it does, if SegmentOptions::keep_probabilities; else whether.
  fractional = TRANSUNET_SEG_FRACTIONAL,
  /// The number of its segment (DICOM Supplement 243).
  labelmap = TRANSUNET_SEG_LABELMAP,
};

/// How the pixels of a DICOM SEG are stored.
enum class SegCompression : std::int32_t {
  none = TRANSUNET_SEG_UNCOMPRESSED,
  /// Not with SegEncoding::binary.
  rle = TRANSUNET_SEG_RLE,
  deflate = TRANSUNET_SEG_DEFLATE,
};

/// What to say in a DICOM SEG; empty texts and zeros are the library's choice.
struct SegOptions {
  std::string series_description;
  /// At most 16 of A-Z, 0-9, space and underscore.
  std::string content_label;
  std::string content_description;
  std::string content_creator;
  std::uint32_t series_number = 0;
  /// Equal input gives equal bytes: UIDs and date follow from the content.
  bool deterministic = false;
  SegEncoding encoding = SegEncoding::binary;
  SegCompression compression = SegCompression::none;
};

/// How to draw a contact sheet; zeros are the library's choice.
struct PictureOptions {
  /// Modality units that are drawn black and white.
  double window_low = 0.0, window_high = 0.0;
  /// Of the labels' areas, up to 1.
  double opacity = 0.0;
  /// About how many slices to show, and the longer side of each in pixels.
  std::uint32_t slices = 0, tile = 0;
};

/// Immutable; keeps its volume; may be used by several threads.
class Labelmap {
 public:
  explicit Labelmap(detail::Handle<transunet_labelmap> handle) noexcept : handle_(std::move(handle)) {}

  [[nodiscard]] Geometry geometry() const { return detail::geometry(get(), transunet_labelmap_geometry); }

  /// All labels: columns fastest, then rows, then slices; 0 is the background. The first call unpacks them, a byte for each
  /// voxel, into memory of the label map, where they stay as long as it lives. Empty where there is no memory for them.
  [[nodiscard]] View<const std::uint8_t> voxels() const & noexcept {
    std::size_t count = 0;
    const std::uint8_t *data = transunet_labelmap_voxels(get(), &count);
    return {data, count};
  }
  View<const std::uint8_t> voxels() && = delete;

  /// Reads slice `slice` into `out`: rows * columns labels, row by row; unpacks nothing else.
  void read_slice(std::uint32_t slice, View<std::uint8_t> out) const {
    detail::run([&](transunet_error **error) {
      return transunet_labelmap_read_slice(get(), slice, out.data(), out.size(), error);
    });
  }

  /// Foreground labels in order of value, whether or not a voxel has them.
  [[nodiscard]] std::vector<Label> labels() const {
    return detail::labels(get(), transunet_labelmap_label_count, transunet_labelmap_label);
  }

  /// As JSON: {"algorithm","source","geometry","labels"}. Lives as long as the label map.
  [[nodiscard]] std::string_view describe() const & noexcept { return transunet_labelmap_describe(get()); }
  std::string_view describe() && = delete;

  /// A label map with other voxels, such as a person's corrections; without probabilities.
  [[nodiscard]] Labelmap with_voxels(View<const std::uint8_t> voxels) const {
    return Labelmap(detail::make<transunet_labelmap>([&](auto **out, auto **error) {
      return transunet_labelmap_with_voxels(get(), voxels.data(), voxels.size(), out, error);
    }));
  }

  /// Volumes (ml), extents and mean intensity of the labels, as JSON.
  [[nodiscard]] Text statistics(const Control &control = {}) const {
    return Text(detail::make<transunet_text>(control, [&](auto *raw, auto **out, auto **error) {
      return transunet_labelmap_statistics(get(), raw, out, error);
    }));
  }

  /// Writes what the name of `path` says: .dcm (DICOM SEG), .seg.nrrd, .nrrd, .nii, .nii.gz; whole or not at all.
  void write(const std::filesystem::path &path, const Control &control = {}) const {
    detail::run(control, [&](auto *raw, auto **error) {
      return transunet_labelmap_write(get(), detail::utf8(path).c_str(), raw, error);
    });
  }

  /// Writes a DICOM SEG that refers to the series that was segmented.
  void write_dicom_seg(const std::filesystem::path &path, const SegOptions &options = {},
                       const Control &control = {}) const {
    transunet_seg_options seg = TRANSUNET_SEG_OPTIONS_INIT;
    seg.series_description = detail::or_null(options.series_description);
    seg.content_label = detail::or_null(options.content_label);
    seg.content_description = detail::or_null(options.content_description);
    seg.content_creator = detail::or_null(options.content_creator);
    seg.series_number = options.series_number;
    seg.deterministic = options.deterministic ? 1 : 0;
    seg.encoding = static_cast<transunet_seg_encoding>(options.encoding);
    seg.compression = static_cast<transunet_seg_compression>(options.compression);
    detail::run(control, [&](auto *raw, auto **error) {
      return transunet_labelmap_write_dicom_seg(get(), detail::utf8(path).c_str(), &seg, raw, error);
    });
  }

  /// Writes a contact sheet (PNG): slices with their labels in colour.
  void write_picture(const std::filesystem::path &path, const PictureOptions &options = {},
                     const Control &control = {}) const {
    transunet_picture_options picture = TRANSUNET_PICTURE_OPTIONS_INIT;
    picture.window_low = options.window_low;
    picture.window_high = options.window_high;
    picture.opacity = options.opacity;
    picture.slices = options.slices;
    picture.tile = options.tile;
    detail::run(control, [&](auto *raw, auto **error) {
      return transunet_labelmap_write_picture(get(), detail::utf8(path).c_str(), &picture, raw, error);
    });
  }

  [[nodiscard]] const transunet_labelmap *get() const noexcept { return handle_.get(); }

 private:
  detail::Handle<transunet_labelmap> handle_;
};

}  // namespace transunet

#endif
