// A bank's rows put into cells of neighbours, so that a search need not look at all of them.
#pragma once

#include <cstdint>
#include <vector>

#include "search.h"

namespace gp {

class Cells {
 public:
  // A bank of at least two cells, and queries such as will come: as many cells of them are looked into as hold the
  // best row of the share `recall` of these queries.
  Cells(const Bank& bank, const float* queries, int64_t count, float recall, int threads);

  // Below this many rows a partition gains nothing.
  static constexpr int64_t kFewest = 4096;

  // Of the queries above, measured.
  float recall() const { return recall_; }
  int64_t count() const { return static_cast<int64_t>(members_.size()); }
  // How many cells a query is compared with.
  int64_t probes() const { return probes_; }

  // These are Bank's; rows are numbered from `first` on.
  void append(const float* rows, int64_t count, int64_t first, int threads);
  void search(const float* queries, int64_t count, float* product, int64_t* index, int threads) const;
  float error_bound(float peak) const;
  int64_t bytes() const;

 private:
  void place_centres(const Bank& bank, int64_t cells, int threads);
  // Numbers of the cells whose centres are nearest to a query, the nearest first.
  std::vector<int32_t> nearest(const float* query, int64_t cells) const;

  int64_t width_, probes_ = 0;
  float recall_ = 1;
  Bank centres_;
  std::vector<float> centre_rows_;  // [cells,width], of unit length
  std::vector<Bank> members_;
  std::vector<std::vector<int64_t>> numbers_;  // of each cell's rows, in the whole bank
};

}  // namespace gp
