// A memory bank and its search: the largest inner product of each query with any row, without a matrix of them all.
#pragma once

#include <cstdint>
#include <memory>

#include "buffer.h"
#include "goodparts.h"

namespace gp {

class Cells;

class Bank {
 public:
  Bank(int64_t width, gp_precision precision);
  Bank(Bank&&) noexcept;
  Bank& operator=(Bank&&) noexcept;
  ~Bank();

  // rows: float [count,width] without gaps, finite.
  void append(const float* rows, int64_t count);

  int64_t rows() const { return rows_; }
  int64_t width() const { return width_; }
  gp_precision precision() const { return precision_; }
  int64_t bytes() const;

  // How far a product of unit vectors may be from exact, for queries of which no component is larger than `peak`.
  float error_bound(float peak) const;

  // product [count]; index [count] or null. NaN and -1 for a query that is not finite.
  void search(const float* queries, int64_t count, float* product, int64_t* index, int threads) const;

  // From now on a search looks into as few cells of the rows as give the share `recall` of these queries their best
  // row. Returns the share that it is; 1 where the bank is searched as a whole because cells would gain nothing.
  float partition(const float* queries, int64_t count, float recall, int threads);

  // A row as it is stored; not of a bank with a partition.
  void unpack(int64_t row, float* values) const;

 private:
  struct Prepared;
  Prepared prepare(const float* queries, int64_t count, int threads) const;
  // One row as 4-byte words; int8: its scale and sum, as those of row `at`.
  void pack(const float* row, int64_t at, uint32_t* words);
  int64_t panel_bytes() const;

  int64_t width_, padded_;  // padded_: to whole steps of the kernels
  gp_precision precision_;
  int64_t rows_ = 0;
  Buffer<char> panels_;
  Buffer<float> scales_;          // int8: of each row
  Buffer<int32_t> sums_;          // int8: of each row's components
  double row_error_ = 0;          // int8: largest distance of a stored row from the given one
  std::unique_ptr<Cells> cells_;  // holds the rows, where there is one
};

// dots[i] = rows[i] · vector; rows [count,width] without gaps.
void dots(const float* rows, int64_t count, int64_t width, const float* vector, float* result);

}  // namespace gp

// The handle of the C API.
struct gp_bank {
  gp::Bank bank;
};
