// transunet.hpp from end to end: handles, exceptions, callables, views. Arguments: MODEL CT TRAINING.yaml FOLDER
#include <transunet/transunet.hpp>

#include <algorithm>
#include <fstream>
#include <set>
#include <thread>

#include "check.hpp"

using namespace transunet;

namespace {

template <class T>
constexpr bool only_moves = std::is_nothrow_move_constructible_v<T> && std::is_move_assignable_v<T> &&
                            !std::is_copy_constructible_v<T> && !std::is_copy_assignable_v<T>;
static_assert(only_moves<Runtime> && only_moves<Model> && only_moves<Volume> && only_moves<Labelmap> && only_moves<Text> &&
              only_moves<Cancel>);

// Views into a handle that is about to go do not compile.
template <class T, class = void>
constexpr bool lends = false;
template <class T>
constexpr bool lends<T, std::void_t<decltype(std::declval<T>().voxels())>> = true;
static_assert(lends<const Labelmap &> && !lends<Labelmap>);

static_assert(detail::serves(0x10002, 0x10001) && !detail::serves(0x10001, 0x10002) && !detail::serves(0x20005, 0x10001));

/// Runs `call`, which must throw E; returns what it says.
template <class E, class Call>
std::string thrown(transunet_status status, Call call) {
  try {
    call();
  } catch (const E &error) {
    CHECK(error.status() == status);
    CHECK(std::string(error.name()) == transunet_status_name(status));
    return error.what();
  }
  CHECK(!"nothing was thrown");
  return {};
}

void library() {
  CHECK(version() == transunet_version_string());
  CHECK(contains(std::string(manifest()), "\"TransUNet\""));
  CHECK(contains(devices().str(), "\"cpu\""));
  const Text list = models("/");
  CHECK(list.view() == list.c_str());
}

void runtimes() {
  std::set<std::string> lines;
  RuntimeOptions options;
  options.device = "cpu";
  options.log_level = LogLevel::Info;
  options.on_log = [&](LogLevel, std::string_view, std::string_view message) {
    lines.insert(std::string(message));
    throw std::runtime_error("must not leave");
  };
  Runtime runtime(options);
  CHECK(!lines.empty());
  CHECK(contains(std::string(runtime.describe()), "\"cpu\""));
  Runtime other;
  other = std::move(runtime);  // frees the handle of `other`, takes both callable and handle
  CHECK(contains(std::string(other.describe()), "\"cpu\""));
  CHECK(runtime.get() == nullptr);

  options.device = "cpu,cuda:7";
  const auto text = thrown<Error>(TRANSUNET_STATUS_INVALID_ARGUMENT, [&] { Runtime refused(options); });
  CHECK(contains(text, "cpu goes alone"));
}

void volumes(const char *ct) {
  Geometry grid;
  grid.size = {3, 2, 2};
  grid.spacing = {0.5, 2.0, 3.0};
  grid.origin = {-1.0, 4.0, 7.0};
  grid.direction = {{{0.0, 1.0, 0.0}, {-1.0, 0.0, 0.0}, {0.0, 0.0, 1.0}}};
  const auto try_type = [&](auto zero) {
    std::vector<decltype(zero)> voxels;
    for (int n = 0; n < 12; n++) voxels.push_back(static_cast<decltype(zero)>(n));
    const Volume volume = Volume::from_voxels(voxels, grid);
    std::array<float, 6> slice{};
    volume.read_slice(1, slice);
    CHECK(slice[0] == 6.0f && slice[5] == 11.0f);
    const Geometry same = volume.geometry();
    CHECK(same.size == grid.size && same.spacing == grid.spacing && same.origin == grid.origin);
    CHECK(same.direction == grid.direction && same.voxels() == 12);
    const Vec3 at = same.position({2.0, 1.0, 1.0});
    CHECK(at[0] == -3.0 && at[1] == 5.0 && at[2] == 10.0);
  };
  try_type(std::uint8_t{}), try_type(std::int8_t{}), try_type(std::uint16_t{}), try_type(std::int16_t{});
  try_type(std::uint32_t{}), try_type(std::int32_t{}), try_type(float{}), try_type(double{});

  const std::vector<float> few(11);
  CHECK(contains(thrown<Error>(TRANSUNET_STATUS_INVALID_ARGUMENT, [&] { (void)Volume::from_voxels(few, grid); }), "44"));
  const auto absent = thrown<Error>(TRANSUNET_STATUS_IO, [] { (void)Volume::open("/nonexistent.nrrd"); });
  CHECK(contains(absent, "/nonexistent.nrrd"));

  const Volume series = Volume::open(ct);
  CHECK(contains(std::string(series.describe()), "\"CT\""));
  std::vector<std::filesystem::path> files;
  for (const auto &entry : std::filesystem::directory_iterator(ct)) files.push_back(entry.path());
  CHECK(Volume::open_files(files).geometry().size == series.geometry().size);
  CHECK(contains(transunet::series(ct).str(), "\"series_uid\""));
  std::vector<float> small(5);
  thrown<Error>(TRANSUNET_STATUS_INVALID_ARGUMENT, [&] { series.read_slice(0, small); });
}

/// What a program's own code throws.
struct Own {
  int number;
};

void models_segment(const char *path, const char *ct, const std::filesystem::path &folder) {
  Labelmap kept = [&] {
    RuntimeOptions cpu;
    cpu.device = "cpu";
    const Runtime runtime(cpu);
    ModelOptions half;
    half.precision = Precision::Bf16;
    const auto refused = thrown<Error>(TRANSUNET_STATUS_INVALID_ARGUMENT, [&] { (void)runtime.load(path, half); });
    CHECK(contains(refused, "does not compute in bf16, expected f32"));
    const Model model = runtime.load(path);
    const Volume volume = Volume::open(ct);
    std::uint64_t slices = 0;
    Labelmap found = model.segment(volume, {}, {[&](const Progress &progress) {
                                     if (progress.stage == Stage::Infer) slices = progress.done;
                                     CHECK(progress.fraction() >= 0.0 && progress.fraction() <= 1.0);
                                   }});
    CHECK(slices == volume.geometry().size[2]);

    // A false answer cancels; an exception comes out as it went in; a flag works from another thread.
    int calls = 0;
    const auto stop = [&](const Progress &) { return ++calls < 3; };
    CHECK(!thrown<Cancelled>(TRANSUNET_STATUS_CANCELLED, [&] { (void)model.segment(volume, {}, {stop}); }).empty());
    CHECK(calls == 3);
    calls = 0;
    try {
      (void)model.segment(volume, {}, {[&](const Progress &) { throw Own{++calls}; }});
      CHECK(!"nothing was thrown");
    } catch (const Own &own) {
      CHECK(own.number == 1 && calls == 1);
    }
    const Cancel cancel;
    std::thread thread;
    const auto start = [&](const Progress &) {
      if (!thread.joinable()) thread = std::thread([&] { cancel.trigger(); });
    };
    thrown<Error>(TRANSUNET_STATUS_CANCELLED, [&] {
      for (;;) (void)model.segment(volume, {}, {start, &cancel});
    });
    thread.join();
    CHECK(cancel.is_triggered());
    thrown<Cancelled>(TRANSUNET_STATUS_CANCELLED, [&] { (void)model.segment(volume, {}, {{}, &cancel}); });

    const auto labels = model.labels();
    CHECK(labels.size() == 6 && labels[0].name == "Aorta" && labels[0].value == 1);
    CHECK(labels[0].type && labels[0].type->value == "15825003" && labels[0].type->scheme == "SCT");
    CHECK(labels[1].name == "Left kidney" && labels[1].modifier && !labels[0].modifier && !labels[0].region);
    model.save(folder / "saved.safetensors");
    const Model saved = runtime.load(folder / "saved.safetensors");
    CHECK(contains(std::string(saved.describe()), "\"warnings\""));
    return found;
  }();

  // Runtime, model and volume are gone; the label map has what it needs.
  const View<const std::uint8_t> voxels = kept.voxels();
  CHECK(voxels.size() == kept.geometry().voxels() && voxels.data() == kept.voxels().data());
  std::vector<std::uint8_t> slice(voxels.size() / kept.geometry().size[2]);
  kept.read_slice(9, slice);
  CHECK(std::equal(slice.begin(), slice.end(), voxels.begin() + static_cast<std::ptrdiff_t>(9 * slice.size())));
  slice.pop_back();
  thrown<Error>(TRANSUNET_STATUS_INVALID_ARGUMENT, [&] { kept.read_slice(0, slice); });
  const auto liver = std::count(voxels.begin(), voxels.end(), kept.labels()[3].value);
  CHECK(liver > 20000 && liver < 30000);
  CHECK(contains(kept.statistics().str(), "\"Liver\"") && contains(std::string(kept.describe()), "\"algorithm\""));

  std::vector<std::uint8_t> corrected(voxels.begin(), voxels.end());
  corrected[0] = 2;
  const Labelmap other = kept.with_voxels(corrected);
  CHECK(other.voxels()[0] == 2 && kept.voxels()[0] == 0);
  corrected[0] = 200;
  thrown<Error>(TRANSUNET_STATUS_INVALID_ARGUMENT, [&] { (void)kept.with_voxels(corrected); });

  SegOptions seg;
  seg.series_description = "By hand";
  seg.deterministic = true;
  kept.write_dicom_seg(folder / "a.dcm", seg);
  kept.write_dicom_seg(folder / "b.dcm", seg);
  const auto bytes = [](const std::filesystem::path &path) {
    std::ifstream in(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  CHECK(bytes(folder / "a.dcm") == bytes(folder / "b.dcm") && contains(bytes(folder / "a.dcm"), "By hand"));
  seg.encoding = SegEncoding::labelmap;
  seg.compression = SegCompression::rle;
  kept.write_dicom_seg(folder / "b.dcm", seg);
  CHECK(contains(bytes(folder / "b.dcm"), "LABELMAP") && contains(bytes(folder / "b.dcm"), "1.2.840.10008.1.2.5"));
  kept.write(folder / "a.seg.nrrd");
  PictureOptions picture;
  picture.slices = 4;
  kept.write_picture(folder / "a.png", picture);
  CHECK(bytes(folder / "a.png").substr(1, 3) == "PNG");
  thrown<Error>(TRANSUNET_STATUS_INVALID_ARGUMENT, [&] { kept.write(folder / "a.txt"); });
  try {
    kept.write_dicom_seg(folder / "c.dcm", {}, {[](const Progress &) { throw Own{9}; }});
    CHECK(!"nothing was thrown");
  } catch (const Own &) {
    CHECK(!std::filesystem::exists(folder / "c.dcm"));
  }
  Labelmap moved = std::move(kept);
  CHECK(moved.voxels().data() == voxels.data());
}

void training(const char *configuration, const std::filesystem::path &folder) {
  const Runtime runtime;
  TrainOptions options;
  options.output = folder / "run";
  options.settings = "steps: 4\n";
  std::uint64_t steps = 0;
  const auto watch = [&](const Progress &progress) {
    if (progress.stage != Stage::Train) return true;
    CHECK(progress.total == 4 && progress.epoch >= 1);
    steps = progress.done;
    return steps < 2;
  };
  CHECK(runtime.train(configuration, options, {watch}).labels().size() == 2);
  CHECK(steps == 2);
  CHECK(contains(thrown<Error>(TRANSUNET_STATUS_INVALID_ARGUMENT, [&] { (void)runtime.train(configuration, options); }),
                 "holds a run already"));
  options.resume = true;
  try {
    (void)runtime.train(configuration, options, {[](const Progress &progress) {
                          if (progress.done == 3) throw Own{3};
                        }});
    CHECK(!"nothing was thrown");
  } catch (const Own &own) {
    CHECK(own.number == 3);
  }
  CHECK(runtime.train(configuration, options).labels()[1].name == "grey");
  options.settings = "steps: many\n";
  CHECK(contains(thrown<Error>(TRANSUNET_STATUS_CONFIG, [&] { (void)runtime.train(configuration, options); }), "many"));
}

}  // namespace

int main(int count, char **arguments) {
  CHECK(count == 5);
  library();
  runtimes();
  volumes(arguments[2]);
  models_segment(arguments[1], arguments[2], arguments[4]);
  training(arguments[3], arguments[4]);
  return 0;
}
