// An emulation of CUDA on the CPU, for tests without a GPU. It has what the .cu files need to be compiled by a C++
// compiler, and runs their kernels. It finds errors in indices, barriers, fragments and waits. It does not measure
// speed, and does not prove that a GPU gives the same results.
//
// The threads of a block are coroutines. They switch at barriers and warp-wide instructions, in an order that a test
// can choose; a result that depends on the order shows a race. Asynchronous work happens as late as it can: a copy
// spoils its destination at once and arrives only when it is waited for. Device memory is filled with nonsense when it
// is allocated and when it is freed. Blocks run one after the other.
//
// The calls of the runtime are counted. Work on a stream that is captured runs when its graph is replayed. A call that
// CUDA forbids during a capture fails and ends the capture.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#define __host__
#define __device__
#define __global__
#define __shared__ static
#define __grid_constant__
#define __launch_bounds__(...)

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};

inline dim3 gridDim, blockDim, blockIdx, threadIdx;

namespace on_cpu {

enum class Order { forwards, backwards, shuffled };

struct Settings {
  Order order = Order::forwards;
  int multiprocessors = 4;
  int shared_bytes = 99 * 1024;  // the most that a block may ask for
  int major = 8;
};
inline Settings settings;
inline std::string failing_kernel;  // the launch of this kernel fails

constexpr int kDevices = 2;
inline thread_local int current_device = 0;

// The calls of the runtime since the counts were last read.
struct Counts {
  int64_t allocations[kDevices], launches[kDevices], frees, waits, up, down;  // up, down: bytes to and from it
};
inline Counts counts;

constexpr size_t kSharedBytes = 228 * 1024;
constexpr int kSpoilt = 0xa5;
alignas(64) inline unsigned char shared_memory[kSharedBytes];  // every GP_SHARED_ARRAY is another name of it

[[noreturn]] inline void fail(const char* what) {
  std::fprintf(stderr, "on_cpu: block (%u,%u,%u), thread %u: %s\n", blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x,
               what);
  std::abort();
}

struct Copy {
  void* to;
  const void* from;
  size_t bytes;
};

struct Thread {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  bool done;
  std::vector<std::vector<Copy>> copies;  // groups that have not arrived, the open one last
};

struct Barrier {
  int arrived = 0;
  unsigned passed = 0;
  const char* what = nullptr;
};

struct Warp {
  Barrier barrier;
  uint64_t slot[32][3];
};

struct Block {
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  Barrier barrier;
  ucontext_t scheduler;
  size_t current;
  bool moved;
  std::function<void()> kernel;
};
inline Block block;

inline void pause() { swapcontext(&block.threads[block.current].context, &block.scheduler); }

inline void wait(Barrier& barrier, size_t participants, const char* what) {
  if (barrier.arrived == 0) barrier.what = what;
  if (std::strcmp(barrier.what, what) != 0) fail("threads meet at different instructions");
  const unsigned before = barrier.passed;
  block.moved = true;
  if (++barrier.arrived == static_cast<int>(participants)) {
    barrier.arrived = 0;
    ++barrier.passed;
    return;
  }
  while (barrier.passed == before) pause();
  block.moved = true;
}

inline Warp& warp() { return block.warps[block.current / 32]; }
inline size_t lane() { return block.current % 32; }
inline void meet(const char* what) { wait(warp().barrier, 32, what); }

inline void enter() {
  block.kernel();
  block.threads[block.current].done = true;
  block.moved = true;
}

inline void run_block(size_t count) {
  constexpr size_t kStack = 128 * 1024;
  if (block.threads.size() < count) block.threads.resize(count);
  block.warps.assign((count + 31) / 32, {});
  block.barrier = {};
  for (size_t at = 0; at < count; ++at) {
    Thread& thread = block.threads[at];
    if (!thread.stack) thread.stack.reset(new char[kStack]);
    thread.done = false;
    thread.copies.assign(1, {});
    getcontext(&thread.context);
    thread.context.uc_stack.ss_sp = thread.stack.get();
    thread.context.uc_stack.ss_size = kStack;
    thread.context.uc_link = &block.scheduler;
    makecontext(&thread.context, enter, 0);
  }
  std::vector<size_t> order(count);
  for (size_t at = 0; at < count; ++at) order[at] = settings.order == Order::backwards ? count - 1 - at : at;
  std::mt19937 random(blockIdx.x);
  for (size_t left = count; left > 0;) {
    if (settings.order == Order::shuffled) std::shuffle(order.begin(), order.end(), random);
    block.moved = false;
    for (size_t at : order) {
      if (block.threads[at].done) continue;
      block.current = at;
      threadIdx = dim3(static_cast<unsigned>(at), 0, 0);
      swapcontext(&block.scheduler, &block.threads[at].context);
      if (block.threads[at].done) --left;
    }
    if (left > 0 && !block.moved) fail("a barrier that not all threads reach");
  }
}

inline void run(dim3 grid, dim3 size, size_t shared, std::function<void()> kernel) {
  if (shared > static_cast<size_t>(settings.shared_bytes)) fail("more shared memory than there is");
  gridDim = grid;
  blockDim = size;
  block.kernel = std::move(kernel);
  for (blockIdx.z = 0; blockIdx.z < grid.z; ++blockIdx.z)
    for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y)
      for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x) {
        std::memset(shared_memory, kSpoilt, sizeof shared_memory);
        run_block(size.x);
        for (size_t at = shared; at < kSharedBytes; ++at)
          if (shared_memory[at] != kSpoilt) fail("wrote beyond its shared memory");
      }
}

}  // namespace on_cpu

