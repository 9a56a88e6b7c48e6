// Trains a small network on a folder of labelled images: train DATA OUTPUT EPOCHS SECONDS
// SECONDS after the first step another thread stops it, with a usable model in OUTPUT; the same call again goes on.
#include <chrono>
#include <condition_variable>
#include <iostream>
#include <mutex>
#include <optional>
#include <thread>

#include <transunet/transunet.hpp>

namespace {

/// Triggers a flag after a time, unless it goes first.
class Timer {
 public:
  Timer(const transunet::Cancel &cancel, std::chrono::seconds time)
      : thread_([this, &cancel, time] {
          std::unique_lock<std::mutex> lock(mutex_);
          if (!over_.wait_for(lock, time, [this] { return end_; })) cancel.trigger();
        }) {}

  ~Timer() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      end_ = true;
    }
    over_.notify_one();
    thread_.join();
  }

 private:
  std::mutex mutex_;
  std::condition_variable over_;
  bool end_ = false;
  std::thread thread_;
};

}  // namespace

int main(int argc, char **argv) try {
  if (argc != 5) {
    std::cerr << "usage: " << argv[0] << " DATA OUTPUT EPOCHS SECONDS\n";
    return 2;
  }
  transunet::TrainOptions options;
  options.data = argv[1];
  options.output = argv[2];
  // What else can be set: docs/training.md.
  options.settings = std::string("preset: tiny\nepochs: ") + argv[3];
  options.resume = std::filesystem::exists(options.output / "checkpoint.safetensors");

  const transunet::Runtime runtime;
  const transunet::Cancel cancel;
  const std::chrono::seconds time(std::stoi(argv[4]));
  std::optional<Timer> timer;
  const auto show = [&](const transunet::Progress &progress) {
    if (progress.stage != transunet::Stage::Train) return;
    if (!timer && progress.done > 0) timer.emplace(cancel, time);
    std::cerr << "step " << progress.done << " of " << progress.total << ", epoch " << progress.epoch << ", loss "
              << progress.loss << ", Dice " << progress.dice << '\n';
  };
  const transunet::Model model = runtime.train({}, options, {show, &cancel});
  std::cout << (cancel.is_triggered() ? "stopped" : "done") << ": " << (options.output / "model.safetensors").string()
            << " has " << model.labels().size() << " labels\n";
  return 0;
} catch (const transunet::Cancelled &) {
  std::cerr << "stopped before the first step\n";
  return 1;
} catch (const transunet::Error &error) {
  std::cerr << error.name() << ": " << error.what() << '\n';
  return 1;
}
