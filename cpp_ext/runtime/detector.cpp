#include "detector.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "failure.h"
#include "preprocess.h"
#include "regions.h"

namespace gp {
namespace {

// Return the recipe's product. Throw Failure (GP_RECIPE) if the recipe does not fit the engine.
std::shared_ptr<const Product> fitted(const Engine& engine, const Recipe& recipe) {
  const Header& header = recipe.header;
  if (header.encoder != engine.encoder)
    throw Failure(GP_RECIPE, "the recipe was made for " + header.encoder.text() + ", this engine is " +
                                 engine.encoder.text() + ": use the engine it was made with, or train it again");
  if (header.graph != engine.graph)
    throw Failure(GP_RECIPE,
                  "the recipe was made with another graph of this encoder: fit it to this one in Python, "
                  "Detector.open(engine, recipe).recipe.save(file), or use the engine it was made with");
  return std::make_shared<const Product>(recipe);
}

class Clock {
 public:
  // Return the milliseconds since the last call, or since the clock was made.
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    return std::chrono::duration<double, std::milli>(now - std::exchange(last_, now)).count();
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace

Engine::Engine(const std::filesystem::path& folder, const gp_engine_options& options) : threads(options.threads) {
  require(threads >= 0, "threads is " + std::to_string(threads) + ": 0 (no bound) or more is accepted");
  const std::string precision = options.precision ? options.precision : "fp32";
  const EngineSpec spec = read_engine_spec(folder, options.verify);
  const Variant& variant = variant_for_onnxruntime(spec, precision);
  encoder = spec.encoder;
  graph = spec.graph_id(precision);
  session = std::make_unique<const Session>(folder / std::filesystem::path(variant.graph), precision, threads);
}

Inspection::Inspection(std::shared_ptr<const Engine> engine, std::shared_ptr<const Product> product, FrameScores scores,
                       const gp_thresholds& thresholds, const gp_frame& frame, const double (&milliseconds)[3])
    : engine_(std::move(engine)),
      product_(std::move(product)),
      grids_(std::move(scores.grids)),
      height_(frame.height),
      width_(frame.width),
      verdict_{scores.image / thresholds.image,
               scores.image,
               answer_to(scores.image / thresholds.image, thresholds),
               thresholds,
               milliseconds[0],
               milliseconds[1],
               milliseconds[2]} {}

const Map& Inspection::map() const {
  const Encoder& encoder = recipe().encoder;
  std::call_once(map_made_, [&] {
    map_ = recipe().view.stitch(grids_.data(), encoder.grid_height, encoder.grid_width, height_, width_);
  });
  return map_;
}

const std::vector<gp_region>& Inspection::regions() const {
  constexpr double kRounding = 1 + 1e-5;  // rounding can raise the map above the highest patch score by this factor
  const gp_thresholds& thresholds = verdict_.thresholds;
  std::call_once(regions_made_, [&] {
    const double highest =
        *std::max_element(grids_.begin(), grids_.end());  // the map is made of averages and is nowhere higher
    if (highest * kRounding < thresholds.pixel) return;
    regions_ = find_regions(map(), thresholds.pixel, thresholds.min_area, extent());
  });
  return regions_;
}

Detector::Detector(std::shared_ptr<const Engine> engine, const Recipe& recipe)
    : engine_(std::move(engine)), in_use_{fitted(*engine_, recipe), recipe.header.thresholds} {}

void Detector::use(const Recipe& recipe) {
  InUse next{fitted(*engine_, recipe), recipe.header.thresholds};
  const std::lock_guard lock(mutex_);
  std::swap(in_use_, next);
}

void Detector::set_thresholds(const gp_thresholds& thresholds) {
  check_thresholds(thresholds);
  const std::lock_guard lock(mutex_);
  in_use_.thresholds = thresholds;
}

Detector::InUse Detector::in_use() const {
  const std::lock_guard lock(mutex_);
  return in_use_;
}

std::unique_ptr<Inspection> Detector::inspect(const gp_frame& frame) const {
  const Encoder& encoder = engine_->encoder;
  check_resize(frame, nullptr, encoder.image_size, encoder.image_size, engine_->threads);
  require(std::min(frame.width, frame.height) >= kMinSide, "frame is " + std::to_string(frame.width) + "×" +
                                                               std::to_string(frame.height) +
                                                               " pixels: at least 8×8 is needed");
  const auto [product, thresholds] = in_use();
  const View& view = product->header().view;
  Clock clock;
  double milliseconds[3];
  std::vector<uint8_t> views(static_cast<size_t>(view.count() * encoder.view_bytes()));
  view.cut(frame, encoder.image_size, views.data(), engine_->threads);
  milliseconds[0] = clock.lap();
  const Session::Encoded encoded = engine_->session->run(views.data(), view.count(), encoder);
  milliseconds[1] = clock.lap();
  FrameScores scores = product->score(encoded.features, engine_->threads);
  milliseconds[2] = clock.lap();
  return std::make_unique<Inspection>(engine_, product, std::move(scores), thresholds, frame, milliseconds);
}

}  // namespace gp
