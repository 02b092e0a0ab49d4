// `goodparts inspect` in C++. It prints one line of JSON for each picture, with the fields of the Python command.
//
//   inspect ENGINE RECIPE PICTURE… [--threads N]
//
// A picture is a PNG of 8 bits, grey or RGB, or a PPM (P6) of 8 bits.
#include <png.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <goodparts.hpp>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kAnswers[] = {"good", "review", "reject"};  // by gp_answer

struct Picture {
  int64_t width = 0, height = 0;
  std::vector<uint8_t> rgb;

  gp_frame frame() const { return {rgb.data(), nullptr, width, height, 3 * width, 0, GP_RGB}; }
};

[[noreturn]] void refuse(const std::string& path) {
  if (!std::filesystem::exists(path)) throw std::runtime_error("cannot read " + path + ": no such file");
  throw std::runtime_error(path + " cannot be read: PNG of 8 bits, grey or RGB, and PPM (P6) of 8 bits are accepted");
}

Picture read_png(const std::string& path) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  if (!png_image_begin_read_from_file(&image, path.c_str())) refuse(path);
  Picture picture{image.width, image.height, {}};
  const bool plain = !(image.format & (PNG_FORMAT_FLAG_ALPHA | PNG_FORMAT_FLAG_LINEAR | PNG_FORMAT_FLAG_COLORMAP));
  image.format = PNG_FORMAT_RGB;
  if (plain) picture.rgb.resize(PNG_IMAGE_SIZE(image));
  if (!plain || !png_image_finish_read(&image, nullptr, picture.rgb.data(), 0, nullptr)) {
    png_image_free(&image);
    refuse(path);
  }
  return picture;
}

Picture read_ppm(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string magic;
  Picture picture;
  int levels = 0;
  file >> magic >> picture.width >> picture.height >> levels;
  file.get();
  const bool plain = file && magic == "P6" && levels == 255 && picture.width > 0 && picture.height > 0 &&
                     picture.width <= 65535 && picture.height <= 65535;
  if (!plain) refuse(path);
  picture.rgb.assign(std::istreambuf_iterator<char>(file), {});
  if (static_cast<int64_t>(picture.rgb.size()) != 3 * picture.width * picture.height) refuse(path);
  return picture;
}

double to_microseconds(double milliseconds) { return std::round(milliseconds * 1e3) / 1e3; }

Json as_record(const std::string& path, const goodparts::Inspection& inspection) {
  const gp_verdict verdict = inspection.verdict();
  Json regions = Json::array();
  for (const gp_region& region : inspection.regions()) {
    const gp_box& box = region.box;
    regions.push_back({{"box", {{"x", box.x}, {"y", box.y}, {"width", box.width}, {"height", box.height}}},
                       {"area", region.area},
                       {"peak", region.peak}});
  }
  return {{"path", path},
          {"score", verdict.score},
          {"verdict", kAnswers[verdict.answer]},
          {"raw_score", verdict.raw_score},
          {"raw_threshold", verdict.thresholds.image},
          {"raw_pixel_threshold", verdict.thresholds.pixel},
          {"regions", regions},
          {"milliseconds",
           {{"preprocess", to_microseconds(verdict.preprocess_ms)},
            {"encode", to_microseconds(verdict.encode_ms)},
            {"score", to_microseconds(verdict.score_ms)}}},
          {"recipe", inspection.recipe()},
          {"graph", inspection.graph()},
          {"backend", inspection.backend()}};
}

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

}  // namespace

int main(int count, char** arguments) {
  std::vector<std::string> paths;
  gp_engine_options options{};
  options.verify = true;
  for (int at = 1; at < count; ++at)
    if (!std::strcmp(arguments[at], "--threads") && at + 1 < count)
      options.threads = std::atoi(arguments[++at]);
    else
      paths.emplace_back(arguments[at]);
  if (paths.size() < 3) {
    std::cerr << "usage: inspect ENGINE RECIPE PICTURE… [--threads N]\n";
    return 2;
  }
  try {
    const goodparts::Engine engine(paths[0], options);
    const goodparts::Detector detector(engine, goodparts::Recipe(paths[1]));
    for (size_t at = 2; at < paths.size(); ++at) {
      const Picture picture = ends_with(paths[at], ".ppm") ? read_ppm(paths[at]) : read_png(paths[at]);
      const Json record = as_record(paths[at], detector.inspect(picture.frame()));
      std::cout << record.dump(-1, ' ', false, Json::error_handler_t::replace) << std::endl;
    }
  } catch (const std::exception& problem) {
    std::cerr << "goodparts: " << problem.what() << "\n";
    return 2;
  }
}
