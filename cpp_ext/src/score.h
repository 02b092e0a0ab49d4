// Scoring a product in one call: prompt scores, memory scores, fusion, image score; and the anomaly map.
#pragma once

#include <vector>

#include "goodparts.h"
#include "search.h"

namespace gp {

class Scorer {
 public:
  explicit Scorer(const gp_product& product);

  void run(const gp_features& features, const gp_scores& out, int threads) const;

 private:
  // Probability of the anomalous prototype, for a margin of cosines.
  float probability(float margin) const;
  void fuse_view(int64_t view, const gp_scores& out) const;

  gp_product product_;
  std::vector<float> image_direction_, pixel_direction_;  // [width], anomalous minus normal
  std::vector<std::vector<float>> margins_;               // of each bank's rows, or none
};

// [height,width] → [size,size]: bilinear, then a Gaussian cut at four standard deviations, borders mirrored.
void anomaly_map(const float* grid, int64_t height, int64_t width, float* out, int64_t size, float sigma);

// down · grid · acrossᵀ, where down is [H,height] and across [W,width]: [height,width] → [H,W]. Of finite values.
void map_of(const float* grid, int64_t height, int64_t width, const std::vector<float>& down,
            const std::vector<float>& across, float* out);

}  // namespace gp
