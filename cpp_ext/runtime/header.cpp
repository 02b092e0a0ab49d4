#include "header.h"

#include <array>
#include <span>
#include <tuple>
#include <utility>

#include "failure.h"
#include "fields.h"

namespace gp {
namespace {

constexpr int64_t kFormatVersion = 3;
constexpr int64_t kMaxTiles = 256;
constexpr int64_t kAnySide = 1 << 30;

constexpr std::string_view kBoxFields[] = {"x", "y", "width", "height"};
constexpr std::string_view kThresholdFields[] = {"image", "pixel", "min_area", "review"};
constexpr std::string_view kViewFields[] = {"roi", "mask", "resize", "tiles", "overlap"};
// clang-format off
constexpr std::string_view kHeaderFields[] = {
    "version", "product", "method", "protocol", "settings", "encoder", "graph", "view", "temperature", "image_maximum",
    "fusion", "residual_weight", "memory_share", "poses", "shots", "shot_calibration", "calibration",
    "false_reject_rate", "thresholds", "seed", "versions", "accepted", "scene", "signature", "digest"};
// clang-format on

// Throw Unknown for an unknown field. The field may change how frames are scored, so it must not be ignored.
void refuse_unknown(const Fields& fields, const std::string& where, std::span<const std::string_view> known) {
  const std::string name = fields.unknown(known);
  if (!name.empty()) throw Unknown(where + " has the field '" + name + "', which this version does not know");
}

// Return the index of the field's value among the names. Throw Unknown if it is not among them.
template <size_t N>
size_t choice(const Fields& fields, const char* name, const std::array<std::string_view, N>& names) {
  const std::string& value = fields.text(name);
  for (size_t index = 0; index < N; ++index)
    if (names[index] == value) return index;
  throw Unknown(std::string(name) + " is '" + value + "', which this version does not know");
}

// Decode base64 with the standard alphabet and padding, which is how Python's JSON holds bytes.
std::string decode_base64(const std::string& text) {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const size_t end = text.find_last_not_of('=') + 1;
  if (text.size() % 4 != 0 || text.size() - end > 2) throw Damaged("mask is not base64");
  std::string bytes;
  uint32_t bits = 0;
  int count = 0;
  for (size_t at = 0; at < end; ++at) {
    const size_t value = kAlphabet.find(text[at]);
    if (value == std::string_view::npos) throw Damaged("mask is not base64");
    bits = bits << 6 | static_cast<uint32_t>(value);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> count);
  }
  return bytes;
}

View read_view(const Fields& fields) {
  refuse_unknown(fields, "the view", kViewFields);
  View view;
  if (fields.has("roi")) {
    const Fields roi = fields.object("roi");
    refuse_unknown(roi, "the region of interest", kBoxFields);
    view.roi = gp_box{roi.integer("x", -kAnySide, kAnySide), roi.integer("y", -kAnySide, kAnySide),
                      roi.integer("width", -kAnySide, kAnySide), roi.integer("height", -kAnySide, kAnySide)};
  }
  view.letterbox = choice(fields, "resize", std::array<std::string_view, 2>{"squash", "letterbox"}) == 1;
  std::tie(view.rows, view.columns) = fields.pair("tiles", 1, kMaxTiles);
  if (view.count() > kMaxTiles) throw Damaged("more than 256 tiles");
  view.overlap = fields.number("overlap");
  if (!(view.overlap >= 0 && view.overlap <= 0.5)) throw Damaged("overlap is not from 0 to 0.5");
  if (fields.has("mask")) view.mask = decode_mask(decode_base64(fields.text("mask")));
  return view;
}

}  // namespace

void check_version(const Fields& fields) {
  const Json& version = fields.at("version");
  if (version != kFormatVersion)
    throw Unknown("its format version is " + (version.is_number() ? version.dump() : "not a number") +
                  "; this version of goodparts reads " + std::to_string(kFormatVersion));
}

Header parse_header(const Fields& fields) {
  refuse_unknown(fields, "the header", kHeaderFields);
  Header header{};
  header.product = fields.text("product");
  header.graph = fields.text("graph");
  header.digest = fields.text("digest");
  header.encoder = read_encoder(fields.object("encoder"));
  header.view = read_view(fields.object("view"));
  header.temperature = static_cast<float>(fields.number("temperature"));
  const size_t maximum = choice(fields, "image_maximum", std::array<std::string_view, 3>{"grid", "map", "top"});
  header.maximum_of_map = maximum == 1;
  header.mean_of_top = maximum == 2;
  if (fields.text("fusion") == "subspace")
    throw Unknown("fusion is 'subspace', which only the runtime in Python scores: learn it without --subspace");
  header.fusion = static_cast<gp_fusion>(
      choice(fields, "fusion", std::array<std::string_view, 4>{"paper", "residual", "prompt", "memory"}));
  if (header.mean_of_top && header.fusion != GP_MEMORY_ONLY)
    throw Damaged("image_maximum is 'top', which only scores of the memory by itself have");
  header.residual_weight = static_cast<float>(fields.number("residual_weight"));
  const Fields thresholds = fields.object("thresholds");
  refuse_unknown(thresholds, "the header's field thresholds", kThresholdFields);
  header.thresholds = {thresholds.number("image"), thresholds.number("pixel"), thresholds.number("min_area"),
                       thresholds.has("review") ? thresholds.number("review") : 0.0};
  header.shots = static_cast<int64_t>(fields.array("shots").size());
  header.poses = fields.has("poses") && fields.boolean("poses");
  return header;
}

}  // namespace gp
