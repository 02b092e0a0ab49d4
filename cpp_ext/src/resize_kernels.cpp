#include "resize_kernels.h"

#include <string.h>

#if defined(__SSE2__)
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // a false alarm of GCC 12 in its _mm512_undefined (bug 105593)
#endif
#include <immintrin.h>
#endif

#ifndef GP_ISA
#define GP_ISA generic
#endif
#define GP_PASTE(name, isa) name##isa
#define GP_NAME(name, isa) GP_PASTE(name, isa)

namespace gp {
namespace {

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)
#define GP_BYTES
constexpr int kWidth = 16, kTaps = 4;
typedef uint8_t Sample;
#elif defined(__AVX2__)
constexpr int kWidth = 8, kTaps = 2;
typedef uint16_t Sample;
#elif defined(__SSE2__)
constexpr int kWidth = 4, kTaps = 2;
typedef uint16_t Sample;
#else
constexpr int kWidth = 4, kTaps = 1;
typedef uint32_t Sample;
#endif

constexpr int kVectors = 4;  // processed together, so that enough sums are in progress and loaded digits are reused
constexpr int kLanes = kVectors * kWidth, kRows = kLanes / 4;
constexpr int kBits = 32 / kTaps, kDigits = kTaps == 4 ? 3 : kTaps;

typedef uint32_t Vector __attribute__((vector_size(4 * kWidth)));
typedef int32_t Signed __attribute__((vector_size(4 * kWidth)));

inline Vector load(const uint32_t* cells) {
  Vector vector;
  memcpy(&vector, cells, sizeof vector);
  return vector;
}

// All arithmetic is modulo 2^32: only the final sum must fit.
inline Vector multiply_add(Vector sum, Vector cells, Vector digits) {
#if defined(GP_BYTES)
  return (Vector)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)cells, (__m512i)digits);
#elif defined(__AVX2__)
  return sum + (Vector)_mm256_madd_epi16((__m256i)cells, (__m256i)digits);
#elif defined(__SSE2__)
  return sum + (Vector)_mm_madd_epi16((__m128i)cells, (__m128i)digits);
#else
  return sum + cells * digits;
#endif
}

// Compute one output for each of kLanes cells, not clipped yet. A group begins `stride` cells after the previous group.
inline __attribute__((always_inline)) void filter(const uint32_t* cells, int64_t stride, const uint32_t* weights,
                                                  int64_t groups, Signed (&out)[kVectors]) {
  Vector sums[kDigits][kVectors] = {};
  for (int64_t group = 0; group < groups; ++group, cells += stride, weights += kDigits) {
    Vector loaded[kVectors];
    for (int v = 0; v < kVectors; ++v) loaded[v] = load(cells + v * kWidth);
    for (int digit = 0; digit < kDigits; ++digit) {
      const Vector digits = weights[digit] - Vector{};
      for (int v = 0; v < kVectors; ++v) sums[digit][v] = multiply_add(sums[digit][v], loaded[v], digits);
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    Vector total = sums[kDigits - 1][v];
    for (int digit = kDigits - 2; digit >= 0; --digit) total = (total << kBits % 32) + sums[digit][v];
    out[v] = (Signed)(total + (1u << (kResizePrecision - 1))) >> kResizePrecision;
  }
}

// Clip the values to 0 to 255 and write them in the order of the lanes.
template <typename T>
inline void clip(const Signed (&values)[kVectors], T* out) {
  for (int v = 0; v < kVectors; ++v) {
    Signed value = values[v];
    value = value < 0 ? Signed{} : value;
    value = value > 255 ? Signed{} + 255 : value;
    for (int lane = 0; lane < kWidth; ++lane) out[v * kWidth + lane] = (T)value[lane];
  }
}

#if defined(GP_BYTES)
// Clip the values as above. The bytes have the order [quarter of a vector][vector][4].
inline __m512i clip_interleaved(const Signed (&values)[kVectors]) {
  const __m512i low = _mm512_packs_epi32((__m512i)values[0], (__m512i)values[1]);
  const __m512i high = _mm512_packs_epi32((__m512i)values[2], (__m512i)values[3]);
  return _mm512_packus_epi16(low, high);
}

inline __m512i transpose_words(__m512i words) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm512_permutexvar_epi32(order, words);
}

inline void clip(const Signed (&values)[kVectors], uint8_t* out) {
  _mm512_storeu_si512(out, transpose_words(clip_interleaved(values)));
}
#endif

