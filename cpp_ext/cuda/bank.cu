// The device, and the rows of a bank on it.
#include <algorithm>
#include <limits>

#include "pack.h"
#include "search_state.h"

namespace gp::cuda {
namespace {

// Convert rows and store them. Write to `refused` the lowest number of a row that is not finite or too large.
__global__ void append_kernel(const void* data, Type type, int64_t count, int width, Precision precision,
                              uint8_t* packed, int row_bytes, float* scales, int* refused) {
  const int64_t row = vector_of_warp();
  if (row >= count) return;
  const bool first_lane = threadIdx.x % kWarp == 0;
  const float peak = peak_of(data, type, row * width, width);
  const float limit = precision == Precision::fp16 ? kLargestHalf : 3.0e38f;
  if (peak > limit) {
    if (first_lane) atomicMin(refused, static_cast<int>(row));
    return;
  }
  const float scale = precision == Precision::int8 ? int8_scale(peak) : 1.0f;
  if (first_lane && precision == Precision::int8) scales[row] = scale;
  pack(data, type, row * width, width, 1.0f / scale, precision, packed + row * row_bytes, row_bytes);
}

}  // namespace

bool built() { return true; }

bool available(std::string* why_not) {
  int devices = 0;
  cudaError_t code = cudaGetDeviceCount(&devices);
  if (code == cudaSuccess && devices == 0) code = cudaErrorNoDevice;
  cudaFuncAttributes attributes;
  if (code == cudaSuccess)
    code = cudaFuncGetAttributes(&attributes, &append_kernel);  // fails if there is no code for the device
  cudaGetLastError();
  if (code != cudaSuccess && why_not) *why_not = cudaGetErrorString(code);
  return code == cudaSuccess;
}

std::string device_name() {
  cudaDeviceProp properties;
  GP_CUDA(cudaGetDeviceProperties(&properties, current_device()));
  return properties.name;
}

int current_device() {
  int device = 0;
  GP_CUDA(cudaGetDevice(&device));
  return device;
}

int device_of(const void* data) {
  cudaPointerAttributes attributes;
  GP_CUDA(cudaPointerGetAttributes(&attributes, data));
  return attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged ? attributes.device
                                                                                             : current_device();
}

Array::Array(int64_t bytes, int device) {
  const OnDevice on(device);
  const Relaxed relaxed;
  GP_CUDA(cudaMalloc(&data_, static_cast<size_t>(bytes > 0 ? bytes : 1)));
}

Array::~Array() {
  const Relaxed relaxed;
  cudaFree(data_);
}

Bank::Bank(int64_t width, Precision precision) : state_(std::make_unique<State>()) {
  require(width >= 1 && width <= 65536, "width " + std::to_string(width) + ": from 1 to 65536 are accepted");
  GP_CUDA(cudaGetDevice(&state_->device));
  const int major = attribute(cudaDevAttrComputeCapabilityMajor, state_->device);
  const int minor = attribute(cudaDevAttrComputeCapabilityMinor, state_->device);
  require(precision != Precision::bf16 || major >= 8, "precision bf16 on a device of compute capability " +
                                                          std::to_string(major) + "." + std::to_string(minor) +
                                                          ": 8.0 or later is needed; fp16 and int8 are accepted");
  state_->width = width;
  state_->rows = state_->capacity = 0;
  state_->row_bytes = static_cast<int>(round_up<int64_t>(width * (precision == Precision::int8 ? 1 : 2), kRowBytes));
  state_->precision = precision;
  const Rows none{nullptr, nullptr, 0};
  state_->shown = Memory(&none, sizeof none);
  state_->refused = Memory(sizeof(int));
  load_code(&append_kernel);
}

Bank::~Bank() = default;

void Bank::append(const void* rows, Type type, int64_t count, bool on_device, void* stream) {
  State& state = *state_;
  constexpr int64_t kMostRows = (int64_t{1} << 31) - 1024;
  require(count >= 0 && count <= kMostRows - state.rows,
          "count " + std::to_string(count) + ": a bank holds up to 2^31 rows");
  if (count == 0) return;
  require(rows != nullptr, "rows is null");
  const OnDevice on(state.device);
  const Relaxed relaxed;
  const auto queue = static_cast<cudaStream_t>(stream);
  const int64_t total = state.rows + count;

  Memory staged, data, scales;
  if (!on_device) {
    const size_t bytes = static_cast<size_t>(count * state.width * (type == Type::float32 ? 4 : 2));
    staged = Memory(bytes);
    GP_CUDA(cudaMemcpyAsync(staged.as<void>(), rows, bytes, cudaMemcpyHostToDevice, queue));
    rows = staged.as<void>();
  }
  const bool scaled = state.precision == Precision::int8, grow = total > state.capacity;
  const int64_t capacity = grow ? std::min(std::max(total, state.rows + state.rows / 2), kMostRows) : state.capacity;
  if (grow) {
    data = Memory(static_cast<size_t>(capacity * state.row_bytes));
    if (scaled) scales = Memory(static_cast<size_t>(capacity) * sizeof(float));
    if (state.rows > 0) {
      GP_CUDA(cudaMemcpyAsync(data.as<void>(), state.data.as<void>(), static_cast<size_t>(state.rows * state.row_bytes),
                              cudaMemcpyDeviceToDevice, queue));
      if (scaled)
        GP_CUDA(cudaMemcpyAsync(scales.as<void>(), state.scales.as<void>(),
                                static_cast<size_t>(state.rows) * sizeof(float), cudaMemcpyDeviceToDevice, queue));
    }
  }
  Memory& kept = grow ? data : state.data;
  Memory& kept_scales = grow ? scales : state.scales;
  int refused = std::numeric_limits<int>::max();
  GP_CUDA(cudaMemcpyAsync(state.refused.as<void>(), &refused, sizeof refused, cudaMemcpyHostToDevice, queue));
  launch("append_kernel", &append_kernel, blocks_for(count, kPrepareThreads / kWarp), kPrepareThreads, 0, stream, rows,
         type, count, static_cast<int>(state.width), state.precision, kept.as<uint8_t>() + state.rows * state.row_bytes,
         state.row_bytes, scaled ? kept_scales.as<float>() + state.rows : nullptr, state.refused.as<int>());
  GP_CUDA(cudaMemcpyAsync(&refused, state.refused.as<void>(), sizeof refused, cudaMemcpyDeviceToHost, queue));
  GP_CUDA(cudaStreamSynchronize(queue));
  require(refused == std::numeric_limits<int>::max(),
          "row " + std::to_string(refused) + " holds a value that is not finite" +
              (state.precision == Precision::fp16 ? " or beyond 65504" : "") + ": finite numbers are accepted");

  const Rows shown{kept.as<uint8_t>(), scaled ? kept_scales.as<float>() : nullptr, static_cast<int32_t>(total)};
  GP_CUDA(cudaMemcpyAsync(state.shown.as<void>(), &shown, sizeof shown, cudaMemcpyHostToDevice, queue));
  GP_CUDA(cudaStreamSynchronize(queue));
  if (grow) {
    state.data = std::move(data);
    state.scales = std::move(scales);
    state.capacity = capacity;
  }
  state.rows = total;
}

int64_t Bank::rows() const { return state_->rows; }
int64_t Bank::width() const { return state_->width; }
Precision Bank::precision() const { return state_->precision; }
int64_t Bank::bytes() const { return static_cast<int64_t>(state_->data.bytes() + state_->scales.bytes()); }
int Bank::device() const { return state_->device; }

}  // namespace gp::cuda
