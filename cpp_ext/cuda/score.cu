// Scoring in three launches. The first prepares the search and computes the prompt margins, the second searches, and
// the third combines the results.
#include <cmath>

#include "arithmetic.h"
#include "search_state.h"

namespace gp::cuda {

constexpr int kMapSize = 400;  // pixels, as MAP_SIZE in goodparts.runtime.core.scoring

namespace {

constexpr int kFinishThreads = 512;

struct Finish {
  Answers answers;
  int banks, height, width;
  bool maximum_of_map;
  gp_fusion fusion;
  const float* margins[GP_MAX_BANKS];  // for each bank the margins of its rows, or null
  float temperature, residual_weight;
  gp_scores out;
};

__device__ float probability(float margin, float temperature) {
  return 1.0f / (1.0f + expf(-clamp(temperature * margin, -80.0f, 80.0f)));
}

__device__ float fused(const Finish& what, float prompt, float memory, float residual) {
  switch (what.fusion) {
    case GP_PAPER:
      return fuse(prompt, memory);
    case GP_RESIDUAL:
      return memory * expf(what.residual_weight * residual);
    case GP_PROMPT:
      return prompt;
    default:
      return memory;
  }
}

// Return the largest value of a block's threads, in the first thread only.
__device__ float largest_of_threads(float value, float* of_threads) {
  __syncthreads();  // another thread may still read of_threads
  of_threads[threadIdx.x] = value;
  for (int half = kFinishThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < half)
      of_threads[threadIdx.x] = larger(of_threads[threadIdx.x], of_threads[threadIdx.x + half]);
  }
  return of_threads[0];
}

// Return the largest value of the bilinear map of a view's grid, in this thread's part of the pixels. Positions are
// computed in double, as in numpy, and only once.
__device__ float largest_of_map(const float* grid, int height, int width, Between* down, Between* across) {
  for (int at = threadIdx.x; at < kMapSize; at += kFinishThreads) {
    down[at] = place_of(at, kMapSize, height);
    across[at] = place_of(at, kMapSize, width);
  }
  __syncthreads();  // all threads have written their positions and their part of the grid
  float largest = -bits_as<float>(kInfinity);
  for (int pixel = threadIdx.x; pixel < kMapSize * kMapSize; pixel += kFinishThreads) {
    const Between y = down[pixel / kMapSize], x = across[pixel % kMapSize];
    const int right = x.low + 1 < width ? x.low + 1 : x.low;
    const float *top = grid + int64_t{y.low} * width, *bottom = y.low + 1 < height ? top + width : top;
    const float first = top[x.low] * (1 - y.weight) + bottom[x.low] * y.weight;
    const float second = top[right] * (1 - y.weight) + bottom[right] * y.weight;
    largest = larger(largest, first * (1 - x.weight) + second * x.weight);
  }
  return largest;
}

// Combine the results. A block does it for one view.
__global__ void __launch_bounds__(kFinishThreads) finish_kernel(const Finish what) {
  __shared__ Between down[kMapSize], across[kMapSize];
  __shared__ float of_threads[kFinishThreads];
  const int view = blockIdx.x, patches = what.height * what.width;
  const int64_t start = int64_t{view} * patches;
  const float banks = static_cast<float>(what.banks);
  float largest = -bits_as<float>(kInfinity), largest_fused = largest;
  for (int cell = threadIdx.x; cell < patches; cell += kFinishThreads) {
    const int64_t at = start + cell;
    float memory = 0, remembered = 0;
    for (int bank = 0; bank < what.banks; ++bank) {
      const Answer answer = take(what.answers, bank, at);
      memory += (1.0f - answer.product) / 2.0f;
      if (what.margins[bank]) remembered += answer.row < 0 ? answer.product : what.margins[bank][answer.row];
    }
    const float margin = what.out.grid_prompt[at];  // which the preparation wrote
    const float prompt = probability(margin, what.temperature);
    const float residual = what.margins[0] ? margin - remembered / banks : 0.0f;
    memory = clamp(memory / banks, 0.0f, 1.0f);
    const float together = fused(what, prompt, memory, residual);
    what.out.grid_prompt[at] = prompt;
    what.out.grid_memory[at] = memory;
    what.out.grid_residual[at] = residual;
    what.out.grid[at] = together;
    largest = larger(largest, memory);
    largest_fused = larger(largest_fused, together);
  }
  if (what.maximum_of_map)
    largest = largest_of_map(what.out.grid_memory + start, what.height, what.width, down, across);

  const float memory = largest_of_threads(largest, of_threads);
  largest_fused = largest_of_threads(largest_fused, of_threads);
  if (threadIdx.x == 0) {
    const float prompt = probability(what.out.image_prompt[view], what.temperature);
    what.out.image_prompt[view] = prompt;
    what.out.image_memory[view] = memory;
    what.out.image[view] = what.fusion == GP_RESIDUAL ? largest_fused : fused(what, prompt, memory, 0);
  }
}

// Return the anomalous prototype minus the normal one.
Memory direction(const float* prompts, int64_t width) {
  std::vector<float> difference(static_cast<size_t>(width));
  for (int64_t k = 0; k < width; ++k) difference[static_cast<size_t>(k)] = prompts[width + k] - prompts[k];
  return Memory(difference.data(), difference.size() * sizeof(float));
}

int64_t patches_of(const Product& product) {
  require(
      product.grid_height >= 1 && product.grid_width >= 1 && product.grid_height <= 4096 && product.grid_width <= 4096,
      "grid " + std::to_string(product.grid_height) + "×" + std::to_string(product.grid_width) +
          ": sides from 1 to 4096 are accepted");
  return product.grid_height * product.grid_width;
}

void check_product(const Product& product) {
  require(product.width >= 1 && product.width <= 65536,
          "width " + std::to_string(product.width) + ": from 1 to 65536 are accepted");
  require(product.image_prompts && product.pixel_prompts, "image_prompts or pixel_prompts is null");
  require(product.margins.empty() ? product.fusion != GP_RESIDUAL : product.margins.size() == product.banks.size(),
          std::to_string(product.margins.size()) +
              " arrays of margins: one per bank is accepted, or none without "
              "GP_RESIDUAL");
  require(std::isfinite(product.residual_weight) && product.residual_weight >= 0,
          "residual_weight " + std::to_string(product.residual_weight) + ": finite numbers from 0 on are accepted");
  require(std::isfinite(product.temperature), "temperature is not finite");
}

int64_t checked(int64_t max_views) {
  require(max_views >= 1 && max_views <= 65535,
          "max_views " + std::to_string(max_views) + ": from 1 to 65535 are accepted");
  return max_views;
}

}  // namespace

