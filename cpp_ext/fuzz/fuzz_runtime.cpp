// Passes damaged and forged files to the readers of recipes and of engine.json. No reader may crash, and one that
// rejects a file must report why. Accepted recipes are used: views are cut out of a frame, features are scored, and a
// map is stitched.
//
// This is a libFuzzer target (clang: -fsanitize=fuzzer,address); its corpus consists of recipes and engine.json files.
// With -DGP_FUZZ_MAIN it is a program that damages the files it is given: fuzz_runtime RUNS FILE…
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "engine.h"
#include "failure.h"
#include "files.h"
#include "product.h"
#include "recipe.h"
#include "regions.h"

namespace {

using gp::Failure;

// Abort if an error has no message.
void check(const char* what) {
  if (what[0]) return;
  std::fprintf(stderr, "a file was rejected without a message\n");
  std::abort();
}

void use(const gp::Recipe& recipe) {
  const gp::Encoder& encoder = recipe.header.encoder;
  const gp::View& view = recipe.header.view;
  const int64_t views = view.count(), cells = views * encoder.patches();
  if (encoder.image_size > 256 || cells > 1 << 16) return;
  const gp::Product product(recipe);
  constexpr int64_t kHeight = 24, kWidth = 32;
  const std::vector<uint8_t> pixels(kHeight * kWidth * 3, 90);
  const gp_frame frame{pixels.data(), nullptr, kWidth, kHeight, kWidth * 3, 0, GP_RGB};
  std::vector<uint8_t> squares(static_cast<size_t>(views * encoder.image_size * encoder.image_size * 3));
  view.cut(frame, encoder.image_size, squares.data(), 1);
  int64_t widest = encoder.width;
  for (const gp::Tap& tap : encoder.taps) widest = std::max(widest, tap.width);
  if (cells * widest > 1 << 22) return;
  const std::vector<float> values(static_cast<size_t>(cells * widest), 0.125f);
  gp_features features{views, values.data(), values.data(), {}};
  std::fill_n(features.memory, encoder.taps.size(), values.data());
  const gp::FrameScores scores = product.score(features, 1);
  const gp::Map map = view.stitch(scores.grids.data(), encoder.grid_height, encoder.grid_width, kHeight, kWidth);
  const gp_thresholds& limits = recipe.header.thresholds;
  gp::find_regions(map, limits.pixel, limits.min_area, view.region(kHeight, kWidth));
  gp::answer_to(scores.image / limits.image, limits);
}

// Read the data with both readers. Return whether one of them accepted it.
bool read(std::string_view data) {
  bool accepted = false;
  try {
    const gp::EngineSpec spec = gp::parse_engine_spec(data, "engine.json");
    accepted = true;
    gp::variant_for_onnxruntime(spec, "fp32");
    spec.graph_id("fp32");
  } catch (const Failure& refused) {
    check(refused.what());
  }
  try {
    const gp::Recipe recipe = gp::parse_recipe(data, "recipe");
    accepted = true;
    use(recipe);
  } catch (const Failure& refused) {
    check(refused.what());
  } catch (const gp::Invalid& refused) {  // the view does not fit the frame, or the scorer rejects a number
    check(refused.what());
  }
  return accepted;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  read({reinterpret_cast<const char*>(data), size});
  return 0;
}

#ifdef GP_FUZZ_MAIN
namespace {

class Random {
 public:
  uint64_t below(uint64_t limit) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return (state_ >> 33) % limit;
  }

 private:
  uint64_t state_ = 1;
};

// Write the digest of the damaged data into it, so that the readers do not stop at the digest.
void seal(std::string& data, const std::string& mark) {
  const size_t found = data.find(mark);
  if (found == std::string::npos || found + mark.size() + 64 > data.size()) return;
  data.replace(found + mark.size(), 64, 64, '0');
  data.replace(found + mark.size(), 64, gp::sha256(data));
}

// Return the size of the part that is damaged: the text. The numbers after it are of little interest.
size_t text_size(const std::string& data) { return std::min<size_t>(data.size(), 6000); }

void damage(std::string& data, Random& random) {
  static const char* const kTokens[] = {
      "-1", "0", "1e308", "99999999999999999999", "null", "[]", "{}", "\"\"", "true", "[[", "9e18", "1e-320", "64",
      "\\", ",", "\xff"};
  for (uint64_t change = 0; change <= random.below(3); ++change) {
    const size_t at = random.below(text_size(data) + 1);
    const std::string token = kTokens[random.below(std::size(kTokens))];
    switch (random.below(5)) {
      case 0:  // replace a number
      case 1: {
        const size_t begin = data.find_first_of("0123456789", at);
        if (begin == std::string::npos) break;
        const size_t end = std::min(data.find_first_not_of("0123456789.e-", begin), data.size());
        data.replace(begin, end - begin, token);
        break;
      }
      case 2:
        data[std::min(at, data.size() - 1)] ^= static_cast<char>(1 << random.below(8));
        break;
      case 3:
        data.insert(std::min(at, data.size()), token);
        break;
      default:
        if (random.below(8) == 0) data.resize(random.below(data.size()) + 1);
    }
  }
}

// Correct the header's length in a safetensors file after damage changed it.
void refit(std::string& data, size_t length_before) {
  uint64_t length = 0;
  for (int at = 7; at >= 0; --at) length = length << 8 | static_cast<uint8_t>(data[static_cast<size_t>(at)]);
  length += data.size() - length_before;
  for (size_t at = 0; at < 8; ++at) data[at] = static_cast<char>(length >> (8 * at));
}

}  // namespace

int main(int count, char** arguments) {
  const long runs = count > 1 ? std::atol(arguments[1]) : 1000;
  std::vector<std::string> corpus;
  for (int at = 2; at < count; ++at) corpus.push_back(gp::read_bytes(gp::path_of(arguments[at])));
  Random random;
  long accepted = 0;
  for (const std::string& whole : corpus) accepted += read(whole);
  if (corpus.empty() || accepted != static_cast<long>(corpus.size())) {
    std::fprintf(stderr, "%ld of %zu files are accepted undamaged: give only valid recipes and engine.json files\n",
                 accepted, corpus.size());
    return 1;
  }
  accepted = 0;
  for (long run = 0; run < runs; ++run) {
    std::string data = corpus[random.below(corpus.size())];
    const size_t before = data.size();
    damage(data, random);
    if (data.size() >= 8 && data[0] != '{' && random.below(4)) refit(data, before);
    if (random.below(8)) seal(data, data[0] == '{' ? "\"digest\": \"" : "\\\"digest\\\":\\\"");
    accepted += read(data);
  }
  std::printf("%ld runs, %ld accepted\n", runs, accepted);
}
#endif