// Clip [kRows][4] results and store them in their planes, in cells of kTaps rows each.
inline void store_colour(const Signed (&values)[kVectors], uint32_t* out, int64_t plane) {
#if defined(GP_BYTES)
  const __m512i bytes = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  const __m512i cells = _mm512_shuffle_epi8(transpose_words(clip_interleaved(values)), bytes);
  _mm_storeu_si128((__m128i*)out, _mm512_castsi512_si128(cells));
  _mm_storeu_si128((__m128i*)(out + plane), _mm512_extracti32x4_epi32(cells, 1));
  _mm_storeu_si128((__m128i*)(out + 2 * plane), _mm512_extracti32x4_epi32(cells, 2));
  _mm_storeu_si128((__m128i*)(out + 3 * plane), _mm512_extracti32x4_epi32(cells, 3));
#else
  uint32_t clipped[kLanes];
  clip(values, clipped);
  for (int group = 0; group < kRows / kTaps; ++group) {
    uint32_t cells[4] = {};
    for (int tap = 0; tap < kTaps; ++tap)
      for (int channel = 0; channel < 4; ++channel)
        cells[channel] |= clipped[(group * kTaps + tap) * 4 + channel] << (tap * kBits);
    memcpy(out + group * plane, cells, sizeof cells);
  }
#endif
}

inline void store_grey(const Signed (&values)[kVectors], uint32_t* out, int64_t plane) {
  Sample clipped[kLanes];
  clip(values, clipped);
  for (int group = 0; group < kLanes / kTaps; ++group) memcpy(out + group * plane, clipped + group * kTaps, 4);
}

void across_colour(const uint32_t* cells, int64_t base, const ResizeAxis& axis, int64_t begin, int64_t end,
                   uint32_t* out, int64_t plane) {
  for (int64_t index = begin; index < end; ++index) {
    Signed values[kVectors];
    filter(cells + (axis.first[index] - base) * kLanes, kLanes, axis.weights + index * axis.stride, axis.count[index],
           values);
    store_colour(values, out + index * 3, plane);
  }
}

void across_grey(const uint32_t* cells, int64_t base, const ResizeAxis& axis, int64_t begin, int64_t end, uint32_t* out,
                 int64_t plane) {
  for (int64_t index = begin; index < end; ++index) {
    Signed values[kVectors];
    filter(cells + (axis.first[index] - base) * kLanes, kLanes, axis.weights + index * axis.stride, axis.count[index],
           values);
    store_grey(values, out + index, plane);
  }
}

void down(const uint32_t* cells, int64_t plane, const uint32_t* weights, int64_t groups, int64_t count, uint8_t* out) {
  for (int64_t index = 0; index < count; index += kLanes) {
    Signed values[kVectors];
    filter(cells + index, plane, weights, groups, values);
    clip(values, out + index);
  }
}

void pack_colour(const uint8_t* const* rows, int64_t columns, int64_t groups, uint32_t* cells) {
  int64_t done = 0;
#if defined(GP_BYTES) || defined(__AVX2__)
  // A load reads 16 bytes and uses 3·kTaps of them. It must not read past the last column.
  const int64_t safe = columns < 6 ? 0 : (columns * 3 - 16) / (3 * kTaps) + 1;
  done = safe < groups ? safe : groups;
  for (int v = 0; v < kVectors; ++v) {
    const uint8_t* const* row = rows + v * kTaps;
    uint32_t* out = cells + v * kWidth;
    for (int64_t group = 0; group < done; ++group, out += kLanes) {
      const int64_t at = group * 3 * kTaps;
#if defined(GP_BYTES)
      const __m512i order = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, -1, -1, -1, -1));
      __m512i pixels = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i*)(row[0] + at)));
      pixels = _mm512_inserti32x4(pixels, _mm_loadu_si128((const __m128i*)(row[1] + at)), 1);
      pixels = _mm512_inserti32x4(pixels, _mm_loadu_si128((const __m128i*)(row[2] + at)), 2);
      pixels = _mm512_inserti32x4(pixels, _mm_loadu_si128((const __m128i*)(row[3] + at)), 3);
      _mm512_storeu_si512(out, _mm512_shuffle_epi8(pixels, order));
#else
      const __m256i order =
          _mm256_broadcastsi128_si256(_mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1));
      __m256i pixels = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i*)(row[0] + at)));
      pixels = _mm256_inserti128_si256(pixels, _mm_loadu_si128((const __m128i*)(row[1] + at)), 1);
      _mm256_storeu_si256((__m256i*)out, _mm256_shuffle_epi8(pixels, order));
