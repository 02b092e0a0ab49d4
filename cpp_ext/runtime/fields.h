// Reading JSON of a known structure strictly: nothing missing, nothing of another type or out of range, and, where it
// is asked for, nothing that is not known.
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

// What is wrong with the structure; readers of files say in which file.
struct Damaged : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Json, or Damaged where the text is none.
Json parse_json(std::string_view text);

// The fields of an object, called `where` in errors. Its functions throw Damaged.
class Fields {
 public:
  Fields(const Json& object, std::string where);

  bool has(const char* name) const;  // and it is not null
  const Json& at(const char* name) const;
  Fields object(const char* name) const;
  const Json& array(const char* name) const;
  const std::string& text(const char* name) const;
  bool boolean(const char* name) const;
  double number(const char* name) const;  // finite: JSON knows no other numbers
  int64_t integer(const char* name, int64_t low, int64_t high) const;
  std::pair<int64_t, int64_t> pair(const char* name, int64_t low, int64_t high) const;  // an array of two integers

  // The first field that is none of these, or an empty text.
  std::string unknown(std::span<const std::string_view> known) const;

 private:
  const Json& checked(const char* name, bool is, const std::string& what) const;
  int64_t integer(const char* name, const Json& value, int64_t low, int64_t high) const;

  const Json& object_;
  std::string where_;
};

}  // namespace gp
