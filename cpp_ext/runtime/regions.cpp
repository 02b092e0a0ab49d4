#include "regions.h"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

namespace gp {
namespace {

// The part of the map that one region covers.
struct Part {
  int64_t top, bottom, left, right;  // the first and last row and column
  int64_t cells = 0;
  float peak = 0;

  void add(int64_t y, int64_t x, float score) {
    top = std::min(top, y), bottom = std::max(bottom, y);
    left = std::min(left, x), right = std::max(right, x);
    peak = cells++ ? std::max(peak, score) : score;
  }
};

// Return the part with (y,x), and clear its cells in `left_over`.
Part take_part(const Map& map, int64_t y, int64_t x, std::vector<char>& left_over) {
  Part part{y, y, x, x};
  std::vector<std::pair<int64_t, int64_t>> reached{{y, x}};
  left_over[static_cast<size_t>(y * map.width + x)] = 0;
  while (!reached.empty()) {
    const auto [row, column] = reached.back();
    reached.pop_back();
    part.add(row, column, map.scores[static_cast<size_t>(row * map.width + column)]);
    for (int64_t down = std::max<int64_t>(row - 1, 0); down <= std::min(row + 1, map.height - 1); ++down)
      for (int64_t across = std::max<int64_t>(column - 1, 0); across <= std::min(column + 1, map.width - 1); ++across)
        if (std::exchange(left_over[static_cast<size_t>(down * map.width + across)], 0))
          reached.emplace_back(down, across);
  }
  return part;
}

}  // namespace

std::vector<gp_region> find_regions(const Map& map, double threshold, double min_area, const gp_box& extent) {
  std::vector<char> above(map.scores.size());
  std::transform(map.scores.begin(), map.scores.end(), above.begin(),
                 [limit = static_cast<float>(threshold)](float score) { return score >= limit; });
  const double scale_x = static_cast<double>(extent.width) / static_cast<double>(map.width);
  const double scale_y = static_cast<double>(extent.height) / static_cast<double>(map.height);
  const auto pixel = [](double place) { return static_cast<int64_t>(std::nearbyint(place)); };
  std::vector<gp_region> regions;
  for (int64_t y = 0; y < map.height; ++y)
    for (int64_t x = 0; x < map.width; ++x) {
      if (!above[static_cast<size_t>(y * map.width + x)]) continue;
      const Part part = take_part(map, y, x, above);
      const double area = static_cast<double>(part.cells) * scale_x * scale_y;
      if (area < min_area) continue;
      const int64_t left = static_cast<int64_t>(static_cast<double>(part.left) * scale_x);
      const int64_t top = static_cast<int64_t>(static_cast<double>(part.top) * scale_y);
      const int64_t right = pixel(static_cast<double>(part.right + 1) * scale_x);
      const int64_t bottom = pixel(static_cast<double>(part.bottom + 1) * scale_y);
      const gp_box box{extent.x + left, extent.y + top, std::max<int64_t>(1, right - left),
                       std::max<int64_t>(1, bottom - top)};
      regions.push_back({box, area, part.peak});
    }
  std::sort(regions.begin(), regions.end(), [](const gp_region& one, const gp_region& other) {
    return std::tuple(-one.peak, one.box.y, one.box.x) < std::tuple(-other.peak, other.box.y, other.box.x);
  });
  return regions;
}

}  // namespace gp
