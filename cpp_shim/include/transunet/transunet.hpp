// TransUNet for C++17: handles that free themselves, errors as exceptions, progress as a callable. Header only, over the
// C API of <transunet.h>, whose rules on threads and units hold here too.
//
//   transunet::Runtime runtime;
//   auto model = runtime.load("model.safetensors");
//   auto labels = model.segment(transunet::Volume::open("ct/"));
//   labels.write("organs.seg.nrrd");
#ifndef TRANSUNET_TRANSUNET_HPP
#define TRANSUNET_TRANSUNET_HPP

#include <transunet/control.hpp>
#include <transunet/error.hpp>
#include <transunet/labelmap.hpp>
#include <transunet/library.hpp>
#include <transunet/model.hpp>
#include <transunet/runtime.hpp>
#include <transunet/values.hpp>
#include <transunet/volume.hpp>

#endif
