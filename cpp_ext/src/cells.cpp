#include "cells.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "parallel.h"

namespace gp {
namespace {

constexpr int64_t kRowsPerCell = 256;
constexpr int64_t kSamplesPerCell = 64;
constexpr int kRounds = 8;
constexpr int64_t kAtOnce = 4096;

void normalise(float* row, int64_t width) {
  double square = 0;
  for (int64_t k = 0; k < width; ++k) square += static_cast<double>(row[k]) * static_cast<double>(row[k]);
  if (square > 0)
    for (int64_t k = 0; k < width; ++k) row[k] = static_cast<float>(static_cast<double>(row[k]) / std::sqrt(square));
}

Bank bank_of(const std::vector<float>& rows, int64_t width) {
  Bank bank(width, GP_FP32);
  bank.append(rows.data(), static_cast<int64_t>(rows.size()) / width);
  return bank;
}

bool is_finite(const float* values, int64_t count) {
  return std::all_of(values, values + count, [](float value) { return std::isfinite(value); });
}

}  // namespace

Cells::Cells(const Bank& bank, const float* queries, int64_t count, float recall, int threads)
    : width_(bank.width()), centres_(bank.width(), GP_FP32) {
  const int64_t cells = std::max<int64_t>(2, bank.rows() / kRowsPerCell);
  place_centres(bank, cells, threads);
  for (int64_t cell = 0; cell < cells; ++cell) members_.emplace_back(width_, bank.precision());
  numbers_.resize(static_cast<size_t>(cells));
  std::vector<float> rows(static_cast<size_t>(std::min(kAtOnce, bank.rows()) * width_));
  for (int64_t first = 0; first < bank.rows(); first += kAtOnce) {
    const int64_t some = std::min(kAtOnce, bank.rows() - first);
    for (int64_t row = 0; row < some; ++row) bank.unpack(first + row, rows.data() + row * width_);
    append(rows.data(), some, first, threads);
  }

  std::vector<int32_t> home(static_cast<size_t>(bank.rows()));
  for (size_t cell = 0; cell < numbers_.size(); ++cell)
    for (int64_t number : numbers_[cell]) home[static_cast<size_t>(number)] = static_cast<int32_t>(cell);
  std::vector<float> product(static_cast<size_t>(count));
  std::vector<int64_t> best(static_cast<size_t>(count)), rank(static_cast<size_t>(count));
  bank.search(queries, count, product.data(), best.data(), threads);
  parallel_for(count, thread_count(threads), [&](int64_t query, int) {
    const std::vector<int32_t> order = nearest(queries + query * width_, cells);
    const auto found =
        std::find(order.begin(), order.end(), home[static_cast<size_t>(best[static_cast<size_t>(query)])]);
    rank[static_cast<size_t>(query)] = found - order.begin();
  });
  std::sort(rank.begin(), rank.end());
  const int64_t needed = std::clamp<int64_t>(std::llround(std::ceil(recall * static_cast<float>(count))), 1, count);
  probes_ = rank[static_cast<size_t>(needed - 1)] + 1;
  const int64_t found = std::lower_bound(rank.begin(), rank.end(), probes_) - rank.begin();
  recall_ = static_cast<float>(found) / static_cast<float>(count);
}

// Set the centres by spherical k-means on a sample of the rows.
void Cells::place_centres(const Bank& bank, int64_t cells, int threads) {
  const int64_t samples = std::min(bank.rows(), cells * kSamplesPerCell);
  std::vector<float> sample(static_cast<size_t>(samples * width_));
  for (int64_t at = 0; at < samples; ++at) {
    bank.unpack(at * bank.rows() / samples, sample.data() + at * width_);
    normalise(sample.data() + at * width_, width_);
  }
  centre_rows_.resize(static_cast<size_t>(cells * width_));
  for (int64_t cell = 0; cell < cells; ++cell)
    std::copy_n(sample.data() + cell * samples / cells * width_, width_, centre_rows_.data() + cell * width_);
  std::vector<float> product(static_cast<size_t>(samples));
  std::vector<int64_t> home(static_cast<size_t>(samples));
  for (int round = 0; round < kRounds; ++round) {
    bank_of(centre_rows_, width_).search(sample.data(), samples, product.data(), home.data(), threads);
    std::vector<float> sums(centre_rows_.size());
    for (int64_t at = 0; at < samples; ++at) {
      float* sum = sums.data() + home[static_cast<size_t>(at)] * width_;
      for (int64_t k = 0; k < width_; ++k) sum[k] += sample[static_cast<size_t>(at * width_ + k)];
    }
    for (int64_t cell = 0; cell < cells; ++cell) {
      float* sum = sums.data() + cell * width_;
      normalise(sum, width_);
      const bool empty = std::all_of(sum, sum + width_, [](float value) { return value == 0; });
      if (!empty) std::copy_n(sum, width_, centre_rows_.data() + cell * width_);
    }
  }
  centres_ = bank_of(centre_rows_, width_);
}

std::vector<int32_t> Cells::nearest(const float* query, int64_t cells) const {
  std::vector<float> products(members_.size());
  dots(centre_rows_.data(), count(), width_, query, products.data());
  std::vector<int32_t> order(members_.size());
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + cells, order.end(), [&](int32_t one, int32_t other) {
    const float a = products[static_cast<size_t>(one)], b = products[static_cast<size_t>(other)];
    return a != b ? a > b : one < other;
  });
  order.resize(static_cast<size_t>(cells));
  return order;
}