// ---- Device functions ----------------------------------------------------------------------------------------------

inline void __syncthreads() { on_cpu::wait(on_cpu::block.barrier, blockDim.x, "__syncthreads"); }
inline void __syncwarp() { on_cpu::meet("__syncwarp"); }

template <class T>
T __shfl_xor_sync(unsigned, T value, int offset) {
  std::memcpy(on_cpu::warp().slot[on_cpu::lane()], &value, sizeof value);
  on_cpu::meet("__shfl_xor_sync");
  std::memcpy(&value, on_cpu::warp().slot[on_cpu::lane() ^ static_cast<size_t>(offset)], sizeof value);
  on_cpu::meet("__shfl_xor_sync, read");
  return value;
}

inline void atomicMax(unsigned long long* at, unsigned long long value) { *at = std::max(*at, value); }
inline void atomicMin(int* at, int value) { *at = std::min(*at, value); }
using std::max;
using std::min;

namespace gp::cuda {

struct Half;
struct Bfloat;
struct Int8;
inline float from_half(uint16_t half);
inline float from_bfloat(uint16_t value);

inline void load_blocks(uint32_t (&blocks)[4], const void* row) {
  using namespace on_cpu;
  if (reinterpret_cast<uintptr_t>(row) % 16) fail("a row of a block is not aligned");
  std::memcpy(warp().slot[lane()], &row, sizeof row);
  meet("ldmatrix");
  for (size_t number = 0; number < 4; ++number) {
    const char* from;
    std::memcpy(&from, warp().slot[8 * number + lane() / 4], sizeof from);
    std::memcpy(&blocks[number], from + 4 * (lane() % 4), 4);
  }
  meet("ldmatrix, read");
}

// Return element `at` of the 32 bytes of a factor's row, from the slots into which the lanes of a warp put them. The
// register's number is `first`, plus `step` for the second 16 bytes, plus 1 for rows from 8 on.
template <class T>
T element(size_t row, size_t at, size_t first, size_t step) {
  const size_t byte = at * sizeof(T), reg = first + byte / 16 * step + row / 8;
  T value;
  std::memcpy(&value,
              reinterpret_cast<const char*>(on_cpu::warp().slot[row % 8 * 4 + byte % 16 / 4]) + 4 * reg + byte % 4,
              sizeof value);
  return value;
}

template <class Format, class Sum>
void multiply(Format, Sum (&sum)[4], const uint32_t (&left)[4], uint32_t right0, uint32_t right1) {
  using namespace on_cpu;
  using Stored = std::conditional_t<std::is_same_v<Sum, float>, uint16_t, int8_t>;
  auto number = [](Stored value) -> Sum {
    if constexpr (std::is_same_v<Format, Half>)
      return from_half(value);
    else if constexpr (std::is_same_v<Format, Bfloat>)
      return from_bfloat(value);
    else
      return value;
  };
  const uint32_t registers[6] = {left[0], left[1], left[2], left[3], right0, right1};
  std::memcpy(warp().slot[lane()], registers, sizeof registers);
  meet("mma");
  for (size_t at = 0; at < 4; ++at)
    for (size_t k = 0; k < 32 / sizeof(Stored); ++k)
      sum[at] += number(element<Stored>(lane() / 4 + at / 2 * 8, k, 0, 2)) *
                 number(element<Stored>(lane() % 4 * 2 + at % 2, k, 4, 1));
  meet("mma, read");
}

}  // namespace gp::cuda

