// Images: voxels in modality units (HU for CT) on a grid in patient space.
#ifndef TRANSUNET_VOLUME_HPP
#define TRANSUNET_VOLUME_HPP

#include <transunet/control.hpp>
#include <transunet/values.hpp>

#include <vector>

namespace transunet {
namespace detail {

/// The number by which the library knows voxels of type T.
template <class T>
constexpr transunet_voxel_type voxel_type() {
  if constexpr (std::is_same_v<T, float>) {
    return TRANSUNET_VOXEL_F32;
  } else if constexpr (std::is_same_v<T, double>) {
    return TRANSUNET_VOXEL_F64;
  } else {
    static_assert(std::is_integral_v<T> && !std::is_same_v<T, bool> && sizeof(T) <= 4,
                  "voxels are float, double, or integers of 8, 16 or 32 bits");
    constexpr bool with_sign = std::is_signed_v<T>;
    if constexpr (sizeof(T) == 1) return with_sign ? TRANSUNET_VOXEL_I8 : TRANSUNET_VOXEL_U8;
    if constexpr (sizeof(T) == 2) return with_sign ? TRANSUNET_VOXEL_I16 : TRANSUNET_VOXEL_U16;
    return with_sign ? TRANSUNET_VOXEL_I32 : TRANSUNET_VOXEL_U32;
  }
}

}  // namespace detail

/// Which DICOM series is read, and how. Empty texts mean what is usual.
struct SeriesOptions {
  /// Where there are several: its UID, its number, or rules such as "modality=MR,description=t1" or "number=3,time=2".
  std::string series;
  /// Of slices stacked askew: "keep" (usual), "resample" or "refuse".
  std::string tilt;
};

/// Immutable; may be used by several threads.
class Volume {
 public:
  /// A DICOM folder or file, a NRRD or a NIfTI file. The files must stay while the volume is in use.
  [[nodiscard]] static Volume open(const std::filesystem::path &path, const SeriesOptions &series = {},
                                   const Control &control = {}) {
    const transunet_volume_options options{sizeof options, detail::or_null(series.series), detail::or_null(series.tilt)};
    return Volume(detail::make<transunet_volume>(control, [&](auto *raw, auto **out, auto **error) {
      return transunet_volume_open(detail::utf8(path).c_str(), &options, raw, out, error);
    }));
  }

  /// The DICOM series that these files make.
  [[nodiscard]] static Volume open_files(const std::vector<std::filesystem::path> &files, const SeriesOptions &series = {},
                                         const Control &control = {}) {
    std::vector<std::string> texts;
    for (const auto &file : files) texts.push_back(detail::utf8(file));
    std::vector<const char *> paths;
    for (const auto &text : texts) paths.push_back(text.c_str());
    const transunet_volume_options options{sizeof options, detail::or_null(series.series), detail::or_null(series.tilt)};
    return Volume(detail::make<transunet_volume>(control, [&](auto *raw, auto **out, auto **error) {
      return transunet_volume_open_files(paths.data(), paths.size(), &options, raw, out, error);
    }));
  }

  /// The host's own voxels, columns fastest, then rows, then slices: anything with data() and size(). They are read once,
  /// into the library's memory.
  template <class Voxels>
  [[nodiscard]] static Volume from_voxels(const Voxels &voxels, const Geometry &geometry) {
    using T = std::remove_cv_t<std::remove_pointer_t<decltype(std::data(voxels))>>;
    const transunet_geometry raw = detail::to_c(geometry);
    return Volume(detail::make<transunet_volume>([&](auto **out, auto **error) {
      return transunet_volume_from_memory(std::data(voxels), std::size(voxels) * sizeof(T), detail::voxel_type<T>(), &raw,
                                          out, error);
    }));
  }

  [[nodiscard]] Geometry geometry() const { return detail::geometry(get(), transunet_volume_geometry); }

  /// As JSON: {"origin","geometry","series"}. Lives as long as the volume.
  [[nodiscard]] std::string_view describe() const & noexcept { return transunet_volume_describe(get()); }
  std::string_view describe() && = delete;

  /// Reads slice `slice` into `out`: rows * columns values in modality units, row by row.
  void read_slice(std::uint32_t slice, View<float> out) const {
    detail::run([&](transunet_error **error) {
      return transunet_volume_read_slice(get(), slice, out.data(), out.size(), error);
    });
  }

  [[nodiscard]] const transunet_volume *get() const noexcept { return handle_.get(); }

 private:
  explicit Volume(detail::Handle<transunet_volume> handle) noexcept : handle_(std::move(handle)) {}

  detail::Handle<transunet_volume> handle_;
};

}  // namespace transunet

#endif
