// The view: the part of a frame that is inspected, and how it becomes images for the encoder, as
// goodparts.runtime.core.view defines it in Python.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "goodparts.h"

namespace gp {

constexpr int64_t kMinSide = 8;  // pixels; the smallest side of a frame and of a region of interest

// The pixels to inspect. seen: [height,width], 1 or 0.
struct Mask {
  int64_t height = 0, width = 0;
  std::vector<uint8_t> seen;
};

// An anomaly map. scores: [height,width].
struct Map {
  int64_t height = 0, width = 0;
  std::vector<float> scores;
};

// How a frame is cut into views.
struct View {
  std::optional<gp_box> roi;  // the region of interest
  std::optional<Mask> mask;
  bool letterbox = false;
  int64_t rows = 1, columns = 1;  // of tiles
  double overlap = 0.1;           // of neighbouring tiles, as a share of their side

  int64_t count() const { return rows * columns; }

  // Return the region of interest of a frame of this size, and its tiles. Throw Invalid unless these and the mask fit
  // the frame.
  gp_box region(int64_t height, int64_t width) const;
  std::vector<gp_box> boxes(int64_t height, int64_t width) const;

  // Cut a frame into the images that the encoder reads. out: [count,size,size,3].
  void cut(const gp_frame& frame, int64_t size, uint8_t* out, int threads) const;

  // Make the map of the region of interest. grids: [count,grid_height,grid_width], the scores of the views; height,
  // width: of the frame.
  Map stitch(const float* grids, int64_t grid_height, int64_t grid_width, int64_t height, int64_t width) const;

 private:
  struct Placement {
    double x, y, width, height;
  };
  // Return where a tile of this height and width lies in the encoder's square of side `size`.
  Placement placement(int64_t height, int64_t width, double size) const;
  // Write one tile to the encoder's square. square() also paints over the pixels that the mask hides.
  void square(const gp_frame& frame, const gp_box& box, int64_t size, uint8_t* out, int threads) const;
  void fit(const gp_frame& frame, const gp_box& box, int64_t size, uint8_t* out, int threads) const;
};

// Decode the PNG of a mask. Throws Invalid unless it has one bit of grey per pixel.
Mask decode_mask(std::string_view png);

}  // namespace gp
