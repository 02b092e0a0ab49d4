// Calls the C API with arguments made from arbitrary bytes, valid or not. No call may crash, and a call that fails must
// report why. This is a libFuzzer target (clang: -fsanitize=fuzzer,address). With -DGP_FUZZ_MAIN it is a program that
// draws the bytes itself: fuzz_api [runs] [seed].
#include <goodparts.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

namespace {

class Bytes {
 public:
  Bytes(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  uint8_t byte() { return at_ < size_ ? data_[at_++] : 0; }

  // Return a number that is mostly in [low,high], and sometimes far out of range.
  int64_t number(int64_t low, int64_t high) {
    const uint8_t kind = byte();
    if (kind == 255) return -static_cast<int64_t>(byte());
    if (kind == 254) return std::numeric_limits<int64_t>::max() - byte();
    if (kind == 253) return std::numeric_limits<int64_t>::min() + byte();
    return low + (byte() * 256 + byte()) % (high - low + 1);
  }

  float value() {
    const uint8_t kind = byte();
    if (kind == 255) return std::numeric_limits<float>::quiet_NaN();
    if (kind == 254) return std::numeric_limits<float>::infinity();
    if (kind == 253) return 1e38f;
    return (static_cast<float>(kind) - 126.0f) / 126.0f;
  }

  std::vector<float> values(int64_t count) {
    std::vector<float> made(static_cast<size_t>(std::clamp<int64_t>(count, 0, 1 << 16)));
    for (float& one : made) one = value();
    return made;
  }

 private:
  const uint8_t* data_;
  size_t size_, at_ = 0;
};

// Abort if a failed call reported no error, an internal error, or no message.
void check(bool done, const gp_error& error) {
  if (!done && (error.code == GP_OK || error.code == GP_INTERNAL || !error.message[0])) {
    std::fprintf(stderr, "a call failed with code %d and message '%s'\n", error.code, error.message);
    std::abort();
  }
}

void resize(Bytes& bytes) {
  const int64_t width = bytes.number(1, 70), height = bytes.number(1, 70);
  const int64_t real_width = std::clamp<int64_t>(width, 1, 70), real_height = std::clamp<int64_t>(height, 1, 70);
  const auto format = static_cast<gp_format>(bytes.byte() % 6);
  const int64_t row = 3 * real_width + bytes.byte() % 8;
  // The buffers have exactly the needed size, so that the sanitizer detects a read past their end.
  const int64_t pixel = format == GP_GREY || format == GP_NV12 ? 1 : format == GP_YUYV ? 2 : 3;
  std::vector<uint8_t> pixels(static_cast<size_t>(row * (real_height - 1) + pixel * real_width), bytes.byte());
  std::vector<uint8_t> chroma(static_cast<size_t>(row * ((real_height + 1) / 2 - 1) + real_width), bytes.byte());
  gp_frame frame{pixels.data(), chroma.data(), width, height, row, row, format};
  if (bytes.byte() == 0) frame.data = nullptr;
  if (bytes.byte() == 0) frame.stride = bytes.number(0, 10);
  if (width > 70 || height > 70) frame.data = nullptr;  // there is no buffer of this size
  const gp_box box{bytes.number(0, 60), bytes.number(0, 60), bytes.number(1, 60), bytes.number(1, 60)};
  const int64_t out_width = bytes.byte() % 50, out_height = bytes.byte() % 50;
  std::vector<uint8_t> out(static_cast<size_t>(out_width * out_height * 3 + 1));
  gp_error error{};
  check(
      gp_resize(&frame, bytes.byte() % 2 ? &box : nullptr, out.data(), out_width, out_height, bytes.byte() % 4, &error),
      error);
}

void search_and_score(Bytes& bytes) {
  gp_error error{};
  const int64_t width = bytes.number(1, 80);
  const auto precision = static_cast<gp_precision>(bytes.byte() % 4);
  gp_bank* bank = gp_bank_create(width, precision, &error);
  check(bank != nullptr, error);
  if (!bank) return;
  for (int piece = bytes.byte() % 3; piece >= 0; --piece) {
    const int64_t rows = bytes.byte() % 70;
    check(gp_bank_append(bank, bytes.values(rows * width).data(), width * rows > (1 << 16) ? 0 : rows, &error), error);
  }
  const int64_t side = 1 + bytes.byte() % 4, patches = side * side, views = bytes.byte() % 3;
  const std::vector<float> queries = bytes.values(views * patches * width);
  std::vector<float> product(static_cast<size_t>(views * patches));
  std::vector<int64_t> index(product.size());
  if (queries.size() == product.size() * static_cast<size_t>(width)) {
    if (bytes.byte() % 8 == 0) {  // enough rows for a partition
      std::vector<float> many(static_cast<size_t>(4200 * width));
      for (size_t at = 0; at < many.size(); ++at) many[at] = static_cast<float>(at * 2654435761u % 251) - 125.0f;
      check(gp_bank_append(bank, many.data(), 4200, &error), error);
    }
    if (bytes.byte() % 2)
      check(gp_bank_partition(bank, queries.data(), views * patches, bytes.value(), bytes.byte() % 3, nullptr, &error),
            error);
    check(gp_bank_search(bank, queries.data(), views * patches, product.data(),
                         bytes.byte() % 2 ? index.data() : nullptr, bytes.byte() % 3, &error),
          error);
    const std::vector<float> prompts = bytes.values(4 * 8), global = bytes.values(views * 8);
    const std::vector<float> local = bytes.values(views * patches * 8);
    gp_product description{};
    description.width = 8;
    description.grid_height = description.grid_width = side;
    description.image_prompts = prompts.data();
    description.pixel_prompts = prompts.data() + 16;
    description.temperature = bytes.value();
    description.banks[0] = bytes.byte() ? bank : nullptr;
    description.bank_count = static_cast<int>(bytes.number(1, 1));
    description.maximum_of_map = bytes.byte() % 16 == 0;
    const std::vector<float> margins = bytes.values(bank ? gp_bank_rows(bank) : 0);
    description.fusion = static_cast<gp_fusion>(bytes.byte() % 4);
    description.margins[0] = bytes.byte() % 4 ? margins.data() : nullptr;
    description.residual_weight = bytes.value();
    gp_scorer* scorer = gp_scorer_create(&description, &error);
    check(scorer != nullptr, error);
    if (scorer) {
      std::vector<float> image(static_cast<size_t>(views) * 3 + 1), grid(product.size() * 4 + 1);
      const gp_scores out{image.data(),
                          grid.data(),
                          image.data() + views,
                          image.data() + 2 * views,
                          grid.data() + product.size(),
                          grid.data() + 2 * product.size(),
                          grid.data() + 3 * product.size()};
      const gp_features features{views, global.data(), local.data(), {queries.data()}};
      check(gp_scorer_run(scorer, &features, &out, 1, &error), error);
      gp_scorer_free(scorer);
    }
  }
  gp_bank_free(bank);
}

void map(Bytes& bytes) {
  const int64_t height = bytes.byte() % 8, width = bytes.byte() % 8, size = bytes.byte() % 40;
  const std::vector<float> grid = bytes.values(height * width);
  std::vector<float> out(static_cast<size_t>(size * size + 1));
  gp_error error{};
  check(gp_anomaly_map(grid.data(), height, width, out.data(), size, 4 * bytes.value(), &error), error);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Bytes bytes(data, size);
  switch (bytes.byte() % 3) {
    case 0:
      resize(bytes);
      break;
    case 1:
      search_and_score(bytes);
      break;
    default:
      map(bytes);
  }
  return 0;
}

#ifdef GP_FUZZ_MAIN
int main(int count, char** arguments) {
  const long runs = count > 1 ? std::atol(arguments[1]) : 10'000;
  uint64_t state = count > 2 ? std::strtoull(arguments[2], nullptr, 10) : 1;
  std::vector<uint8_t> data(2048);
  for (long run = 0; run < runs; ++run) {
    for (uint8_t& one : data) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      one = static_cast<uint8_t>(state >> 56);
    }
    LLVMFuzzerTestOneInput(data.data(), data.size());
  }
  std::printf("%ld runs\n", runs);
}
#endif
