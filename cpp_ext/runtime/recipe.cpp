#include "recipe.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <set>

#include "failure.h"
#include "fields.h"
#include "files.h"
#include "header.h"

namespace gp {
namespace {

constexpr std::string_view kDigestMark = "\\\"digest\\\":\\\"";  // JSON inside a text of JSON
constexpr const char* kMetadata = "__metadata__";
constexpr int64_t kPoses = 8;               // turns and mirrorings of a square
constexpr size_t kLength = 8;               // bytes that hold the length of a file's header
constexpr uint64_t kMostHeader = 16 << 20;  // bytes; most of a header is the PNG of its mask

// A tensor in the file's bytes.
struct Tensor {
  std::string dtype;
  std::vector<int64_t> shape;
  std::string_view bytes;
};

using Tensors = std::map<std::string, Tensor, std::less<>>;

int64_t element_bytes(const std::string& dtype) {
  for (const auto& [name, bytes] : {std::pair("F32", 4), {"F16", 2}, {"I32", 4}, {"U8", 1}})
    if (dtype == name) return bytes;
  throw Damaged("a tensor has the type " + dtype + ": F32, F16, I32 and U8 are accepted");
}

// Read the tensors of a safetensors file. They must fill the data without gaps.
Tensors read_tensors(const Json& json, std::string_view data) {
  Tensors tensors;
  int64_t covered = 0;
  std::map<int64_t, int64_t> spans;
  for (const auto& [name, value] : json.items()) {
    if (name == kMetadata) continue;
    const Fields fields(value, "a tensor");
    Tensor tensor{fields.text("dtype"), {}, {}};
    int64_t size = element_bytes(tensor.dtype);
    const auto limit = static_cast<int64_t>(data.size());
    for (const Json& side : fields.array("shape")) {
      if (!side.is_number_unsigned() || side.get<uint64_t>() > data.size())
        throw Damaged("the shape of tensor " + name + " is out of range");
      tensor.shape.push_back(side.get<int64_t>());
      if (tensor.shape.back() != 0 && size > limit / tensor.shape.back())
        throw Damaged("tensor " + name + " is larger than the file");
      size *= tensor.shape.back();
    }
    const auto [begin, end] = fields.pair("data_offsets", 0, limit);
    if (end - begin != size) throw Damaged("the data_offsets of tensor " + name + " do not match its shape");
    tensor.bytes = data.substr(static_cast<size_t>(begin), static_cast<size_t>(size));
    if (size > 0 && !spans.emplace(begin, end).second) throw Damaged("two tensors begin at the same offset");
    tensors.emplace(name, std::move(tensor));
  }
  for (const auto& [begin, end] : spans) {
    if (begin != covered) throw Damaged("its tensors leave gaps");
    covered = end;
  }
  if (covered != static_cast<int64_t>(data.size())) throw Damaged("bytes follow its last tensor");
  return tensors;
}

float from_half(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 0x3ff;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000 | fraction << 13);
  if (exponent) return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
  const float small = std::ldexp(static_cast<float>(fraction), -24);
  return sign ? -small : small;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t side : shape) text += (text.empty() ? "" : ", ") + std::to_string(side);
  return "[" + text + "]";
}

// Takes the tensors that the header requires from the file, and checks them.
class Shelf {
 public:
  explicit Shelf(const Tensors& tensors) : tensors_(tensors) {}

  const Tensor& take(const std::string& name, const char* dtype, const std::vector<int64_t>& shape) {
    const Tensor& tensor = find(name);
    if (tensor.dtype != dtype || tensor.shape != shape)
      throw Damaged("tensor " + name + " is " + tensor.dtype + " " + shape_text(tensor.shape) + ", should be " + dtype +
                    " " + shape_text(shape));
    taken_.insert(name);
    return tensor;
  }

  // Take a tensor of float32 (F32) or float16 (F16) whose values are finite.
  std::vector<float> floats(const std::string& name, const char* dtype, const std::vector<int64_t>& shape) {
    const std::string_view bytes = take(name, dtype, shape).bytes;
    const bool half = std::string_view(dtype) == "F16";
    std::vector<float> values(bytes.size() / (half ? 2 : 4));
    for (size_t at = 0; at < values.size(); ++at) {
      uint16_t bits = 0;
      if (half) {
        std::memcpy(&bits, bytes.data() + 2 * at, 2);
        values[at] = from_half(bits);
      } else {
        std::memcpy(&values[at], bytes.data() + 4 * at, 4);
      }
      if (!std::isfinite(values[at])) throw Damaged("tensor " + name + " holds values that are not finite");
    }
    return values;
  }

