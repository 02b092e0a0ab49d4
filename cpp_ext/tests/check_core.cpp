// Compares the C API with plain loops, for processors where Python does not run. Prints the differences, and exits with
// 1 if the search is outside its error bound, or if a bank changes when memory runs out. Prints the resized picture as
// a hash, to be compared with Pillow's.
#include <goodparts.h>

#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <vector>

namespace {

// How many allocations succeed before one fails; below 0 none fails.
std::atomic<long> allocations_left{-1};

void* allocate(size_t size, size_t alignment) {
  if (allocations_left >= 0 && allocations_left-- == 0) throw std::bad_alloc();
  void* memory = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  return memory ? memory : throw std::bad_alloc();
}

}  // namespace

// These replace the allocation functions of the whole program, the library included.
void* operator new(size_t size) { return allocate(size, alignof(std::max_align_t)); }
void* operator new(size_t size, std::align_val_t alignment) { return allocate(size, static_cast<size_t>(alignment)); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

namespace {

uint32_t state = 1;

uint8_t draw() {
  state = state * 1664525u + 1013904223u;
  return static_cast<uint8_t>(state >> 24);
}

std::vector<float> unit_rows(int count, int width) {
  std::vector<float> rows(static_cast<size_t>(count * width));
  for (int row = 0; row < count; ++row) {
    float length = 0;
    float* values = rows.data() + row * width;
    for (int k = 0; k < width; ++k) {
      values[k] = static_cast<float>(draw()) - 127.5f;
      length += values[k] * values[k];
    }
    for (int k = 0; k < width; ++k) values[k] /= std::sqrt(length);
  }
  return rows;
}

bool check_search(gp_precision precision, int rows, int queries, int width) {
  const std::vector<float> bank_rows = unit_rows(rows, width), query_rows = unit_rows(queries, width);
  gp_bank* bank = gp_bank_create(width, precision, nullptr);
  std::vector<float> product(static_cast<size_t>(queries));
  std::vector<int64_t> index(product.size());
  bool good = bank && gp_bank_append(bank, bank_rows.data(), rows, nullptr) &&
              gp_bank_search(bank, query_rows.data(), queries, product.data(), index.data(), 2, nullptr);
  double worst = 0;
  float peak = 0;
  for (float value : query_rows) peak = std::fmax(peak, std::abs(value));
  for (int query = 0; good && query < queries; ++query) {
    double best = -2;
    for (int row = 0; row < rows; ++row) {
      double sum = 0;
      for (int k = 0; k < width; ++k)
        sum += static_cast<double>(query_rows[static_cast<size_t>(query * width + k)]) *
               static_cast<double>(bank_rows[static_cast<size_t>(row * width + k)]);
      best = std::fmax(best, sum);
    }
    worst = std::fmax(worst, std::abs(best - static_cast<double>(product[static_cast<size_t>(query)])));
  }
  good = good && worst <= static_cast<double>(gp_bank_error_bound(bank, peak));
  std::printf("search, precision %d, %d rows: off by %.1e, at most %.1e\n", precision, rows, worst,
              static_cast<double>(gp_bank_error_bound(bank, peak)));
  gp_bank_free(bank);
  return good;
}

// Return rows around 40 directions, which a partition finds.
std::vector<float> grouped_rows(int count, int width) {
  const std::vector<float> ways = unit_rows(40, width);
  std::vector<float> made = unit_rows(count, width);
  for (size_t at = 0; at < made.size(); ++at) {
    const size_t columns = static_cast<size_t>(width);
    made[at] = 0.9f * made[at] + ways[at / columns % 40 * columns + at % columns];
  }
  return made;
}

// Let memory run out at each allocation while rows are appended, and check that the bank does not change.
bool check_append_without_memory(gp_precision precision, bool divided) {
  const int rows = 6000, more = 500, queries = 100, width = 32;
  const std::vector<float> all = grouped_rows(rows + more, width);
  const float* added = all.data() + static_cast<size_t>(rows) * width;
  std::vector<float> before(static_cast<size_t>(queries)), after(before.size());
  gp_bank* bank = gp_bank_create(width, precision, nullptr);
  float recall = 0;
  bool good = bank && gp_bank_append(bank, all.data(), rows, nullptr) &&
              (!divided || gp_bank_partition(bank, all.data(), queries, 0.95f, 1, &recall, nullptr)) &&
              gp_bank_search(bank, added, queries, before.data(), nullptr, 1, nullptr);
  int failures = 0;
  for (bool appended = false; good && !appended; ++failures) {
    gp_error error = {};
    allocations_left = failures;
    appended = gp_bank_append(bank, added, more, &error);
    allocations_left = -1;
    good = gp_bank_search(bank, added, queries, after.data(), nullptr, 1, nullptr);
    if (!appended) good = good && error.code == GP_MEMORY && gp_bank_rows(bank) == rows && after == before;
  }
  std::printf("append without memory, precision %d%s: unchanged at each of %d allocations\n", precision,
              divided ? ", divided" : "", failures - 1);
  good = good && failures > 1 && gp_bank_rows(bank) == rows + more && after != before;
  gp_bank_free(bank);
  return good;
}

// Check the partition with rows around 40 directions. The queries with which the recall is measured are searched again.
bool check_partition(gp_precision precision) {
  const int rows = 6000, queries = 300, width = 32;
  const std::vector<float> all = grouped_rows(rows + queries, width);
  const std::vector<float> bank_rows(all.begin(), all.begin() + rows * width);
  const std::vector<float> query_rows(all.begin() + rows * width, all.end());
  std::vector<float> exact(static_cast<size_t>(queries)), found(exact.size());
  gp_bank* bank = gp_bank_create(width, precision, nullptr);
  float recall = 0;
  bool good = bank && gp_bank_append(bank, bank_rows.data(), rows, nullptr) &&
              gp_bank_search(bank, query_rows.data(), queries, exact.data(), nullptr, 2, nullptr) &&
              gp_bank_partition(bank, query_rows.data(), queries, 0.95f, 2, &recall, nullptr) &&
              gp_bank_search(bank, query_rows.data(), queries, found.data(), nullptr, 2, nullptr);
  int same = 0;
  for (size_t query = 0; query < exact.size(); ++query) same += found[query] > exact[query] - 1e-5f;
  std::printf("partition, precision %d: recall %.3f measured, %.3f found\n", precision, static_cast<double>(recall),
              static_cast<double>(same) / queries);
  good = good && recall >= 0.95f && recall < 1 && static_cast<float>(same) >= recall * queries;
  gp_bank_free(bank);
  return good;
}

}  // namespace

int main() {
  bool good = true;
  for (gp_precision precision : {GP_FP32, GP_BF16, GP_INT8}) good = check_partition(precision) && good;
  for (gp_precision precision : {GP_FP32, GP_BF16, GP_INT8})
    for (bool divided : {false, true}) good = check_append_without_memory(precision, divided) && good;
  for (gp_precision precision : {GP_FP32, GP_BF16, GP_INT8})
    for (int rows : {1, 33, 200}) good = check_search(precision, rows, 17, 70) && good;

  // Resize 300×200 random pixels to 96×64. The generator starts again so that the pixels are always the same.
  state = 7;
  std::vector<uint8_t> pixels(300 * 200 * 3), out(96 * 64 * 3);
  for (uint8_t& value : pixels) value = draw();
  const gp_frame frame{pixels.data(), nullptr, 300, 200, 900, 0, GP_RGB};
  good = gp_resize(&frame, nullptr, out.data(), 96, 64, 2, nullptr) && good;
  uint32_t hash = 2166136261u;
  for (uint8_t value : out) hash = (hash ^ value) * 16777619u;
  std::printf("resize %08x\n", hash);
  return good ? 0 : 1;
}
