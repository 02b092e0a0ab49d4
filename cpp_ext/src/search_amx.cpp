// The search with AMX's matrix tiles. One instruction multiplies 64 bytes each of 16 queries and 16 columns and adds
// the results to 16×16 sums.
#include <immintrin.h>

#include "search_kernels.h"

namespace gp {
namespace {

constexpr int kTile = 16;       // rows of a tile; a row has 64 bytes
constexpr int kStep = 64;       // bytes of every query per step
constexpr int kPanelRow = 128;  // bytes from one row of a panel's tile to the next

// Tiles 0 to 3 hold sums, 4 and 5 queries, 6 and 7 columns.
struct Bf16 {
  static constexpr int kBytes = 2;
  static void step(bool both) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if (!both) return;
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  static __m512 product(const void* sum, const Panel&, int) { return _mm512_load_ps(sum); }
};

struct Int8 {
  static constexpr int kBytes = 1;
  static void step(bool both) {
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    if (!both) return;
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
  static __m512 product(const void* sum, const Panel& panel, int column) {
    typedef int32_t Ints __attribute__((vector_size(64), may_alias));
    return __builtin_convertvector(*static_cast<const Ints*>(sum), __m512) * _mm512_load_ps(panel.scales + column);
  }
};

// queries: whole tiles of 16 rows; the rows after the last query are zero.
template <class Format>
void search(const Panel& panel, int64_t width, const Queries& queries, Best best) {
  alignas(64) char sums[2 * kTile][kPanelRow];
  const char* columns = static_cast<const char*>(panel.data);
  for (int64_t first = 0; first < queries.count; first += 2 * kTile) {
    const bool both = queries.count - first > kTile;
    const char* rows = static_cast<const char*>(queries.data) + first * queries.stride;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t k = 0; k < width * Format::kBytes; k += kStep) {
      _tile_loadd(6, columns + k / 4 * kPanelRow, kPanelRow);
      _tile_loadd(7, columns + k / 4 * kPanelRow + 64, kPanelRow);
      _tile_loadd(4, rows + k, queries.stride);
      if (both) _tile_loadd(5, rows + kTile * queries.stride + k, queries.stride);
      Format::step(both);
    }
    _tile_stored(0, sums[0], kPanelRow);
    _tile_stored(1, sums[0] + 64, kPanelRow);
    _tile_stored(2, sums[kTile], kPanelRow);
    _tile_stored(3, sums[kTile] + 64, kPanelRow);
    const int64_t rows_here = queries.count - first < 2 * kTile ? queries.count - first : 2 * kTile;
    const __m512i number = _mm512_set1_epi32(panel.number);
    for (int64_t row = 0; row < rows_here; ++row)
      for (int half = 0; half < 2; ++half) {
        const int64_t at = (first + row) * kColumns + half * 16;
        const __m512 product = Format::product(sums[row] + 64 * half, panel, 16 * half);
        const __m512 held = _mm512_load_ps(best.product + at);
        const __mmask16 better = _mm512_cmp_ps_mask(product, held, _CMP_GT_OQ);
        _mm512_mask_store_ps(best.product + at, better, product);
        _mm512_mask_store_epi32(best.panel + at, better, number);
      }
  }
}

}  // namespace

void amx_begin() {
  // It is static because compilers assume that the instruction reads only its first bytes, and would not set the rest.
  alignas(64) static const struct {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } config;
  _tile_loadconfig(&config);
}

void amx_end() { _tile_release(); }

void search_amx_bf16(const Panel& panel, int64_t width, const Queries& queries, Best best) {
  search<Bf16>(panel, width, queries, best);
}

void search_amx_int8(const Panel& panel, int64_t width, const Queries& queries, Best best) {
  search<Int8>(panel, width, queries, best);
}

}  // namespace gp
