// The view: which part of a frame is inspected, and how it becomes what the encoder reads
// (goodparts.runtime.core.view).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "goodparts.h"

namespace gp {

constexpr int64_t kMinSide = 8;  // pixels of a frame and of a region

// Where to look: [height,width], 0 or 1.
struct Mask {
  int64_t height = 0, width = 0;
  std::vector<uint8_t> seen;
};

// An anomaly map [height,width].
struct Map {
  int64_t height = 0, width = 0;
  std::vector<float> scores;
};

struct View {
  std::optional<gp_box> roi;
  std::optional<Mask> mask;
  bool letterbox = false;
  int64_t rows = 1, columns = 1;  // of tiles
  double overlap = 0.1;

  int64_t count() const { return rows * columns; }

  // The region of interest in a frame of this size, and its tiles. Throw Invalid unless they, and the mask, fit it.
  gp_box region(int64_t height, int64_t width) const;
  std::vector<gp_box> boxes(int64_t height, int64_t width) const;

  // A frame → what the encoder reads, out [count,size,size,3].
  void cut(const gp_frame& frame, int64_t size, uint8_t* out, int threads) const;

  // Scores of the views [count,grid_height,grid_width] of a frame of this size → the map of its region.
  Map stitch(const float* grids, int64_t grid_height, int64_t grid_width, int64_t height, int64_t width) const;

 private:
  struct Placement {
    double x, y, width, height;
  };
  // Where a tile lies in the encoder's square.
  Placement placement(int64_t height, int64_t width, double size) const;
  void square(const gp_frame& frame, const gp_box& box, int64_t size, uint8_t* out, int threads) const;
  void fit(const gp_frame& frame, const gp_box& box, int64_t size, uint8_t* out, int threads) const;
};

// A mask's PNG: one bit of grey a pixel. Throws Invalid for anything else.
Mask decode_mask(std::string_view png);

}  // namespace gp
