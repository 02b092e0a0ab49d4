// The kernels of the memory search. This file is compiled once for each instruction set, and GP_ISA is the set's name.
// The vector types are extensions of the compiler, so that one source serves all sets. Everything is in an anonymous
// namespace because the objects must not share any code: it may contain instructions that a processor lacks.
#include "search_kernels.h"

#ifdef __AVX512VNNI__
#include <immintrin.h>
#endif

#define GP_JOIN_(a, b) a##b
#define GP_JOIN(a, b) GP_JOIN_(a, b)

namespace gp {
namespace {

// Lanes of a vector, vectors side by side, and the largest number of queries at once. There are as many accumulators as
// the registers allow.
#if defined(__AVX512F__)
constexpr int kLanes = 16, kVectors = 2, kQueries = 14;
#elif defined(__AVX2__)
constexpr int kLanes = 8, kVectors = 2, kQueries = 6;
#elif defined(__aarch64__)
constexpr int kLanes = 4, kVectors = 4, kQueries = 6;
#else
constexpr int kLanes = 4, kVectors = 2, kQueries = 6;
#endif
constexpr int kWide = kLanes * kVectors;

typedef float Float __attribute__((vector_size(kLanes * 4), may_alias));
typedef int32_t Int __attribute__((vector_size(kLanes * 4), may_alias));

inline Int load(const void* from) { return *static_cast<const Int*>(from); }

inline Float splat(float value) { return value - Float{}; }

// The formats of a panel. 4 bytes hold kPer components; `at` extracts one component from every lane.
struct Fp32 {
  static constexpr int kPer = 1;
  static Float at(Int packed, int) { return reinterpret_cast<Float>(packed); }
};

struct Bf16 {
  static constexpr int kPer = 2;
  static Float at(Int packed, int which) {
    return reinterpret_cast<Float>(which ? packed & static_cast<int32_t>(0xffff0000) : packed << 16);
  }
};

struct Int8 {
  static constexpr int kPer = 4;
  static Float at(Int packed, int which) { return __builtin_convertvector((packed << (24 - 8 * which)) >> 24, Float); }
};

inline void keep_better(Float product, int32_t number, float* best, int32_t* panel) {
  Float& held = *reinterpret_cast<Float*>(best);
  Int& where = *reinterpret_cast<Int*>(panel);
  const Int better = product > held;
  held = better ? product : held;
  where = better ? number - Int{} : where;
}

// Multiply kRows queries with kWide columns of a panel. The components of the panel are converted to float.
template <class Format, int kRows>
void multiply(const Panel& panel, int column, int64_t width, const float* query, int64_t stride, Best best) {
  Float sum[kRows][kVectors] = {};
  const char* data = static_cast<const char*>(panel.data) + 4 * column;
  for (int64_t k = 0; k < width; k += Format::kPer, data += 4 * kColumns) {
#pragma GCC unroll 4
    for (int which = 0; which < Format::kPer; ++which) {
      Float bank[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) bank[v] = Format::at(load(data + 4 * kLanes * v), which);
#pragma GCC unroll 16
      for (int row = 0; row < kRows; ++row) {
        const Float value = splat(query[row * stride + k + which]);
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) sum[row][v] += value * bank[v];
      }
    }
  }
#pragma GCC unroll 16
  for (int row = 0; row < kRows; ++row)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const int at = column + kLanes * v;
      Float product = sum[row][v];
      if (Format::kPer == 4) product *= *reinterpret_cast<const Float*>(panel.scales + at);
      keep_better(product, panel.number, best.product + row * kColumns + at, best.panel + row * kColumns + at);
    }
}

// Divide `count` queries into blocks of nearly equal size, at most kQueries, and call body.template
// operator()<rows>(first) for each block.
template <class Body>
void in_blocks(int64_t count, const Body& body) {
  const int64_t blocks = (count + kQueries - 1) / kQueries;
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t first = count * block / blocks;
    switch (count * (block + 1) / blocks - first) {
      // clang-format off
#define GP_CASE(rows) \
  case rows: \
    if constexpr (rows <= kQueries) body.template operator()<rows>(first); \
    break;
      GP_CASE(1) GP_CASE(2) GP_CASE(3) GP_CASE(4) GP_CASE(5) GP_CASE(6) GP_CASE(7)
      GP_CASE(8) GP_CASE(9) GP_CASE(10) GP_CASE(11) GP_CASE(12) GP_CASE(13) GP_CASE(14)
#undef GP_CASE
      // clang-format on
    }
  }
}

