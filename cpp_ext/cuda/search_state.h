// The state of the search on the device. The scorer uses it too.
#pragma once

#include <vector>

#include "arithmetic.h"
#include "runtime.h"

namespace gp::cuda {

// A bank as kernels read it. This struct is in device memory, so that captured graphs also read rows appended later.
struct Rows {
  const uint8_t* data;  // [count,row_bytes], the width padded with zeros
  const float* scales;  // [count]; int8 only
  int32_t count;
};

constexpr int kRowBytes = 128;  // rows are padded to a multiple of this, which is the longest slice of the search

struct Bank::State {
  int64_t width, rows, capacity;
  int row_bytes;
  Precision precision;
  int device;
  Memory data, scales, shown, refused;
};

// Dot products, which the kernel that prepares the search also computes: out[i] = ⟨features[i], direction⟩.
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

// The number of multiprocessors of the device. For each shape of the search, the smallest first, the number of blocks
// that run at once on one multiprocessor.
struct Room {
  int multiprocessors;
  int blocks[3];
};

// The results of a search, for the next kernel. A key's product was computed with the query divided by its scale.
struct Answers {
  unsigned long long* keys[GP_MAX_BANKS];  // [queries]
  const float* scales[GP_MAX_BANKS];       // [queries], or null if every scale is 1
};

struct Answer {
  float product;
  int64_t row;
};

// Return the answer for one query. If the product is not finite, the query was not: the answer is then NaN and -1.
__device__ inline Answer take(const Answers& answers, int bank, int64_t query) {
  const uint64_t key = answers.keys[bank][query];
  const float product = product_of(key);
  if (!is_finite(product)) return {bits_as<float>(0x7fc00000u), -1};
  const float* scales = answers.scales[bank];
  return {scales ? product * scales[query] : product, row_of(key)};
}

struct Search::State {
  State(const std::vector<const Bank*>& banks, int64_t max_queries);

  // Throw Invalid for arguments out of range. `enqueue` does not check them: it throws only for an error of CUDA.
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
