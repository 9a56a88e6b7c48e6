#include "host.hpp"

#include <algorithm>
#include <cstring>
#include <iostream>

namespace transunet::slicer {

volatile std::sig_atomic_t interrupted = 0;

namespace {

/// Hosts poll about every 100 ms; a person feels half a second.
constexpr std::chrono::milliseconds WATCH{2};
/// Hosts keep all that an executable prints, so it prints no more often than its progress changes or this passes.
constexpr std::chrono::seconds PRINT{2};

std::string escaped(const std::string &text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '&': out += "&amp;"; break;
      default: out += c;
    }
  }
  return out;
}

/// The most bytes of `text` that leave room for the terminating 0 and cut no character of UTF-8.
std::size_t fitting(const std::string &text, std::size_t room) {
  std::size_t size = std::min(text.size(), room - 1);
  while (size < text.size() && size > 0 && (static_cast<unsigned char>(text[size]) & 0xc0) == 0x80) size--;
  return size;
}

}  // namespace

Host::Host(std::string name, ProcessInformation *information) : name_(std::move(name)), information_(information) {
  if (!information_) {
    std::cout << "<filter-start>\n<filter-name>" << name_ << "</filter-name>\n<filter-comment>" << name_
              << " starts</filter-comment>\n</filter-start>" << std::endl;
  }
  watcher_ = std::thread(&Host::watch, this);
}

Host::~Host() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    end_ = true;
  }
  ended_.notify_one();
  watcher_.join();
}

void Host::watch() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!ended_.wait_for(lock, WATCH, [this] { return end_; })) {
    if (interrupted || (information_ && information_->Abort)) {
      cancel_.trigger();
      return;
    }
  }
}

void Host::show(double fraction, const std::string &message) {
  check();
  tell(fraction, 0.0, message);
}

void Host::finish(const std::string &message) {
  tell(1.0, 1.0, message);
  if (!information_) {
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - began_;
    std::cout << "<filter-end>\n<filter-name>" << name_ << "</filter-name>\n<filter-time>" << elapsed.count()
              << "</filter-time>\n<filter-comment>" << escaped(message) << "</filter-comment>\n</filter-end>" << std::endl;
  }
}

void Host::check() const {
  if (interrupted || (information_ && information_->Abort)) cancel_.trigger();
  if (cancel_.is_triggered()) throw Cancelled("the host asked to stop");
}

Control Host::part(double first, double last, std::function<std::string(const Progress &)> words) {
  return {[this, first, last, words = std::move(words)](const Progress &progress) {
            const double done = std::clamp(progress.fraction(), 0.0, 1.0);
            tell(first + done * (last - first), done, words(progress));
          },
          &cancel_};
}

void Host::tell(double fraction, double part, const std::string &message) {
  if (!information_) return print(fraction, message);
  information_->Progress = static_cast<float>(fraction);
  information_->StageProgress = static_cast<float>(part);
  const std::size_t size = fitting(message, sizeof information_->ProgressMessage);
  std::memcpy(information_->ProgressMessage, message.data(), size);
  information_->ProgressMessage[size] = '\0';
  information_->ElapsedTime = std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
  if (information_->ProgressCallbackFunction) {
    information_->ProgressCallbackFunction(information_->ProgressCallbackClientData);
  }
}

void Host::print(double fraction, const std::string &message) {
  const int permille = static_cast<int>(fraction * 1000.0);
  const auto now = std::chrono::steady_clock::now();
  if (permille == printed_ && now - printed_at_ < PRINT) return;
  printed_ = permille;
  printed_at_ = now;
  // In thousandths by hand: neither locale nor exponent may get into it.
  const std::string digits = std::to_string(1000 + permille % 1000).substr(1);
  std::cout << "<filter-progress>" << permille / 1000 << '.' << digits << "</filter-progress>\n<filter-comment>"
            << escaped(message) << "</filter-comment>" << std::endl;
}

}  // namespace transunet::slicer
