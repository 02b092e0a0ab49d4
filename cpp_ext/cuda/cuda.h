// Memory search, scoring and resizing on an NVIDIA GPU. No CUDA header is needed here: a stream is a cudaStream_t as
// void*, null for the default one; pointers are to device memory unless said otherwise.
//
// Objects belong to the device that was current when they were made. What they need is allocated then: `run` enqueues
// kernels and nothing else, so that a CUDA graph can capture it. They hold scratch memory: calls of one object must
// follow one another, on one stream or ordered by events. Destroying one waits for the device.
//
// Compiled for every GPU with tensor cores; run so far only on the CPU (on_cpu/), not on a GPU.
//
// Throws Invalid for arguments, Failure for what CUDA refuses.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "goodparts.h"

namespace gp::cuda {

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

bool built();
bool available(std::string* why_not = nullptr);  // built, a driver, a device, and code for it
std::string device_name();
int current_device();
int device_of(const void* data);  // that device memory lies on

enum class Type { float32, float16, bfloat16 };  // of features and rows as they come
enum class Precision { fp16, bf16, int8 };       // of rows and queries as they are multiplied; sums are fp32 or int32

class Bank {
 public:
  Bank(int64_t width, Precision precision);
  ~Bank();

  // rows [count,width] without gaps, finite (fp16: up to 65504), in device or in host memory. Waits for the stream.
  // Searches, captured ones too, see the new rows; none may be under way.
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

// Up to GP_MAX_BANKS banks of one precision, searched in one launch. They must outlive it.
class Search {
 public:
  Search(const std::vector<const Bank*>& banks, int64_t max_queries);
  ~Search();

  // Per bank: queries [count,width] without gaps; product [count], the largest with any row; index [count] of that row,
  // the first of equal ones. NaN and -1 for a query that is not finite.
  void run(const std::vector<const void*>& queries, Type type, int64_t count, const std::vector<float*>& product,
           const std::vector<int64_t*>& index, void* stream) const;

  struct State;

 private:
  std::unique_ptr<State> state_;
};

// As gp_product; prompts and margins, one array per bank or none at all, are in host memory and copied.
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

// As gp_features, of one type.
struct Features {
  int64_t views;
  Type type;
  const void* global;
  const void* local;
  std::vector<const void*> memory;
};

class Scorer {
 public:
  Scorer(const Product& product, int64_t max_views);
  ~Scorer();

  // out: as gp_scorer_run.
  void run(const Features& features, const gp_scores& out, void* stream) const;

  struct State;

 private:
  std::unique_ptr<State> state_;
};

// gp_resize of a frame in device memory to out [out_height,out_width,3]. The filters between two lengths are made and
// uploaded where they are not there from an earlier call, which must not be one that is captured.
void resize(const gp_frame& frame, const gp_box* box, int64_t out_width, int64_t out_height, void* out, int device,
            void* stream);

// Device memory that others may write to; freed with the object.
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
