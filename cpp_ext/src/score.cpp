#include "score.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <string>

#include "failure.h"
#include "map_matrix.h"
#include "parallel.h"

namespace gp {
namespace {

constexpr int64_t kMapSize = 400;

// Return a·b/(a+b), or 0 if both are 0.
float fuse(float a, float b) {
  const float total = a + b;
  return total > 0 ? a * b / total : std::isnan(total) ? total : 0.0f;
}

// Return the largest value, or NaN if a value is NaN.
float largest(const float* values, int64_t count) {
  float maximum = *values;
  for (const float* value = values; value < values + count; ++value)
    if (*value > maximum || std::isnan(*value)) maximum = *value;  // nothing exceeds NaN
  return maximum;
}

}  // namespace

Scorer::Scorer(const gp_product& product) : product_(product) {
  require(product.width >= 1 && product.width <= 65536,
          "width " + std::to_string(product.width) + ": from 1 to 65536 are accepted");
  require(
      product.grid_height >= 1 && product.grid_width >= 1 && product.grid_height <= 4096 && product.grid_width <= 4096,
      "grid " + std::to_string(product.grid_height) + "×" + std::to_string(product.grid_width) +
          ": sides from 1 to 4096 are accepted");
  require(product.image_prompts && product.pixel_prompts, "image_prompts or pixel_prompts is null");
  require(product.bank_count >= 1 && product.bank_count <= GP_MAX_BANKS,
          "bank_count " + std::to_string(product.bank_count) + ": from 1 to " + std::to_string(GP_MAX_BANKS));
  for (int bank = 0; bank < product.bank_count; ++bank)
    require(product.banks[bank] != nullptr, "bank " + std::to_string(bank) + " is null");
  require(product.fusion >= GP_PAPER && product.fusion <= GP_MEMORY_ONLY,
          "fusion " + std::to_string(product.fusion) + ": from 0 to 3 are accepted");
  require(std::isfinite(product.residual_weight) && product.residual_weight >= 0,
          "residual_weight " + std::to_string(product.residual_weight) + ": finite numbers from 0 on are accepted");
  require(std::isfinite(product.temperature), "temperature is not finite");
  for (int64_t k = 0; k < product.width; ++k) {
    image_direction_.push_back(product.image_prompts[product.width + k] - product.image_prompts[k]);
    pixel_direction_.push_back(product.pixel_prompts[product.width + k] - product.pixel_prompts[k]);
  }
  for (int bank = 0; bank < product.bank_count; ++bank) {
    require((product.margins[bank] != nullptr) == (product.margins[0] != nullptr),
            "margins are given for some banks only: all banks or none are accepted");
    require(product.margins[bank] || product.fusion != GP_RESIDUAL, "margins are null: GP_RESIDUAL needs them");
    if (!product.margins[bank]) continue;
    const float* margins = product.margins[bank];
    margins_.emplace_back(margins, margins + product.banks[bank]->bank.rows());
    for (float margin : margins_.back())
      require(std::isfinite(margin), "margins hold a value that is not finite: finite numbers are accepted");
  }
  product_.image_prompts = product_.pixel_prompts = nullptr;  // these arrays belong to the caller
  std::fill(std::begin(product_.margins), std::end(product_.margins), nullptr);
}

float Scorer::probability(float margin) const {
  return 1.0f / (1.0f + std::exp(-std::clamp(product_.temperature * margin, -80.0f, 80.0f)));
}

void Scorer::run(const gp_features& features, const gp_scores& out, int threads) const {
  const int64_t views = features.views, patches = product_.grid_height * product_.grid_width;
  require(views >= 0, "views " + std::to_string(views) + ": 0 or more are accepted");
  require(out.image && out.grid && out.image_prompt && out.image_memory && out.grid_prompt && out.grid_memory &&
              out.grid_residual,
          "an output is null");
  if (views == 0) return;
  require(features.global && features.local, "global or local is null");
  const int64_t cells = views * patches;

  dots(features.global, views, product_.width, image_direction_.data(), out.image_prompt);
  constexpr int64_t kAtOnce = 64;
  parallel_for((cells + kAtOnce - 1) / kAtOnce, thread_count(threads), [&](int64_t block, int) {
    const int64_t first = block * kAtOnce, count = std::min(kAtOnce, cells - first);
    dots(features.local + first * product_.width, count, product_.width, pixel_direction_.data(),
         out.grid_residual + first);
  });

  std::vector<float> product(static_cast<size_t>(cells));
  std::vector<int64_t> row(margins_.empty() ? 0 : static_cast<size_t>(cells));
  std::vector<float> remembered(row.size());  // for each patch the sum of its nearest rows' margins, one of each bank
  std::fill(out.grid_memory, out.grid_memory + cells, 0.0f);
  for (int number = 0; number < product_.bank_count; ++number) {
    const Bank& bank = product_.banks[number]->bank;
    require(features.memory[number] != nullptr, "memory " + std::to_string(number) + " is null");
    bank.search(features.memory[number], cells, product.data(), row.empty() ? nullptr : row.data(), threads);
    for (int64_t cell = 0; cell < cells; ++cell)
      out.grid_memory[cell] += (1.0f - product[static_cast<size_t>(cell)]) / 2.0f;
    if (row.empty()) continue;
    const std::vector<float>& margins = margins_[static_cast<size_t>(number)];
    require(bank.rows() == static_cast<int64_t>(margins.size()),
            "bank " + std::to_string(number) + " has " + std::to_string(bank.rows()) + " rows and " +
                std::to_string(margins.size()) + " margins: make a new scorer after rows are appended");
    for (size_t cell = 0; cell < row.size(); ++cell)
      remembered[cell] +=
          row[cell] < 0 ? std::numeric_limits<float>::quiet_NaN() : margins[static_cast<size_t>(row[cell])];
  }
  const float banks = static_cast<float>(product_.bank_count);
  for (int64_t cell = 0; cell < cells; ++cell) {
    const float memory = out.grid_memory[cell] / banks, margin = out.grid_residual[cell];
    out.grid_memory[cell] = memory < 0 ? 0.0f : memory > 1 ? 1.0f : memory;  // NaN stays
    out.grid_prompt[cell] = probability(margin);
    out.grid_residual[cell] = row.empty() ? 0.0f : margin - remembered[static_cast<size_t>(cell)] / banks;
  }
  std::vector<float> map(static_cast<size_t>(product_.maximum_of_map ? kMapSize * kMapSize : 0));
  for (int64_t view = 0; view < views; ++view) {
    const float* memory = out.grid_memory + view * patches;
    out.image_memory[view] = largest(memory, patches);
    if (product_.maximum_of_map) {
      anomaly_map(memory, product_.grid_height, product_.grid_width, map.data(), kMapSize, 0.0f);
      out.image_memory[view] = largest(map.data(), kMapSize * kMapSize);
    }
    out.image_prompt[view] = probability(out.image_prompt[view]);
    fuse_view(view, out);
  }
}

void Scorer::fuse_view(int64_t view, const gp_scores& out) const {
  const int64_t patches = product_.grid_height * product_.grid_width;
  const int64_t first = view * patches, last = first + patches;
  switch (product_.fusion) {
    case GP_PAPER:
      out.image[view] = fuse(out.image_prompt[view], out.image_memory[view]);
      for (int64_t at = first; at < last; ++at) out.grid[at] = fuse(out.grid_prompt[at], out.grid_memory[at]);
      return;
    case GP_RESIDUAL:
      for (int64_t at = first; at < last; ++at)
        out.grid[at] = out.grid_memory[at] * std::exp(product_.residual_weight * out.grid_residual[at]);
      out.image[view] = largest(out.grid + first, patches);
      return;
    case GP_PROMPT:
      out.image[view] = out.image_prompt[view];
      std::copy(out.grid_prompt + first, out.grid_prompt + last, out.grid + first);
      return;
    case GP_MEMORY_ONLY:
      out.image[view] = out.image_memory[view];
      std::copy(out.grid_memory + first, out.grid_memory + last, out.grid + first);
      return;
  }
}

void anomaly_map(const float* grid, int64_t height, int64_t width, float* out, int64_t size, float sigma) {
  require(grid && out, "grid or out is null");
  require(height >= 1 && width >= 1 && height <= 4096 && width <= 4096,
          "grid " + std::to_string(height) + "×" + std::to_string(width) + ": sides from 1 to 4096 are accepted");
  require(size >= 1 && size <= 16384, "size " + std::to_string(size) + ": from 1 to 16384 is accepted");
  require(sigma >= 0 && sigma <= 1000, "sigma " + std::to_string(sigma) + ": from 0 to 1000 pixels is accepted");
  map_of(grid, height, width, map_matrix(height, size, sigma), map_matrix(width, size, sigma), out);
}

void map_of(const float* grid, int64_t height, int64_t width, const std::vector<float>& down,
            const std::vector<float>& across, float* out) {
  const int64_t out_height = static_cast<int64_t>(down.size()) / height;
  const int64_t out_width = static_cast<int64_t>(across.size()) / width;
  // across is transposed so that the inner loop runs along a row of the map. The weights of a cell are not 0 in the
  // part [begin,end) of that row.
  std::vector<float> spread(across.size());
  std::vector<int64_t> begin(static_cast<size_t>(width), out_width), end(static_cast<size_t>(width));
  for (int64_t at = 0; at < out_width; ++at)
    for (int64_t cell = 0; cell < width; ++cell) {
      const size_t to = static_cast<size_t>(cell);
      const float weight = across[static_cast<size_t>(at * width + cell)];
      spread[to * static_cast<size_t>(out_width) + static_cast<size_t>(at)] = weight;
      if (weight != 0) begin[to] = std::min(begin[to], at), end[to] = at + 1;
    }
  std::vector<float> row(static_cast<size_t>(width));
  for (int64_t y = 0; y < out_height; ++y) {
    std::fill(row.begin(), row.end(), 0.0f);
    for (int64_t cell = 0; cell < height; ++cell) {
      const float weight = down[static_cast<size_t>(y * height + cell)];
      if (weight == 0) continue;
      for (int64_t x = 0; x < width; ++x) row[static_cast<size_t>(x)] += weight * grid[cell * width + x];
    }
    float* to = out + y * out_width;
    std::fill(to, to + out_width, 0.0f);
    for (int64_t x = 0; x < width; ++x) {
      const float value = row[static_cast<size_t>(x)];
      const float* weights = spread.data() + x * out_width;
      for (int64_t at = begin[static_cast<size_t>(x)]; at < end[static_cast<size_t>(x)]; ++at)
        to[at] += value * weights[at];
    }
  }
}

}  // namespace gp
