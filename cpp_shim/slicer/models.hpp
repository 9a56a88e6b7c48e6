// Which model a module is to use.
#ifndef TRANSUNET_SLICER_MODELS_HPP
#define TRANSUNET_SLICER_MODELS_HPP

#include "arguments.hpp"

namespace transunet::slicer {

/// The path for Runtime::load that model_file, model_folder or else model gives.
[[nodiscard]] std::filesystem::path chosen_model(const Arguments &arguments);

}  // namespace transunet::slicer

#endif
