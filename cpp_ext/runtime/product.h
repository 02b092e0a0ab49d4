// A recipe in use: its memory in banks for the search, and the scoring of the encoder's features.
#pragma once

#include <memory>
#include <vector>

#include "recipe.h"
#include "score.h"

namespace gp {

// The scores of one frame: the image score of its worst view, and the patch scores of all views
// [count,grid_height,grid_width].
struct FrameScores {
  float image;
  std::vector<float> grids;
};

// What scores the frames of one product.
class Product {
 public:
  explicit Product(const Recipe& recipe);

  const Header& header() const { return header_; }

  // Score the features of header().view.count() views. Throws Failure (GP_BACKEND) if they are not finite.
  FrameScores score(const gp_features& features, int threads) const;

 private:
  Header header_;
  std::vector<std::unique_ptr<gp_bank>> banks_;
  std::unique_ptr<Scorer> scorer_;
};

}  // namespace gp
