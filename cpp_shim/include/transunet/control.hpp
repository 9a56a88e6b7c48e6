// How long calls report and are stopped.
#ifndef TRANSUNET_CONTROL_HPP
#define TRANSUNET_CONTROL_HPP

#include <transunet/error.hpp>

#include <cstdint>
#include <exception>
#include <functional>
#include <type_traits>
#include <utility>

namespace transunet {

/// What the library is doing. Later versions may add stages.
enum class Stage : std::int32_t {
  Read = TRANSUNET_STAGE_READ,
  Preprocess = TRANSUNET_STAGE_PREPROCESS,
  Infer = TRANSUNET_STAGE_INFER,
  Train = TRANSUNET_STAGE_TRAIN,
  Validate = TRANSUNET_STAGE_VALIDATE,
  Write = TRANSUNET_STAGE_WRITE,
  /// A GPU's kernels, for input of a new size.
  Compile = TRANSUNET_STAGE_COMPILE,
};

/// One progress event.
struct Progress {
  Stage stage;
  /// 1-based while training, else 0.
  std::uint32_t epoch;
  /// Units done (files, slices or steps), and units in all; 0 = unknown.
  std::uint64_t done, total;
  /// NaN when not meaningful.
  double loss, dice;

  /// The part of the stage that is done, 0 to 1.
  [[nodiscard]] double fraction() const noexcept {
    return total == 0 ? 0.0 : static_cast<double>(done) / static_cast<double>(total);
  }
};

/// Called with every event on the thread of the call: `void(const Progress &)`, or `bool(const Progress &)`, which stops
/// the call by returning false. What it throws stops the call too and comes out of it.
class OnProgress {
 public:
  OnProgress() = default;

  template <class F, class = std::enable_if_t<!std::is_same_v<std::decay_t<F>, OnProgress> &&
                                              std::is_invocable_v<F &, const Progress &>>>
  OnProgress(F function) {  // NOLINT: a lambda is a callable
    if constexpr (std::is_void_v<std::invoke_result_t<F &, const Progress &>>) {
      function_ = [function = std::move(function)](const Progress &progress) mutable {
        function(progress);
        return true;
      };
    } else {
      function_ = std::move(function);
    }
  }

  [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(function_); }
  [[nodiscard]] bool operator()(const Progress &progress) const { return function_(progress); }

 private:
  std::function<bool(const Progress &)> function_;
};

/// A flag that stops running calls, from any thread. It stays triggered.
class Cancel {
 public:
  Cancel() : handle_(detail::make<transunet_cancel>(transunet_cancel_create)) {}

  void trigger() const noexcept { transunet_cancel_trigger(handle_.get()); }
  [[nodiscard]] bool is_triggered() const noexcept { return transunet_cancel_is_triggered(handle_.get()) != 0; }
  [[nodiscard]] const transunet_cancel *get() const noexcept { return handle_.get(); }

 private:
  detail::Handle<transunet_cancel> handle_;
};

/// What a long call is given: `{on_progress}`, `{on_progress, &cancel}` or `{{}, &cancel}`.
struct Control {
  OnProgress on_progress{};
  /// May be shared by several calls.
  const Cancel *cancel = nullptr;
};

namespace detail {

/// A control as C takes it; keeps what the callable throws on this side of the boundary.
class Bridge {
 public:
  explicit Bridge(const Control &control) : on_progress_(control.on_progress) {
    if (on_progress_) {
      raw_.on_progress = &Bridge::called;
      raw_.user_data = this;
    }
    if (control.cancel) raw_.cancel = control.cancel->get();
  }
  Bridge(const Bridge &) = delete;
  Bridge &operator=(const Bridge &) = delete;

  [[nodiscard]] const transunet_control *get() const noexcept { return &raw_; }

  void rethrow() const {
    if (thrown_) std::rethrow_exception(thrown_);
  }

 private:
  static transunet_flow called(const transunet_progress *event, void *user_data) noexcept {
    auto &self = *static_cast<Bridge *>(user_data);
    // The library may tell more events while it stops; they are of no interest any more.
    if (self.thrown_) return TRANSUNET_FLOW_CANCEL;
    try {
      const Progress progress{static_cast<Stage>(event->stage), event->epoch, event->done, event->total, event->loss,
                              event->dice};
      return self.on_progress_(progress) ? TRANSUNET_FLOW_CONTINUE : TRANSUNET_FLOW_CANCEL;
    } catch (...) {
      self.thrown_ = std::current_exception();
      return TRANSUNET_FLOW_CANCEL;
    }
  }

  const OnProgress &on_progress_;
  transunet_control raw_ = TRANSUNET_CONTROL_INIT;
  std::exception_ptr thrown_;
};

/// Makes `call(control, &error)`; what the progress callable threw goes before the error that follows from it.
template <class Call>
void run(const Control &control, Call call) {
  check_version();
  Bridge bridge(control);
  transunet_error *raw = nullptr;
  const transunet_status status = call(bridge.get(), &raw);
  const Handle<transunet_error> error(raw);
  bridge.rethrow();
  if (status != TRANSUNET_STATUS_OK) raise(status, error.get());
}

/// Makes `call(control, &out, &error)` and owns what it hands out.
template <class T, class Call>
[[nodiscard]] Handle<T> make(const Control &control, Call call) {
  Handle<T> made;
  run(control, [&](const transunet_control *raw, transunet_error **error) {
    T *out = nullptr;
    const transunet_status status = call(raw, &out, error);
    made.reset(out);
    return status;
  });
  return made;
}

}  // namespace detail
}  // namespace transunet

#endif
