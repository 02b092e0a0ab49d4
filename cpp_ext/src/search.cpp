#include "search.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "cells.h"
#include "failure.h"
#include "parallel.h"
#include "search_kernels.h"

namespace gp {
namespace {

constexpr float kUnseen = -std::numeric_limits<float>::infinity();

int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

// Return the number of components in 4 bytes of a column.
int64_t per_word(gp_precision precision) { return precision == GP_FP32 ? 1 : precision == GP_BF16 ? 2 : 4; }

float from_bf16(uint16_t half) { return std::bit_cast<float>(uint32_t{half} << 16); }

uint16_t to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);  // to nearest, ties to even
}

// Round value·inverse to the nearest integer, ties to even: a float as large as kWhole has no fraction. Compilers can
// vectorise this form.
int32_t to_int8(float value, float inverse) {
  constexpr float kWhole = 12582912.0f;  // 1.5 · 2^23
  return std::bit_cast<int32_t>(value * inverse + kWhole) - std::bit_cast<int32_t>(kWhole);
}

// Return the largest absolute value, or infinity if a value is not finite. The bits of floats without a sign, read as
// integers, have the same order as the floats.
float peak_of(const float* values, int64_t count) {
  int32_t peak = 0;
  for (int64_t index = 0; index < count; ++index)
    peak = std::max(peak, std::bit_cast<int32_t>(values[index]) & 0x7fffffff);
  return std::bit_cast<float>(std::min(peak, std::bit_cast<int32_t>(std::numeric_limits<float>::infinity())));
}

// Return the scale of a row with this largest absolute value. A row of zeros may have any positive scale. A peak up to
// 1e-30 counts as zero, since its 127th part and the inverse of that must be normal floats.
float int8_scale(float peak) { return peak > 1e-30f ? peak / 127.0f : 1.0f; }

const SearchKernels& kernels() {
#ifdef GP_X86
  if (isa() >= Isa::avx512) return search_avx512;
  if (isa() == Isa::avx2) return search_avx2;
#endif
  return search_generic;
}

bool on_amx(gp_precision precision) { return isa() == Isa::amx && precision != GP_FP32; }

// Whether the queries are rounded to integers too, as "avx512" and "amx" do for int8.
bool integer_queries(gp_precision precision) { return precision == GP_INT8 && isa() >= Isa::avx512; }

}  // namespace

// Queries as the kernel reads them, and the factors of their products.
struct Bank::Prepared {
  Queries queries;
  Buffer<char> data;
  std::vector<float> scales;  // of integer queries: their products are multiplied by these
  std::vector<char> finite;   // 0 for a query with a value that is not finite
};

Bank::Bank(int64_t width, gp_precision precision) : width_(width), precision_(precision) {
  require(width >= 1 && width <= 65536, "width " + std::to_string(width) + ": from 1 to 65536 are accepted");
  require(precision == GP_FP32 || precision == GP_BF16 || precision == GP_INT8,
          "precision " + std::to_string(precision) + ": 0 (fp32), 1 (bf16) and 2 (int8) are accepted");
  padded_ = precision == GP_FP32 ? width : round_up(width, 16 * per_word(precision));
}

Bank::Bank(Bank&&) noexcept = default;
Bank& Bank::operator=(Bank&&) noexcept = default;
Bank::~Bank() = default;

int64_t Bank::panel_bytes() const { return padded_ / per_word(precision_) * kColumns * 4; }

int64_t Bank::bytes() const {
  if (cells_) return cells_->bytes();
  return static_cast<int64_t>(panels_.size() + scales_.size() * sizeof(float) + sums_.size() * sizeof(int32_t));
}