  const Tensor& find(const std::string& name) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) throw Damaged("it lacks the tensor " + name);
    return found->second;
  }

  void nothing_left() const {
    for (const auto& [name, tensor] : tensors_)
      if (!taken_.contains(name)) throw Unknown("it has the tensor '" + name + "', which this version does not know");
  }

 private:
  const Tensors& tensors_;
  std::set<std::string> taken_;
};

Recipe assemble(Header header, const Tensors& tensors) {
  Recipe recipe{std::move(header), {}, {}, {}, {}};
  const Encoder& encoder = recipe.header.encoder;
  Shelf shelf(tensors);
  recipe.image_prompts = shelf.floats("image_prompts", "F32", {2, encoder.width});
  recipe.pixel_prompts = shelf.floats("pixel_prompts", "F32", {2, encoder.width});
  const int64_t views = recipe.header.shots * recipe.header.view.count(), size = encoder.image_size;
  const int64_t most_rows = views * encoder.patches() * (recipe.header.poses ? kPoses : 1);
  for (size_t tap = 0; tap < encoder.taps.size(); ++tap) {
    const std::string bank = "memory_" + std::to_string(tap), photos = "photos_" + std::to_string(tap);
    const std::vector<int64_t>& shape = shelf.find(photos).shape;
    const int64_t rows = shape.size() == 1 ? shape[0] : 0;
    if (rows < 1 || rows > most_rows) throw Damaged("tensor " + photos + " is " + shape_text(shape));
    shelf.take(photos, "I32", {rows});
    recipe.banks.push_back(shelf.floats(bank, "F16", {rows, encoder.taps[tap].width}));
    recipe.margins.push_back(shelf.floats("margins_" + std::to_string(tap), "F32", {rows}));
  }
  if (tensors.contains("shots")) shelf.take("shots", "U8", {views, size, size, 3});
  shelf.nothing_left();
  return recipe;
}

Recipe parse(std::string_view data) {
  uint64_t length = 0;
  for (size_t at = 0; at < kLength && at < data.size(); ++at)
    length |= static_cast<uint64_t>(static_cast<uint8_t>(data[at])) << (8 * at);
  if (data.size() < kLength || length > data.size() - kLength) throw Damaged("its end is missing");
  if (length > kMostHeader) throw Damaged("its header is larger than 16 MiB");
  const Json json = parse_json(data.substr(kLength, length));
  const Json text = parse_json(Fields(json, "it").object(kMetadata).text("goodparts"));
  const Fields fields(text, "the header");
  check_version(fields);
  if (!is_sealed(data, kDigestMark, fields.text("digest"))) throw Damaged("its digest does not match its bytes");
  Header header = parse_header(fields);
  check_thresholds(header.thresholds);
  return assemble(std::move(header), read_tensors(json, data.substr(kLength + length)));
}

}  // namespace

Recipe parse_recipe(std::string_view data, const std::string& name) {
  if (data.size() > kLength && data[kLength] != '{')  // the header, JSON, follows its length
    throw Failure(GP_RECIPE, name +
                                 " is no recipe: it does not begin as a safetensors file does; goodparts teach makes a "
                                 "recipe");
  std::string problem;
  try {
    Recipe recipe = parse(data);
    if (recipe.header.encoder.backbone == kGoneBackbone)
      throw Failure(GP_RECIPE, name +
                                   " was made with the backbone demo, which small replaced: learn the product again "
                                   "with `train-and-export`");
    return recipe;
  } catch (const Unknown& unknown) {
    throw Failure(GP_RECIPE,
                  name + ": " + unknown.what() + ": inspect it in Python, or use a version of goodparts that knows it");
  } catch (const Damaged& damaged) {
    problem = damaged.what();
  } catch (const Invalid& invalid) {
    problem = invalid.what();
  }
  throw Failure(GP_RECIPE, name + " is damaged (" + problem + "): copy or train it again");
}

Recipe read_recipe(const std::filesystem::path& path) { return parse_recipe(read_bytes(path), text_of(path)); }

void check_thresholds(const gp_thresholds& thresholds) {
  for (const auto& [name, value] : {std::pair("image", thresholds.image), {"pixel", thresholds.pixel}})
    require(std::isfinite(value) && value > 0,
            std::string(name) + " threshold " + std::to_string(value) + ": a finite number above 0 is needed");
  require(std::isfinite(thresholds.min_area) && thresholds.min_area >= 0,
          "min_area " + std::to_string(thresholds.min_area) + ": 0 or more frame pixels are needed");
  require(thresholds.review >= 0 && thresholds.review < 1,
          "review " + std::to_string(thresholds.review) + ": a score below 1 is needed, as in 0.8, or 0 for no band");
}

gp_answer answer_to(double score, const gp_thresholds& thresholds) {
  if (score >= 1) return GP_REJECT;
  return thresholds.review > 0 && score >= thresholds.review ? GP_REVIEW : GP_GOOD;
}

}  // namespace gp
