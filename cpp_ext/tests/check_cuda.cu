// Compares the device code with plain loops, for compute-sanitizer and ncu, under which Python would take minutes.
// Prints the differences, and exits with 1 if a result is wrong. `check_cuda small` is for the emulation on the CPU.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <exception>
#include <vector>

#include "cuda.h"
#include "runtime.h"

namespace {

using namespace gp::cuda;

uint32_t state = 1;

uint8_t draw() {
  state = state * 1664525u + 1013904223u;
  return static_cast<uint8_t>(state >> 24);
}

std::vector<float> unit_rows(int64_t count, int64_t width) {
  std::vector<float> rows(static_cast<size_t>(count * width));
  for (int64_t row = 0; row < count; ++row) {
    float* values = rows.data() + row * width;
    float length = 0;
    for (int64_t k = 0; k < width; ++k) {
      values[k] = static_cast<float>(draw()) - 127.5f;
      length += values[k] * values[k];
    }
    for (int64_t k = 0; k < width; ++k) values[k] /= std::sqrt(length);
  }
  return rows;
}

template <class T>
Memory up(const std::vector<T>& values) {
  return Memory(values.data(), values.size() * sizeof(T));
}

template <class T>
std::vector<T> down(const Memory& memory) {
  std::vector<T> values(memory.bytes() / sizeof(T));
  GP_CUDA(cudaMemcpy(values.data(), memory.as<void>(), memory.bytes(), cudaMemcpyDeviceToHost));
  return values;
}

// Return the largest product of each query with any row.
std::vector<float> largest(const std::vector<float>& queries, const std::vector<float>& rows, int64_t width) {
  std::vector<float> best(queries.size() / static_cast<size_t>(width), -2.0f);
  for (size_t query = 0; query < best.size(); ++query)
    for (size_t row = 0; row < rows.size() / static_cast<size_t>(width); ++row) {
      const float* left = queries.data() + query * static_cast<size_t>(width);
      const float* right = rows.data() + row * static_cast<size_t>(width);
      float sum = 0;
      for (int64_t k = 0; k < width; ++k) sum += left[k] * right[k];
      best[query] = std::fmax(best[query], sum);
    }
  return best;
}

// Return the largest difference, or NaN.
float apart(const std::vector<float>& seen, const std::vector<float>& wanted) {
  float worst = 0;
  for (size_t at = 0; at < wanted.size(); ++at) {
    const float difference = std::abs(seen[at] - wanted[at]);
    if (!(difference <= worst)) worst = difference;  // also if it is NaN
  }
  return worst;
}

bool report(const char* what, float worst, float most) {
  std::printf("%s: off by %.1e, at most %.0e\n", what, static_cast<double>(worst), static_cast<double>(most));
  return worst <= most;
}

bool check_search(Precision precision, int64_t rows, int64_t queries, int64_t width) {
  const std::vector<float> bank_rows = unit_rows(rows, width), query_rows = unit_rows(queries, width);
  Bank bank(width, precision);
  bank.append(bank_rows.data(), Type::float32, rows, false, nullptr);
  const Search search({&bank}, queries);
  const Memory on_device = up(query_rows), product(static_cast<size_t>(queries) * sizeof(float)),
               index(static_cast<size_t>(queries) * sizeof(int64_t));
  search.run({on_device.as<void>()}, Type::float32, queries, {product.as<float>()}, {index.as<int64_t>()}, nullptr);
  // The components are rounded to 11 bits, to 8 bits, or to 254 steps between the largest value and its negative.
  const float most = precision == Precision::fp16 ? 1e-3f : precision == Precision::bf16 ? 8e-3f : 2e-2f;
  char what[80];
  std::snprintf(what, sizeof what, "search, precision %d, %d rows of %d", static_cast<int>(precision),
                static_cast<int>(rows), static_cast<int>(width));
  return report(what, apart(down<float>(product), largest(query_rows, bank_rows, width)), most);
}

// Check scoring with two banks and margins. The memory score of a patch is (1 - the mean of its largest products) / 2.
bool check_score(int64_t views, int64_t side, int64_t width) {
  const int64_t patches = side * side;
  const std::vector<float> prompts = unit_rows(2, width), global = unit_rows(views, width);
  const std::vector<float> local = unit_rows(views * patches, width), margins(static_cast<size_t>(patches), 0.1f);
  std::vector<std::vector<float>> rows, features;
  std::vector<Memory> on_device;
  Bank banks[] = {Bank(width, Precision::fp16), Bank(width, Precision::fp16)};
  std::vector<const void*> memory;
  for (Bank& bank : banks) {
    rows.push_back(unit_rows(patches, width));
    bank.append(rows.back().data(), Type::float32, patches, false, nullptr);
    features.push_back(unit_rows(views * patches, width));
    on_device.push_back(up(features.back()));
  }
  for (const Memory& one : on_device) memory.push_back(one.as<void>());
  const Scorer scorer({width,
                       side,
                       side,
                       prompts.data(),
                       prompts.data(),
                       4.6f,
                       {&banks[0], &banks[1]},
                       true,
                       GP_RESIDUAL,
                       {margins.data(), margins.data()},
                       0.04f},
                      views);
  const Memory on_global = up(global), on_local = up(local);
  const size_t of_view = static_cast<size_t>(views) * sizeof(float), of_grid = of_view * static_cast<size_t>(patches);
  const Memory image(of_view), grid(of_grid), image_prompt(of_view), image_memory(of_view), grid_prompt(of_grid),
      grid_memory(of_grid), grid_residual(of_grid);
  for (int again = 0; again < 2; ++again)
    scorer.run({views, Type::float32, on_global.as<void>(), on_local.as<void>(), memory},
               {image.as<float>(), grid.as<float>(), image_prompt.as<float>(), image_memory.as<float>(),
                grid_prompt.as<float>(), grid_memory.as<float>(), grid_residual.as<float>()},
               nullptr);
  const std::vector<float> first = largest(features[0], rows[0], width), second = largest(features[1], rows[1], width);
  std::vector<float> wanted(first.size());
  for (size_t at = 0; at < wanted.size(); ++at) wanted[at] = (2 - first[at] - second[at]) / 4;
  bool good = report("score, grid of the memory", apart(down<float>(grid_memory), wanted), 5e-4f);
  for (const Memory* scores : {&image, &grid})
    for (float value : down<float>(*scores)) good = good && std::isfinite(value) && value >= 0;
  return good;
}

// Check resizing: a part of a frame keeps its pixels if its size stays, and a frame of one grey stays grey in another
// size.
bool check_resize(int64_t width, int64_t height) {
  std::vector<uint8_t> frame(static_cast<size_t>(width * height * 3));
  for (uint8_t& value : frame) value = draw();
  const gp_box box{3, 5, width / 2, height / 2};
  const Memory on_device = up(frame), same(static_cast<size_t>(box.width * box.height * 3));
  gp_frame shown{on_device.as<uint8_t>(), nullptr, width, height, width * 3, 0, GP_RGB};
  resize(shown, &box, box.width, box.height, same.as<void>(), current_device(), nullptr);
  const std::vector<uint8_t> part = down<uint8_t>(same);
  bool good = true;
  for (int64_t row = 0; row < box.height; ++row)
    good = good && !std::memcmp(part.data() + row * box.width * 3, frame.data() + ((row + box.y) * width + box.x) * 3,
                                static_cast<size_t>(box.width * 3));
  const Memory grey = up(std::vector<uint8_t>(frame.size(), 77)), small(240 * 240 * 3);
  shown.data = grey.as<uint8_t>();
  resize(shown, nullptr, 240, 240, small.as<void>(), current_device(), nullptr);
  for (uint8_t value : down<uint8_t>(small)) good = good && value == 77;
  std::printf("resize: %s\n", good ? "right" : "wrong");
  return good;
}

}  // namespace

int main(int argc, char** argv) {
  const bool small = argc > 1 && !std::strcmp(argv[1], "small");
  try {
    std::string why;
    if (!available(&why)) {
      std::printf("no device: %s\n", why.c_str());
      return 2;
    }
    bool good = true;
    for (Precision precision : {Precision::fp16, Precision::bf16, Precision::int8}) {
      good = check_search(precision, 130, 70, 96) && good;
      if (!small) good = check_search(precision, 3600, 225, 896) && good;
    }
    good = check_score(2, small ? 4 : 15, small ? 32 : 896) && good;
    good = check_resize(small ? 60 : 2448, small ? 40 : 2048) && good;
    return good ? 0 : 1;
  } catch (const std::exception& problem) {
    std::printf("%s\n", problem.what());
    return 1;
  }
}