float Bank::error_bound(float peak) const {
  if (cells_) return cells_->error_bound(peak);
  const double additions = 2.0 * static_cast<double>(padded_) * std::ldexp(1.0, -24);
  if (precision_ == GP_FP32) return static_cast<float>(additions);
  if (precision_ == GP_BF16) {
    const double rounding = std::ldexp(1.0, -8);  // half a step of eight significant bits
    return static_cast<float>(additions + rounding + (on_amx(precision_) ? rounding * (1 + rounding) : 0));
  }
  double query_error = 0;
  if (integer_queries(precision_)) query_error = std::sqrt(static_cast<double>(width_)) * peak / 254.0;
  return static_cast<float>(additions + row_error_ + query_error * (1 + row_error_));
}

void Bank::append(const float* rows, int64_t count) {
  require(count >= 0 && count <= (int64_t{1} << 31) - 1 - rows_ - kColumns,
          "count " + std::to_string(count) + ": a bank holds up to 2^31 rows");
  if (count == 0) return;
  require(rows != nullptr, "rows is null");
  for (int64_t row = 0; row < count; ++row)
    if (!std::isfinite(peak_of(rows + row * width_, width_)))
      throw Invalid("row " + std::to_string(row) + " holds a value that is not finite: finite numbers are accepted");
  if (cells_) {
    cells_->append(rows, count, rows_, 0);
    rows_ += count;
    return;
  }
  Buffer<uint32_t> scratch = make_scratch();
  reserve(count);
  write(rows, count, scratch);
}

void Bank::reserve(int64_t count) {
  const int64_t panels = round_up(rows_ + count, kColumns) / kColumns;
  if (static_cast<size_t>(panels * panel_bytes()) <= panels_.size()) return;
  auto grow = [panels](auto& buffer, int64_t each) {
    std::remove_reference_t<decltype(buffer)> larger(static_cast<size_t>(panels * each));
    if (buffer.size()) std::memcpy(larger.data(), buffer.data(), buffer.size() * sizeof(buffer[0]));
    return larger;
  };
  Buffer<char> grown = grow(panels_, panel_bytes());
  Buffer<float> scales = precision_ == GP_INT8 ? grow(scales_, kColumns) : Buffer<float>();
  Buffer<int32_t> sums = precision_ == GP_INT8 ? grow(sums_, kColumns) : Buffer<int32_t>();
  panels_ = std::move(grown);
  scales_ = std::move(scales);
  sums_ = std::move(sums);
}

Buffer<uint32_t> Bank::make_scratch() const {
  return Buffer<uint32_t>(static_cast<size_t>(kColumns * padded_ / per_word(precision_)));
}

void Bank::write(const float* rows, int64_t count, Buffer<uint32_t>& scratch) {
  if (count == 0) return;
  const int64_t panels = round_up(rows_ + count, kColumns) / kColumns;
  const int64_t words = padded_ / per_word(precision_);
  for (int64_t panel = rows_ / kColumns; panel < panels; ++panel) {
    const int64_t start = std::max(rows_, panel * kColumns);
    // Columns without a row repeat the last row. That changes no result: the search takes the first of equal products.
    for (int64_t at = start; at < (panel + 1) * kColumns; ++at)
      pack(rows + std::min(at - rows_, count - 1) * width_, at, scratch.data() + at % kColumns * words);
    uint32_t* to = reinterpret_cast<uint32_t*>(panels_.data() + panel * panel_bytes());
    constexpr int64_t kLine = 16;  // words of a cache line; one line of every row at a time
    for (int64_t first = 0; first < words; first += kLine)
      for (int64_t word = first; word < std::min(words, first + kLine); ++word)
        for (int64_t column = start % kColumns; column < kColumns; ++column)
          to[word * kColumns + column] = scratch[static_cast<size_t>(column * words + word)];
  }
  rows_ += count;
}

