// Failures of the library as exceptions, and what owns its handles.
#ifndef TRANSUNET_ERROR_HPP
#define TRANSUNET_ERROR_HPP

#include <transunet.h>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>

#if defined(_WIN32)
#  define TRANSUNET_EXCEPTION
#else
// Exceptions are told apart by one type information in all shared objects, also in those that hide their symbols.
#  define TRANSUNET_EXCEPTION __attribute__((visibility("default")))
#endif

namespace transunet {

/// A call failed: what went wrong, where, and what was expected instead.
class TRANSUNET_EXCEPTION Error : public std::runtime_error {
 public:
  Error(transunet_status status, const std::string &message) : std::runtime_error(message), status_(status) {}

  /// One of TRANSUNET_STATUS_*; later versions of the library may know more of them.
  [[nodiscard]] transunet_status status() const noexcept { return status_; }

  /// The status as its constant has it: "CONFIG".
  [[nodiscard]] const char *name() const noexcept { return transunet_status_name(status_); }

 private:
  transunet_status status_;
};

/// The caller asked to stop; there is no output.
class TRANSUNET_EXCEPTION Cancelled : public Error {
 public:
  explicit Cancelled(const std::string &message) : Error(TRANSUNET_STATUS_CANCELLED, message) {}
};

namespace detail {

struct Free {
  void operator()(transunet_error *handle) const noexcept { transunet_error_free(handle); }
  void operator()(transunet_text *handle) const noexcept { transunet_text_free(handle); }
  void operator()(transunet_cancel *handle) const noexcept { transunet_cancel_free(handle); }
  void operator()(transunet_runtime *handle) const noexcept { transunet_runtime_free(handle); }
  void operator()(transunet_model *handle) const noexcept { transunet_model_free(handle); }
  void operator()(transunet_volume *handle) const noexcept { transunet_volume_free(handle); }
  void operator()(transunet_labelmap *handle) const noexcept { transunet_labelmap_free(handle); }
};

template <class T>
using Handle = std::unique_ptr<T, Free>;

/// Whether a library of version `found` serves a program that was built for version `built`.
constexpr bool serves(std::uint32_t found, std::uint32_t built) noexcept {
  return found >> 16 == built >> 16 && found >= built;
}

/// Refuses a library that this header does not fit; looks only once.
inline void check_version() {
  static const bool fits = [] {
    const auto text = [](std::uint32_t version) {
      return std::to_string(version >> 16) + "." + std::to_string(version & 0xffff);
    };
    const std::uint32_t found = transunet_abi_version();
    if (!serves(found, TRANSUNET_ABI_VERSION)) {
      throw Error(TRANSUNET_STATUS_INTERNAL, std::string("libtransunet ") + transunet_version_string() +
                                                 " has ABI version " + text(found) + ", this program needs " +
                                                 text(TRANSUNET_ABI_VERSION) + " or a later one of the same generation");
    }
    return true;
  }();
  static_cast<void>(fits);
}

[[noreturn]] inline void raise(transunet_status status, const transunet_error *error) {
  const std::string message = error ? transunet_error_message(error) : transunet_status_name(status);
  if (status == TRANSUNET_STATUS_CANCELLED) throw Cancelled(message);
  throw Error(status, message);
}

/// Makes `call(&error)`.
template <class Call>
void run(Call call) {
  check_version();
  transunet_error *raw = nullptr;
  const transunet_status status = call(&raw);
  const Handle<transunet_error> error(raw);
  if (status != TRANSUNET_STATUS_OK) raise(status, error.get());
}

/// Makes `call(&out, &error)` and owns what it hands out.
template <class T, class Call>
[[nodiscard]] Handle<T> make(Call call) {
  T *out = nullptr;
  run([&](transunet_error **error) { return call(&out, error); });
  return Handle<T>(out);
}

}  // namespace detail
}  // namespace transunet

#endif
