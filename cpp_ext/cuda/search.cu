// The search of several banks: the preparation of the queries, the choice of the kernel's shape, and the answers.
#include <algorithm>

#include "pack.h"
#include "search_kernel.h"
#include "search_state.h"

namespace gp::cuda {
namespace {

struct Queries {
  const void* data;
  uint8_t* packed;
  float* scales;
  unsigned long long* keys;
  int width, row_bytes;
};

struct Preparation {
  Queries queries[GP_MAX_BANKS];
  int banks;
  int64_t count;
  Type type;
  Precision precision;
  Prompts prompts;
};

// Convert the queries and compute the prompts' dot products. blockIdx.y: first the banks, then the prompts.
__global__ void prepare_kernel(const Preparation what) {
  const int64_t row = vector_of_warp();
  const int bank = static_cast<int>(blockIdx.y), lane = threadIdx.x % kWarp;
  if (bank >= what.banks) {
    const Prompt prompt = what.prompts.prompt[bank - what.banks];
    const int width = what.prompts.width;
    if (row >= prompt.count) return;
    float sum = 0;
    for (int k = lane; k < width; k += kWarp)
      sum += load(prompt.features, what.type, row * width + k) * prompt.direction[k];
    for (int offset = kWarp / 2; offset > 0; offset /= 2) sum += __shfl_xor_sync(kWholeWarp, sum, offset);
    if (lane == 0) prompt.out[row] = sum;
    return;
  }
  if (row >= what.count) return;
  const Queries queries = what.queries[bank];
  const int64_t start = row * queries.width;
  const float peak = peak_of(queries.data, what.type, start, queries.width);
  const bool finite = peak < bits_as<float>(kInfinity);
  const float scale = !finite                             ? 1.0f
                      : what.precision == Precision::int8 ? int8_scale(peak)
                      : what.precision == Precision::fp16 ? half_scale(peak)
                                                          : 1.0f;
  uint8_t* packed = queries.packed + row * queries.row_bytes;
  if (lane == 0) {
    queries.scales[row] = scale;
    queries.keys[row] = finite ? kNothingYet : kNotFinite;
  }
  // A query that is not finite is not converted, because its product is not used.
  pack(queries.data, what.type, start, finite ? queries.width : 0, 1.0f / scale, what.precision, packed,
       queries.row_bytes);
}

struct Results {
  float* product[GP_MAX_BANKS];
  int64_t* index[GP_MAX_BANKS];
};

__global__ void answer_kernel(const __grid_constant__ Answers answers, const __grid_constant__ Results results,
                              int64_t count) {
  const int64_t query = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const int bank = static_cast<int>(blockIdx.y);
  if (query >= count) return;
  const Answer answer = take(answers, bank, query);
  results.product[bank][query] = answer.product;
  if (results.index[bank]) results.index[bank][query] = answer.row;
}

// ---- Launches ------------------------------------------------------------------------------------------------------

// Allow the kernel its shared memory. Return how many of its blocks run at once on a multiprocessor.
template <class Format, class Shape>
int admit(int shared_bytes) {
  if (shared_bytes < Shape::kSharedBytes) return 0;
  const auto kernel = &search_kernel<Format, Shape>;
  GP_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Shape::kSharedBytes));
  int blocks = 0;
  GP_CUDA(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, Shape::kThreads, Shape::kSharedBytes));
  return blocks;
}

template <class Format>
Room room_for(int device) {
  const int shared_bytes = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  return {
      attribute(cudaDevAttrMultiProcessorCount, device),
      {admit<Format, Small>(shared_bytes), admit<Format, Medium>(shared_bytes), admit<Format, Large>(shared_bytes)}};
}