void Bank::pack(const float* row, int64_t at, uint32_t* words) {
  if (precision_ == GP_FP32) {
    std::memcpy(words, row, static_cast<size_t>(width_) * 4);
  } else if (precision_ == GP_BF16) {
    uint16_t* to = reinterpret_cast<uint16_t*>(words);
    for (int64_t k = 0; k < width_; ++k) to[k] = to_bf16(row[k]);
  } else {
    int8_t* to = reinterpret_cast<int8_t*>(words);
    const float scale = int8_scale(peak_of(row, width_)), inverse = 1.0f / scale;
    double error = 0;
    int32_t sum = 0;
    for (int64_t k = 0; k < width_; ++k) {
      const int32_t value = to_int8(row[k], inverse);
      to[k] = static_cast<int8_t>(value);
      const double off = static_cast<double>(row[k]) - static_cast<double>(scale) * value;
      error += off * off;
      sum += value;
    }
    scales_[static_cast<size_t>(at)] = scale;
    sums_[static_cast<size_t>(at)] = sum;
    row_error_ = std::max(row_error_, std::sqrt(error));
  }
}

void Bank::unpack(int64_t row, float* values) const {
  const int64_t per = per_word(precision_), panel = row / kColumns, column = row % kColumns;
  const uint32_t* words = reinterpret_cast<const uint32_t*>(panels_.data() + panel * panel_bytes()) + column;
  for (int64_t k = 0; k < width_; ++k) {
    const uint32_t word = words[k / per * kColumns];
    const int shift = static_cast<int>(k % per) * 32 / static_cast<int>(per);
    if (precision_ == GP_FP32) values[k] = std::bit_cast<float>(word);
    if (precision_ == GP_BF16) values[k] = from_bf16(static_cast<uint16_t>(word >> shift));
    if (precision_ == GP_INT8)
      values[k] = static_cast<float>(static_cast<int8_t>(word >> shift)) * scales_[static_cast<size_t>(row)];
  }
}

float Bank::partition(const float* queries, int64_t count, float recall, int threads) {
  require(recall > 0 && recall <= 1, "recall " + std::to_string(recall) + ": above 0, up to 1 is accepted");
  require(count >= 1 && queries != nullptr, "no queries: at least one is needed to measure the recall");
  require(std::isfinite(peak_of(queries, count * width_)), "queries hold a value that is not finite");
  require(!cells_, "the bank has a partition already");
  if (rows_ < Cells::kFewest || recall == 1) return 1;
  auto cells = std::make_unique<Cells>(*this, queries, count, recall, threads);
  if (2 * cells->probes() > cells->count()) return 1;
  cells_ = std::move(cells);
  panels_ = {};
  scales_ = {};
  sums_ = {};
  return cells_->recall();
}

Bank::Prepared Bank::prepare(const float* queries, int64_t count, int threads) const {
  const bool amx = on_amx(precision_), integer = integer_queries(precision_);
  const bool as_given = !amx && !integer && padded_ == width_;
  const int64_t size = integer ? 1 : amx ? 2 : 4;
  Prepared made;
  // With an odd number of cache lines from one query to the next, the queries spread over the sets of the cache.
  const int64_t stride = (round_up(padded_ * size, 64) / 64 | 1) * 64;
  made.finite.assign(static_cast<size_t>(count), 1);
  if (as_given) {
    made.queries = {queries, width_ * 4, count};
    return made;
  }
  made.data = Buffer<char>(static_cast<size_t>(stride * (amx ? round_up(count, 16) : count)));
  made.queries = {made.data.data(), stride, count};
  made.scales.assign(static_cast<size_t>(integer ? count : 0), 1.0f);
  constexpr int64_t kAtOnce = 64;
  parallel_for((count + kAtOnce - 1) / kAtOnce, threads, [&](int64_t block, int) {
    for (int64_t row = block * kAtOnce; row < std::min(count, (block + 1) * kAtOnce); ++row) {
      const float* query = queries + row * width_;
      char* to = made.data.data() + row * stride;
      const float peak = peak_of(query, width_);
      if (!std::isfinite(peak)) {
        made.finite[static_cast<size_t>(row)] = 0;
      } else if (integer) {
        const float scale = made.scales[static_cast<size_t>(row)] = int8_scale(peak), inverse = 1.0f / scale;
        const int32_t offset = amx ? 0 : 128;
        for (int64_t k = 0; k < width_; ++k) to[k] = static_cast<char>(to_int8(query[k], inverse) + offset);
        for (int64_t k = width_; k < padded_; ++k) to[k] = static_cast<char>(offset);
      } else if (amx) {
        for (int64_t k = 0; k < width_; ++k) reinterpret_cast<uint16_t*>(to)[k] = to_bf16(query[k]);
      } else {
        std::memcpy(to, query, static_cast<size_t>(width_) * 4);
      }
    }
  });
  return made;
}