void Cells::append(const float* rows, int64_t count, int64_t first, int threads) {
  std::vector<float> product(static_cast<size_t>(count));
  std::vector<int64_t> home(static_cast<size_t>(count));
  centres_.search(rows, count, product.data(), home.data(), threads);
  std::vector<std::vector<int64_t>> arrived(members_.size());
  for (int64_t row = 0; row < count; ++row) arrived[static_cast<size_t>(home[static_cast<size_t>(row)])].push_back(row);
  // First allocate everything: if memory runs out, no cell has changed.
  size_t most = 0;
  for (size_t cell = 0; cell < members_.size(); ++cell) {
    most = std::max(most, arrived[cell].size());
    members_[cell].reserve(static_cast<int64_t>(arrived[cell].size()));
    numbers_[cell].reserve(numbers_[cell].size() + arrived[cell].size());
  }
  std::vector<float> gathered(most * static_cast<size_t>(width_));
  Buffer<uint32_t> scratch = members_[0].make_scratch();
  for (size_t cell = 0; cell < members_.size(); ++cell) {
    float* to = gathered.data();
    for (int64_t row : arrived[cell]) {
      to = std::copy_n(rows + row * width_, width_, to);
      numbers_[cell].push_back(first + row);
    }
    members_[cell].write(gathered.data(), static_cast<int64_t>(arrived[cell].size()), scratch);
  }
}

void Cells::search(const float* queries, int64_t count, float* product, int64_t* index, int threads) const {
  constexpr float kUnseen = -std::numeric_limits<float>::infinity();
  threads = thread_count(threads);
  std::vector<std::vector<int32_t>> chosen(static_cast<size_t>(count));
  parallel_for(count, threads, [&](int64_t query, int) {
    const float* values = queries + query * width_;
    if (is_finite(values, width_)) chosen[static_cast<size_t>(query)] = nearest(values, probes_);
  });
  std::vector<std::vector<int64_t>> visitors(members_.size());
  for (int64_t query = 0; query < count; ++query)
    for (int32_t cell : chosen[static_cast<size_t>(query)])
      if (members_[static_cast<size_t>(cell)].rows()) visitors[static_cast<size_t>(cell)].push_back(query);

  struct Found {
    float product = kUnseen;
    int64_t row = -1;
  };
  std::vector<std::vector<Found>> best(static_cast<size_t>(threads));
  for (auto& own : best) own.resize(static_cast<size_t>(count));
  parallel_for(this->count(), threads, [&](int64_t cell, int worker) {
    const std::vector<int64_t>& guests = visitors[static_cast<size_t>(cell)];
    if (guests.empty()) return;
    std::vector<float> gathered(guests.size() * static_cast<size_t>(width_)), products(guests.size());
    std::vector<int64_t> rows(guests.size());
    for (size_t at = 0; at < guests.size(); ++at)
      std::copy_n(queries + guests[at] * width_, width_, gathered.data() + at * static_cast<size_t>(width_));
    members_[static_cast<size_t>(cell)].search(gathered.data(), static_cast<int64_t>(guests.size()), products.data(),
                                               rows.data(), 1);
    for (size_t at = 0; at < guests.size(); ++at) {
      Found& held = best[static_cast<size_t>(worker)][static_cast<size_t>(guests[at])];
      const int64_t row = numbers_[static_cast<size_t>(cell)][static_cast<size_t>(rows[at])];
      if (products[at] > held.product || (products[at] == held.product && row < held.row)) held = {products[at], row};
    }
  });
  for (int64_t query = 0; query < count; ++query) {
    Found found;
    for (const auto& own : best) {
      const Found& other = own[static_cast<size_t>(query)];
      if (other.product > found.product || (other.product == found.product && other.row < found.row)) found = other;
    }
    product[query] = found.row < 0 ? std::numeric_limits<float>::quiet_NaN() : found.product;
    if (index) index[query] = found.row;
  }
}

float Cells::error_bound(float peak) const {
  float bound = 0;
  for (const Bank& cell : members_) bound = std::max(bound, cell.error_bound(peak));
  return bound;
}

int64_t Cells::bytes() const {
  int64_t total = static_cast<int64_t>(centre_rows_.size() * sizeof(float)) + centres_.bytes();
  for (size_t cell = 0; cell < members_.size(); ++cell)
    total += members_[cell].bytes() + static_cast<int64_t>(numbers_[cell].size() * sizeof(int64_t));
  return total;
}

}  // namespace gp
