// Conversion of vectors from the format of the caller to the format of the multiplication. A warp converts one vector.
#pragma once

#include "arithmetic.h"
#include "runtime.h"

namespace gp::cuda {

constexpr int kWarp = 32;
constexpr unsigned kWholeWarp = 0xffffffffu;
constexpr int kPrepareThreads = 256;

__device__ inline float load(const void* data, Type type, int64_t at) {
  if (type == Type::float32) return static_cast<const float*>(data)[at];
  const uint16_t bits = static_cast<const uint16_t*>(data)[at];
  return type == Type::float16 ? from_half(bits) : from_bfloat(bits);
}

__device__ inline int64_t vector_of_warp() {
  return int64_t{blockIdx.x} * (kPrepareThreads / kWarp) + threadIdx.x / kWarp;
}

// Return the largest absolute value, or infinity if a value is not finite. The bits of floats without a sign, read as
// integers, have the same order as the floats.
__device__ inline float peak_of(const void* data, Type type, int64_t start, int width) {
  uint32_t peak = 0;
  for (int k = threadIdx.x % kWarp; k < width; k += kWarp) {
    const uint32_t size = bits_as<uint32_t>(load(data, type, start + k)) & 0x7fffffffu;
    peak = peak > size ? peak : size;
  }
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    const uint32_t other = __shfl_xor_sync(kWholeWarp, peak, offset);
    peak = peak > other ? peak : other;
  }
  return bits_as<float>(peak < kInfinity ? peak : kInfinity);
}

// Write value·inverse of each component, rounded, and then zeros up to row_bytes.
__device__ inline void pack(const void* data, Type type, int64_t start, int width, float inverse, Precision precision,
                            uint8_t* packed, int row_bytes) {
  const int per_word = precision == Precision::int8 ? 4 : 2, bits = 32 / per_word;
  for (int word = threadIdx.x % kWarp; word < row_bytes / 4; word += kWarp) {
    uint32_t packed_word = 0;
    for (int part = 0; part < per_word; ++part) {
      const int k = word * per_word + part;
      const float value = k < width ? load(data, type, start + k) * inverse : 0.0f;
      const uint32_t cell = precision == Precision::fp16 ? to_half(value)
                            : precision == Precision::bf16
                                ? to_bfloat(value)
                                : static_cast<uint32_t>(static_cast<int>(rintf(value))) & 255u;
      packed_word |= cell << (part * bits);
    }
    reinterpret_cast<uint32_t*>(packed)[word] = packed_word;
  }
}

}  // namespace gp::cuda
