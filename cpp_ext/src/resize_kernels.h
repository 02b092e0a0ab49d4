// The inner loops of resampling, for each instruction set.
//
// A cell has 32 bits. It holds `taps` neighbouring samples of one channel: 4 of 8 bits, 2 of 16 bits or 1 of 32 bits. A
// coefficient is split into signed digits with as many bits as a sample. One instruction multiplies a cell with `taps`
// digits of the same significance, so the sum of the products is exact. The coefficients for a group of `taps`
// neighbouring samples are stored together. They are zero for samples of the group outside the filter.
//
// Across (horizontally) a band of rows is resampled at once. Its columns are packed in groups of `taps`. A group has
// [lanes] cells: [rows][R,G,B,0] of colour, [rows] of grey. The result is packed in groups of `taps` rows. Each group
// is a plane [columns][channels] of cells, which the resampling down (vertically) reads.
#pragma once

#include <cstdint>

namespace gp {

// The filters of all outputs along one axis. Output i reads the groups from first[i] to first[i]+count[i]-1. Its
// coefficients begin at weights[i·stride]: [group][digit] words of `taps` digits, the lowest digit first.
struct ResizeAxis {
  const int32_t* first;
  const int32_t* count;
  const uint32_t* weights;
  int64_t stride;
};

constexpr int kResizePrecision = 22;  // fractional bits of a coefficient

struct ResizeKernels {
  int taps, digits;
  int lanes;  // cells of one group; `down` writes a multiple of this

  // Pack groups of columns. rows: pointers to lanes/4 rows (grey: lanes rows), where `columns` pixels may be read.
  // Columns that the last group lacks are 0.
  void (*pack_colour)(const uint8_t* const* rows, int64_t columns, int64_t groups, uint32_t* cells);
  void (*pack_grey)(const uint8_t* const* rows, int64_t columns, int64_t groups, uint32_t* cells);

  // Compute the outputs [begin,end) of a band whose cells begin with group `base`. plane: cells from one plane of `out`
  // to the next. across_colour also writes one cell after its last.
  void (*across_colour)(const uint32_t* cells, int64_t base, const ResizeAxis& axis, int64_t begin, int64_t end,
                        uint32_t* out, int64_t plane);
  void (*across_grey)(const uint32_t* cells, int64_t base, const ResizeAxis& axis, int64_t begin, int64_t end,
                      uint32_t* out, int64_t plane);

  // Compute one row from `groups` planes, the first of which begins at `cells`. Writes `count` bytes to `out`, rounded
  // up to a multiple of lanes.
  void (*down)(const uint32_t* cells, int64_t plane, const uint32_t* weights, int64_t groups, int64_t count,
               uint8_t* out);

  // Convert `count` pixels to RGB. Two pixels share a pair of chroma samples. `second` is true if the first pixel to
  // convert is the second of its pair.
  void (*nv12_to_rgb)(const uint8_t* luma, const uint8_t* chroma, bool second, int64_t count, uint8_t* rgb);
  void (*yuyv_to_rgb)(const uint8_t* yuyv, bool second, int64_t count, uint8_t* rgb);
};

extern const ResizeKernels resize_generic;
#ifdef GP_X86
extern const ResizeKernels resize_avx2, resize_avx512;
#endif

}  // namespace gp
