// Files and their digests (goodparts.runtime.core.files).
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace gp {

// Names in the C API are UTF-8, on every system.
std::filesystem::path path_of(const std::string& name);
std::string text_of(const std::filesystem::path& path);

// All bytes of an ordinary file; Failure (GP_FILE).
std::string read_bytes(const std::filesystem::path& path);

// Hex SHA-256.
std::string sha256(std::string_view data);
std::string sha256_of_file(const std::filesystem::path& path);

// Whether `digest`, read from behind `mark`, is the SHA-256 of the whole with 64 zeros in its place.
bool is_sealed(std::string_view data, std::string_view mark, std::string_view digest);

}  // namespace gp
