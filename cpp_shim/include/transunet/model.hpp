// Models: weights on a device with their description and labels.
#ifndef TRANSUNET_MODEL_HPP
#define TRANSUNET_MODEL_HPP

#include <transunet/labelmap.hpp>
#include <transunet/volume.hpp>

namespace transunet {

struct SegmentOptions {
  /// Slices per pass of the network; 0 = the library's choice.
  std::size_t batch = 0;
  /// Also writes class probabilities to this file (.nii.gz); empty = none.
  std::filesystem::path probabilities;
  /// The label map keeps its labels' probabilities for SegEncoding::fractional, in a temporary file without a name.
  bool keep_probabilities = false;
};

/// Immutable; several threads may segment with one model. Made by Runtime.
class Model {
 public:
  explicit Model(detail::Handle<transunet_model> handle) noexcept : handle_(std::move(handle)) {}

  /// Blocks. Cancelled and failed calls leave nothing behind.
  [[nodiscard]] Labelmap segment(const Volume &volume, const SegmentOptions &options = {},
                                 const Control &control = {}) const {
    const std::string probabilities = detail::utf8(options.probabilities);
    transunet_segment_options segment = TRANSUNET_SEGMENT_OPTIONS_INIT;
    segment.batch = options.batch;
    segment.probabilities_path = detail::or_null(probabilities);
    segment.keep_probabilities = options.keep_probabilities ? 1 : 0;
    return Labelmap(detail::make<transunet_labelmap>(control, [&](auto *raw, auto **out, auto **error) {
      return transunet_segment(get(), volume.get(), &segment, raw, out, error);
    }));
  }

  /// Foreground labels in order of value.
  [[nodiscard]] std::vector<Label> labels() const {
    return detail::labels(get(), transunet_model_label_count, transunet_model_label);
  }

  /// As JSON: its description as in the bundle, with "devices" and "warnings". Lives as long as the model.
  [[nodiscard]] std::string_view describe() const & noexcept { return transunet_model_describe(get()); }
  std::string_view describe() && = delete;

  /// Writes a bundle (.safetensors), whole or not at all.
  void save(const std::filesystem::path &path) const {
    detail::run([&](transunet_error **error) {
      return transunet_model_save(get(), detail::utf8(path).c_str(), error);
    });
  }

  [[nodiscard]] const transunet_model *get() const noexcept { return handle_.get(); }

 private:
  detail::Handle<transunet_model> handle_;
};

}  // namespace transunet

#endif
