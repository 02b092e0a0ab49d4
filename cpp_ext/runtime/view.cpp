#include "view.h"

#include <png.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>

#include "failure.h"
#include "map_matrix.h"
#include "preprocess.h"
#include "score.h"

namespace gp {
namespace {

constexpr uint8_t kPadding[3] = {122, 116, 104};  // CLIP's mean colour
constexpr int64_t kMapSize = 400;                 // pixels of the map for each tile and axis
constexpr double kMapSigma = 4;

// Round to the nearest integer, ties to even, as Python does.
int64_t rounded(double value) { return static_cast<int64_t>(std::nearbyint(value)); }

// Return the start and the stop of each tile along an axis, in pixels.
std::vector<std::pair<int64_t, int64_t>> tile_edges(int64_t length, int64_t tiles, double overlap) {
  const double tile =
      static_cast<double>(length) / (static_cast<double>(tiles) - static_cast<double>(tiles - 1) * overlap);
  require(tile >= 1, std::to_string(tiles) + " tiles along " + std::to_string(length) +
                         " pixels: at least one pixel per tile is needed");
  std::vector<std::pair<int64_t, int64_t>> edges;
  for (int64_t index = 0; index < tiles; ++index) {
    const double start = static_cast<double>(index) * tile * (1.0 - overlap);
    edges.emplace_back(rounded(start), std::min(length, std::max(rounded(start) + 1, rounded(start + tile))));
  }
  return edges;
}

// Fill `count` pixels with the padding colour.
void paint(uint8_t* pixels, int64_t count) {
  for (int64_t at = 0; at < count; ++at) std::memcpy(pixels + 3 * at, kPadding, 3);
}

std::string size_text(int64_t width, int64_t height) { return std::to_string(width) + "×" + std::to_string(height); }

// Set the map to 0 where the mask hides the frame. The mask is resampled to the nearest neighbour as Pillow does it:
// the step is added for each pixel, because a multiplication would round differently.
void hide_unseen(Map& map, const Mask& mask, const gp_box& all) {
  const auto places = [](int64_t in, int64_t out) {
    const double step = static_cast<double>(in) / static_cast<double>(out);
    std::vector<int64_t> made;
    double place = step * 0.5;
    for (int64_t at = 0; at < out; ++at, place += step) made.push_back(static_cast<int64_t>(place));
    return made;
  };
  const std::vector<int64_t> down = places(all.height, map.height), across = places(all.width, map.width);
  for (int64_t y = 0; y < map.height; ++y)
    for (int64_t x = 0; x < map.width; ++x) {
      const int64_t row = down[static_cast<size_t>(y)], column = across[static_cast<size_t>(x)];
      const bool seen = row < all.height && column < all.width &&
                        mask.seen[static_cast<size_t>((all.y + row) * mask.width + all.x + column)];
      if (!seen) map.scores[static_cast<size_t>(y * map.width + x)] = 0;
    }
}

}  // namespace

gp_box View::region(int64_t height, int64_t width) const {
  if (mask)
    require(mask->height == height && mask->width == width, "the mask is " + size_text(mask->width, mask->height) +
                                                                " pixels, the frame " + size_text(width, height) +
                                                                ": they must be of one size");
  if (!roi) return {0, 0, width, height};
  const bool inside = roi->x >= 0 && roi->y >= 0 && roi->x <= width - roi->width && roi->y <= height - roi->height;
  require(inside && roi->width >= kMinSide && roi->height >= kMinSide,
          "region " + std::to_string(roi->x) + "," + std::to_string(roi->y) + "," + std::to_string(roi->width) + "," +
              std::to_string(roi->height) + " does not lie inside a " + size_text(width, height) + " frame");
  return *roi;
}

std::vector<gp_box> View::boxes(int64_t height, int64_t width) const {
  const gp_box all = region(height, width);
  std::vector<gp_box> made;
  for (const auto& [top, bottom] : tile_edges(all.height, rows, overlap))
    for (const auto& [left, right] : tile_edges(all.width, columns, overlap))
      made.push_back({all.x + left, all.y + top, right - left, bottom - top});
  return made;
}

void View::cut(const gp_frame& frame, int64_t size, uint8_t* out, int threads) const {
  for (const gp_box& box : boxes(frame.height, frame.width)) {
    square(frame, box, size, out, threads);
    out += size * size * 3;
  }
}

void View::square(const gp_frame& frame, const gp_box& box, int64_t size, uint8_t* out, int threads) const {
  if (!mask) return fit(frame, box, size, out, threads);
  std::vector<uint8_t> part(static_cast<size_t>(box.width * box.height * 3));
  resize(frame, &box, part.data(), box.width, box.height, threads);  // keeps the size and converts to RGB
  for (int64_t y = 0; y < box.height; ++y)
    for (int64_t x = 0; x < box.width; ++x)
      if (!mask->seen[static_cast<size_t>((box.y + y) * mask->width + box.x + x)])
        paint(part.data() + (y * box.width + x) * 3, 1);
  const gp_frame painted{part.data(), nullptr, box.width, box.height, box.width * 3, 0, GP_RGB};
  fit(painted, {0, 0, box.width, box.height}, size, out, threads);
}

void View::fit(const gp_frame& frame, const gp_box& box, int64_t size, uint8_t* out, int threads) const {
  const Placement place = placement(box.height, box.width, static_cast<double>(size));
  const int64_t width = std::max<int64_t>(1, rounded(place.width));
  const int64_t height = std::max<int64_t>(1, rounded(place.height));
  if (width == size && height == size) return resize(frame, &box, out, size, size, threads);
  const int64_t left = rounded(place.x), top = rounded(place.y);
  std::vector<uint8_t> resized(static_cast<size_t>(width * height * 3));
  resize(frame, &box, resized.data(), width, height, threads);
  paint(out, size * size);
  for (int64_t y = 0; y < std::min(height, size - top); ++y)
    std::memcpy(out + ((top + y) * size + left) * 3, resized.data() + y * width * 3,
                static_cast<size_t>(std::min(width, size - left) * 3));
}

View::Placement View::placement(int64_t height, int64_t width, double size) const {
  if (!letterbox) return {0, 0, size, size};
  const double scale = size / static_cast<double>(std::max(width, height));
  const double wide = static_cast<double>(width) * scale, high = static_cast<double>(height) * scale;
  return {(size - wide) / 2, (size - high) / 2, wide, high};
}

Map View::stitch(const float* grids, int64_t grid_height, int64_t grid_width, int64_t height, int64_t width) const {
  const gp_box all = region(height, width);
  const auto [top, bottom] = tile_edges(all.height, rows, overlap)[0];
  const auto [left, right] = tile_edges(all.width, columns, overlap)[0];
  const Placement place = placement(bottom - top, right - left, 1.0);
  const Tiling down{rows, overlap, place.y, place.y + place.height};
  const Tiling across{columns, overlap, place.x, place.x + place.width};
  Map map{kMapSize * rows, kMapSize * columns, {}};
  map.scores.resize(static_cast<size_t>(map.height * map.width));
  const int64_t mosaic_width = columns * grid_width, mosaic_height = rows * grid_height;
  std::vector<float> mosaic(static_cast<size_t>(mosaic_height * mosaic_width));
  for (int64_t view = 0; view < count(); ++view)
    for (int64_t y = 0; y < grid_height; ++y)
      std::copy_n(grids + (view * grid_height + y) * grid_width, grid_width,
                  mosaic.begin() + (view / columns * grid_height + y) * mosaic_width + view % columns * grid_width);
  map_of(mosaic.data(), mosaic_height, mosaic_width, map_matrix(grid_height, map.height, kMapSigma, down),
         map_matrix(grid_width, map.width, kMapSigma, across), map.scores.data());
  if (mask) hide_unseen(map, *mask, all);
  return map;
}

Mask decode_mask(std::string_view png) {
  constexpr size_t kDepth = 24, kColour = 25;  // offsets of these bytes in the header's chunk, which comes first
  constexpr size_t kMost = size_t{1} << 27;    // pixels; a PNG of a few bytes can claim to have many
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  const bool opened = png_image_begin_read_from_memory(&image, png.data(), png.size()) != 0;
  const auto fail = [&](const std::string& why) {
    png_image_free(&image);
    throw Invalid("the view's mask cannot be read: " + why);
  };
  if (!opened) fail(image.message);
  const bool plain = png.size() > kColour && png[kDepth] == 1 && png[kColour] == PNG_COLOR_TYPE_GRAY &&
                     !(image.format & PNG_FORMAT_FLAG_ALPHA);
  if (!plain) fail("it is not a PNG with one bit of grey per pixel");
  if (size_t{image.width} * image.height > kMost)
    fail("it is " + size_text(image.width, image.height) + " pixels: up to 134 million are accepted");
  Mask mask{image.height, image.width, std::vector<uint8_t>(size_t{image.width} * image.height)};
  image.format = PNG_FORMAT_GRAY;
  if (!png_image_finish_read(&image, nullptr, mask.seen.data(), 0, nullptr)) fail(image.message);
  for (uint8_t& one : mask.seen) one = one >= 128;
  return mask;
}

}  // namespace gp