void Bank::search(const float* queries, int64_t count, float* product, int64_t* index, int threads) const {
  require(rows_ > 0, "the bank is empty: append rows before searching it");
  require(count >= 0, "count " + std::to_string(count) + ": 0 or more are accepted");
  if (count == 0) return;
  require(queries != nullptr && product != nullptr, "queries or out_product is null");
  if (cells_) return cells_->search(queries, count, product, index, threads);
  const int64_t panels = round_up(rows_, kColumns) / kColumns;
  // The number of multiplications that one thread does in the time that another thread needs to wake up.
  constexpr int64_t kProducts = 20'000'000;
  const int64_t worth = std::max<int64_t>(1, count * rows_ * width_ / kProducts);
  threads = static_cast<int>(std::min<int64_t>({thread_count(threads), panels, worth}));
  const Prepared prepared = prepare(queries, count, threads);

  const size_t cells = static_cast<size_t>(count * kColumns);
  std::vector<Buffer<float>> products;
  std::vector<Buffer<int32_t>> numbers;
  for (int worker = 0; worker < threads; ++worker) {
    products.emplace_back(cells);
    numbers.emplace_back(cells);
    std::fill_n(products.back().data(), cells, kUnseen);
  }
  const SearchKernels& usual = kernels();
  SearchPanel kernel = precision_ == GP_FP32 ? usual.fp32 : precision_ == GP_BF16 ? usual.bf16 : usual.int8;
#ifdef GP_X86
  const bool amx = on_amx(precision_);
  if (amx) kernel = precision_ == GP_BF16 ? search_amx_bf16 : search_amx_int8;
#endif
  std::atomic<int64_t> next{0};
  run_on_workers(threads, [&](int worker) {
#ifdef GP_X86
    if (amx) amx_begin();
#endif
    const Best best{products[static_cast<size_t>(worker)].data(), numbers[static_cast<size_t>(worker)].data()};
    for (int64_t number; (number = next.fetch_add(1)) < panels;) {
      const Panel panel{
          panels_.data() + number * panel_bytes(), precision_ == GP_INT8 ? scales_.data() + number * kColumns : nullptr,
          precision_ == GP_INT8 ? sums_.data() + number * kColumns : nullptr, static_cast<int32_t>(number)};
      kernel(panel, padded_, prepared.queries, best);
    }
#ifdef GP_X86
    if (amx) amx_end();
#endif
  });

  for (int64_t query = 0; query < count; ++query) {
    float best = kUnseen;
    int64_t where = -1;
    for (int worker = 0; worker < threads; ++worker)
      for (int column = 0; column < kColumns; ++column) {
        const size_t cell = static_cast<size_t>(query * kColumns + column);
        const float value = products[static_cast<size_t>(worker)][cell];
        const int64_t row = int64_t{numbers[static_cast<size_t>(worker)][cell]} * kColumns + column;
        if (value > best || (value == best && where >= 0 && row < where)) best = value, where = row;
      }
    // Rows are finite, so every product of a query that is not finite is infinite or NaN.
    const bool finite = prepared.finite[static_cast<size_t>(query)] && std::isfinite(best);
    if (!prepared.scales.empty()) best *= prepared.scales[static_cast<size_t>(query)];
    product[query] = finite ? best : std::numeric_limits<float>::quiet_NaN();
    if (index) index[query] = finite ? where : -1;
  }
}

void dots(const float* rows, int64_t count, int64_t width, const float* vector, float* result) {
  kernels().dots(rows, count, width, vector, result);
}

}  // namespace gp
