// The detector: an engine and a recipe, frames in, inspections out (goodparts.runtime.detector).
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "product.h"
#include "session.h"

namespace gp {

// An open engine. Knows nothing of products.
struct Engine {
  Engine(const std::filesystem::path& folder, const gp_engine_options& options);

  Encoder encoder;
  std::string graph;
  int threads;
  std::unique_ptr<const Session> session;
};

// What was found in one frame; map and regions are computed when first asked for.
class Inspection {
 public:
  Inspection(std::shared_ptr<const Engine> engine, std::shared_ptr<const Product> product, FrameScores scores,
             const gp_thresholds& thresholds, const gp_frame& frame, const double (&milliseconds)[3]);

  const gp_verdict& verdict() const { return verdict_; }
  const Engine& engine() const { return *engine_; }
  const Header& recipe() const { return product_->header(); }
  gp_box extent() const { return recipe().view.region(height_, width_); }
  const Map& map() const;
  const std::vector<gp_region>& regions() const;

 private:
  std::shared_ptr<const Engine> engine_;
  std::shared_ptr<const Product> product_;
  std::vector<float> grids_;
  int64_t height_, width_;  // of the frame
  gp_verdict verdict_;
  mutable std::once_flag map_made_, regions_made_;
  mutable Map map_;
  mutable std::vector<gp_region> regions_;
};

class Detector {
 public:
  Detector(std::shared_ptr<const Engine> engine, const Recipe& recipe);

  // Failure (GP_RECIPE) where it does not fit the engine; the product in use then stays.
  void use(const Recipe& recipe);

  gp_thresholds thresholds() const { return in_use().thresholds; }
  void set_thresholds(const gp_thresholds& thresholds);

  std::unique_ptr<Inspection> inspect(const gp_frame& frame) const;

 private:
  // Replaced as a whole, so that a change from another thread falls between two frames.
  struct InUse {
    std::shared_ptr<const Product> product;
    gp_thresholds thresholds;
  };
  InUse in_use() const;

  std::shared_ptr<const Engine> engine_;
  mutable std::mutex mutex_;  // of in_use_
  InUse in_use_;
};

}  // namespace gp