// ---- The runtime's functions ---------------------------------------------------------------------------------------

enum cudaError_t {
  cudaSuccess,
  cudaErrorMemoryAllocation,
  cudaErrorNoDevice,
  cudaErrorInvalidDevice,
  cudaErrorLaunchFailure,
  cudaErrorStreamCaptureUnsupported
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum cudaMemoryType { cudaMemoryTypeUnregistered, cudaMemoryTypeHost, cudaMemoryTypeDevice, cudaMemoryTypeManaged };
enum cudaStreamCaptureMode {
  cudaStreamCaptureModeGlobal,
  cudaStreamCaptureModeThreadLocal,
  cudaStreamCaptureModeRelaxed
};
enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone, cudaStreamCaptureStatusActive };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount,
  cudaDevAttrMaxSharedMemoryPerBlock,
  cudaDevAttrMaxSharedMemoryPerBlockOptin,
  cudaDevAttrComputeCapabilityMajor,
  cudaDevAttrComputeCapabilityMinor,
};
using cudaStream_t = struct Stream*;
struct cudaFuncAttributes {};
struct cudaDeviceProp {
  char name[256];
};
struct cudaPointerAttributes {
  cudaMemoryType type;
  int device;
};

namespace on_cpu {

using Graph = std::vector<std::function<void()>>;

// The capture in progress. At most one stream is captured at a time.
struct Capture {
  cudaStream_t stream = nullptr;  // null: there is no capture
  std::thread::id thread;
  cudaStreamCaptureMode mode;
  bool ended;  // by a call that is forbidden during the capture
  Graph work;
};
inline Capture capture;
inline thread_local cudaStreamCaptureMode thread_mode = cudaStreamCaptureModeGlobal;
inline thread_local cudaError_t last_error = cudaSuccess;

struct Allocation {
  size_t bytes;
  int device;
};
inline std::mutex mutex;
inline std::map<char*, Allocation> allocated;
inline bool keep_freed = false;  // freed memory is kept, because a graph may still read it

// Called by every function that CUDA calls potentially unsafe. Such a call is forbidden to the thread that captures,
// and during a global capture to all others, except to threads whose mode is relaxed.
inline cudaError_t unsafe() {
  if (!capture.stream || thread_mode == cudaStreamCaptureModeRelaxed) return cudaSuccess;
  const bool own = capture.thread == std::this_thread::get_id();
  const bool forbidden = own ? capture.mode != cudaStreamCaptureModeRelaxed
                             : capture.mode == cudaStreamCaptureModeGlobal && thread_mode == capture.mode;
  if (!forbidden) return cudaSuccess;
  capture.ended = true;
  return cudaErrorStreamCaptureUnsupported;
}

inline cudaError_t enqueue(cudaStream_t stream, std::function<void()> work) {
  if (stream && stream == capture.stream)
    capture.work.push_back(std::move(work));
  else
    work();
  return cudaSuccess;
}

inline void launch(const char* name, dim3 grid, dim3 size, size_t shared, void* stream, std::function<void()> kernel) {
  ++counts.launches[current_device];
  if (name == failing_kernel)
    last_error = cudaErrorLaunchFailure;
  else
    enqueue(static_cast<cudaStream_t>(stream), [=] { run(grid, size, shared, kernel); });
}

inline void count_copy(size_t bytes, cudaMemcpyKind kind) {
  if (kind == cudaMemcpyHostToDevice) counts.up += static_cast<int64_t>(bytes);
  if (kind == cudaMemcpyDeviceToHost) counts.down += static_cast<int64_t>(bytes);
}

}  // namespace on_cpu

