#include "files.h"

#include <openssl/evp.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>

#include "failure.h"

namespace gp {
namespace {

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    check(context_ && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr));
  }

  void add(std::string_view data) { check(EVP_DigestUpdate(context_.get(), data.data(), data.size())); }

  std::string hex() {
    std::array<unsigned char, 32> digest{};
    check(EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr));
    std::string text;
    for (const unsigned char byte : digest) text += {kDigits[byte >> 4], kDigits[byte & 15]};
    return text;
  }

 private:
  static constexpr char kDigits[] = "0123456789abcdef";

  static void check(bool done) {
    if (!done) throw Failure(GP_INTERNAL, "OpenSSL cannot compute a SHA-256");
  }

  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& why) {
  throw Failure(GP_FILE, "cannot read " + text_of(path) + ": " + why);
}

std::ifstream open(const std::filesystem::path& path) {
  std::error_code problem;
  const auto status = std::filesystem::status(path, problem);
  if (!std::filesystem::exists(status)) fail(path, "no such file");
  if (!std::filesystem::is_regular_file(status)) fail(path, "it is not a regular file");
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) fail(path, errno ? std::strerror(errno) : "it cannot be opened");
  return file;
}

}  // namespace

std::filesystem::path path_of(const std::string& name) {
  return std::filesystem::path(reinterpret_cast<const char8_t*>(name.c_str()));
}

std::string text_of(const std::filesystem::path& path) {
  const std::u8string text = path.u8string();
  return {text.begin(), text.end()};
}

std::string read_bytes(const std::filesystem::path& path) {
  std::ifstream file = open(path);
  std::string data;
  std::error_code problem;
  const auto size = std::filesystem::file_size(path, problem);
  if (problem) fail(path, problem.message());
  data.resize(size);
  file.read(data.data(), static_cast<std::streamsize>(size));
  if (static_cast<size_t>(file.gcount()) != size) fail(path, "it became shorter while it was read");
  return data;
}

std::string sha256(std::string_view data) {
  Sha256 digest;
  digest.add(data);
  return digest.hex();
}

std::string sha256_of_file(const std::filesystem::path& path) {
  std::ifstream file = open(path);
  Sha256 digest;
  std::string block(size_t{1} << 20, '\0');
  do {
    file.read(block.data(), static_cast<std::streamsize>(block.size()));
    digest.add(std::string_view(block).substr(0, static_cast<size_t>(file.gcount())));
  } while (file);
  if (file.bad()) fail(path, "reading it failed");
  return digest.hex();
}

bool is_sealed(std::string_view data, std::string_view mark, std::string_view digest) {
  constexpr size_t kLength = 64;
  const size_t found = data.find(mark);
  if (found == std::string_view::npos || found + mark.size() + kLength > data.size()) return false;
  const size_t start = found + mark.size();
  Sha256 whole;
  whole.add(data.substr(0, start));
  whole.add(std::string(kLength, '0'));
  whole.add(data.substr(start + kLength));
  return whole.hex() == digest;
}

}  // namespace gp
