// Strict reading of JSON with a known structure. A field that is missing, has another type or is out of range is an
// error; so is an unknown field, if the caller asks for that check.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace gp {

using Json = nlohmann::json;

// The structure is wrong. The message names the error; the reader of a file adds the file's name.
struct Damaged : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Parse a text. Throws Damaged if it is not JSON.
Json parse_json(std::string_view text);

// The fields of an object; `where` is its name in messages. The constructor and all functions but has and unknown throw
// Damaged if a value is missing, has another type or is out of range.
class Fields {
 public:
  Fields(const Json& object, std::string where);

  bool has(const char* name) const;  // whether the field exists and is not null
  const Json& at(const char* name) const;
  Fields object(const char* name) const;
  const Json& array(const char* name) const;
  const std::string& text(const char* name) const;
  bool boolean(const char* name) const;
  double number(const char* name) const;  // finite, because JSON has no other numbers
  int64_t integer(const char* name, int64_t low, int64_t high) const;
  std::pair<int64_t, int64_t> pair(const char* name, int64_t low, int64_t high) const;  // an array of two integers

  // Return the name of the first field that is not among the known ones, or an empty text.
  std::string unknown(std::span<const std::string_view> known) const;

 private:
  const Json& checked(const char* name, bool is, const std::string& what) const;
  int64_t integer(const char* name, const Json& value, int64_t low, int64_t high) const;

  const Json& object_;
  std::string where_;
};

}  // namespace gp
