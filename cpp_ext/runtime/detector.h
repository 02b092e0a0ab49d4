// The detector: it inspects frames with an engine and a recipe, as goodparts.runtime.detector does in Python.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "product.h"
#include "session.h"

namespace gp {

// An open engine. It does not depend on a product.
struct Engine {
  // Throws Invalid, or Failure (GP_FILE, GP_ENGINE, GP_BACKEND).
  Engine(const std::filesystem::path& folder, const gp_engine_options& options);

  Encoder encoder;
  std::string graph;
  int threads;
  std::unique_ptr<const Session> session;
};

// The results for one frame. The map and the regions are computed at the first call.
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

// gp_detector. Several threads may call its functions at once.
class Detector {
 public:
  Detector(std::shared_ptr<const Engine> engine, const Recipe& recipe);

  // Change the product. Throws Failure (GP_RECIPE) if the recipe does not fit the engine, and keeps the product in use.
  void use(const Recipe& recipe);

  gp_thresholds thresholds() const { return in_use().thresholds; }
  void set_thresholds(const gp_thresholds& thresholds);

  // Throws Invalid for a frame out of range, or Failure (GP_ENGINE, GP_BACKEND).
  std::unique_ptr<Inspection> inspect(const gp_frame& frame) const;

 private:
  // It is replaced as a whole, so that a change by another thread takes effect between two frames.
  struct InUse {
    std::shared_ptr<const Product> product;
    gp_thresholds thresholds;
  };
  InUse in_use() const;

  std::shared_ptr<const Engine> engine_;
  mutable std::mutex mutex_;  // guards in_use_
  InUse in_use_;
};

}  // namespace gp
