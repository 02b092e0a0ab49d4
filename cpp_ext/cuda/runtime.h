// Calls of the CUDA runtime. Errors become exceptions, objects own memory and select devices, and the arguments of
// launches are checked.
#pragma once

#include <cuda_runtime.h>

#include <string>

#include "cuda.h"
#include "failure.h"

namespace gp::cuda {

// Throw Failure if a call of the CUDA runtime failed.
inline void check(cudaError_t code, const char* call) {
  if (code == cudaSuccess) return;
  cudaGetLastError();  // clears an error that can be cleared, so that the next call does not report it again
  throw Failure(std::string(call) + ": " + cudaGetErrorString(code));
}

// Declare the shared memory of a launch as an array.
#ifdef __CUDACC__
#define GP_SHARED_ARRAY(type, name) extern __shared__ type name[]
#else
#define GP_SHARED_ARRAY(type, name) static type* const name = reinterpret_cast<type*>(on_cpu::shared_memory)
#endif

#define GP_CUDA(call) ::gp::cuda::check((call), #call)

// Make a device current as long as this object exists.
class OnDevice {
 public:
  explicit OnDevice(int device) {
    GP_CUDA(cudaGetDevice(&before_));
    if (device != before_) GP_CUDA(cudaSetDevice(device));
  }
  ~OnDevice() { cudaSetDevice(before_); }
  OnDevice(const OnDevice&) = delete;

 private:
  int before_;
};

// As long as this object exists, this thread may allocate, free and wait while another thread captures a stream.
// Without it such a call would end the capture.
class Relaxed {
 public:
  Relaxed() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  ~Relaxed() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  Relaxed(const Relaxed&) = delete;

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;  // after the constructor, the mode before it
};

inline bool is_capturing(void* stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  if (stream) GP_CUDA(cudaStreamIsCapturing(static_cast<cudaStream_t>(stream), &status));
  return status != cudaStreamCaptureStatusNone;
}

// Device memory. The constructor that copies from the host waits until all streams can read the memory. The destructor
// waits for the work in progress.
class Memory {
 public:
  Memory() = default;
  explicit Memory(size_t bytes) : bytes_(bytes) {
    const Relaxed relaxed;
    if (bytes) GP_CUDA(cudaMalloc(&data_, bytes));
  }
  Memory(const void* host, size_t bytes) : Memory(bytes) {
    if (!bytes) return;
    const Relaxed relaxed;
    GP_CUDA(cudaMemcpy(data_, host, bytes, cudaMemcpyHostToDevice));
    GP_CUDA(cudaStreamSynchronize(nullptr));
  }
  Memory(Memory&& other) noexcept { swap(other); }
  Memory& operator=(Memory&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Memory() {
    const Relaxed relaxed;
    if (data_) cudaFree(data_);
  }

  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  size_t bytes() const { return bytes_; }

 private:
  void swap(Memory& other) {
    void* data = data_;
    size_t bytes = bytes_;
    data_ = other.data_, bytes_ = other.bytes_;
    other.data_ = data, other.bytes_ = bytes;
  }

  void* data_ = nullptr;
  size_t bytes_ = 0;
};

template <class T>
struct Exactly {
  using type = T;
};

// Launch a kernel; `name` is its name in messages.
template <class... Parameters>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared, void* stream,
            typename Exactly<Parameters>::type... arguments) {
#ifdef __CUDACC__
  kernel<<<grid, block, shared, static_cast<cudaStream_t>(stream)>>>(arguments...);
#else
  on_cpu::launch(name, grid, block, shared, stream, [=] { kernel(arguments...); });
#endif
  check(cudaGetLastError(), name);
}

// Load a kernel's code to the device. A launch that is captured must not do so.
template <class Kernel>
void load_code(Kernel* kernel) {
  cudaFuncAttributes attributes;
  GP_CUDA(cudaFuncGetAttributes(&attributes, kernel));
}

inline unsigned blocks_for(int64_t count, int64_t each) { return static_cast<unsigned>((count + each - 1) / each); }

inline int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  GP_CUDA(cudaDeviceGetAttribute(&value, which, device));
  return value;
}

template <class T>
T round_up(T value, T step) {
  return (value + step - 1) / step * step;
}

}  // namespace gp::cuda