// Launch the search in one shape, with at most as many workers as the device runs at once. The numbers of tiles of two
// workers differ by at most one.
template <class Format, class Shape>
void launch_shape(const Tasks& tasks, unsigned banks, int64_t count, int64_t most_rows, int blocks, void* stream) {
  const unsigned across = blocks_for(count, Shape::kQueries), tiles = blocks_for(most_rows, Shape::kRows);
  const unsigned room = std::clamp(static_cast<unsigned>(blocks) / (across * banks), 1u, 65535u);
  const unsigned rounds = blocks_for(tiles, room), workers = blocks_for(tiles, rounds);
  launch("search_kernel", &search_kernel<Format, Shape>, dim3(across, workers, banks), Shape::kThreads,
         Shape::kSharedBytes, stream, tasks, static_cast<int>(count));
}

// Return whether the search has at least this many blocks in one shape.
template <class Shape>
bool fills(unsigned banks, int64_t count, int64_t most_rows, int blocks) {
  return int64_t{blocks_for(count, Shape::kQueries)} * blocks_for(most_rows, Shape::kRows) * banks >= blocks;
}

// Launch the search in the largest shape that is not mostly empty and keeps the device busy: Large if it makes at least
// two blocks for each multiprocessor, else Medium if it makes at least three blocks for every four multiprocessors.
template <class Format>
void launch_search(const Tasks& tasks, unsigned banks, int64_t count, int64_t most_rows, const Room& room,
                   void* stream) {
  const int each = room.multiprocessors, small = room.blocks[0], medium = room.blocks[1], large = room.blocks[2];
  if (large > 0 && count > Medium::kQueries && fills<Large>(banks, count, most_rows, 2 * each))
    launch_shape<Format, Large>(tasks, banks, count, most_rows, each * large, stream);
  else if (medium > 0 && count > Small::kQueries && fills<Medium>(banks, count, most_rows, each * 3 / 4))
    launch_shape<Format, Medium>(tasks, banks, count, most_rows, each * medium, stream);
  else
    launch_shape<Format, Small>(tasks, banks, count, most_rows, each * std::max(small, 1), stream);
}

// Return the device of the banks. Throw Invalid unless they have one device and one precision.
int device_of(const std::vector<const Bank*>& banks) {
  require(!banks.empty() && banks.size() <= GP_MAX_BANKS,
          std::to_string(banks.size()) + " banks: from 1 to " + std::to_string(GP_MAX_BANKS) + " are accepted");
  for (const Bank* bank : banks) {
    require(bank != nullptr, "a bank is null");
    require(bank->device() == banks[0]->device(), "the banks are on several devices: banks of one device are accepted");
    require(bank->precision() == banks[0]->precision(), "the banks have several precisions: banks of one are accepted");
  }
  return banks[0]->device();
}

}  // namespace

Search::State::State(const std::vector<const Bank*>& banks_, int64_t max_queries)
    : banks(banks_), device(device_of(banks_)), max_queries_(max_queries) {
  require(max_queries >= 1 && max_queries <= 1 << 24,
          "max_queries " + std::to_string(max_queries) + ": from 1 to 16777216 are accepted");
  const OnDevice on(device);
  const Precision precision = banks[0]->precision();
  room_ = precision == Precision::fp16   ? room_for<Half>(device)
          : precision == Precision::bf16 ? room_for<Bfloat>(device)
                                         : room_for<Int8>(device);
  load_code(&prepare_kernel);
  load_code(&answer_kernel);
  const size_t count = static_cast<size_t>(max_queries);
  for (const Bank* bank : banks) packed_.emplace_back(count * bank->state().row_bytes);
  keys_ = Memory(count * banks.size() * sizeof(unsigned long long));
  scales_ = Memory(count * banks.size() * sizeof(float));
}

void Search::State::check(const std::vector<const void*>& queries, int64_t count) const {
  require(count >= 1 && count <= max_queries_, std::to_string(count) + " queries: from 1 to " +
                                                   std::to_string(max_queries_) + " (max_queries) are accepted");
  require(queries.size() == banks.size(), std::to_string(queries.size()) + " arrays of queries: " +
                                              std::to_string(banks.size()) + ", one per bank, are accepted");
  for (size_t bank = 0; bank < banks.size(); ++bank) {
    require(queries[bank] != nullptr, "queries " + std::to_string(bank) + " is null");
    require(banks[bank]->rows() > 0, "a bank is empty: append rows before searching it");
  }
}

