// Segments an image and lists its labels: segment MODEL IMAGE OUTPUT
//   MODEL   a bundle, a checkpoint, or the id of a model that comes with TransUNet, such as phantom
//   IMAGE   a DICOM folder, or a .nrrd, .nii or .nii.gz file
//   OUTPUT  its name says the format: .dcm (DICOM SEG), .seg.nrrd, .nrrd, .nii, .nii.gz
#include <array>
#include <iostream>

#include <transunet/transunet.hpp>

int main(int argc, char **argv) try {
  if (argc != 4) {
    std::cerr << "usage: " << argv[0] << " MODEL IMAGE OUTPUT\n";
    return 2;
  }
  const transunet::Runtime runtime;
  const transunet::Model model = runtime.load(argv[1]);
  const transunet::Volume volume = transunet::Volume::open(argv[2]);
  const auto show = [](const transunet::Progress &progress) {
    std::cerr << "\rslice " << progress.done << " of " << progress.total;
  };
  const transunet::Labelmap labelmap = model.segment(volume, {}, {show});
  std::cerr << '\n';
  labelmap.write(argv[3]);

  // The labels are counted where they lie: nothing is copied.
  std::array<std::size_t, 256> count{};
  for (const std::uint8_t value : labelmap.voxels()) count[value]++;
  const auto spacing = labelmap.geometry().spacing;
  const double ml = spacing[0] * spacing[1] * spacing[2] / 1000.0;
  for (const transunet::Label &label : labelmap.labels()) {
    std::cout << label.name << ": " << static_cast<double>(count[label.value]) * ml << " ml\n";
  }
  return 0;
} catch (const transunet::Error &error) {
  std::cerr << error.name() << ": " << error.what() << '\n';
  return 1;
}
