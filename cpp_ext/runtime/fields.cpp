#include "fields.h"

#include <algorithm>

namespace gp {

Json parse_json(std::string_view text) {
  Json value = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) throw Damaged("it is not JSON");
  return value;
}

Fields::Fields(const Json& object, std::string where) : object_(object), where_(std::move(where)) {
  if (!object.is_object()) throw Damaged(where_ + " is not an object");
}

bool Fields::has(const char* name) const {
  const auto found = object_.find(name);
  return found != object_.end() && !found->is_null();
}

const Json& Fields::at(const char* name) const {
  const auto found = object_.find(name);
  if (found == object_.end()) throw Damaged(where_ + " lacks " + name);
  return *found;
}

Fields Fields::object(const char* name) const { return {at(name), where_ + "." + name}; }

const Json& Fields::array(const char* name) const { return checked(name, at(name).is_array(), "an array"); }

const std::string& Fields::text(const char* name) const {
  return checked(name, at(name).is_string(), "a text").get_ref<const std::string&>();
}

bool Fields::boolean(const char* name) const {
  return checked(name, at(name).is_boolean(), "true or false").get<bool>();
}

double Fields::number(const char* name) const { return checked(name, at(name).is_number(), "a number").get<double>(); }

int64_t Fields::integer(const char* name, int64_t low, int64_t high) const {
  return integer(name, at(name), low, high);
}

std::pair<int64_t, int64_t> Fields::pair(const char* name, int64_t low, int64_t high) const {
  const Json& both = array(name);
  checked(name, both.size() == 2, "an array of two integers");
  return {integer(name, both[0], low, high), integer(name, both[1], low, high)};
}

std::string Fields::unknown(std::span<const std::string_view> known) const {
  for (const auto& [name, value] : object_.items())
    if (std::find(known.begin(), known.end(), name) == known.end()) return name;
  return {};
}

const Json& Fields::checked(const char* name, bool is, const std::string& what) const {
  if (!is) throw Damaged(where_ + "." + name + " is not " + what);
  return at(name);
}

int64_t Fields::integer(const char* name, const Json& value, int64_t low, int64_t high) const {
  const bool small = !value.is_number_unsigned() || value.get<uint64_t>() <= uint64_t{1} << 62;
  const bool inside = value.is_number_integer() && small && value.get<int64_t>() >= low && value.get<int64_t>() <= high;
  checked(name, inside, "an integer from " + std::to_string(low) + " to " + std::to_string(high));
  return value.get<int64_t>();
}

}  // namespace gp