#endif
    }
  }
#endif
  for (int64_t group = done; group < groups; ++group) {
    const int64_t left = columns - group * kTaps;
    for (int row = 0; row < kRows; ++row) {
      const uint8_t* pixels = rows[row] + group * 3 * kTaps;
      uint32_t red = 0, green = 0, blue = 0;
      for (int tap = 0; tap < kTaps && tap < left; ++tap, pixels += 3) {
        red |= (uint32_t)pixels[0] << (tap * kBits);
        green |= (uint32_t)pixels[1] << (tap * kBits);
        blue |= (uint32_t)pixels[2] << (tap * kBits);
      }
      const uint32_t packed[4] = {red, green, blue, 0};
      memcpy(cells + group * kLanes + row * 4, packed, sizeof packed);
    }
  }
}

void pack_grey(const uint8_t* const* rows, int64_t columns, int64_t groups, uint32_t* cells) {
  const int64_t whole = columns / kTaps < groups ? columns / kTaps : groups;
  for (int row = 0; row < kLanes; ++row) {
    const uint8_t* pixels = rows[row];
    uint32_t* out = cells + row;
    for (int64_t group = 0; group < whole; ++group, pixels += kTaps, out += kLanes) {
      uint32_t cell = 0;
      for (int tap = 0; tap < kTaps; ++tap) cell |= (uint32_t)pixels[tap] << (tap * kBits);
      *out = cell;
    }
    if (whole < groups) {
      *out = 0;
      for (int tap = 0; tap < columns - whole * kTaps; ++tap) *out |= (uint32_t)pixels[tap] << (tap * kBits);
    }
  }
}

constexpr int kBlock = 64;  // pixels converted together

// Write 16 pixels of RGB from 16 bytes of each channel.
inline void interleave(const uint8_t* red, const uint8_t* green, const uint8_t* blue, uint8_t* rgb) {
#if defined(__SSSE3__)
  const __m128i r = _mm_loadu_si128((const __m128i*)red), g = _mm_loadu_si128((const __m128i*)green);
  const __m128i b = _mm_loadu_si128((const __m128i*)blue);
  const auto third = [&](__m128i reds, __m128i greens, __m128i blues) {
    return _mm_or_si128(_mm_or_si128(_mm_shuffle_epi8(r, reds), _mm_shuffle_epi8(g, greens)),
                        _mm_shuffle_epi8(b, blues));
  };
  constexpr char no = -1;
  const __m128i first = third(_mm_setr_epi8(0, no, no, 1, no, no, 2, no, no, 3, no, no, 4, no, no, 5),
                              _mm_setr_epi8(no, 0, no, no, 1, no, no, 2, no, no, 3, no, no, 4, no, no),
                              _mm_setr_epi8(no, no, 0, no, no, 1, no, no, 2, no, no, 3, no, no, 4, no));
  const __m128i second = third(_mm_setr_epi8(no, no, 6, no, no, 7, no, no, 8, no, no, 9, no, no, 10, no),
                               _mm_setr_epi8(5, no, no, 6, no, no, 7, no, no, 8, no, no, 9, no, no, 10),
                               _mm_setr_epi8(no, 5, no, no, 6, no, no, 7, no, no, 8, no, no, 9, no, no));
  const __m128i last = third(_mm_setr_epi8(no, 11, no, no, 12, no, no, 13, no, no, 14, no, no, 15, no, no),
                             _mm_setr_epi8(no, no, 11, no, no, 12, no, no, 13, no, no, 14, no, no, 15, no),
                             _mm_setr_epi8(10, no, no, 11, no, no, 12, no, no, 13, no, no, 14, no, no, 15));
  _mm_storeu_si128((__m128i*)rgb, first);
  _mm_storeu_si128((__m128i*)(rgb + 16), second);
  _mm_storeu_si128((__m128i*)(rgb + 32), last);
#else
  for (int index = 0; index < 16; ++index) {
    rgb[3 * index] = red[index];
    rgb[3 * index + 1] = green[index];
    rgb[3 * index + 2] = blue[index];
  }
#endif
}

inline int16_t clip(int16_t value) { return value < 0 ? 0 : value > 255 ? 255 : value; }

