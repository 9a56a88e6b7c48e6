// Segments voxels of the program's own, without a file in between, and corrects the result: voxels MODEL OUTPUT.seg.nrrd
// The image is a made-up one: an ellipsoid of tissue in air.
#include <algorithm>
#include <iostream>

#include <transunet/transunet.hpp>

int main(int argc, char **argv) try {
  if (argc != 3) {
    std::cerr << "usage: " << argv[0] << " MODEL OUTPUT.seg.nrrd\n";
    return 2;
  }
  transunet::Geometry grid;
  grid.size = {64, 64, 8};          // columns, rows, slices
  grid.spacing = {5.6, 5.6, 6.0};   // mm
  grid.origin = {-176.4, -176.4, 0};  // of voxel (0, 0, 0), LPS mm

  std::vector<std::int16_t> voxels;  // columns are fastest, then rows, then slices
  for (std::uint32_t k = 0; k < grid.size[2]; k++) {
    for (std::uint32_t j = 0; j < grid.size[1]; j++) {
      for (std::uint32_t i = 0; i < grid.size[0]; i++) {
        const double x = (i - 31.5) / 26, y = (j - 31.5) / 18, z = (k - 3.5) / 4;
        voxels.push_back(x * x + y * y + z * z < 1.0 ? 60 : -1000);  // HU
      }
    }
  }
  const transunet::Runtime runtime;
  const transunet::Model model = runtime.load(argv[1]);
  const transunet::Labelmap found = model.segment(transunet::Volume::from_voxels(voxels, grid));

  // Whoever corrects a result hands in other labels on the same grid: here, air has none.
  std::vector<std::uint8_t> labels(found.voxels().begin(), found.voxels().end());
  for (std::size_t at = 0; at < labels.size(); at++) {
    if (voxels[at] < -500) labels[at] = 0;
  }
  const transunet::Labelmap corrected = found.with_voxels(labels);
  corrected.write(argv[2]);
  const auto count = std::count_if(labels.begin(), labels.end(), [](std::uint8_t label) { return label != 0; });
  std::cout << count << " of " << labels.size() << " voxels have a label\n";
  return 0;
} catch (const transunet::Error &error) {
  std::cerr << error.name() << ": " << error.what() << '\n';
  return 1;
}
