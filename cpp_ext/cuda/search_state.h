// What the search keeps on the device, for the scorer to build on.
#pragma once

#include <vector>

#include "arithmetic.h"
#include "runtime.h"

namespace gp::cuda {

// A bank as kernels see it. It lies in device memory, so that what is appended reaches captured graphs too.
struct Rows {
  const uint8_t* data;  // [count,row_bytes], the width padded with zeros
  const float* scales;  // [count]; for int8 only
  int32_t count;
};

constexpr int kRowBytes = 128;  // a row's bytes are padded to a multiple of it: the longest slice of the search

struct Bank::State {
  int64_t width, rows, capacity;
  int row_bytes;
  Precision precision;
  int device;
  Memory data, scales, shown, refused;
};

// Dot products that are made beside the search's preparation: out[i] = ⟨features[i], direction⟩.
struct Prompt {
  const void* features;  // [count,width]
  const float* direction;
  float* out;
  int64_t count;
};

struct Prompts {
  Prompt prompt[2];
  int count = 0;
  int width;
};

// How many blocks the device runs at once: of each shape of the search, smallest first, on one multiprocessor.
struct Room {
  int multiprocessors;
  int blocks[3];
};

// What a search leaves for the kernel behind it.
struct Answers {
  unsigned long long* keys[GP_MAX_BANKS];  // [queries], of products with queries that were divided by
  const float* scales[GP_MAX_BANKS];       // [queries], or null: 1
};

struct Answer {
  float product;
  int64_t row;
};

// Finite vectors have finite products.
__device__ inline Answer take(const Answers& answers, int bank, int64_t query) {
  const uint64_t key = answers.keys[bank][query];
  const float product = product_of(key);
  if (!is_finite(product)) return {bits_as<float>(0x7fc00000u), -1};
  const float* scales = answers.scales[bank];
  return {scales ? product * scales[query] : product, row_of(key)};
}

struct Search::State {
  State(const std::vector<const Bank*>& banks, int64_t max_queries);

  // Throws before anything is enqueued, or not at all but for what CUDA refuses.
  void check(const std::vector<const void*>& queries, int64_t count) const;
  Answers enqueue(const std::vector<const void*>& queries, Type type, int64_t count, const Prompts& prompts,
                  void* stream) const;

  const std::vector<const Bank*> banks;
  const int device;

 private:
  int64_t max_queries_;
  Room room_;
  std::vector<Memory> packed_;
  Memory keys_, scales_;
};

}  // namespace gp::cuda
