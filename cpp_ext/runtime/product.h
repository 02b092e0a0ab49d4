// A recipe in use: its memory laid out for the search, and the scores of an encoder's features.
#pragma once

#include <memory>
#include <vector>

#include "recipe.h"
#include "score.h"

namespace gp {

// Of one frame: the image score of its worst view, and its views' patch scores [count,grid_height,grid_width].
struct FrameScores {
  float image;
  std::vector<float> grids;
};

class Product {
 public:
  explicit Product(const Recipe& recipe);

  const Header& header() const { return header_; }

  // features: of header().view.count() views.
  FrameScores score(const gp_features& features, int threads) const;

 private:
  Header header_;
  std::vector<std::unique_ptr<gp_bank>> banks_;
  std::unique_ptr<Scorer> scorer_;
};

}  // namespace gp
