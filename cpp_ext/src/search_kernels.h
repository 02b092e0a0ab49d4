// The inner loops of the memory search. They compare queries with one panel of a bank.
//
// A panel holds kColumns rows of the bank as its columns: [width/per][kColumns][per], where `per` components (1 of
// fp32, 2 of bf16, 4 of int8) occupy 4 bytes. So one load fills a vector with the same components of neighbouring rows.
#pragma once

#include <cstdint>

#include "isa.h"

namespace gp {

constexpr int kColumns = 32;

// For each query and column the largest product so far, and the number of the panel with that product. Both are
// [queries,kColumns].
struct Best {
  float* product;
  int32_t* panel;
};

struct Panel {
  const void* data;
  const float* scales;  // int8: the scale of each column
  const int32_t* sums;  // int8: the sum of each column's components
  int32_t number;       // of the panel in its bank
};

// Queries as a kernel reads them. A query begins `stride` bytes after the previous query.
struct Queries {
  const void* data;
  int64_t stride;
  int64_t count;
};

// Compare every query with every row of a panel. width: the components of a row, padding included.
using SearchPanel = void (*)(const Panel& panel, int64_t width, const Queries& queries, Best best);

struct SearchKernels {
  SearchPanel fp32;  // queries are float
  SearchPanel bf16;  // queries are float; for "amx" bfloat16
  SearchPanel int8;  // queries are float; for "avx512" uint8 with 128 added; for "amx" int8
  // Compute dots[i] = rows[i] · vector. rows: [count,width] without gaps.
  void (*dots)(const float* rows, int64_t count, int64_t width, const float* vector, float* dots);
};

extern const SearchKernels search_generic;
#ifdef GP_X86
extern const SearchKernels search_avx2, search_avx512;
// Every thread must call these before and after the two kernels of "amx".
void amx_begin();
void amx_end();
void search_amx_bf16(const Panel& panel, int64_t width, const Queries& queries, Best best);
void search_amx_int8(const Panel& panel, int64_t width, const Queries& queries, Best best);
#endif

}  // namespace gp
