#include "product.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <utility>

#include "failure.h"

namespace gp {
namespace {

// Return the mean of the largest hundredth of the scores, and of at least one score.
float mean_of_top(std::vector<float> scores) {
  const auto top = static_cast<std::ptrdiff_t>(std::max<size_t>(1, scores.size() / 100));
  std::partial_sort(scores.begin(), scores.begin() + top, scores.end(), std::greater<>());
  return static_cast<float>(std::accumulate(scores.begin(), scores.begin() + top, 0.0) / static_cast<double>(top));
}

}  // namespace

Product::Product(const Recipe& recipe) : header_(recipe.header) {
  gp_product product{};
  product.width = header_.encoder.width;
  product.grid_height = header_.encoder.grid_height;
  product.grid_width = header_.encoder.grid_width;
  product.image_prompts = recipe.image_prompts.data();
  product.pixel_prompts = recipe.pixel_prompts.data();
  product.temperature = header_.temperature;
  product.maximum_of_map = header_.maximum_of_map;
  product.fusion = header_.fusion;
  product.residual_weight = header_.residual_weight;
  for (size_t tap = 0; tap < recipe.banks.size(); ++tap) {
    const std::vector<float>& rows = recipe.banks[tap];
    const int64_t width = header_.encoder.taps[tap].width;
    banks_.push_back(std::make_unique<gp_bank>(gp_bank{Bank(width, GP_FP32)}));
    banks_.back()->bank.append(rows.data(), static_cast<int64_t>(rows.size()) / width);
    product.margins[product.bank_count] = recipe.margins[tap].data();
    product.banks[product.bank_count++] = banks_.back().get();
  }
  scorer_ = std::make_unique<Scorer>(product);
}

FrameScores Product::score(const gp_features& features, int threads) const {
  const auto views = static_cast<size_t>(features.views);
  const size_t cells = views * static_cast<size_t>(header_.encoder.patches());
  std::vector<float> image(views), image_prompt(views), image_memory(views);
  std::vector<float> grid(cells), grid_prompt(cells), grid_memory(cells), grid_residual(cells);
  scorer_->run(features,
               {image.data(), grid.data(), image_prompt.data(), image_memory.data(), grid_prompt.data(),
                grid_memory.data(), grid_residual.data()},
               threads);
  const auto finite = [](float value) { return std::isfinite(value); };
  if (!std::all_of(image.begin(), image.end(), finite) || !std::all_of(grid.begin(), grid.end(), finite))
    throw Failure(GP_BACKEND, "the encoder gave features that are not finite: they give no verdict");
  if (header_.mean_of_top)
    for (size_t view = 0; view < views; ++view) {
      const auto first = grid.begin() + static_cast<std::ptrdiff_t>(view * cells / views);
      image[view] = mean_of_top({first, first + static_cast<std::ptrdiff_t>(cells / views)});
    }
  return {*std::max_element(image.begin(), image.end()), std::move(grid)};
}

}  // namespace gp
