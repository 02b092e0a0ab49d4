// The anomaly map along one axis (goodparts.runtime.scoring.map_matrix of one tile).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace gp {

// [size,cells]: bilinear interpolation of a row of cells, then a Gaussian cut at four standard deviations, mirrored.
inline std::vector<float> map_matrix(int64_t cells, int64_t size, double sigma) {
  std::vector<double> bilinear(static_cast<size_t>(size * cells));
  for (int64_t at = 0; at < size; ++at) {
    const double place = (static_cast<double>(at) + 0.5) / static_cast<double>(size) * static_cast<double>(cells) - 0.5;
    const double held = std::clamp(place, 0.0, static_cast<double>(cells - 1));
    for (int64_t cell = 0; cell < cells; ++cell)
      bilinear[static_cast<size_t>(at * cells + cell)] =
          std::max(0.0, 1.0 - std::abs(held - static_cast<double>(cell)));
  }
  const int64_t radius = static_cast<int64_t>(4.0 * sigma + 0.5);
  std::vector<double> weights;
  double total = 0;
  for (int64_t offset = -radius; offset <= radius; ++offset) {
    const double distance = sigma > 0 ? static_cast<double>(offset) / sigma : 0.0;
    weights.push_back(std::exp(-0.5 * distance * distance));
    total += weights.back();
  }
  std::vector<float> matrix(static_cast<size_t>(size * cells));
  std::vector<double> row(static_cast<size_t>(cells));
  for (int64_t at = 0; at < size; ++at) {
    std::fill(row.begin(), row.end(), 0.0);
    for (int64_t offset = -radius; offset <= radius; ++offset) {
      const int64_t turned = ((at + offset) % (2 * size) + 2 * size) % (2 * size);
      const int64_t source = turned < size ? turned : 2 * size - 1 - turned;
      for (int64_t cell = 0; cell < cells; ++cell)
        row[static_cast<size_t>(cell)] += weights[static_cast<size_t>(offset + radius)] / total *
                                          bilinear[static_cast<size_t>(source * cells + cell)];
    }
    std::copy(row.begin(), row.end(), matrix.begin() + at * cells);
  }
  return matrix;
}

}  // namespace gp