template <class Format>
void search(const Panel& panel, int64_t width, const Queries& queries, Best best) {
  const float* data = static_cast<const float*>(queries.data);
  const int64_t stride = queries.stride / 4;
  for (int column = 0; column < kColumns; column += kWide)
    in_blocks(queries.count, [&]<int kRows>(int64_t first) {
      multiply<Format, kRows>(panel, column, width, data + first * stride, stride,
                              {best.product + first * kColumns, best.panel + first * kColumns});
    });
}

#ifdef __AVX512VNNI__
// Multiply integers. Queries are uint8 with 128 added; the columns' sums times 128 are subtracted from the products.
template <int kRows>
void multiply_bytes(const Panel& panel, int64_t width, const uint8_t* query, int64_t stride, Best best) {
  __m512i sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int row = 0; row < kRows; ++row) sum[row][0] = sum[row][1] = _mm512_setzero_si512();
  const char* data = static_cast<const char*>(panel.data);
  for (int64_t k = 0; k < width; k += 4, data += 4 * kColumns) {
    const __m512i bank[kVectors] = {_mm512_load_si512(data), _mm512_load_si512(data + 64)};
#pragma GCC unroll 16
    for (int row = 0; row < kRows; ++row) {
      int32_t four;
      __builtin_memcpy(&four, query + row * stride + k, 4);
      const __m512i value = _mm512_set1_epi32(four);
      sum[row][0] = _mm512_dpbusd_epi32(sum[row][0], value, bank[0]);
      sum[row][1] = _mm512_dpbusd_epi32(sum[row][1], value, bank[1]);
    }
  }
#pragma GCC unroll 16
  for (int row = 0; row < kRows; ++row)
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      const int at = kLanes * v;
      const Int exact = reinterpret_cast<Int>(sum[row][v]) - (load(panel.sums + at) << 7);
      const Float product = __builtin_convertvector(exact, Float) * *reinterpret_cast<const Float*>(panel.scales + at);
      keep_better(product, panel.number, best.product + row * kColumns + at, best.panel + row * kColumns + at);
    }
}

void search_bytes(const Panel& panel, int64_t width, const Queries& queries, Best best) {
  const uint8_t* data = static_cast<const uint8_t*>(queries.data);
  in_blocks(queries.count, [&]<int kRows>(int64_t first) {
    multiply_bytes<kRows>(panel, width, data + first * queries.stride, queries.stride,
                          {best.product + first * kColumns, best.panel + first * kColumns});
  });
}
#else
constexpr SearchPanel search_bytes = search<Int8>;
#endif

void dots(const float* rows, int64_t count, int64_t width, const float* vector, float* result) {
  typedef float Loose __attribute__((vector_size(kLanes * 4), may_alias, aligned(4)));
  for (int64_t row = 0; row < count; ++row, rows += width) {
    Float sums[4] = {};
    int64_t k = 0;
    for (; k + 4 * kLanes <= width; k += 4 * kLanes)
#pragma GCC unroll 4
      for (int part = 0; part < 4; ++part)
        sums[part] += *reinterpret_cast<const Loose*>(rows + k + part * kLanes) *
                      *reinterpret_cast<const Loose*>(vector + k + part * kLanes);
    const Float all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    float sum = 0;
    for (int lane = 0; lane < kLanes; ++lane) sum += all[lane];
    for (; k < width; ++k) sum += rows[k] * vector[k];
    result[row] = sum;
  }
}

}  // namespace

extern const SearchKernels GP_JOIN(search_, GP_ISA);
const SearchKernels GP_JOIN(search_, GP_ISA) = {search<Fp32>, search<Bf16>, search_bytes, dots};

}  // namespace gp
