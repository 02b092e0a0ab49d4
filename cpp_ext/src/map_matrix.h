// The anomaly map along one axis, as map_matrix in goodparts.runtime.core.scoring computes it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

namespace gp {

// Tiles along an axis. Neighbours share `overlap` of their length. Only the part [start,stop] of a tile, from 0 to 1,
// shows the frame.
struct Tiling {
  int64_t tiles = 1;
  double overlap = 0, start = 0, stop = 1;
};

// Return the weights [size,tiles·cells] of all cells in each pixel of the map: bilinear interpolation of the cells of
// each tile, blended where tiles overlap, then a Gaussian that is cut off at four standard deviations and mirrored at
// the ends.
inline std::vector<float> map_matrix(int64_t cells, int64_t size, double sigma, const Tiling& tiling = {}) {
  // For each pixel the cells that it is interpolated from, with their weights.
  std::vector<std::vector<std::pair<int64_t, double>>> bilinear(static_cast<size_t>(size));
  const double length =
      1.0 / (static_cast<double>(tiling.tiles) - static_cast<double>(tiling.tiles - 1) * tiling.overlap);
  for (int64_t at = 0; at < size; ++at) {
    auto& row = bilinear[static_cast<size_t>(at)];
    const double place = (static_cast<double>(at) + 0.5) / static_cast<double>(size);
    double total = 0;
    for (int64_t tile = 0; tile < tiling.tiles; ++tile) {
      const double inside = (place - static_cast<double>(tile) * length * (1.0 - tiling.overlap)) / length;
      if (inside < 0 || inside > 1) continue;
      const double share = std::min(inside, 1.0 - inside) + 1e-6;
      total += share;
      const double seen = tiling.start + inside * (tiling.stop - tiling.start);
      const double held = std::clamp(seen * static_cast<double>(cells) - 0.5, 0.0, static_cast<double>(cells - 1));
      const int64_t cell = std::min(static_cast<int64_t>(held), cells - 1);
      const double rest = held - static_cast<double>(cell);
      row.emplace_back(tile * cells + cell, share * (1.0 - rest));
      if (rest > 0) row.emplace_back(tile * cells + cell + 1, share * rest);
    }
    for (auto& [cell, weight] : row) weight /= total;
  }
  const int64_t radius = static_cast<int64_t>(4.0 * sigma + 0.5);
  std::vector<double> weights;
  double total = 0;
  for (int64_t offset = -radius; offset <= radius; ++offset) {
    const double distance = sigma > 0 ? static_cast<double>(offset) / sigma : 0.0;
    weights.push_back(std::exp(-0.5 * distance * distance));
    total += weights.back();
  }
  const int64_t columns = tiling.tiles * cells;
  std::vector<float> matrix(static_cast<size_t>(size * columns));
  std::vector<double> row(static_cast<size_t>(columns));
  for (int64_t at = 0; at < size; ++at) {
    std::fill(row.begin(), row.end(), 0.0);
    for (int64_t offset = -radius; offset <= radius; ++offset) {
      const int64_t turned = ((at + offset) % (2 * size) + 2 * size) % (2 * size);
      const int64_t source = turned < size ? turned : 2 * size - 1 - turned;
      for (const auto& [cell, weight] : bilinear[static_cast<size_t>(source)])
        row[static_cast<size_t>(cell)] += weights[static_cast<size_t>(offset + radius)] / total * weight;
    }
    std::copy(row.begin(), row.end(), matrix.begin() + at * columns);
  }
  return matrix;
}

}  // namespace gp
