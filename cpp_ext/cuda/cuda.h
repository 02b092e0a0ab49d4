// Memory search, scoring and resizing on an NVIDIA GPU. This header needs no CUDA header. A stream is a cudaStream_t as
// void*; null is the default stream. Pointers are to device memory unless a comment tells otherwise.
//
// An object belongs to the device that is current when it is created, and allocates its memory then. `run` only
// enqueues kernels, so that a CUDA graph can capture it. An object has scratch memory, so its calls must follow one
// another: on one stream, or ordered by events. Its destructor waits for the device.
//
// The code is compiled for every GPU with tensor cores. Until now it has run only on the CPU (on_cpu/), not on a GPU.
//
// Every function throws gp::Invalid for an argument out of range, and Failure if CUDA reports an error.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "goodparts.h"

namespace gp::cuda {

// CUDA reports an error, which the message names.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Return whether goodparts was built with CUDA.
bool built();

// Return whether a GPU can be used: goodparts was built with CUDA, and there are a driver, a device and code for it.
// Otherwise write the reason to why_not, which may be null.
bool available(std::string* why_not = nullptr);

// Return the name of the current device.
std::string device_name();

// Return the number of the current device.
int current_device();

// Return the number of the device that the memory is on; for memory of the host, the current device.
int device_of(const void* data);

// The number format of features and rows that are passed in.
enum class Type { float32, float16, bfloat16 };

// The number format in which rows and queries are stored and multiplied. Sums are fp32 or int32.
enum class Precision { fp16, bf16, int8 };

// Rows to search.
class Bank {
 public:
  Bank(int64_t width, Precision precision);
  ~Bank();

  // Append rows and wait for the stream. rows: [count,width] without gaps, finite (fp16: up to 65504), in the memory of
  // the device or of the host. Later searches include the new rows, also those in captured graphs. No search may be in
  // progress meanwhile.
  void append(const void* rows, Type type, int64_t count, bool on_device, void* stream);

  int64_t rows() const;
  int64_t width() const;
  Precision precision() const;
  int64_t bytes() const;  // of device memory held
  int device() const;

  struct State;
  const State& state() const { return *state_; }

 private:
  std::unique_ptr<State> state_;
};

// Searches up to GP_MAX_BANKS banks of one device and precision in one launch. The banks must outlive it.
class Search {
 public:
  Search(const std::vector<const Bank*>& banks, int64_t max_queries);
  ~Search();

  // Find for each query the row with the largest product. For each bank: queries: [count,width] without gaps; product:
  // [count], the largest product; index: [count], the number of that row, the first of equal ones, or null. A query
  // with a value that is not finite gets NaN and -1.
  void run(const std::vector<const void*>& queries, Type type, int64_t count, const std::vector<float*>& product,
           const std::vector<int64_t*>& index, void* stream) const;

  struct State;

 private:
  std::unique_ptr<State> state_;
};

// As gp_product. Prompts and margins are in the memory of the host and are copied. There is one array of margins per
// bank, or none at all.
struct Product {
  int64_t width, grid_height, grid_width;
  const float* image_prompts;
  const float* pixel_prompts;
  float temperature;
  std::vector<const Bank*> banks;
  bool maximum_of_map;
  gp_fusion fusion;
  std::vector<const float*> margins;
  float residual_weight;
};

// As gp_features, in device memory. All arrays have one type.
struct Features {
  int64_t views;
  Type type;
  const void* global;
  const void* local;
  std::vector<const void*> memory;
};

// Scores the views of one product.
class Scorer {
 public:
  Scorer(const Product& product, int64_t max_views);
  ~Scorer();

  // As gp_scorer_run, with all arrays of `out` in device memory.
  void run(const Features& features, const gp_scores& out, void* stream) const;

  struct State;

 private:
  std::unique_ptr<State> state_;
};

// As gp_resize, for a frame and an out [out_height,out_width,3] in device memory. The first call with a size computes
// the filters and uploads them. Such a call cannot be captured.
void resize(const gp_frame& frame, const gp_box* box, int64_t out_width, int64_t out_height, void* out, int device,
            void* stream);

// Device memory for results, freed with the object.
class Array {
 public:
  Array(int64_t bytes, int device);
  ~Array();
  Array(const Array&) = delete;
  void* data() const { return data_; }

 private:
  void* data_ = nullptr;
};

}  // namespace gp::cuda