// Convert kBlock pixels to RGB, as BT.601 with limited range. A word of luma holds two pixels, the first in the low
// byte; a word of chroma holds U in the low byte and V. The arithmetic has 16 bits: a factor such as 298 = 256 + 42 is
// split, because a multiple of 256 needs no shift.
inline void yuv_to_rgb(const uint16_t* luma, const uint16_t* chroma, uint8_t* rgb) {
  uint16_t red[kBlock / 2], green[kBlock / 2], blue[kBlock / 2];
  for (int pair = 0; pair < kBlock / 2; ++pair) {
    const int16_t u = (int16_t)((chroma[pair] & 255) - 128), v = (int16_t)((chroma[pair] >> 8) - 128);
    const int16_t for_red = (int16_t)(128 - 103 * v), for_green = (int16_t)(128 - 100 * u + 48 * v);
    const int16_t for_blue = (int16_t)(128 + 4 * u);
    uint16_t reds = 0, greens = 0, blues = 0;
    for (int second = 0; second < 2; ++second) {
      const int16_t y = (int16_t)((second ? luma[pair] >> 8 : luma[pair] & 255) - 16), part = (int16_t)(42 * y);
      reds |= (uint16_t)(clip((int16_t)(y + 2 * v + ((int16_t)(part + for_red) >> 8))) << 8 * second);
      greens |= (uint16_t)(clip((int16_t)(y - v + ((int16_t)(part + for_green) >> 8))) << 8 * second);
      blues |= (uint16_t)(clip((int16_t)(y + 2 * u + ((int16_t)(part + for_blue) >> 8))) << 8 * second);
    }
    red[pair] = reds, green[pair] = greens, blue[pair] = blues;
  }
  for (int index = 0; index < kBlock; index += 16)
    interleave((uint8_t*)red + index, (uint8_t*)green + index, (uint8_t*)blue + index, rgb + 3 * index);
}

// Convert `count` pixels to RGB. load(at, count, luma, chroma) copies the bytes of `count` pixels, from pixel `at`
// counted from the first pair.
template <class Load>
inline void convert(const Load& load, bool second, int64_t count, uint8_t* rgb) {
  uint8_t block[3 * kBlock];
  uint16_t luma[kBlock / 2] = {}, chroma[kBlock / 2] = {};
  const int64_t end = second + count;
  for (int64_t at = second, some; at < end; at += some, rgb += 3 * some) {
    some = at % 2 ? 1 : end - at;
    if (some >= kBlock) {  // with a constant size, which compilers make faster
      some = kBlock;
      load(at, kBlock, (uint8_t*)luma, (uint8_t*)chroma);
      yuv_to_rgb(luma, chroma, rgb);
    } else {
      load(at, some, (uint8_t*)luma, (uint8_t*)chroma);
      yuv_to_rgb(luma, chroma, block);
      memcpy(rgb, block, 3 * some);
    }
  }
}

void nv12_to_rgb(const uint8_t* luma, const uint8_t* chroma, bool second, int64_t count, uint8_t* rgb) {
  const auto load = [=](int64_t at, int64_t some, uint8_t* y, uint8_t* uv) __attribute__((always_inline)) {
    memcpy(y, luma - second + at, some);
    memcpy(uv, chroma + at / 2 * 2, (some + 1) / 2 * 2);
  };
  convert(load, second, count, rgb);
}

void yuyv_to_rgb(const uint8_t* yuyv, bool second, int64_t count, uint8_t* rgb) {
  const auto load = [=](int64_t at, int64_t some, uint8_t* y, uint8_t* uv) __attribute__((always_inline)) {
    uint16_t lumas[kBlock], chromas[kBlock] = {};  // luma is in the low byte, chroma in the high byte
    memcpy(lumas, yuyv + 2 * at, 2 * some);
    memcpy(chromas, yuyv + at / 2 * 4, (some + 1) / 2 * 4);
    for (int index = 0; index < kBlock; ++index) y[index] = (uint8_t)lumas[index];
    for (int index = 0; index < kBlock; ++index) uv[index] = (uint8_t)(chromas[index] >> 8);
  };
  convert(load, second, count, rgb);
}

}  // namespace

extern const ResizeKernels GP_NAME(resize_, GP_ISA);
const ResizeKernels GP_NAME(resize_, GP_ISA) = {kTaps,         kDigits,     kLanes, pack_colour, pack_grey,
                                                across_colour, across_grey, down,   nv12_to_rgb, yuyv_to_rgb};

}  // namespace gp
