// The rows of a bank, divided into cells of neighbouring rows, so that a search need not compare a query with all rows.
#pragma once

#include <cstdint>
#include <vector>

#include "search.h"

namespace gp {

class Cells {
 public:
  // Divide a bank. queries: [count,width], finite, a sample of later queries. A search covers the smallest number of
  // cells with which the share `recall` of these queries finds its best row.
  Cells(const Bank& bank, const float* queries, int64_t count, float recall, int threads);

  // With fewer rows a partition gains nothing.
  static constexpr int64_t kFewest = 4096;

  // Return the share of the constructor's queries that find their best row, as measured.
  float recall() const { return recall_; }
  int64_t count() const { return static_cast<int64_t>(members_.size()); }
  // Return how many cells a search covers for each query.
  int64_t probes() const { return probes_; }

  // These work as the functions of Bank do. append numbers its rows from `first` on.
  void append(const float* rows, int64_t count, int64_t first, int threads);
  void search(const float* queries, int64_t count, float* product, int64_t* index, int threads) const;
  float error_bound(float peak) const;
  int64_t bytes() const;

 private:
  void place_centres(const Bank& bank, int64_t cells, int threads);
  // Return the numbers of the cells whose centres are nearest to a query, the nearest first.
  std::vector<int32_t> nearest(const float* query, int64_t cells) const;

  int64_t width_, probes_ = 0;
  float recall_ = 1;
  Bank centres_;
  std::vector<float> centre_rows_;  // [cells,width], of unit length
  std::vector<Bank> members_;
  std::vector<std::vector<int64_t>> numbers_;  // for each cell, the numbers of its rows in the whole bank
};

}  // namespace gp
