// Values that pass between a program and the library: grids, labels, views of voxels, texts, paths.
#ifndef TRANSUNET_VALUES_HPP
#define TRANSUNET_VALUES_HPP

#include <transunet/error.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace transunet {

/// Elements in a row that someone else owns, like std::span of C++20.
template <class T>
class View {
 public:
  using element_type = T;
  using value_type = std::remove_cv_t<T>;
  using iterator = T *;

  constexpr View() noexcept = default;
  constexpr View(T *data, std::size_t size) noexcept : data_(data), size_(size) {}

  /// Of anything with data() and size() that holds T: std::vector, std::array, std::string_view, another View.
  template <class Range, class = std::enable_if_t<std::is_convertible_v<
                             std::remove_pointer_t<decltype(std::data(std::declval<Range &>()))> (*)[], T (*)[]>>>
  constexpr View(Range &&range) noexcept : View(std::data(range), std::size(range)) {}  // NOLINT: as std::span

  [[nodiscard]] constexpr T *data() const noexcept { return data_; }
  [[nodiscard]] constexpr std::size_t size() const noexcept { return size_; }
  [[nodiscard]] constexpr bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] constexpr iterator begin() const noexcept { return data_; }
  [[nodiscard]] constexpr iterator end() const noexcept { return data_ + size_; }
  [[nodiscard]] constexpr T &operator[](std::size_t at) const noexcept { return data_[at]; }

 private:
  T *data_ = nullptr;
  std::size_t size_ = 0;
};

/// A text of the library (JSON, UTF-8), owned.
class Text {
 public:
  explicit Text(detail::Handle<transunet_text> handle) noexcept : handle_(std::move(handle)) {}

  [[nodiscard]] std::string_view view() const & noexcept {
    return {transunet_text_data(handle_.get()), transunet_text_size(handle_.get())};
  }
  std::string_view view() && = delete;
  /// NUL-terminated.
  [[nodiscard]] const char *c_str() const & noexcept { return transunet_text_data(handle_.get()); }
  const char *c_str() && = delete;
  [[nodiscard]] std::string str() const { return std::string(view()); }

 private:
  detail::Handle<transunet_text> handle_;
};

using Vec3 = std::array<double, 3>;

/// A grid in patient space: DICOM patient coordinates (LPS: x to the left, y to the back, z to the head), mm.
struct Geometry {
  /// Columns, rows, slices.
  std::array<std::uint32_t, 3> size{};
  /// Distance of neighbouring voxels along columns, rows, slices.
  Vec3 spacing{1.0, 1.0, 1.0};
  /// Centre of voxel (0, 0, 0).
  Vec3 origin{};
  /// Unit vectors of the three axes.
  std::array<Vec3, 3> direction{{{1.0, 0.0, 0.0}, {0.0, 1.0, 0.0}, {0.0, 0.0, 1.0}}};

  [[nodiscard]] std::size_t voxels() const noexcept { return std::size_t{size[0]} * size[1] * size[2]; }

  /// Centre of voxel (column, row, slice).
  [[nodiscard]] Vec3 position(const Vec3 &index) const noexcept {
    Vec3 at = origin;
    for (std::size_t axis = 0; axis < 3; axis++) {
      for (std::size_t x = 0; x < 3; x++) at[x] += index[axis] * spacing[axis] * direction[axis][x];
    }
    return at;
  }
};

/// A coded concept: {"64033007", "SCT", "Kidney"}.
struct Code {
  std::string value, scheme, meaning;
};

/// A foreground label.
struct Label {
  /// In label maps, 1 to 255.
  std::uint32_t value;
  std::string name;
  /// sRGB.
  std::array<std::uint8_t, 3> rgb;
  /// Segmented Property Category, Type, Type Modifier, Anatomic Region.
  std::optional<Code> category, type, modifier, region;
};

namespace detail {

inline std::string utf8(const std::filesystem::path &path) {
  const auto text = path.u8string();
  return {text.begin(), text.end()};
}

/// NULL for an empty text, which stands for the default.
inline const char *or_null(const std::string &text) noexcept { return text.empty() ? nullptr : text.c_str(); }

inline transunet_geometry to_c(const Geometry &geometry) {
  transunet_geometry raw = TRANSUNET_GEOMETRY_INIT;
  raw.columns = geometry.size[0], raw.rows = geometry.size[1], raw.slices = geometry.size[2];
  std::copy(geometry.spacing.begin(), geometry.spacing.end(), raw.spacing);
  std::copy(geometry.origin.begin(), geometry.origin.end(), raw.origin);
  for (std::size_t axis = 0; axis < 3; axis++) {
    std::copy(geometry.direction[axis].begin(), geometry.direction[axis].end(), raw.direction + 3 * axis);
  }
  return raw;
}

inline Geometry from_c(const transunet_geometry &raw) {
  Geometry geometry;
  geometry.size = {raw.columns, raw.rows, raw.slices};
  std::copy_n(raw.spacing, 3, geometry.spacing.begin());
  std::copy_n(raw.origin, 3, geometry.origin.begin());
  for (std::size_t axis = 0; axis < 3; axis++) {
    std::copy_n(raw.direction + 3 * axis, 3, geometry.direction[axis].begin());
  }
  return geometry;
}

inline std::optional<Code> from_c(const transunet_code &raw) {
  if (!raw.value) return std::nullopt;
  return Code{raw.value, raw.scheme, raw.meaning};
}

inline Label from_c(const transunet_label_info &raw) {
  return {raw.value,           raw.name,         {raw.rgb[0], raw.rgb[1], raw.rgb[2]}, from_c(raw.category),
          from_c(raw.type), from_c(raw.modifier), from_c(raw.region)};
}

/// The labels that `count` and `get` of one kind of handle tell.
template <class T>
std::vector<Label> labels(const T *handle, std::size_t (*count)(const T *),
                          transunet_status (*get)(const T *, std::size_t, transunet_label_info *, transunet_error **)) {
  std::vector<Label> labels;
  for (std::size_t index = 0; index < count(handle); index++) {
    transunet_label_info raw = TRANSUNET_LABEL_INFO_INIT;
    run([&](transunet_error **error) { return get(handle, index, &raw, error); });
    labels.push_back(from_c(raw));
  }
  return labels;
}

template <class T>
Geometry geometry(const T *handle, transunet_status (*get)(const T *, transunet_geometry *, transunet_error **)) {
  transunet_geometry raw = TRANSUNET_GEOMETRY_INIT;
  run([&](transunet_error **error) { return get(handle, &raw, error); });
  return from_c(raw);
}

}  // namespace detail
}  // namespace transunet

#endif
