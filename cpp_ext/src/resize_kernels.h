// The inner loops of resampling, once per instruction set.
//
// A cell is 32 bits: `taps` neighbouring samples of one channel, 4 of 8 bits, 2 of 16 or 1 of 32. A coefficient is cut
// into signed digits of as many bits as a sample has, so that a sum of products is exact: what the instruction sets
// multiply is cells with `taps` digits of one place. Coefficients for groups of `taps` neighbours lie together, and a
// group that begins or ends outside a filter has zeros there.
//
// Across (horizontally) a band of rows is worked on together. Its columns are packed in groups of `taps`; a group is
// [lanes] cells: of colour [rows][R,G,B,0], of grey [rows]. The result is packed in groups of `taps` rows, each a plane
// [columns][channels] of cells, which is what the way down (vertically) reads.
#pragma once

#include <cstdint>

namespace gp {

// The filters of all outputs along one axis. Output i reads groups first[i] … first[i]+count[i]-1; the digits of its
// coefficients, lowest first, are weights[i·stride …], [group][digit] words of `taps` digits.
struct ResizeAxis {
  const int32_t* first;
  const int32_t* count;
  const uint32_t* weights;
  int64_t stride;
};

constexpr int kResizePrecision = 22;  // bits of a coefficient behind the point

struct ResizeKernels {
  int taps, digits;
  int lanes;  // cells of one group; a multiple of these is what `down` works on

  // Pack groups of columns from where rows[lanes/4] (grey: rows[lanes]) point; `columns` may be read from there. What
  // is missing of the last group is 0.
  void (*pack_colour)(const uint8_t* const* rows, int64_t columns, int64_t groups, uint32_t* cells);
  void (*pack_grey)(const uint8_t* const* rows, int64_t columns, int64_t groups, uint32_t* cells);

  // Outputs [begin,end) of a band whose cells start at group `base`; `plane` is the distance of planes in cells. Colour
  // writes one cell behind its last.
  void (*across_colour)(const uint32_t* cells, int64_t base, const ResizeAxis& axis, int64_t begin, int64_t end,
                        uint32_t* out, int64_t plane);
  void (*across_grey)(const uint32_t* cells, int64_t base, const ResizeAxis& axis, int64_t begin, int64_t end,
                      uint32_t* out, int64_t plane);

  // One row from `groups` planes, the first of which starts at `cells`; `count`, rounded up to lanes, bytes of `out`
  // are written.
  void (*down)(const uint32_t* cells, int64_t plane, const uint32_t* weights, int64_t groups, int64_t count,
               uint8_t* out);

  // RGB of `count` pixels; chroma is a pair for two pixels, of which `second` says that the first is the later one.
  void (*nv12_to_rgb)(const uint8_t* luma, const uint8_t* chroma, bool second, int64_t count, uint8_t* rgb);
  void (*yuyv_to_rgb)(const uint8_t* yuyv, bool second, int64_t count, uint8_t* rgb);
};

extern const ResizeKernels resize_generic;
#ifdef GP_X86
extern const ResizeKernels resize_avx2, resize_avx512;
#endif

}  // namespace gp