Answers Search::State::enqueue(const std::vector<const void*>& queries, Type type, int64_t count,
                               const Prompts& prompts, void* stream) const {
  const Precision precision = banks[0]->precision();
  Preparation what{};
  what.count = count;
  what.type = type;
  what.precision = precision;
  what.prompts = prompts;
  Tasks tasks{};
  Answers answers{};
  int64_t most_rows = 0, most = 0;
  for (size_t bank = 0; bank < banks.size(); ++bank) {
    const Bank::State& state = banks[bank]->state();
    const int width = static_cast<int>(state.width);
    answers.keys[bank] = keys_.as<unsigned long long>() + bank * max_queries_;
    tasks.task[bank] = {state.shown.as<Rows>(), static_cast<const uint8_t*>(queries[bank]), answers.keys[bank],
                        state.row_bytes};
    most_rows = std::max(most_rows, state.rows);
    // Queries that already have the format of the multiplication need no preparation except for their keys.
    const bool same = (type == Type::float16 && precision == Precision::fp16) ||
                      (type == Type::bfloat16 && precision == Precision::bf16);
    if (same && 2 * width == state.row_bytes && reinterpret_cast<uintptr_t>(queries[bank]) % kSegment == 0) {
      static_assert(kNothingYet == 0, "the keys are set by filling their bytes with zeros");
      GP_CUDA(cudaMemsetAsync(answers.keys[bank], 0, static_cast<size_t>(count) * sizeof(unsigned long long),
                              static_cast<cudaStream_t>(stream)));
      continue;
    }
    float* scales = scales_.as<float>() + bank * max_queries_;
    answers.scales[bank] = scales;
    tasks.task[bank].queries = packed_[bank].as<uint8_t>();
    what.queries[what.banks++] = {queries[bank],  packed_[bank].as<uint8_t>(), scales, answers.keys[bank], width,
                                  state.row_bytes};
    most = count;
  }
  for (int prompt = 0; prompt < prompts.count; ++prompt) most = std::max(most, prompts.prompt[prompt].count);
  if (most > 0)
    launch("prepare_kernel", &prepare_kernel,
           dim3(blocks_for(most, kPrepareThreads / kWarp), what.banks + prompts.count), kPrepareThreads, 0, stream,
           what);
  const unsigned number = static_cast<unsigned>(banks.size());
  if (precision == Precision::fp16)
    launch_search<Half>(tasks, number, count, most_rows, room_, stream);
  else if (precision == Precision::bf16)
    launch_search<Bfloat>(tasks, number, count, most_rows, room_, stream);
  else
    launch_search<Int8>(tasks, number, count, most_rows, room_, stream);
  return answers;
}

Search::Search(const std::vector<const Bank*>& banks, int64_t max_queries)
    : state_(std::make_unique<State>(banks, max_queries)) {}
Search::~Search() = default;

void Search::run(const std::vector<const void*>& queries, Type type, int64_t count, const std::vector<float*>& product,
                 const std::vector<int64_t*>& index, void* stream) const {
  const size_t banks = state_->banks.size();
  require(product.size() == banks && index.size() == banks, "product or index is not one array per bank");
  for (float* one : product) require(count == 0 || one != nullptr, "a product is null");
  if (count == 0) return;
  state_->check(queries, count);
  const OnDevice on(state_->device);
  const Answers answers = state_->enqueue(queries, type, count, {}, stream);
  Results results{};
  std::copy(product.begin(), product.end(), results.product);
  std::copy(index.begin(), index.end(), results.index);
  launch("answer_kernel", &answer_kernel, dim3(blocks_for(count, 128), static_cast<unsigned>(banks)), 128, 0, stream,
         answers, results, count);
}

}  // namespace gp::cuda
