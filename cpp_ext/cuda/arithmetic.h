// The arithmetic of kernels on single elements. It is compiled for the host too, where tests can call it.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>

#define GP_BOTH __host__ __device__ inline

namespace gp::cuda {

template <class To, class From>
GP_BOTH To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From), "bits_as: sizes differ");
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}

// ---- Keys of the search: unsigned integers in the order of the products; of equal products the first row's is larger

constexpr uint64_t kNothingYet = 0;
constexpr uint64_t kNotFinite = ~uint64_t{0};  // larger than the key of every product; as a product it is a NaN

GP_BOTH uint64_t key_of(float product, uint32_t row) {
  const uint32_t bits = bits_as<uint32_t>(product + 0.0f);  // -0 becomes 0, which is equal to it
  const uint32_t ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return uint64_t{ordered} << 32 | static_cast<uint32_t>(~row);
}

GP_BOTH float product_of(uint64_t key) {
  const uint32_t ordered = static_cast<uint32_t>(key >> 32);
  return bits_as<float>(ordered & 0x80000000u ? ordered & 0x7fffffffu : ~ordered);
}

GP_BOTH int64_t row_of(uint64_t key) { return int64_t{static_cast<uint32_t>(~key)}; }

// ---- Number formats ------------------------------------------------------------------------------------------------

constexpr uint32_t kInfinity = 0x7f800000u;
constexpr float kLargestHalf = 65504.0f;

// Round to the nearest half, ties to even.
GP_BOTH uint16_t to_half(float value) {
  const uint32_t bits = bits_as<uint32_t>(value), size = bits & 0x7fffffffu;
  uint32_t half;
  if (size > kInfinity)
    half = 0x7e00u;
  else if (size >= 0x47800000u)  // 65536
    half = 0x7c00u;
  else if (size >= 0x38800000u)  // 2^-14, the smallest normal number
    half = (size - 0x38000000u + 0x0fffu + ((size >> 13) & 1u)) >> 13;
  else
    half = bits_as<uint32_t>(bits_as<float>(size) + 0.5f) - 0x3f000000u;  // the addition rounds to multiples of 2^-24
  return static_cast<uint16_t>(half | (bits & 0x80000000u) >> 16);
}

GP_BOTH float from_half(uint16_t half) {
  const uint32_t sign = (half & 0x8000u) << 16, exponent = (half >> 10) & 31u, fraction = half & 0x3ffu;
  if (exponent == 0)
    return bits_as<float>(bits_as<uint32_t>(static_cast<float>(fraction) * 5.9604644775390625e-8f) | sign);
  if (exponent == 31) return bits_as<float>(sign | kInfinity | fraction << 13);
  return bits_as<float>(sign | (exponent + 112u) << 23 | fraction << 13);
}

GP_BOTH uint16_t to_bfloat(float value) {
  const uint32_t bits = bits_as<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

GP_BOTH float from_bfloat(uint16_t value) { return bits_as<float>(uint32_t{value} << 16); }

// Return the scale of a vector with this largest absolute value. A vector of zeros may have any positive scale. A peak
// up to 1e-30 counts as zero, since its 127th part and the inverse of that must be normal floats.
GP_BOTH float int8_scale(float peak) { return peak > 1e-30f ? peak / 127.0f : 1.0f; }

// Return the power of two by which a vector with this largest component is divided. The component is then in [1,2), so
// that fp16 can hold vectors of every order of magnitude.
GP_BOTH float half_scale(float peak) {
  const uint32_t power = bits_as<uint32_t>(peak) & kInfinity;
  return power == 0 || power == kInfinity ? 1.0f : bits_as<float>(power);
}

// ---- Scores, as goodparts.runtime.core.scoring defines them; NaN stays NaN ------------------------------------------

GP_BOTH bool is_nan(float value) { return value != value; }

GP_BOTH bool is_finite(float value) { return (bits_as<uint32_t>(value) & kInfinity) != kInfinity; }

GP_BOTH float clamp(float value, float low, float high) { return value < low ? low : value > high ? high : value; }

// Return a·b/(a+b), or 0 if both are 0.
GP_BOTH float fuse(float a, float b) {
  const float total = a + b;
  return total > 0 ? a * b / total : is_nan(total) ? total : 0.0f;
}

GP_BOTH float larger(float a, float b) { return b > a || is_nan(b) ? b : a; }

// A place between the cells low and low+1; weight is the share of the cell low+1.
struct Between {
  int low;
  float weight;
};

// Return where pixel `at` of `size` pixels lies among the cells. Pixels before the centre of the first cell take
// the first cell's value, and pixels after the centre of the last cell take the last cell's.
GP_BOTH Between place_of(int at, int size, int cells) {
  const double place = (at + 0.5) / size * cells - 0.5;
  const double held = place < 0 ? 0.0 : place > cells - 1 ? cells - 1.0 : place;
  const int low = held < cells - 1 ? static_cast<int>(held) : cells > 1 ? cells - 2 : 0;
  return {low, static_cast<float>(held - low)};
}

// ---- Pictures ------------------------------------------------------------------------------------------------------

GP_BOTH int clip8(int value) { return value < 0 ? 0 : value > 255 ? 255 : value; }

GP_BOTH uint32_t pack_rgb(int red, int green, int blue) {
  return static_cast<uint32_t>(red) | static_cast<uint32_t>(green) << 8 | static_cast<uint32_t>(blue) << 16;
}

// Convert a pixel as BT.601 with limited range.
GP_BOTH uint32_t yuv_to_rgb(int y, int u, int v) {
  const int luma = 298 * (y - 16) + 128;
  u -= 128, v -= 128;
  return pack_rgb(clip8((luma + 409 * v) >> 8), clip8((luma - 100 * u - 208 * v) >> 8), clip8((luma + 516 * u) >> 8));
}

constexpr int kWeightBits = 22;  // fractional bits of a filter's weights, as in Pillow

GP_BOTH double cubic(double x) {
  constexpr double a = -0.5;
  x = x < 0 ? -x : x;
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

// ---- Shared memory of the search -----------------------------------------------------------------------------------

constexpr int kSegment = 16;  // bytes that are copied and loaded at once

// Return the offset of a row's segment in shared memory, in segments; a row has `segments` of them. In eight
// neighbouring rows, the segments with the same number lie in different banks of the memory, so that they can be read
// at once.
template <int segments>
GP_BOTH int segment_at(int row, int segment) {
  static_assert(segments == 4 || segments == 8, "a row has 4 or 8 segments");
  return row * segments + (segment ^ (row / (8 / segments)) % segments);
}

}  // namespace gp::cuda
