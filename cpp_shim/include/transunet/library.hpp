// What the library can tell without a device: its version, devices, models, DICOM series, its description of itself.
#ifndef TRANSUNET_LIBRARY_HPP
#define TRANSUNET_LIBRARY_HPP

#include <transunet/control.hpp>
#include <transunet/values.hpp>

namespace transunet {

/// Of the loaded library, such as "0.1.0".
[[nodiscard]] inline std::string_view version() noexcept { return transunet_version_string(); }

/// plugin_manifest.yaml as JSON. Valid for ever.
[[nodiscard]] inline std::string_view manifest() noexcept { return transunet_plugin_manifest(); }

/// The bundles in `folder`, or the installed models if it is empty, as JSON: {"folders":[...],
/// "models":[{"id","path","name","labels","plane","licence","intended_use","validation",...}],"unreadable":[...]}.
[[nodiscard]] inline Text models(const std::filesystem::path &folder = {}) {
  const std::string text = detail::utf8(folder);
  return Text(detail::make<transunet_text>(
      [&](auto **out, auto **error) { return transunet_models_list(detail::or_null(text), out, error); }));
}

/// All devices that the library could use on this machine, as JSON: [{"id","name","memory_bytes","unusable"}].
[[nodiscard]] inline Text devices() { return Text(detail::make<transunet_text>(transunet_device_list)); }

/// The DICOM series in a folder or file, as JSON: {"series":[...],"unreadable":[...],"skipped"}.
[[nodiscard]] inline Text series(const std::filesystem::path &path, const Control &control = {}) {
  return Text(detail::make<transunet_text>(control, [&](auto *raw, auto **out, auto **error) {
    return transunet_series_list(detail::utf8(path).c_str(), raw, out, error);
  }));
}

}  // namespace transunet

#endif
