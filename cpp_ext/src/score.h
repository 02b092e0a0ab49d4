// The scores of a product's views in one call (prompt scores, memory scores, fusion, image score), and the anomaly map.
#pragma once

#include <vector>

#include "goodparts.h"
#include "search.h"

namespace gp {

// gp_scorer. Its functions throw Invalid for arguments out of range.
class Scorer {
 public:
  explicit Scorer(const gp_product& product);

  void run(const gp_features& features, const gp_scores& out, int threads) const;

 private:
  // Return the probability of the anomalous prototype for a cosine margin.
  float probability(float margin) const;
  void fuse_view(int64_t view, const gp_scores& out) const;

  gp_product product_;
  std::vector<float> image_direction_, pixel_direction_;  // [width], anomalous minus normal
  std::vector<std::vector<float>> margins_;               // for each bank the margins of its rows; may be empty
};

// gp_anomaly_map. grid: [height,width]; out: [size,size]. Throws Invalid for arguments out of range.
void anomaly_map(const float* grid, int64_t height, int64_t width, float* out, int64_t size, float sigma);

// Compute down · grid · acrossᵀ. grid: [height,width], finite; down: [H,height]; across: [W,width]; out: [H,W].
void map_of(const float* grid, int64_t height, int64_t width, const std::vector<float>& down,
            const std::vector<float>& across, float* out);

}  // namespace gp
