// The inner loops of the memory search: one panel of a bank against some queries.
//
// A panel holds kColumns rows of the bank, interleaved so that one load fills a vector with one component of
// neighbouring rows: [width/per][kColumns][per], where `per` components (fp32 1, bf16 2, int8 4) make 4 bytes.
#pragma once

#include <cstdint>

#include "isa.h"

namespace gp {

constexpr int kColumns = 32;

// The best product so far of each query with the rows in each of the columns, and the panel it was found in:
// [queries,kColumns] both.
struct Best {
  float* product;
  int32_t* panel;
};

struct Panel {
  const void* data;
  const float* scales;  // int8: of each column
  const int32_t* sums;  // int8: of each column's components
  int32_t number;
};

// Queries as a kernel reads them; rows `stride` bytes apart.
struct Queries {
  const void* data;
  int64_t stride;
  int64_t count;
};

// Compares every query with every row of a panel. width: of the panel, padding included.
using SearchPanel = void (*)(const Panel& panel, int64_t width, const Queries& queries, Best best);

struct SearchKernels {
  SearchPanel fp32;  // queries float
  SearchPanel bf16;  // queries float; "amx": bfloat16
  SearchPanel int8;  // queries float; "avx512": uint8, 128 added; "amx": int8
  // dots[i] = rows[i] · vector; rows [count,width] without gaps.
  void (*dots)(const float* rows, int64_t count, int64_t width, const float* vector, float* dots);
};

extern const SearchKernels search_generic;
#ifdef GP_X86
extern const SearchKernels search_avx2, search_avx512;
// To be called on every thread before and after the two kernels of "amx".
void amx_begin();
void amx_end();
void search_amx_bf16(const Panel& panel, int64_t width, const Queries& queries, Best best);
void search_amx_int8(const Panel& panel, int64_t width, const Queries& queries, Best best);
#endif

}  // namespace gp
