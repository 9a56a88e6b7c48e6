// What a module shows its host, and the host's wish to stop it.
#ifndef TRANSUNET_SLICER_HOST_HPP
#define TRANSUNET_SLICER_HOST_HPP

#include "contract.hpp"

#include <transunet/control.hpp>

#include <chrono>
#include <condition_variable>
#include <csignal>
#include <mutex>
#include <string>
#include <thread>

namespace transunet::slicer {

/// The signal that asked this process to stop, or 0; set by the executable's handler.
extern volatile std::sig_atomic_t interrupted;

/// Progress goes into the host's struct, or as XML to stdout for a host that reads it there.
class Host {
 public:
  /// `information` may be NULL.
  Host(std::string name, ProcessInformation *information);
  /// Must not be outlived by a call that was given its cancel flag.
  ~Host();
  Host(const Host &) = delete;
  Host &operator=(const Host &) = delete;

  /// `fraction` of everything and `part` of what is at hand are done; `message` says what goes on.
  void tell(double fraction, double part, const std::string &message);
  /// The same between calls; throws Cancelled once the host wants to stop.
  void show(double fraction, const std::string &message);
  /// All is done.
  void finish(const std::string &message);

  /// Throws Cancelled once the host wants to stop.
  void check() const;
  /// Triggered when the host wants to stop.
  [[nodiscard]] const Cancel &cancel() const noexcept { return cancel_; }

  /// For a call that takes the module from `first` to `last` (0 to 1); `words` says what an event means.
  [[nodiscard]] Control part(double first, double last, std::function<std::string(const Progress &)> words);

 private:
  void watch();
  void print(double fraction, const std::string &message);

  const std::string name_;
  ProcessInformation *const information_;
  const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point printed_at_{};
  int printed_ = -1;

  Cancel cancel_;
  std::mutex mutex_;
  std::condition_variable ended_;
  bool end_ = false;
  std::thread watcher_;
};

}  // namespace transunet::slicer

#endif