inline cudaError_t cudaGetLastError() { return std::exchange(on_cpu::last_error, cudaSuccess); }
inline const char* cudaGetErrorString(cudaError_t code) {
  const char* texts[] = {"no error",       "out of memory",  "no device",
                         "invalid device", "launch failure", "operation not permitted when stream is capturing"};
  return texts[code];
}
inline cudaError_t cudaGetDeviceCount(int* devices) { return *devices = on_cpu::kDevices, cudaSuccess; }
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  return std::strcpy(properties->name, "CPU"), cudaSuccess;
}
inline cudaError_t cudaGetDevice(int* device) { return *device = on_cpu::current_device, cudaSuccess; }
inline cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= on_cpu::kDevices) return cudaErrorInvalidDevice;
  return on_cpu::current_device = device, cudaSuccess;
}

inline cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  return std::swap(*mode, on_cpu::thread_mode), cudaSuccess;
}

inline cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  *status = stream == on_cpu::capture.stream ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}

inline cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  ++on_cpu::counts.waits;
  if (!stream || stream != on_cpu::capture.stream) return on_cpu::unsafe();
  on_cpu::capture.ended = true;
  return cudaErrorStreamCaptureUnsupported;
}

inline cudaError_t cudaMalloc(void** data, size_t bytes) {
  ++on_cpu::counts.allocations[on_cpu::current_device];
  if (const cudaError_t refused = on_cpu::unsafe()) return refused;
  *data = std::malloc(bytes);
  if (!*data) return cudaErrorMemoryAllocation;
  std::memset(*data, on_cpu::kSpoilt, bytes);
  const std::lock_guard<std::mutex> lock(on_cpu::mutex);
  on_cpu::allocated[static_cast<char*>(*data)] = {bytes, on_cpu::current_device};
  return cudaSuccess;
}

inline cudaError_t cudaFree(void* data) {
  if (!data) return cudaSuccess;
  ++on_cpu::counts.frees;
  if (const cudaError_t refused = on_cpu::unsafe()) return refused;
  const std::lock_guard<std::mutex> lock(on_cpu::mutex);
  const auto found = on_cpu::allocated.find(static_cast<char*>(data));
  std::memset(data, on_cpu::kSpoilt, found->second.bytes);
  on_cpu::allocated.erase(found);
  if (!on_cpu::keep_freed) std::free(data);
  return cudaSuccess;
}

inline cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* data) {
  const std::lock_guard<std::mutex> lock(on_cpu::mutex);
  *attributes = {cudaMemoryTypeUnregistered, 0};
  for (const auto& [start, allocation] : on_cpu::allocated)
    if (start <= data && data < start + allocation.bytes) *attributes = {cudaMemoryTypeDevice, allocation.device};
  return cudaSuccess;
}

inline cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  ++on_cpu::counts.waits;
  on_cpu::count_copy(bytes, kind);
  if (const cudaError_t refused = on_cpu::unsafe()) return refused;
  return std::memcpy(to, from, bytes), cudaSuccess;
}

inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  on_cpu::count_copy(bytes, kind);
  return on_cpu::enqueue(stream, [=] { std::memcpy(to, from, bytes); });
}

inline cudaError_t cudaMemsetAsync(void* data, int value, size_t bytes, cudaStream_t stream) {
  return on_cpu::enqueue(stream, [=] { std::memset(data, value, bytes); });
}

inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr which, int) {
  const on_cpu::Settings& has = on_cpu::settings;
  const int values[] = {has.multiprocessors, 48 * 1024, has.shared_bytes, has.major, 0};
  return *value = values[which], cudaSuccess;
}

template <class Kernel>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes*, Kernel*) {
  return cudaSuccess;
}

template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel*, cudaFuncAttribute, int bytes) {
  return bytes > on_cpu::settings.shared_bytes ? cudaErrorMemoryAllocation : cudaSuccess;
}

template <class Kernel>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Kernel*, int, size_t) {
  return *blocks = 1, cudaSuccess;
}