struct Scorer::State {
  State(const Product& product, int64_t views)
      : max_views(checked(views)), patches(patches_of(product)), search(product.banks, max_views * patches) {}

  int64_t max_views, patches;
  Search::State search;
  int64_t width, height, columns;
  float temperature, residual_weight;
  bool maximum_of_map;
  gp_fusion fusion;
  std::vector<Memory> margins;
  std::vector<int64_t> margin_counts;
  Memory image_direction, pixel_direction;
};

Scorer::Scorer(const Product& product, int64_t max_views) {
  check_product(product);
  state_ = std::make_unique<State>(product, max_views);
  State& state = *state_;
  const OnDevice on(state.search.device);
  state.width = product.width;
  state.height = product.grid_height;
  state.columns = product.grid_width;
  state.temperature = product.temperature;
  state.residual_weight = product.residual_weight;
  state.fusion = product.fusion;
  for (size_t bank = 0; bank < product.margins.size(); ++bank) {
    require(product.margins[bank] != nullptr, "margins " + std::to_string(bank) + " is null");
    state.margin_counts.push_back(product.banks[bank]->rows());
    state.margins.emplace_back(product.margins[bank], static_cast<size_t>(state.margin_counts.back()) * sizeof(float));
  }
  state.maximum_of_map = product.maximum_of_map;
  state.image_direction = direction(product.image_prompts, product.width);
  state.pixel_direction = direction(product.pixel_prompts, product.width);
  load_code(&finish_kernel);
}

Scorer::~Scorer() = default;

void Scorer::run(const Features& features, const gp_scores& out, void* stream) const {
  const State& state = *state_;
  require(features.views >= 0 && features.views <= state.max_views, std::to_string(features.views) + " views: up to " +
                                                                        std::to_string(state.max_views) +
                                                                        " (max_views) are accepted");
  require(out.image && out.grid && out.image_prompt && out.image_memory && out.grid_prompt && out.grid_memory &&
              out.grid_residual,
          "an output is null");
  if (features.views == 0) return;
  require(features.global && features.local, "global or local is null");
  const int64_t cells = features.views * state.patches;
  state.search.check(features.memory, cells);
  const OnDevice on(state.search.device);
  Prompts prompts{};
  prompts.prompt[0] = {features.local, state.pixel_direction.as<float>(), out.grid_prompt, cells};
  prompts.prompt[1] = {features.global, state.image_direction.as<float>(), out.image_prompt, features.views};
  prompts.count = 2;
  prompts.width = static_cast<int>(state.width);
  Finish what{};
  what.answers = state.search.enqueue(features.memory, features.type, cells, prompts, stream);
  what.banks = static_cast<int>(state.search.banks.size());
  what.height = static_cast<int>(state.height);
  what.width = static_cast<int>(state.columns);
  what.maximum_of_map = state.maximum_of_map;
  what.temperature = state.temperature;
  what.fusion = state.fusion;
  what.residual_weight = state.residual_weight;
  for (size_t bank = 0; bank < state.margins.size(); ++bank) {
    require(state.search.banks[bank]->rows() == state.margin_counts[bank],
            "bank " + std::to_string(bank) + " has " + std::to_string(state.search.banks[bank]->rows()) + " rows and " +
                std::to_string(state.margin_counts[bank]) + " margins: make a new scorer after rows are appended");
    what.margins[bank] = state.margins[bank].as<float>();
  }
  what.out = out;
  launch("finish_kernel", &finish_kernel, static_cast<unsigned>(features.views), kFinishThreads, 0, stream, what);
}

}  // namespace gp::cuda
