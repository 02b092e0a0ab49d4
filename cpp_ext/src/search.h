// A memory bank and its search, which finds the largest inner product of each query with any row without storing all
// products.
#pragma once

#include <cstdint>
#include <memory>

#include "buffer.h"
#include "goodparts.h"

namespace gp {

class Cells;

// gp_bank. Its functions throw Invalid for arguments out of range.
class Bank {
 public:
  Bank(int64_t width, gp_precision precision);
  Bank(Bank&&) noexcept;
  Bank& operator=(Bank&&) noexcept;
  ~Bank();

  // rows: [count,width] without gaps, finite. If memory runs out, the bank does not change.
  void append(const float* rows, int64_t count);

  int64_t rows() const { return rows_; }
  int64_t width() const { return width_; }
  gp_precision precision() const { return precision_; }
  int64_t bytes() const;

  // Return an upper bound on the error of a product of unit vectors, for queries without a component above `peak`.
  float error_bound(float peak) const;

  // product: [count]; index: [count] or null. A query with a value that is not finite gets NaN and -1.
  void search(const float* queries, int64_t count, float* product, int64_t* index, int threads) const;

  // Divide the rows into cells: later searches cover the smallest number of cells with which the share `recall` of
  // these queries finds its best row. Return that share as measured, or 1 if the bank stays whole because cells would
  // gain nothing.
  float partition(const float* queries, int64_t count, float recall, int threads);

  // Read a row with its stored precision. The bank must not be divided into cells.
  void unpack(int64_t row, float* values) const;

 private:
  struct Prepared;
  Prepared prepare(const float* queries, int64_t count, int threads) const;
  // The two steps of append. Only the first allocates memory, and it does not change the results of a search. scratch:
  // words of one panel, as make_scratch returns.
  void reserve(int64_t count);
  void write(const float* rows, int64_t count, Buffer<uint32_t>& scratch);
  Buffer<uint32_t> make_scratch() const;
  // Write one row as 4-byte words. int8: also store its scale and its sum, as those of row `at`.
  void pack(const float* row, int64_t at, uint32_t* words);
  int64_t panel_bytes() const;
  friend class Cells;

  int64_t width_, padded_;  // padded_: the width, rounded up to whole steps of the kernels
  gp_precision precision_;
  int64_t rows_ = 0;
  Buffer<char> panels_;
  Buffer<float> scales_;          // int8: the scale of each row
  Buffer<int32_t> sums_;          // int8: the sum of each row's components
  double row_error_ = 0;          // int8: the largest Euclidean distance of a stored row from the given row
  std::unique_ptr<Cells> cells_;  // after a partition it holds the rows, and panels_ is empty
};

// Compute result[i] = rows[i] · vector. rows: [count,width] without gaps.
void dots(const float* rows, int64_t count, int64_t width, const float* vector, float* result);

}  // namespace gp

// The handle of the C API.
struct gp_bank {
  gp::Bank bank;
};
